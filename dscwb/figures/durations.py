"""Where a model spends its time: a profile goes in, a figure of times over its depth comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.cuts import Cut, Granularity, all_cuts
from dscwb.figures.axes import depth_axis, depth_axis_px, linear_axis
from dscwb.figures.colours import split_colours
from dscwb.figures.page import (
    ASSUMED_WIDTH,
    MARGIN_LEFT,
    MARGIN_RIGHT,
    Template,
    set_page,
    title,
)
from dscwb.profiles.library import ProfileLike, as_profile
from dscwb.profiles.records import NOT_STAMPED, Passes, Profile
from dscwb.units import format_percent, format_seconds

Floats = NDArray[np.float64]

PLOT = 340  # pixels
RIM = "rgb(110, 110, 110)"
TIME, WHISKER = "time", "quartiles"  # names of the traces
FEWEST_STAMPS = 4  # quartiles of fewer passes say nothing
CAPS_PX = 14
WHISKER_PX = 5  # narrower bars have no whiskers, they would hide them
WORDS = {"block": "Block", "op": "Operation"}


@dataclass(frozen=True, eq=False)
class ProfileNumbers:
    """Numbers of `plot_profile`, one entry a part of the model, in execution order.

    Attributes:
        names: What each part ends with: block or operation, ``output`` for the last.
        cuts: The cut after each part.
        seconds: Median of the part's share of its own pass, times T; without enough passes the
            difference of its ends' heads; ``(part,)``. Medians do not add up to T exactly.
        low_s: Lower quartile of the same; NaN without enough passes.
        high_s: Upper quartile.
        passes: Passes with stamps at both ends of the part, ``(part,)``.
        end_s: Time of the head at the end of each part.
        total_s: T.
    """

    names: tuple[str, ...]
    cuts: tuple[Cut, ...]
    seconds: Floats
    low_s: Floats
    high_s: Floats
    passes: NDArray[np.intp]
    end_s: Floats
    total_s: float

    @property
    def has_spread(self) -> bool:
        """Whether any part has quartiles."""
        return bool(np.isfinite(self.high_s).any())


def plot_profile(
    profile: ProfileLike,
    batch_size: int,
    *,
    granularity: Granularity = "block",
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """Time of every block or operation, with its spread over the passes.

    Bars are medians and whiskers quartiles, over passes, of the part's share of its own pass, times
    T; that takes the slow drift of the machine out. Modelled and imported profiles have no passes
    to take a spread from.

    Args:
        profile: What to draw, or its file, or the name of a model that comes with dscwb.
        batch_size: One that the profile has times at.
        granularity: ``block`` or ``op``.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ProfileError: The profile has no times at this batch size.
        ValueError: Unknown granularity, or ``block`` for a model without blocks.
    """
    if granularity not in WORDS:
        raise ValueError(f"Unknown granularity {granularity!r}; choose 'block' or 'op'.")
    profile = as_profile(profile)
    info = profile_numbers(profile, batch_size, granularity)
    page_px = width or ASSUMED_WIDTH
    bar_px = (page_px - MARGIN_LEFT - MARGIN_RIGHT) / len(info.names)
    order = np.argsort(-info.seconds, kind="stable")[: max(1, len(info.names) // 8)]
    depth = depth_axis(
        info.names,
        [i in order for i in range(len(info.names))],
        page_px,
        WORDS[granularity],
    )
    longest = float(np.nanmax(np.fmax(info.seconds, info.high_s)))
    figure = go.Figure([_time_trace(profile, info), *_whiskers(info, bar_px)])
    figure.update_layout(
        bargap=0.2 if bar_px >= WHISKER_PX else 0,
        xaxis=depth,
        yaxis=linear_axis(longest * 1.05, "s", "Time"),
        title=title(*_profile_heading(profile, info, batch_size)),
        showlegend=False,
    )
    set_page(
        figure,
        _profile_caption(profile, batch_size, info, bar_px, granularity),
        plot_px=PLOT,
        axis_px=depth_axis_px(depth),
        template=template,
        width=width,
    )
    return figure


def profile_numbers(
    profile: Profile, batch_size: int, granularity: Granularity = "block"
) -> ProfileNumbers:
    """Times of the parts between the cuts that were measured.

    Raises:
        ProfileError: The profile has no times at this batch size.
    """
    head = profile.head_s(batch_size)
    cuts = [cut for cut in all_cuts(profile.graph, granularity) if not np.isnan(head[cut.index])]
    at = [cut.index for cut in cuts]
    passes = next(one for one in profile.passes if one.batch_size == batch_size)
    total = profile.total_s(batch_size)
    (low, middle, high), counted = _quartiles(passes, at)
    return ProfileNumbers(
        tuple(cut.name for cut in cuts[1:]),
        tuple(cuts[1:]),
        np.where(np.isnan(middle), np.diff(head[at]), middle * total),
        low * total,
        high * total,
        counted,
        head[at[1:]],
        total,
    )


def _quartiles(passes: Passes, at: list[int]) -> tuple[Floats, NDArray[np.intp]]:
    """Quartiles of each part's share of its own pass, ``(3, part)``, and of how many passes."""
    stamps = passes.stamped_ns[:, at].astype(np.float64)
    stamps[passes.stamped_ns[:, at] == NOT_STAMPED] = np.nan
    shares = np.diff(stamps, axis=1) / passes.stamped_ns[:, -1:]
    counted = np.isfinite(shares).sum(axis=0)
    enough = counted >= FEWEST_STAMPS
    quartiles = np.full((3, len(enough)), np.nan)
    if enough.any():
        quartiles[:, enough] = np.nanquantile(shares[:, enough], [0.25, 0.5, 0.75], axis=0)
    return quartiles, counted


