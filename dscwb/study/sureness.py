"""How sure an answer is: is it still the best if a modelled or an assumed machine is off?

The bootstrap of `confidence` knows how measured passes scatter, and nothing of what a model is off.
So every state is decided again with the times of a machine that was not measured off by as much as
is known of them. What the two say stands side by side and is never made into one number.

All times of such a machine are taken to be off by one common factor: a model too slow or too fast
as a whole, not one that favours some layers over others. Copies to and from an accelerator stay as
they are. Then a split costs C + (f_d - 1) · head + (f_s - 1) · tail with factors f_d on the
device's times and f_s on the server's, weighted as the objective does. That is linear, so those
factors at which one split is best form a convex set: what is best in all corners of a range is best
all over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dscwb.cost import Floats
from dscwb.envelope import best_split
from dscwb.profiles.resampling import same_passes
from dscwb.study.confidence import DECIDED_FROM, OTHER_STUDY, Confidence
from dscwb.units import as_choice, format_number, format_percent

if TYPE_CHECKING:
    from dscwb.study.study import Study

UNKNOWN_FACTOR = 2.0
"""Tried either way where nobody knows how far modelled or assumed times are off. A choice: the
nearest round factor that would matter to anybody who has to pick a server."""
FAR = 100.0
"""A factor on a machine's times; nobody is off by more, so flips beyond it are left out."""


class ModelError(NamedTuple):
    """How far the times of a machine may be off that were not measured on it.

    The true times are taken to lie between T / factor and T · factor. Known means that nine in ten
    times modelled alike were within the factor where they could be held against a measurement; else
    it is only tried.
    """

    machine: str  # device or server
    origin: str  # modelled or assumed
    factor: float
    known: bool

    @property
    def label(self) -> str:
        """In words: whose times, and how far they may be off."""
        error = (
            f"nine in ten such times are at most {_times(self.factor)} off"
            if self.known
            else f"error unknown, {_times(self.factor)} slower and faster were tried"
        )
        return f"{self.machine} {self.origin}, {error}"


class Flip(NamedTuple):
    """Where another split takes over if modelled or assumed times are off."""

    device: float  # factor on its times, above 1 where it is slower than in the study
    server: float
    split: str  # best from there on
    inside: bool  # whether the times may be off by so much


@dataclass(frozen=True)
class HowSure:
    """How sure the best split of one state is.

    Attributes:
        split: Its name.
        status: ``sure``: it wins in 95 % of the replicates, and wherever in their range modelled
            and assumed times lie. ``sure if the model is right``: in the replicates only.
            ``not sure``: it does not, or nobody asked, or the measured times have no spread, or
            times that it rests on are biased or unreliable.
        probability: Share of the replicates in which it wins; None where that is not known.
        errors: Of the machines that were not measured.
        flips: Where it stops being the best, the nearest first: one for each direction in which
            the times may be off together, if another split takes over there at all.
        why: All of it in words, without a full stop; empty where there is nothing to say.
    """

    split: str
    status: str
    probability: float | None
    errors: tuple[ModelError, ...]
    flips: tuple[Flip, ...]
    why: str


def model_errors(study: Study) -> tuple[ModelError, ...]:
    """What is known of the error of each machine that was not measured: the device's first."""
    found = []
    for machine, profile in (("device", study.edge), ("server", study.server)):
        source = profile.provenance
        if source.origin in ("modelled", "assumed"):
            # A scaled profile has its source's error, which says nothing of the factor assumed.
            known = source.time_error if source.origin == "modelled" else None
            factor = UNKNOWN_FACTOR if known is None else 1 + known
            found.append(ModelError(machine, source.origin, factor, known is not None))
    return tuple(found)


def _corners(
    study: Study, errors: Sequence[ModelError]
) -> list[tuple[tuple[float, float], Floats]]:
    """Factors on the times of device and server in every corner of their range.

    Each with what every split costs more there than in the study, ``(batch, split)``.
    """
    (device, server), lines = study.scenario.second_costs, study.lines
    ends = {error.machine: (error.factor, 1 / error.factor) for error in errors}
    return [
        ((f, g), (f - 1) * device * lines.head_s + (g - 1) * server * lines.tail_s)
        for f, g in product(ends.get("device", (1.0,)), ends.get("server", (1.0,)))
    ]


