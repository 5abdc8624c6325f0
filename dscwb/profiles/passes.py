"""What was measured at one batch size, and how far its times can be believed.

A head is read off a stamped pass as a share of that pass's own total, since dividing takes out the
machine's slow drift; halves that were really run check it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dscwb.profiles.medians import (
    IQR_OVER_SIGMA,
    MEDIAN_OVER_MEAN,
    NORMAL_95,
    error_of_median,
    median_interval,
    quantile,
    sigma_of,
)
from dscwb.units import format_percent

Floats = NDArray[np.float64]
Nanoseconds = NDArray[np.int64]

NOT_STAMPED = -1
"""Stands in `Passes.stamped_ns` for a cut that this pass did not stamp."""
NS = 1e-9
HALVES = ("head", "tail", "whole")
"""What is run at a cut on its own, and the model next to them."""
# Heads or tails that lie further from really executed ones, as a share of T, are not right.
APART_ABOVE = 0.03
STAMPS_COST_ABOVE = 0.10  # share of a pass; no further pass of the same kind mends that
SURELY = 4.0  # standard errors: of two dozen medians looked at, noise alone moves none so far
FEWEST_FOR_SPREAD = 6  # stamps at one cut; fewer tell no spread, so the typical cut's stands for it


@dataclass(frozen=True, eq=False)
class Separate:
    """Head and tail at one cut, really executed on their own.

    Attributes:
        cut: Number of layers in the head.
        head_ns: Times of the head, ``(repeat,)``.
        tail_ns: Times of the tail, ``(repeat,)``.
        whole_ns: Times of the whole model run next to them, ``(repeat,)``; empty where it was not.
    """

    cut: int
    head_ns: Nanoseconds
    tail_ns: Nanoseconds
    whole_ns: Nanoseconds = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def times(self) -> tuple[Nanoseconds, Nanoseconds, Nanoseconds]:
        """Head, tail and whole, each ``(repeat,)``."""
        return self.head_ns, self.tail_ns, self.whole_ns

    def shares(self) -> Floats:
        """Head and tail over the whole next to them, ``(half, repeat)``: free of drift."""
        return np.array([self.head_ns, self.tail_ns]) / self.whole_ns


@dataclass(frozen=True, eq=False)
class Passes:
    """Everything measured at one batch size.

    Attributes:
        batch_size: Samples in one pass.
        plain_ns: Times of whole passes, ``(round,)``.
        stamped_ns: Times from a pass's start to each cut, ``(round, cut)``; the first column is 0,
            the last the pass's own total; `NOT_STAMPED` where a pass left a cut out. Round i of
            both arrays ran next to each other, in random order.
        separate: Heads and tails executed on their own.
        oom: True where the device ran out of memory; then there are no times.
        waited: Every pass, and each half run on its own, began after an idle gap.
    """

    batch_size: int
    plain_ns: Nanoseconds
    stamped_ns: Nanoseconds
    separate: tuple[Separate, ...] = ()
    oom: bool = False
    waited: bool = False

    @property
    def rounds(self) -> int:
        """Number of rounds: whole passes, or repeats of a head where only halves were run."""
        return len(self.plain_ns) or max((len(one.head_ns) for one in self.separate), default=0)

    @property
    def stamps(self) -> NDArray[np.int64]:
        """Number of stamps taken at each cut, ``(cut,)``."""
        counts: NDArray[np.int64] = (self.stamped_ns != NOT_STAMPED).sum(axis=0)
        return counts

    @property
    def stamps_per_pass(self) -> int:
        """Most cuts between the two ends that one pass stamped."""
        inner = self.stamped_ns[:, 1:-1] != NOT_STAMPED
        return int(inner.sum(axis=1).max(initial=0))

    @cached_property
    def whole_ns(self) -> Nanoseconds:
        """Times of the whole model, ``(repeat,)``: plain passes, or heads that end at the output.

        Empty where neither was run.
        """
        output = self.stamped_ns.shape[1] - 1
        at_output = (one.head_ns for one in self.separate if one.cut == output)
        return self.plain_ns if len(self.plain_ns) else next(at_output, self.plain_ns)

    @cached_property
    def medians_ns(self) -> Floats:
        """Head and tail at each cut, ``(half, cut)``; NaN where nothing was measured.

        A tail that begins after a gap takes longer than the rest of a pass, see `restart_ns`.
        """
        if len(self.stamped_ns):
            total = float(np.median(self.plain_ns))
            head = head_shares(self.stamped_ns) * total
            return np.array([head, total - head + self.restart_ns(head)])
        medians = np.full((2, self.stamped_ns.shape[1]), np.nan)
        for one in self.separate:
            if len(one.whole_ns) and len(self.whole_ns):  # takes out drift, as above
                medians[:, one.cut] = np.median(one.shares(), axis=1) * np.median(self.whole_ns)
            else:
                medians[:, one.cut] = np.median(one.head_ns), np.median(one.tail_ns)
        return medians

    @cached_property
    def cold_start_ns(self) -> float:
        """What a pass after an idle gap takes longer than one without; 0 without a gap.

        Tails run on their own have waited, the rest of a pass has not: the median of what they took
        longer, over all that were run, none below zero.
        """
        apart = _apart(self) if self.waited else {}
        if not apart:
            return 0.0
        longer = -np.concatenate([tails for _, tails in apart.values()])
        return max(0.0, float(np.median(longer) * np.median(self.plain_ns)))

    def restart_ns(self, head_ns: Floats) -> Floats:
        """What tails take longer than the rest of a pass where they begin after a gap, ``(cut,)``.

        A pass after a gap first takes longer, and after some work as long as any: it loses
        E(t) = c (1 - exp(-t / c)) in t seconds of work, c being `cold_start_ns`. A whole pass loses
        E(T); halves that both wait lose E(head) + E(tail). At both ends there is one half only.

        Args:
            head_ns: Heads, ``(cut,)``, the last one T.
        """
        most, total = self.cold_start_ns, head_ns[..., -1:]
        if not most:
            return np.zeros_like(head_ns)
        ends = (head_ns, total - head_ns, total)
        heads, tails, wholes = (-most * np.expm1(-one / most) for one in ends)
        longer: Floats = heads + tails - wholes
        return longer

    @cached_property
    def spread(self) -> float:
        """Interquartile range over median of the whole passes; NaN below two of them."""
        if len(self.whole_ns) < 2:
            return math.nan
        low, middle, high = np.quantile(self.whole_ns, [0.25, 0.5, 0.75])
        return float((high - low) / middle)

    @cached_property
    def bias(self) -> tuple[str, ...]:
        """What is wrong with the times in one direction, in words."""
        words, ratio = [], overhead(self.plain_ns, self.stamped_ns)[0]
        if ratio > 1 + STAMPS_COST_ABOVE:
            words.append(f"stamps cost {format_percent(ratio - 1)} of a pass")
        error = error_of_passes(self)
        for half in ("head", "tail"):
            middle, worst, surely = (getattr(error, half + x) for x in ("", "_worst", "_surely"))
            if abs(middle) > APART_ABOVE or surely > APART_ABOVE:
                words.append(
                    f"{half}s are {format_percent(abs(middle))} of T "
                    f"{'longer' if middle > 0 else 'shorter'} than executed ones in the median, "
                    f"off by {format_percent(worst)} at the worst cut"
                )
        return tuple(words)

    def times(self) -> dict[tuple[str, int | None], Nanoseconds]:
        """All that was measured, by kind of pass and, of halves run apart, cut."""
        found: dict[tuple[str, int | None], Nanoseconds] = {
            ("plain", None): self.plain_ns,
            ("stamped", None): self.stamped_ns,
        }
        for one in self.separate:
            found |= {(kind, one.cut): x for kind, x in zip(HALVES, one.times(), strict=True)}
        return found

    def fault(self, cuts: int) -> str:
        """What no measurement of a model with so many cuts can give; empty where nothing is."""
        plain, stamped = self.plain_ns, self.stamped_ns
        if self.oom:
            return "times beside an out-of-memory mark" if len(plain) else ""
        if not len(plain) and not self.separate:
            return "no passes"
        if stamped.shape != (len(plain), cuts):
            return f"stamps of shape {stamped.shape} for {len(plain)} passes and {cuts} cuts"
        if np.any(plain <= 0) or np.any(stamped[:, -1] <= 0) or np.any(stamped[:, 0] != 0):
            return "a pass without a positive duration"
        if np.any(stamped < NOT_STAMPED):
            return "a negative time"
        if np.any((stamped >= 0) & (stamped < np.maximum.accumulate(stamped, axis=1))):
            return "stamps that run backwards"
        for one in self.separate:
            if not 0 <= one.cut < cuts:
                return f"a cut {one.cut} that the model does not have"
            if not len(one.head_ns) or not len(one.tail_ns):
                return f"no times at cut {one.cut}"
            if min(times.min(initial=0) for times in one.times()) < 0:
                return f"a negative time at cut {one.cut}"
            if len(one.whole_ns) and len({times.size for times in one.times()}) > 1:
                return f"heads, tails and whole passes of different number at cut {one.cut}"
        return ""


@dataclass(frozen=True)
class ModelError:
    """One-pass times against halves really run, positive where the one-pass time is longer.

    All as shares of T, and NaN where no halves were run; `tail` and the others as those of heads.

    Attributes:
        head: Median over all runs, at whichever cut, of the difference of heads.
        head_half_width: Half of the 95 % interval of `head`.
        cuts: Number of cuts whose halves were run.
        head_worst: The median difference at the cut where it is largest, without sign.
        head_surely: The largest median difference at one cut that noise does not explain, without
            sign: more than `SURELY` standard errors from 0. The error is that of a median (see
            `half_width`), from the cut's own runs where it has six, else from the whole passes. 0
            where there is no such cut.
    """

    head: float = math.nan
    tail: float = math.nan
    head_half_width: float = math.nan
    tail_half_width: float = math.nan
    cuts: int = 0
    head_worst: float = math.nan
    tail_worst: float = math.nan
    head_surely: float = math.nan
    tail_surely: float = math.nan


def stamped_shares(stamped_ns: Nanoseconds) -> Floats:
    """Each stamp over its own pass's total, ``(round, cut)``; NaN where there was none."""
    shares: Floats = stamped_ns / stamped_ns[:, -1:]
    shares[stamped_ns == NOT_STAMPED] = np.nan
    return shares


