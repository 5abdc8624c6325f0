"""Layer times of other tools: the text of a file becomes the layers of one pass, in order.

Read are trtexec, TFLite's benchmark_model, ONNX Runtime, torch.profiler and Scission. All errors
are a ValueError that begins with what the file is; whoever knows the file's name adds it.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dscwb.units import plain_text

TRACE = "a torch.profiler trace"
US, MS = 1e-6, 1e-3  # seconds
NPY_HEADER = 128  # bytes that Scission counts with each tensor, which it saves by numpy.save


class LayerTimes(NamedTuple):
    """What a tool measured, layer by layer in the order in which they ran.

    Attributes:
        tool: What to call the file in a sentence.
        names: Of the layers.
        kinds: Their operations; empty where only the name tells it.
        seconds: ``(run, layer)``.
        elements: Elements that each layer makes for the whole batch; 0 where that is not known.
        payload_bytes: What crosses a cut after each layer; empty where the tool does not know it.
        note: What a reader of the numbers should know.
    """

    tool: str
    names: Sequence[str]
    kinds: Sequence[str]
    seconds: NDArray[np.float64]
    elements: Sequence[int] = ()
    payload_bytes: Sequence[float] = ()
    note: str = ""


def layer_times(text: str, model: str | None = None) -> LayerTimes | None:
    """The layers of a file, or None if no tool known here wrote it; `model` picks one of several.

    Raises:
        ValueError: A tool's file that cannot be used, with the remedy.
    """
    try:
        if text.lstrip()[:1] in ("[", "{"):
            return _json(text)
        if re.search(r"(?im)^[\s\[]*node type\]?\s*[,\t]", text):
            return _tflite(text)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"it is damaged ({reason}); export it anew") from None
    tables = scission_models(text)
    return _scission(tables, model) if tables else None


def scission_models(text: str) -> dict[str, dict[str, list[str]]]:
    """The tables of a Scission file by model, each with its rows by their first cell."""
    found: dict[str, dict[str, list[str]]] = {}
    for before, row in pairwise(csv.reader(text.splitlines())):
        if row[:1] == ["layers"] and len(before) == 1:
            found[before[0]] = {}
        if found and row[:1] and row[0] in ("layers", "output", "times"):
            found[list(found)[-1]].setdefault(row[0], row[1:])
    return found


def _scission(tables: dict[str, dict[str, list[str]]], model: str | None) -> LayerTimes:
    model = next(iter(tables)) if model is None and len(tables) == 1 else model
    if model is None or model not in tables:
        raise ValueError(f"it is a Scission table of {', '.join(tables)}; name one, --model NAME")
    try:
        columns = [tables[model][name] for name in ("layers", "output", "times")]
        rows = [(name, float(mib), float(ms)) for name, mib, ms in zip(*columns, strict=True)]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"its Scission table of {model} is damaged ({error}); copy it anew"
        ) from None
    return _one_run(
        "a Scission table",
        [(f"layer {plain_text(name)}", "", ms * MS) for name, _, ms in rows],
        payload_bytes=[mib * 2**20 - NPY_HEADER for _, mib, _ in rows],
        note="sums of layers that ran alone, each with its own call",
    )


def _one_run(tool: str, rows: Sequence[tuple[str, str, float]], **more: Any) -> LayerTimes:
    """Layers of one run: name, kind, seconds."""
    names, kinds, seconds = ([row[i] for row in rows] for i in range(3))
    return LayerTimes(tool, names, kinds, np.array([seconds], dtype=np.float64), **more)  # type: ignore[arg-type]


def _tflite(text: str) -> LayerTimes:
    """The last table in run order; before it may stand that of the initialisation.

    As CSV the tables have no titles, and after each comes one of its slowest layers, to be left.
    """
    kept: list[list[tuple[str, str, float]]] = [[]]
    header, row = r"[ \t\[]*node type\]? *[,\t].*", r"(?!.*====|[ \t\[]*node type).*\S.*"
    table = rf"(?im)^(?:(.*====.*)\n)?({header})((?:\n{row})*)"
    for title, head, body in re.findall(table, text):
        columns = re.sub(r"[\[\]]", "", head).lower().replace("avg_ms", "avg ms")
        names = [name.strip() for name in re.split("[,\t]", columns)]
        if (title and "Run Order" not in title) or not {"name", "avg ms"} <= set(names):
            continue  # the slowest, or the summary by node type
        if len(set(names)) < len(names):
            raise ValueError("it has a table of layers with a column twice; export it anew")
        rows = []
        for line in body.splitlines():
            cells = re.split("[,\t]", line.strip(), maxsplit=len(names) - 1)
            if len(cells) == len(names):
                layer = dict(zip(names, map(str.strip, cells), strict=True))
                try:
                    seconds = float(layer["avg ms"]) * MS * float(layer.get("times called") or 1)
                except ValueError:
                    break  # what follows the table
                rows.append((layer["name"], layer["node type"], seconds))
        if not set(rows) <= set(kept[-1]):
            kept.append(rows)
    return _one_run("a layer table of TFLite's benchmark_model", kept[-1])


def _json(text: str) -> LayerTimes:
    try:
        found = json.loads(text)
    except ValueError:
        try:  # ONNX Runtime writes its last bracket when the session ends, often never
            found = json.loads(text.rstrip().rstrip(",") + "]")
        except ValueError as error:
            raise ValueError(f"it is damaged JSON ({error}); export it anew") from None
    traced = isinstance(found, dict) and isinstance(found.get("traceEvents"), list)
    some = found["traceEvents"] if traced else found if isinstance(found, list) else ()
    events = [one for one in some if isinstance(one, dict)]
    if traced:
        return _torch_trace(events)
    if timed := [one for one in events if "averageMs" in one]:
        rows = [
            (str(e["name"]), "", float(e["medianMs" if "medianMs" in e else "averageMs"]) * MS)
            for e in timed
        ]
        return _one_run("a trtexec layer profile", rows)
    if any(one.get("cat") in ("Node", "Session") for one in events):
        return _onnx_runtime(one for one in events if one.get("cat") == "Node")
    raise ValueError(
        "it is JSON of no tool known here; known are trtexec --exportProfile, ONNX Runtime's "
        "profile and torch.profiler's chrome trace"
    )


def _onnx_runtime(events: Iterable[dict[str, Any]]) -> LayerTimes:
    """Runs that follow each other; each node has a key of its own."""
    tool, ending = "an ONNX Runtime profile", "_kernel_time"
    nodes = [e for e in events if str(e["name"]).endswith(ending)]
    arguments = [e.get("args") or {} for e in nodes]
    names = [str(e["name"]).removesuffix(ending) for e in nodes]
    keys = [(name, a.get("node_index", "")) for name, a in zip(names, arguments, strict=True)]
    length = len(set(keys))
    if any(key != keys[i % length] for i, key in enumerate(keys)):
        raise ValueError(
            f"it is {tool} whose runs differ, or whose nodes have no names; profile one input size"
        )
    whole = len(keys) // max(1, length) * length  # the last run may have been cut off
    seconds = np.array([float(e["dur"]) * US for e in nodes])[:whole].reshape(-1, max(1, length))
    made: list[dict[str, list[int]]] = [(a.get("output_type_shape") or [{}])[0] for a in arguments]
    shapes = [next(iter(one.values()), [0]) or [0] for one in made[:length]]
    elements = [math.prod(shape) for shape in shapes]
    kinds = [str(a.get("op_name", "")) for a in arguments[:length]]
    return LayerTimes(tool, names[:length], kinds, warm(seconds), elements)


def _torch_trace(events: Sequence[dict[str, Any]]) -> LayerTimes:
    if any(e.get("cat") == "kernel" for e in events):
        raise ValueError(
            f"it is {TRACE} of a GPU, where operations only start the work: their times are not "
            "the layers'; measure there with `dscwb profile MODEL --device cuda`"
        )
    done, rows = -math.inf, []
    timed = [e for e in events if e.get("cat") == "cpu_op" and e.get("ph") == "X"]
    for event in sorted(timed, key=lambda e: (e["ts"], -e["dur"])):
        if event["ts"] >= done:  # not within another operation
            name = str(event["name"]).removeprefix("aten::")
            rows.append((name, name, float(event["dur"]) * US))
            done = event["ts"] + event["dur"]
    return _one_run(TRACE, rows)


def warm(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the first run, where there are others: it allocates and chooses kernels."""
    return seconds[min(1, max(0, len(seconds) - 1)) :]