def robust(study: Study) -> NDArray[np.bool_]:
    """True where the best split stays the best wherever its times may lie, ``(batch, rate)``.

    Everywhere, if both machines were measured or imported: nothing is said of their noise.
    """
    same = np.ones(study.best.shape, dtype=np.bool_)
    up = study.data_rates_bps > 0  # on a link that is down no time plays a part
    for _, rise in _corners(study, model_errors(study)) if up.any() else ():
        best = best_split(study.intercepts + rise, study.slopes, study.data_rates_bps[up])
        same[:, up] &= best == study.best[:, up]
    return same


def doubt(study: Study, batch_size: int) -> str:
    """Whose times behind this batch size are biased or unreliable, in words; empty for nobody's.

    Passes drawn again scatter around the same wrong times, so no bootstrap sees that.
    """
    for name, profile in (("device", study.edge), ("server", study.server)):
        for size in profile.neighbours(batch_size):
            if (status := profile.status(size)) in ("biased", "unreliable"):
                return f"the {name}'s times at batch size {size} are {status}"
    return ""


def undecided(study: Study, by_measurements: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What maps hatch, ``(batch, rate)``: undecided in a bootstrap, or of times not to be trusted.

    Args:
        study: The study.
        by_measurements: `Confidence.undecided`, ``(batch, rate)``.
    """
    doubted = np.array([bool(doubt(study, size)) for size in study.batch_sizes], dtype=np.bool_)
    hatched: NDArray[np.bool_] = by_measurements | doubted[:, None]
    return hatched


def about_times(study: Study) -> str:
    """At which batch sizes the times are biased or unreliable, for captions; empty at none."""
    sizes = ", ".join(str(size) for size in study.batch_sizes if doubt(study, size))
    return f"times at batch size {sizes} are biased or unreliable" if sizes else ""


def about_models(study: Study) -> str:
    """In how many states of the grid a wrong model would change the answer; empty without one."""
    labels = "; ".join(error.label for error in model_errors(study))
    if not labels:
        return ""
    share = float(1 - robust(study).mean())
    some = format_percent(share) if share else "none"
    return capital(f"{labels}: in {some} of these states another split would then be best.")


def how_sure(
    study: Study, batch_size: int, data_rate_bps: float, confidence: Confidence | None = None
) -> HowSure:
    """How sure the best split of one point is: by the measurements, and if a model is off.

    Args:
        study: The study.
        batch_size: Samples in one pass.
        data_rate_bps: Data rate in bit/s; it need not lie on the grid.
        confidence: What `Study.confidence` gave; without it only models and assumptions are asked.

    Raises:
        ValueError: The confidence is of another study, or see `Study.at`.

    Example:
        Of the study in the example of `sweep`:

        >>> study.how_sure(1, 2e7).flips[0].split
        'no offloading'
    """
    best, errors = study.at(batch_size, data_rate_bps), model_errors(study)
    flips = flips_of(study, batch_size, best.data_rate_bps, best.split, errors)
    probability, measured, status = None, "", "not sure"
    if confidence is not None:
        sources = [(one.edge, one.server, one.scenario) for one in (study, confidence.study)]
        if sources[0] != sources[1]:
            raise ValueError(OTHER_STUDY)
        whose = measured_by(confidence)
        if not whose and len(errors) < 2:
            measured = "how sure is not known (times without spread)"
        else:
            probability = confidence.at(batch_size, data_rate_bps)
            measured = f"{in_percent(probability)} by {whose}" if whose else ""
    if doubted := doubt(study, batch_size):
        measured = f"not sure: {doubted}"
    elif probability is not None and probability >= DECIDED_FROM:
        inside = any(flip.inside for flip in flips)
        status = "sure if the model is right" if inside else "sure"
    elif measured and probability is not None:
        rival = f", against {as_choice(best.runner_up)}" if best.runner_up else ""
        measured = f"not sure: {measured}{rival}"
    right = "both models are right"
    if len(errors) == 1:
        right = f"the {errors[0].machine} is as fast as {errors[0].origin}"
    start, link = {
        "sure": ("sure: " if measured else "sure by the models alone: ", ", and "),
        "sure if the model is right": (f"sure if {right}: ", ", but "),
        "not sure": ("", "; "),
    }[status]
    why = start + link.join(filter(None, (measured, if_off(errors, flips))))
    return HowSure(best.split, status, probability, errors, flips, capital(why))


def flips_of(
    study: Study, batch_size: int, rate_bps: float, split: str, errors: Sequence[ModelError]
) -> tuple[Flip, ...]:
    """Where another line falls below the best on the way to each corner, and beyond it.

    At 1 + λ · (corner - 1) the best costs λ · (its rise - the other's rise) of its margin.
    """
    row, chosen = study.row(batch_size), study.splits.index(split)
    costs = study.cost_at(batch_size, rate_bps)[:, 0]
    found = []
    for off, rise in _corners(study, errors) if rate_bps else ():
        nears = rise[row, chosen] - rise[row]
        reached = np.full(len(costs), np.inf)
        possible = (nears > 0) & ~np.isnan(costs)  # copies of a payload may be unknown
        np.divide(costs - costs[chosen], nears, out=reached, where=possible)
        other = int(np.argmin(reached))
        way = float(reached[other])
        device, server = (1 + way * (corner - 1) for corner in off)
        if way <= 1 or all(1 / FAR < factor < FAR for factor in (device, server)):
            found.append((way, Flip(device, server, study.splits[other], way <= 1)))
    return tuple(flip for _, flip in sorted(found, key=lambda one: one[0]))


def measured_by(confidence: Confidence) -> str:
    """Whose measurements a bootstrap speaks for, in words; empty where none have a spread."""
    edge, server = confidence.study.edge.passes, confidence.study.server.passes
    # Those of an assumed server, drawn together with the device's.
    copied = len(edge) == len(server) and all(map(same_passes, edge, server))
    device = "edge" not in confidence.exact
    if "server" in confidence.exact or copied:
        return "the device's measurements" if device else ""
    return "the measurements of both machines" if device else "the server's measurements"


def if_off(errors: Sequence[ModelError], flips: Sequence[Flip]) -> str:
    """Whether the answer stays where models and assumptions may be off, in words."""
    if not errors:
        return ""
    labels = "; ".join(error.label for error in errors)
    if flips and flips[0].inside:
        both = (("device", flips[0].device), ("server", flips[0].server))
        off = " and ".join(f"the {name} {_speed(factor)}" for name, factor in both if factor != 1)
        return f"with {off}, {as_choice(flips[0].split)} would be best ({labels})"
    until = "even if both are off at once"
    if len(errors) == 1:
        machine = errors[0].machine
        ends = " or ".join(_speed(getattr(flip, machine)) for flip in flips)
        until = f"until the {machine} is {ends}" if ends else f"however fast the {machine} is"
    return f"the answer stays the same {until} ({labels})"


def in_percent(probability: float) -> str:
    """Share of the replicates; what is too little is never told as one that would be enough."""
    decided = probability >= DECIDED_FROM
    shown = probability if decided else min(probability, DECIDED_FROM - 0.01)
    return ">99 %" if shown > 0.995 else format_percent(shown)


def capital(words: str) -> str:
    """The beginning of a sentence."""
    return words[:1].upper() + words[1:]


def _speed(factor: float) -> str:
    """A factor on a machine's times in words: above 1 it is slower."""
    return f"{_times(max(factor, 1 / factor))} {'slower' if factor > 1 else 'faster'}"


def _times(factor: float) -> str:
    """Three digits; a factor that they cannot tell from 1 in words."""
    return "slightly" if factor < 1.005 else f"{format_number(factor)} ×"