def head_shares(stamped_ns: Nanoseconds) -> Floats:
    """Median share of T that the head takes at each cut, ``(cut,)``; NaN where never stamped."""
    taken = (stamped_ns != NOT_STAMPED).sum(axis=0)
    middle: Floats = rising(quantile(stamped_shares(stamped_ns), 0.5)[None], taken)[0]
    return middle


def rising(shares: Floats, taken: NDArray[np.int64]) -> Floats:
    """The nearest shares that never fall from cut to cut, ``(row, cut)`` as given; NaN stays.

    A longer head cannot be quicker. Medians of passes that stamp every cut rise by themselves;
    where each pass stamps other cuts, this is the least-squares solution weighted with the number
    of stamps `taken`, ``(cut,)`` (isotonic regression; Barlow, Bartholomew, Bremner, Brunk 1972).
    """
    known = taken > 0
    part = shares[:, known]
    if not np.any(part[:, 1:] < part[:, :-1]):
        return shares
    from scipy.optimize import isotonic_regression

    fixed = shares.copy()
    weights = taken[known].astype(np.float64)
    fixed[:, known] = [isotonic_regression(row, weights=weights).x for row in part]
    return fixed


def half_width(
    plain_ns: Nanoseconds, stamped_ns: Nanoseconds, cuts: NDArray[np.intp] | None = None
) -> float:
    """The largest 95 % half-width of T and of the heads at some cuts, as a share of T.

    A median of n samples of standard deviation s scatters by s √(π / 2n) (normal samples, n
    large); s is the interquartile range over 1.349, of T and of the cut's own shares; where a cut
    has fewer than six, the median of the other cuts' s stands for its own. T and share f scatter
    independently: w² = (f · w_T)² + w_f².

    Of all cuts that were stamped where none are named. Infinite where one of `cuts`, ``(cut,)``,
    has no stamps yet, or too few to know. Other arguments as the attributes of `Passes`.
    """
    taken = (stamped_ns != NOT_STAMPED).sum(axis=0)
    known = taken > 0
    widths = np.full(len(taken), np.nan)
    shares, taken = stamped_shares(stamped_ns)[:, known], taken[known]
    sigma = (quantile(shares, 0.75) - quantile(shares, 0.25)) / IQR_OVER_SIGMA
    enough = taken >= FEWEST_FOR_SPREAD
    if enough[1:-1].any():
        sigma[~enough] = np.median(sigma[1:-1][enough[1:-1]])
    else:
        sigma[1:-1] = np.nan
    of_total = error_of_median(plain_ns / np.median(plain_ns))
    of_share = MEDIAN_OVER_MEAN * sigma / np.sqrt(taken)
    widths[known] = NORMAL_95 * np.hypot(quantile(shares, 0.5) * of_total, of_share)
    if cuts is None:
        return float(np.nanmax(widths))
    widths = np.append(widths[cuts], widths[-1])
    return math.inf if np.isnan(widths).any() else float(widths.max())