def _time_trace(profile: Profile, info: ProfileNumbers) -> go.Bar:
    measured = profile.provenance.origin == "measured"
    return go.Bar(
        name=TIME,
        x=list(range(len(info.names))),
        y=info.seconds,
        marker={
            "color": list(split_colours(profile.graph, info.cuts)),
            "line": {"width": 0},
            # What nobody measured never looks as if somebody had.
            "pattern": {"shape": "" if measured else "/", "fgcolor": RIM, "size": 6},
        },
        hovertext=[_part(info, i) for i in range(len(info.names))],
        hovertemplate="%{hovertext}<extra></extra>",
        textposition="none",
        showlegend=False,
    )


def _whiskers(info: ProfileNumbers, bar_px: float) -> list[go.Scatter]:
    """Black on white, since bars are of all shades; none where bars are too narrow for them."""
    if not info.has_spread or bar_px < WHISKER_PX:
        return []
    ends = {
        "type": "data",
        "symmetric": False,
        "array": info.high_s - info.seconds,
        "arrayminus": info.seconds - info.low_s,
    }
    # Caps and halo would hide the upper ends of narrow bars.
    cap, halo = (4, 3.5) if bar_px >= CAPS_PX else (0, 2.5)
    return [
        go.Scatter(
            name=name,
            x=list(range(len(info.names))),
            y=info.seconds,
            mode="markers",
            marker={"size": 0.1, "color": "rgba(0, 0, 0, 0)"},
            error_y={**ends, "color": colour, "thickness": thickness, "width": cap + more},
            hoverinfo="skip",
            showlegend=False,
        )
        for name, colour, thickness, more in (
            ("halo", "white", halo, bool(cap)),
            (WHISKER, "black", 1.3, 0),
        )
    ]


def _part(info: ProfileNumbers, i: int) -> str:
    spread = "no spread known"
    if np.isfinite(info.high_s[i]):
        spread = (
            f"quartiles {format_seconds(info.low_s[i])} to {format_seconds(info.high_s[i])}, "
            f"{info.passes[i]} passes"
        )
    return (
        f"<b>{info.names[i]}</b><br>{format_seconds(info.seconds[i])}, "
        f"{format_percent(info.seconds[i] / info.total_s)} of T<br>{spread}<br>"
        f"from the start {format_seconds(info.end_s[i])}"
    )


def _profile_heading(profile: Profile, info: ProfileNumbers, batch_size: int) -> tuple[str, str]:
    words = [f"T = {format_seconds(info.total_s)}"]
    source, status = profile.provenance, profile.status(batch_size)
    words.append(source.origin)
    spread = profile.spread(batch_size)
    if info.has_spread:
        words.append(
            f"{int(info.passes.max())} passes, interquartile range of T {format_percent(spread)}"
        )
    else:
        words.append("no spread known")
    if status != "ok":
        words.append(f"<b>{status}</b>")
    heading = f"{profile.graph.model}, batch size {batch_size}, on {source.device}"
    return heading, "; ".join(words)


def _profile_caption(
    profile: Profile, batch_size: int, info: ProfileNumbers, bar_px: float, granularity: Granularity
) -> str:
    shape = "×".join(str(n) for n in profile.graph.inputs[0].shape[1:])
    parts = [f"{profile.graph.model} at {shape} on {profile.provenance.label()}."]
    if caution := profile.caution(batch_size):
        parts.append(f"Times are {caution}.")
    if granularity == "block":
        parts.append(
            "The first bar includes what runs before its block, the last what follows all blocks."
        )
    if not info.has_spread:
        parts.append(f"No whiskers: {_WITHOUT.get(profile.provenance.origin, _TOO_FEW)}.")
    else:
        whiskers = "whiskers: its quartiles" if bar_px >= WHISKER_PX else "quartiles: in the hover"
        parts.append(
            "Bars: median over the passes of the part's share of its own pass, × T (they add up to "
            f"{info.seconds.sum() / info.total_s:.1%} of T); {whiskers}.".replace("%", " %")
        )
    if profile.provenance.origin != "measured":
        parts.append(f"Hatched: {profile.provenance.origin}, not measured.")
    parts.append("Colours: the split after the part, as in the maps.")
    return " ".join(parts)


_TOO_FEW = "too few passes were stamped for quartiles"
_WITHOUT = {
    "modelled": "modelled times have no passes and no spread",
    "imported": "imported times have no passes to take a spread from",
}
