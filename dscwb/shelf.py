"""Machines to choose from: a folder or profiles go in, profiles by model and machine come out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from dscwb.devices.datasheets import catalogue
from dscwb.devices.roofline import model_profile
from dscwb.graph import ModelGraph
from dscwb.profiles.files import SUFFIX, load_profile
from dscwb.profiles.records import Profile, ProfileError

PathLike = str | os.PathLike[str]

MODELLED = " (modelled)"
MODELLED_BATCH_SIZES = tuple(range(1, 63))  # the paper's


class Shelf:
    """Profiles by model and machine; devices of the catalogue stand beside those measured.

    A file that cannot be read stands on the shelf too, as a model of the file's name; its error
    comes when it is asked for, so that one damaged file does not hide the others.

    Attributes:
        models: In natural order, b2 before b10.
    """

    def __init__(self, source: PathLike | Profile | Iterable[Profile]) -> None:
        """Read what is there.

        Args:
            source: A folder of profiles, one file, a profile or several.

        Raises:
            ProfileError: Nothing there.
        """
        if isinstance(source, str | os.PathLike):
            found = find_profiles(source)
            files = sorted(found.glob(f"*{SUFFIX}")) if found.is_dir() else [found]
            items = [(path.stem, _read(path)) for path in files]
        else:
            given = [source] if isinstance(source, Profile) else list(source)
            items = [(f"profile {i}", profile) for i, profile in enumerate(given, start=1)]
        if not items:
            raise ProfileError(
                f"No profiles in {source}; make one with `dscwb profile MODEL -o FILE{SUFFIX}`."
            )
        by_model: dict[str, list[tuple[str, Profile | ProfileError]]] = {}
        for own, item in items:
            by_model.setdefault(item.graph.model if isinstance(item, Profile) else own, []).append(
                (own, item)
            )
        self._items = {
            model: dict(zip(_machine_names(found), [item for _, item in found], strict=True))
            for model, found in by_model.items()
        }
        self.models = tuple(sorted(self._items, key=_natural))

    def machines(self, model: str) -> tuple[str, ...]:
        """Machines with a profile of this model, then those of the catalogue, modelled.

        Where the model's FLOPs are unknown nothing can be modelled.

        Raises:
            ValueError: No such model.
        """
        own = tuple(sorted(self._of(model), key=_natural))
        profiles = [one for one in self._of(model).values() if isinstance(one, Profile)]
        if any(one.graph.flops is None for one in profiles):
            return own  # a roofline needs them
        return own + tuple(f"{device.name}{MODELLED}" for device in catalogue())

    def profile(self, model: str, machine: str = "", *, like: Profile | None = None) -> Profile:
        """The profile of a model on a machine.

        Args:
            model: Its name.
            machine: One of `machines`; the first when left out.
            like: Another machine's profile, whose element type a modelled one takes.

        Raises:
            ValueError: No such model or machine.
            ProfileError: The file cannot be read.
        """
        own = self._of(model)
        first = self.machines(model)[0]
        item = own.get(machine or first)
        if isinstance(item, ProfileError):
            raise item
        if item is not None:
            return item
        if machine not in self.machines(model):
            raise ValueError(
                f"No machine {machine!r} for {model!r} here; choose one of "
                f"{', '.join(self.machines(model))}."
            )
        graph = self.profile(model).graph
        return _modelled(
            graph, machine.removesuffix(MODELLED), like.provenance.dtype if like else "float32"
        )

    def profiles(self) -> tuple[Profile, ...]:
        """All profiles that can be read, models in their order."""
        items = [item for model in self.models for item in self._of(model).values()]
        return tuple(item for item in items if isinstance(item, Profile))

    def families(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Models of one family together, smallest first: short name and name of each.

        A family is what stands before the first number or size, ``efficientnet`` or
        ``tf_efficientnetv2``; models are ordered by their FLOPs.
        """
        families: dict[str, list[str]] = {}
        for model in self.models:
            families.setdefault(family(model), []).append(model)
        return {
            name: tuple(
                (model.removeprefix(name).strip("_-. ") or model, model)
                for model in sorted(models, key=self._flops)
            )
            for name, models in families.items()
        }

    def _flops(self, model: str) -> int:
        profiles = [one for one in self._of(model).values() if isinstance(one, Profile)]
        found = [one.graph.flops or 0 for one in profiles]
        return max(found, default=0)

    def _of(self, model: str) -> dict[str, Profile | ProfileError]:
        if model not in self._items:
            raise ValueError(f"No profile {model!r} here; choose one of {', '.join(self.models)}.")
        return self._items[model]


def family(model: str) -> str:
    """What stands before a model's size: ``tf_efficientnetv2`` for ``tf_efficientnetv2_b0``."""
    found = re.match(r"(tf_)?[A-Za-z]+?(v\d+)?(?=[_\d]|$)", model)
    return found[0] if found else model


@lru_cache(maxsize=64)  # a slider goes back and forth between few models
def _modelled(graph: ModelGraph, device: str, dtype: str) -> Profile:
    return model_profile(graph, device, MODELLED_BATCH_SIZES, dtype=dtype)


def _read(path: Path) -> Profile | ProfileError:
    try:
        return load_profile(path)
    except ProfileError as error:
        return error


def _machine_names(items: list[tuple[str, Profile | ProfileError]]) -> list[str]:
    """The shortest names that tell the profiles of one model apart."""
    names = [_machine_name(item) if isinstance(item, Profile) else own for own, item in items]
    dtypes = [item.provenance.dtype if isinstance(item, Profile) else "" for _, item in items]
    for longer in (dtypes, [own for own, _ in items]):
        seen = Counter(names)
        names = [
            f"{name}, {more}" if seen[name] > 1 else name
            for name, more in zip(names, longer, strict=True)
        ]
    return names


def _machine_name(profile: Profile) -> str:
    """``AMD EPYC, 1 thread (measured)``."""
    return f"{profile.provenance.machine()} ({profile.provenance.origin})"


def shipped_profile(model: str) -> Profile:
    """The profile of a model that comes with dscwb; `data/README.md` says how it was measured.

    Raises:
        ValueError: No profile of this model; the message names those there are.
        ProfileError: The shipped data are not there.

    Example:
        >>> profile = shipped_profile("efficientnet_b0")
        >>> profile.provenance.origin, profile.batch_sizes
        ('measured', (1, 2, 4, 8, 16))
    """
    return Shelf("data/profiles").profile(model)


def find_profiles(path: PathLike) -> Path:
    """The path itself, or found in a folder above the current one, or where dscwb's own data lie.

    JupyterLab runs a notebook in the notebook's own folder, while the data lie at the project's
    root, or in an installed package.

    Raises:
        ProfileError: Nothing there.
    """
    here, wanted = Path.cwd(), Path(path).expanduser()
    package = Path(__file__).parent
    for folder in (here, *here.parents, package.parent, package):
        if (folder / wanted).exists():
            return folder / wanted
    raise ProfileError(
        f"No {wanted} in {here} nor in a folder above it; make profiles with `dscwb profile MODEL "
        f"-o FILE{SUFFIX}`, or name their folder."
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name compare as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
