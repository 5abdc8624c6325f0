"""One HTML file that holds the screen and its profiles: it lives without a kernel and a network.

The browser's side is the widget's own: the same scripts, which here get from the page what they
would get from the kernel. Numbers travel as they are, float64, packed into one line of text.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dscwb import __version__
from dscwb.cost import check_same_model
from dscwb.devices.machines import MODELLED, Library
from dscwb.packing import UNPACKED, packed
from dscwb.profiles.records import Profile, ProfileError
from dscwb.study.thresholds import fingerprint
from dscwb.workbench.pair import machine_part, model_key, model_part
from dscwb.workbench.screen import HERE, SCRIPTS, joined, tables
from dscwb.workbench.state import ASSUMED, State

ARRAYS = ("head_ns", "tail_ns")
FRAME = """\
<script type="text/plain" class="dscwb-page" data-model="{model_id}">{page}</script>
<script>(() => {{
{script}}})();</script>"""


def checked(path: str | os.PathLike[str]) -> Path:
    """The path of a page.

    Raises:
        ValueError: It does not end in ``.html``.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{path.name!r}: a page is written as .html; choose that ending.")
    return path


def page(
    library: Library,
    state: State,
    *,
    models: Iterable[str],
    confidence: Mapping[str, Any] | None = None,
) -> str:
    """The page as text: it begins with a state, and holds every measured machine of these models.

    Machines of the catalogue would be as many again; of them it holds those that the state names.

    Args:
        library: The profiles.
        state: What is shown first.
        models: What can be chosen; the state's model among them.
        confidence: How sure every state is, as the widget's trait has it, for the first scenario.
    """
    machines = {model: _machines(library, model, state) for model in models}
    parts, found, pairs, sources = _parts(library, machines, state)
    told = tables(library, state)
    families = (
        (name, [one for one in some if one[1] in machines]) for name, some in told["families"]
    )
    told |= {"machines": machines, "families": [[name, some] for name, some in families if some]}
    values = state.values()
    source = {
        **{name: values[name] for name in ("data_rate_bps", "batch_size", "model")},
        "shown": values,
        "tables": told,
        "confidence": dict(confidence or {}),
        "models": parts,
        "machines": found,
        "pairs": pairs,
    }
    return rendered(
        "page.html",
        title=f"Where to split {state.model}" if len(machines) == 1 else "Where to split a network",
        held=_packed(source),
        scripts=SCRIPTS,
        sources=sources,
    )


def rendered(template: str, *, title: str, held: str, scripts: Iterable[str], **told: Any) -> str:
    """A living page as text.

    Args:
        template: What it says beside its screen.
        title: Its heading.
        held: Its data, as `packed` gives them.
        scripts: Files of the browser's side, in the order in which it reads them.
        told: What the template asks for.
    """
    environment = Environment(
        loader=PackageLoader("dscwb.workbench", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(
        title=title,
        held=held,
        scripts=_inline(UNPACKED + joined(scripts)),
        style=_inline((HERE / "screen.css").read_text("utf-8")),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        **told,
    )


def framed(text: str, model_id: str) -> str:
    """A page as a part of pages that are made of a notebook; where the notebook lives it hides.

    Args:
        text: The page.
        model_id: Of the widget in whose place it is shown.
    """
    script = UNPACKED + (HERE / "frame.js").read_text("utf-8")
    return FRAME.format(page=packed(text.encode()), model_id=html.escape(model_id), script=script)


def _machines(library: Library, model: str, state: State) -> list[str]:
    """Machines of a model that the page holds."""
    names = library.machines(model)
    shown = (state.edge, state.server) if model == state.model else ()
    return [name for name in names if not name.endswith(MODELLED) or name in shown]


def _parts(
    library: Library, machines: Mapping[str, list[str]], state: State
) -> tuple[dict[str, Any], list[dict[str, Any]], list[list[Any]], list[dict[str, str]]]:
    """Models by key, machines, pairs as key and places of both machines, and sources."""
    models: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    pairs: list[list[Any]] = []
    sources = []
    for model, names in machines.items():
        here: list[tuple[str, Profile, int]] = []
        for name in names:
            like = library.profile(model, state.edge) if name == state.server else None
            profile = library.profile(model, name, like=like)
            part = model_part(profile.graph)
            models[key := model_key(part)] = part
            here.append((name, profile, len(found)))
            found.append(machine_part(profile, key))
            sources.append(_source(profile))
        for name, edge, at in here:
            pairs.append(["\n".join((model, name, ASSUMED)), at, None])
            for other, server, there in here:
                try:
                    check_same_model(edge, server)
                except ProfileError:
                    continue
                pairs.append(["\n".join((model, name, other)), at, there])
    return models, found, pairs, sources


def _source(profile: Profile) -> dict[str, str]:
    of = profile.provenance
    return {
        "Model": profile.graph.label(),
        "Machine": of.label(),
        "Batch sizes": ", ".join(map(str, profile.batch_sizes)),
        "Date": of.date,
        "Protocol": of.protocol,
        "Versions": ", ".join(" ".join(one) for one in of.versions),
        "Hash of its numbers": fingerprint(profile),
    }


def _packed(source: dict[str, Any]) -> str:
    """Words and numbers as one line: length of the words, the words, the numbers; compressed."""
    numbers, at = [], 0
    for machine in source["machines"]:
        for name in ARRAYS:
            if (held := machine[name]) is not None:
                numbers.append(np.frombuffer(held, "<f8"))
                machine[name] = [at, at := at + len(numbers[-1])]
    words = json.dumps(source, separators=(",", ":"), allow_nan=False).encode()
    words += b" " * (-(len(words) + 4) % 8)  # the numbers begin where an array may
    data = (
        np.array([len(words)], "<u4").tobytes() + words + b"".join(one.tobytes() for one in numbers)
    )
    return packed(data, level=9)


def _inline(text: str) -> Markup:
    """Text of a script or style that does not end before its end; it is our own, not data."""
    return Markup(text.replace("</", "<\\/"))
