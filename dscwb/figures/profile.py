"""Where a model spends its time: the time of every block or operation over its depth."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.cuts import Granularity, all_cuts, resolved
from dscwb.figures import layout
from dscwb.figures.colours import split_colours
from dscwb.profiles.library import ProfileLike, as_profile
from dscwb.profiles.records import NOT_STAMPED, Passes, Profile
from dscwb.units import format_percent, format_seconds

PLOT = 340  # pixels
FEWEST_STAMPS = 4  # quartiles of fewer passes say nothing
WHISKER = "rgb(150, 150, 150)"  # seen on bars of all shades and on the page
MOST_WHISKERS = 140  # on more bars they would hide them
WORDS = {"block": "Block", "op": "Operation"}


def plot_profile(
    profile: ProfileLike,
    *,
    batch_size: int | None = None,
    granularity: Granularity = "auto",
) -> go.Figure:
    """Time of every block or operation, with its spread over the passes.

    Bars are medians and whiskers quartiles, over passes, of the part's share of its own pass, times
    T; that takes the slow drift of the machine out. Modelled and imported profiles have no passes
    to take a spread from.

    Args:
        profile: What to draw, or its file, or the name of a model that comes with dscwb.
        batch_size: One that the profile has times at; the smallest when left out.
        granularity: ``block`` or ``op``; ``auto`` for blocks where there are some.

    Raises:
        ProfileError: The profile has no times at this batch size.
        ValueError: Unknown granularity, or ``block`` for a model without blocks.
    """
    profile = as_profile(profile)
    granularity = resolved(profile.graph, granularity)
    if granularity not in WORDS:
        raise ValueError(f"Unknown granularity {granularity!r}; choose 'auto', 'block' or 'op'.")
    batch_size = profile.batch_sizes[0] if batch_size is None else batch_size
    parts = _parts(profile, batch_size, granularity)
    names = [html.escape(layout.shortened(name), quote=False) for name in parts["name"]]
    figure = go.Figure(_bars(profile, parts))
    figure.update_layout(
        bargap=0.2 if len(parts) <= MOST_WHISKERS else 0,
        xaxis=layout.depth_axis(list(parts["name"]), names, WORDS[granularity]),
        yaxis=layout.linear_axis("s", "Time") | {"rangemode": "tozero"},
    )
    spread = "no spread known"
    if parts["high_s"].notna().any():
        iqr = format_percent(profile.spread(batch_size))
        spread = f"{parts['passes'].max()} passes, interquartile range of T {iqr}"
    total, status = format_seconds(profile.total_s(batch_size)), profile.status(batch_size)
    return layout.page(
        figure,
        f"{profile.graph.model}, batch size {batch_size}, on {profile.provenance.device}",
        f"T = {total}; {profile.provenance.origin}; {spread}{f'; {status}' * (status != 'ok')}",
        _caption(profile, parts, batch_size, granularity),
        plot_px=PLOT,
        axis_px=layout.depth_px(names),
    )


def _parts(profile: Profile, batch_size: int, granularity: Granularity) -> pd.DataFrame:
    """Times of the parts between the cuts that were measured, in execution order.

    Each is named after what it ends with, ``output`` for the last. Its ``seconds`` are the median
    of its share of its own pass, times T, so that they do not add up to T exactly; without enough
    passes, the difference of its ends' heads. ``low_s`` and ``high_s`` are quartiles of the same,
    ``passes`` those with stamps at both ends, ``end_s`` is the time of the head at its end.
    """
    head = profile.head_s(batch_size)
    cuts = [cut for cut in all_cuts(profile.graph, granularity) if not np.isnan(head[cut.index])]
    at = [cut.index for cut in cuts]
    passes = next(one for one in profile.passes if one.batch_size == batch_size)
    low, middle, high, counted = _shares(passes, at)
    total = profile.total_s(batch_size)
    seconds = np.where(np.isnan(middle), np.diff(head[at]), middle * total)
    return pd.DataFrame(
        {
            "name": [cut.name for cut in cuts[1:]],
            "cut": cuts[1:],
            "seconds": seconds,
            "share": seconds / total,
            "low_s": low * total,
            "high_s": high * total,
            "passes": counted.astype(int),
            "end_s": head[at[1:]],
        }
    )


def _shares(passes: Passes, at: list[int]) -> Any:
    """Quartiles of each part's share of its own pass, and of how many passes, ``(4, part)``."""
    stamps = passes.stamped_ns[:, at].astype(np.float64)
    stamps[passes.stamped_ns[:, at] == NOT_STAMPED] = np.nan
    shares = np.diff(stamps, axis=1) / passes.stamped_ns[:, -1:]
    counted = np.isfinite(shares).sum(axis=0)
    quartiles = np.full((3, len(counted)), np.nan)
    if (enough := counted >= FEWEST_STAMPS).any():
        quartiles[:, enough] = np.nanquantile(shares[:, enough], [0.25, 0.5, 0.75], axis=0)
    return np.vstack([quartiles, counted])


def _bars(profile: Profile, parts: pd.DataFrame) -> go.Bar:
    spread = [
        f"quartiles {format_seconds(low)} to {format_seconds(high)}, {passes} passes"
        if np.isfinite(high)
        else "no spread known"
        for low, high, passes in zip(parts["low_s"], parts["high_s"], parts["passes"], strict=True)
    ]
    measured = profile.provenance.origin == "measured"
    return go.Bar(
        x=parts["name"],
        y=parts["seconds"],
        marker={
            "color": split_colours(profile.graph, list(parts["cut"])),
            "line": {"width": 0},
            # What nobody measured never looks as if somebody had.
            "pattern": {"shape": "" if measured else "/", "fgcolor": layout.RIM, "size": 6},
        },
        error_y={
            "symmetric": False,
            "array": parts["high_s"] - parts["seconds"],
            "arrayminus": parts["seconds"] - parts["low_s"],
            "color": WHISKER,
            "thickness": 2,
            "visible": bool(parts["high_s"].notna().any() and len(parts) <= MOST_WHISKERS),
        },
        customdata=parts[["share", "end_s"]],
        text=spread,
        textposition="none",
        hovertemplate="<b>%{x}</b><br>%{y:.3~s}s, %{customdata[0]:.1%} of T<br>%{text}<br>"
        "from the start %{customdata[1]:.3~s}s<extra></extra>",
    )


def _caption(
    profile: Profile, parts: pd.DataFrame, batch_size: int, granularity: Granularity
) -> str:
    origin = profile.provenance.origin
    words = [f"{layout.model_and_size(profile.graph)} on {profile.provenance.label()}."]
    if caution := profile.caution(batch_size):
        words.append(f"Times are {caution}.")
    if granularity == "block":
        words.append(
            "The first bar includes what runs before its block, the last what follows all blocks."
        )
    if parts["high_s"].isna().all():
        why = f"{origin} times have no passes to take a spread from"
        if origin == "measured":
            why = "too few passes were stamped for quartiles"
        words.append(f"No whiskers: {why}.")
    else:
        few = len(parts) <= MOST_WHISKERS
        words.append(
            "Bars: median over the passes of the part's share of its own pass, × T (they add up to "
            f"{format_percent(parts['share'].sum())} of T); "
            f"{'whiskers: its quartiles' if few else 'quartiles: in the hover'}."
        )
    if origin != "measured":
        words.append(f"Hatched: {origin}, not measured.")
    return " ".join([*words, "Colours: the split after the part, as in the maps."])
