"""How far a profile can be believed: its raw passes go in, calibration and model error come out."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscwb.profiles.records import NOT_STAMPED, Nanoseconds, Passes, Profile

Floats = NDArray[np.float64]

TAIL = 0.025  # on either side of a 95 % interval
RESAMPLES = 200  # of a bootstrap; each end of a 95 % interval then rests on five of them
CUTS_WATCHED = 16  # evenly spread; neighbours move together, so the others would add only time
SEED = 0  # of a bootstrap: the same passes always give the same interval


@dataclass(frozen=True)
class ModelError:
    """One-pass times against halves really run, positive where the one-pass time is longer.

    All as shares of T, and NaN where no halves were run.

    Attributes:
        head: Median over all runs, at whichever cut, of the difference of heads.
        tail: The same for tails.
        head_half_width: Half of the 95 % interval of `head`.
        tail_half_width: Half of the 95 % interval of `tail`.
        cuts: Number of cuts whose halves were run.
    """

    head: float
    tail: float
    head_half_width: float
    tail_half_width: float
    cuts: int


def model_error(profile: Profile, batch_size: int) -> ModelError:
    """How far head and tail as read off one pass lie from head and tail run on their own.

    The latter are divided by the whole pass next to them, as a head by its own pass: both are
    shares of T, free of the machine's drift. A profile of halves alone has nothing to compare.

    Raises:
        ProfileError: The profile has no times at this batch size.
    """
    profile.total_s(batch_size)
    return error_of_passes(_passes(profile, batch_size))


def error_of_passes(passes: Passes) -> ModelError:
    """`model_error` of raw passes."""
    run = [one for one in passes.separate if len(one.whole_ns)]
    if not run or not len(passes.stamped_ns):
        nan = float("nan")
        return ModelError(nan, nan, nan, nan, 0)
    stamps = passes.stamped_ns[:, [one.cut for one in run]]
    shares = np.where(stamps == NOT_STAMPED, np.nan, stamps / passes.stamped_ns[:, -1:])
    read_off = list(zip(np.nanmedian(shares, axis=0), run, strict=True))
    heads = [share - one.head_ns / one.whole_ns for share, one in read_off]
    tails = [1 - share - one.tail_ns / one.whole_ns for share, one in read_off]
    head, head_low, head_high = _median_interval(np.concatenate(heads))
    tail, tail_low, tail_high = _median_interval(np.concatenate(tails))
    widths = (head_high - head_low) / 2, (tail_high - tail_low) / 2
    return ModelError(head, tail, *widths, cuts=len(run))


def calibration(profile: Profile, batch_size: int) -> tuple[float, float, float]:
    """What stamping costs: stamped over plain, with its 95 % interval.

    Returns:
        The median over rounds of the ratio, and the interval's ends; NaN without stamped passes.
        The interval lies between two of the ratios (order statistics; David and Nagaraja, Order
        Statistics, 3rd ed., 7.1): it holds whatever their distribution. Below six rounds no 95 %
        can be had, and it spans all of them.

    Raises:
        ProfileError: The profile has no times at this batch size.
    """
    profile.total_s(batch_size)
    passes = _passes(profile, batch_size)
    return overhead(passes.plain_ns, passes.stamped_ns)


def overhead(plain_ns: Nanoseconds, stamped_ns: Nanoseconds) -> tuple[float, float, float]:
    """`calibration` of raw passes: ``(round,)`` plain and ``(round, cut)`` stamped."""
    if not len(stamped_ns):
        return (float("nan"),) * 3
    return _median_interval(stamped_ns[:, -1] / plain_ns)


def _median_interval(samples: Floats) -> tuple[float, float, float]:
    """The median, and two of the samples between which that of all lies in 95 % of cases."""
    ordered = np.sort(samples)
    outside = _left_out(len(ordered))
    return float(np.median(ordered)), float(ordered[outside]), float(ordered[-1 - outside])


def _left_out(samples: int) -> int:
    """How many of the smallest, and of the largest, leave 95 % for the median between the rest."""

    def chance(k: int) -> float:
        """That k samples lie below the median; by logarithms, since 2**-1100 is 0."""
        ways = math.lgamma(samples + 1) - math.lgamma(k + 1) - math.lgamma(samples - k + 1)
        return math.exp(ways - samples * math.log(2))

    out, at_most = 0, chance(0)
    while at_most + chance(out + 1) <= TAIL:
        out += 1
        at_most += chance(out)
    return out


def half_width(plain_ns: Nanoseconds, stamped_ns: Nanoseconds) -> float:
    """The 95 % half-width of T and of the heads, the largest of them, as a share of T.

    Bootstrap over rounds, plain and stamped pass of a round together: T is the median of the plain
    passes, a head T times the median share of its own pass.

    Args:
        plain_ns: Times of whole passes, ``(round,)``.
        stamped_ns: Times to each cut, ``(round, cut)``.
    """
    watched = np.linspace(1, stamped_ns.shape[1] - 1, CUTS_WATCHED).round().astype(int)
    stamps = stamped_ns[:, np.unique(watched)]
    shares = np.where(stamps == NOT_STAMPED, np.nan, stamps / stamped_ns[:, -1:])
    rows = _resampled(len(plain_ns))
    totals = np.median(plain_ns[rows], axis=1)  # (resample,)
    with warnings.catch_warnings():
        # Where stamps rotate, a resample may hold no stamp of some cut.
        warnings.filterwarnings("ignore", "All-NaN slice")
        median = np.nanmedian if np.isnan(shares).any() else np.median
        heads = median(shares[rows], axis=1) * totals[:, None]  # (resample, cut)
        low, high = _interval(np.column_stack([totals, heads]))
    return float(np.nanmax(high - low) / 2 / np.median(plain_ns))


def _resampled(rounds: int) -> NDArray[np.int64]:
    """Rounds drawn with replacement, ``(resample, round)``."""
    return np.random.default_rng(SEED).integers(rounds, size=(RESAMPLES, rounds))


def _interval(samples: Floats) -> tuple[Floats, Floats]:
    """Ends of the central 95 % along the first axis."""
    low, high = np.nanquantile(samples, [TAIL, 1 - TAIL], axis=0)
    return low, high


def _passes(profile: Profile, batch_size: int) -> Passes:
    return next(p for p in profile.passes if p.batch_size == batch_size)
