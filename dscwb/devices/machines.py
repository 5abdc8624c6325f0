"""Library to choose from: those that a model was measured on, and devices that can be modelled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from dscwb.devices.datasheets import catalogue
from dscwb.devices.roofline import model_profile
from dscwb.graph import ModelGraph
from dscwb.profiles.library import ProfileLike, natural, read_profiles
from dscwb.profiles.records import Profile

MODELLED = " (modelled)"
MODELLED_BATCH_SIZES = tuple(range(1, 63))  # the paper's


class Library:
    """Profiles by model and machine; devices of the catalogue stand beside those measured.

    Attributes:
        models: In natural order, b2 before b10.
        left_out: A sentence for each file of the folder that is no profile.
    """

    def __init__(self, source: ProfileLike | Iterable[ProfileLike]) -> None:
        """Read what is there; arguments and errors as in `read_profiles`."""
        profiles, self.left_out = read_profiles(source)
        by_model: dict[str, dict[str, Profile]] = {}
        for own, profile in profiles.items():
            by_model.setdefault(profile.graph.model, {})[own] = profile
        self._profiles = {model: _by_machine(found) for model, found in by_model.items()}
        self.models = tuple(sorted(self._profiles, key=natural))

    def machines(self, model: str) -> tuple[str, ...]:
        """Machines with a profile of this model, then those of the catalogue, modelled.

        Where the model's FLOPs are unknown nothing can be modelled.

        Raises:
            ValueError: No such model.
        """
        if model not in self._profiles:
            raise ValueError(f"No profile {model!r} here; choose one of {', '.join(self.models)}.")
        own = self._profiles[model]
        known = all(profile.graph.flops is not None for profile in own.values())
        modelled = (f"{device.name}{MODELLED}" for device in catalogue() if known)
        return (*sorted(own, key=natural), *modelled)

    def profile(self, model: str, machine: str = "", *, like: Profile | None = None) -> Profile:
        """The profile of a model on a machine.

        Args:
            model: Its name.
            machine: One of `machines`; the first when left out.
            like: Another machine's profile, whose element type a modelled one takes.

        Raises:
            ValueError: No such model or machine.
        """
        names = self.machines(model)
        own, machine = self._profiles[model], machine or names[0]
        if machine in own:
            return own[machine]
        if machine not in names:
            raise ValueError(
                f"No machine {machine!r} for {model!r} here; choose one of {', '.join(names)}."
            )
        dtype = like.provenance.dtype if like else "float32"
        return _modelled(own[names[0]].graph, machine.removesuffix(MODELLED), dtype)

    def named(self, profile: Profile) -> str:
        """What `machines` calls the machine of one of these profiles.

        Raises:
            ValueError: It is none of them.
        """
        for name, one in self._profiles.get(profile.graph.model, {}).items():
            if one is profile:
                return name
        raise ValueError(f"{profile.graph.model!r} was not opened with this profile.")

    def families(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Models of one family together, smallest first: short name and name of each.

        A family is what stands before the first number or size, ``efficientnet`` or
        ``tf_efficientnetv2``; models are ordered by their FLOPs.
        """

        def flops(model: str) -> int:
            return max(profile.graph.flops or 0 for profile in self._profiles[model].values())

        families: dict[str, list[tuple[str, str]]] = {}
        for model in self.models:
            families.setdefault(family(model), [])
        for model in sorted(self.models, key=flops):
            name = family(model)
            families[name].append((model.removeprefix(name).strip("_-. ") or model, model))
        return {name: tuple(models) for name, models in families.items()}


def family(model: str) -> str:
    """What stands before a model's size: ``tf_efficientnetv2`` for ``tf_efficientnetv2_b0``."""
    found = re.match(r"(tf_)?[A-Za-z]+?(v\d+)?(?=[_\d]|$)", model)
    return found[0] if found else model


@lru_cache(maxsize=64)  # a slider goes back and forth between few models
def _modelled(graph: ModelGraph, device: str, dtype: str) -> Profile:
    return model_profile(graph, device, MODELLED_BATCH_SIZES, dtype=dtype)


def _by_machine(profiles: dict[str, Profile]) -> dict[str, Profile]:
    """One model's profiles by the shortest names that tell them apart, from their own names.

    Such as ``AMD EPYC, 1 thread (measured)``.
    """
    found = list(profiles.values())
    names = [f"{one.provenance.machine()} ({one.provenance.origin})" for one in found]
    for longer in ([one.provenance.dtype for one in found], list(profiles)):
        seen = Counter(names)
        names = [
            f"{name}, {more}" if seen[name] > 1 else name
            for name, more in zip(names, longer, strict=True)
        ]
    return dict(zip(names, found, strict=True))
