"""Where a profile comes from: a path, a folder, or the name of a model that comes with dscwb.

And what is asked of one, however it was given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dscwb.profiles.files import SUFFIX, load_profile
from dscwb.profiles.passes import ModelError, error_of_passes, overhead
from dscwb.profiles.records import Profile, ProfileError, Provenance

PathLike = str | os.PathLike[str]
ProfileLike = Profile | PathLike
"""A profile, the path of its file, or a shipped model's name."""

SHIPPED = "data/profiles"


def as_profile(given: ProfileLike) -> Profile:
    """The profile itself, the one in a file, or that of a model that comes with dscwb.

    Args:
        given: A path is looked for as `find_profiles` does; a name is a model's,
            ``efficientnet_b0``, or that of a shipped file, ``efficientnet_b0-224-epyc-2t-float32``.

    Raises:
        ProfileError: There is none, or its file cannot be read.
    """
    if isinstance(given, Profile):
        return given
    if not isinstance(given, str | os.PathLike):
        raise ProfileError(
            f"A profile is expected, not {type(given).__name__}; give a Profile, the path of one, "
            "or the name of a model that comes with dscwb, such as 'efficientnet_b0'."
        )
    found = _found(given)
    return load_profile(found) if found else shipped_profile(os.fspath(given))


def file_of(given: PathLike) -> Path | None:
    """The file that a path or a shipped model's name stands for, as `as_profile` finds it."""
    try:
        found = _found(given)
    except OSError:  # a text too long for a name
        return None
    if found and found.is_file():
        return found
    return next(iter(_shipped(os.fspath(given))), None) if os.fspath(given) else None


def shipped_profile(model: str) -> Profile:
    """The profile of a model that comes with dscwb; `data/README.md` says how it was measured.

    Raises:
        ProfileError: No profile of this model; the message names those there are.

    Example:
        >>> profile = shipped_profile("efficientnet_b0")
        >>> profile.provenance.origin, profile.batch_sizes
        ('measured', (1, 2, 4, 8, 16))
    """
    if files := _shipped(model):
        return load_profile(files[0])
    models = dict.fromkeys(path.stem.partition("-")[0] for path in _shipped())
    raise ProfileError(
        f"{model}: no such file, and no model that comes with dscwb, which are "
        f"{', '.join(models) or 'none here'}; `dscwb profile MODEL -o FILE{SUFFIX}` makes a file."
    )


def read_profiles(
    source: ProfileLike | Iterable[ProfileLike],
) -> tuple[dict[str, Profile], tuple[str, ...]]:
    """All profiles of a folder, or those given.

    What is no profile in a folder, such as a table that was exported there, is left out.

    Args:
        source: A folder, a shipped model's name, or one or several profiles or their files.

    Returns:
        Profiles by the name of their file or their place in a list, and a sentence for each file
        that was left out.

    Raises:
        ProfileError: No profiles there, or a file that was named itself cannot be read.
    """
    if isinstance(source, Profile) or not isinstance(source, str | os.PathLike):
        given = [source] if isinstance(source, Profile) else list(source)
        if not given:
            raise ProfileError("No profiles in an empty list; give one at least.")
        return {f"profile {i}": as_profile(one) for i, one in enumerate(given, start=1)}, ()
    found, profiles, left_out = _found(source), {}, []
    shipped = [] if found else _shipped(os.fspath(source))
    for path in shipped or _files(find_profiles(source)):
        try:
            profiles[path.stem] = load_profile(path)
        except ProfileError as error:
            if path == found:
                raise
            left_out.append(f"{path.name} is left out: {str(error).removeprefix(f'{path}: ')}")
    if not profiles:
        raise ProfileError(
            f"No profiles in {source}; make one with `dscwb profile MODEL -o FILE{SUFFIX}`. "
            + " ".join(left_out)
        )
    return profiles, tuple(left_out)


def model_error(profile: ProfileLike, batch_size: int) -> ModelError:
    """How far head and tail as read off one pass lie from head and tail run on their own.

    Raises:
        ProfileError: The profile has no times at this batch size.
    """
    return error_of_passes(as_profile(profile).at(batch_size))


def calibration(profile: ProfileLike, batch_size: int) -> tuple[float, float, float]:
    """What stamping costs: the median of stamped over plain passes, and its 95 % interval.

    NaN without stamped passes.

    Raises:
        ProfileError: The profile has no times at this batch size.
    """
    passes = as_profile(profile).at(batch_size)
    return overhead(passes.plain_ns, passes.stamped_ns)


def scale_profile(profile: ProfileLike, speedup: float) -> Profile:
    """The same model on an imagined machine, `speedup` times as fast in every layer.

    A guess, for what-if questions: the result's origin is ``assumed`` for ever.

    Raises:
        ValueError: `speedup` is not a finite number above zero.
    """
    if not (np.isfinite(speedup) and speedup > 0):
        raise ValueError(f"speedup is {speedup}; give a finite number above zero.")
    profile = as_profile(profile)
    scale = profile.time_scale / speedup
    return replace(profile, provenance=imagined(profile.provenance, scale), time_scale=scale)


def imagined(source: Provenance, scale: float) -> Provenance:
    """Of times that are so many times those of another machine."""
    note = f"{1 / scale:g} × as fast as "
    if source.origin == "assumed":  # scaled before: the first machine is named in its note
        note += source.note.split(" × as fast as ", 1)[-1]
    else:
        note += source.device + f", itself {source.origin}" * (source.origin != "measured")
    return replace(source, origin="assumed", device="imagined machine", threads=None, note=note)


def find_profiles(path: PathLike) -> Path:
    """The path itself, or found in a folder above the current one, or where dscwb's own data lie.

    JupyterLab runs a notebook in the notebook's own folder, while the data lie at the project's
    root, or in an installed package.

    Raises:
        ProfileError: Nothing there.
    """
    found = _found(path)
    if found is None:
        raise ProfileError(
            f"No {path} in {Path.cwd()} nor in a folder above it; make profiles with `dscwb "
            f"profile MODEL -o FILE{SUFFIX}`, or name their folder."
        )
    return found


def natural(name: str) -> list[tuple[int, str]]:
    """Key to sort by in which numbers compare as numbers, b2 before b10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _found(path: PathLike) -> Path | None:
    here, package = Path.cwd(), Path(__file__).parents[1]
    folders = (here, *here.parents, package.parent, package)
    places = (folder / Path(path).expanduser() for folder in folders)
    return next((place for place in places if place.exists()), None)


def _files(path: Path) -> list[Path]:
    """The file, or the folder's files; hidden ones are none of the user's."""
    files = (one for one in path.glob(f"*{SUFFIX}") if not one.name.startswith("."))
    return sorted(files) if path.is_dir() else [path]


def _shipped(name: str = "") -> list[Path]:
    """Files of a shipped model, by its name or the file's; all of them without a name."""
    folder = _found(SHIPPED)
    files = sorted(_files(folder), key=lambda path: natural(path.stem)) if folder else []
    return [path for path in files if not name or f"{path.stem}-".startswith(f"{name}-")]