def error_of_passes(passes: Passes) -> ModelError:
    """How far heads and tails as read off one pass lie from those run on their own.

    Both are shares of T. A profile of halves alone has nothing to compare. That halves after a gap
    begin anew is counted, as it is in the profile's times.
    """
    apart = _apart(passes, restarted=True)
    if not apart:
        return ModelError()
    # A half and the whole next to it each scatter as whole passes do.
    noise = math.sqrt(2) * sigma_of(passes.plain_ns / np.median(passes.plain_ns))
    found: dict[str, float] = {}
    for name, differences in zip(("head", "tail"), zip(*apart.values(), strict=True), strict=True):
        middle, low, high = median_interval(np.concatenate(differences))
        worst = [abs(float(np.median(one))) for one in differences]
        errors = [
            error_of_median(one, None if len(one) >= FEWEST_FOR_SPREAD else noise)
            for one in differences
        ]
        surely = [x for x, error in zip(worst, errors, strict=True) if x > SURELY * error]
        found |= {name: middle, f"{name}_half_width": (high - low) / 2}
        found |= {f"{name}_worst": max(worst), f"{name}_surely": max(surely, default=0.0)}
    return ModelError(cuts=len(apart), **found)


def suspects(passes: Passes, apart: float = APART_ABOVE) -> tuple[int, ...]:
    """Cuts whose executed halves lie further off than `apart`, in too few runs to tell noise.

    Six runs tell a cut's own scatter.
    """
    few = {
        k: x for k, x in _apart(passes, restarted=True).items() if x.shape[1] < FEWEST_FOR_SPREAD
    }
    return tuple(k for k, x in few.items() if np.abs(np.median(x, axis=1)).max() > apart)


def _apart(passes: Passes, restarted: bool = False) -> dict[int, Floats]:
    """By cut how far one pass lies from head and tail run, ``(half, run)``, as shares of T."""
    if not (len(passes.stamped_ns) and passes.separate):
        return {}
    shares = head_shares(passes.stamped_ns)
    rests = 1 - shares
    if restarted:
        total = float(np.median(passes.plain_ns))
        rests += passes.restart_ns(shares * total) / total
    return {
        one.cut: np.array([[shares[one.cut]], [rests[one.cut]]]) - one.shares()
        for one in passes.separate
        if len(one.whole_ns) and np.isfinite(shares[one.cut])
    }


def overhead(plain_ns: Nanoseconds, stamped_ns: Nanoseconds) -> tuple[float, float, float]:
    """What stamping costs: stamped over plain, ``(round, cut)`` and ``(round,)``.

    Returns:
        The median over rounds of the ratio, and its 95 % interval; NaN without stamped passes.
    """
    if not len(stamped_ns):
        return (math.nan,) * 3
    return median_interval(stamped_ns[:, -1] / plain_ns)
