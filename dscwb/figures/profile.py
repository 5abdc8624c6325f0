"""Where a model spends its time: the time of every block or operation over its depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.colours import split_colours
from dscwb.cuts import Granularity, all_cuts, resolved
from dscwb.figures import layout
from dscwb.profiles.library import ProfileLike, as_profile
from dscwb.profiles.records import NOT_STAMPED, Profile
from dscwb.units import format_percent, format_seconds, plain_text

PLOT = 340  # pixels
FEWEST_STAMPS = 4  # quartiles of fewer passes say nothing
WHISKER = "rgb(150, 150, 150)"  # seen on bars of all shades and on the page
MOST_WHISKERS = 140  # on more bars they would hide them
WORDS = {"block": "Block", "op": "Operation", "compressive": "Compressive bottleneck"}


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
        granularity: ``block``, ``op`` or ``compressive``; ``auto`` for blocks where there are some.

    Raises:
        ProfileError: The profile has no times at this batch size.
        ValueError: Unknown granularity, or ``block`` for a model without blocks.
    """
    profile = as_profile(profile)
    granularity = resolved(profile.graph, granularity)
    batch_size = profile.batch_sizes[0] if batch_size is None else batch_size
    parts, total = _parts(profile, batch_size, granularity), profile.total_s(batch_size)
    measured, status = profile.provenance.origin == "measured", profile.status(batch_size)
    known, few = bool(parts["high_s"].notna().any()), len(parts) <= MOST_WHISKERS
    whiskers = {"color": WHISKER, "thickness": 2, "symmetric": False, "visible": known and few}
    whiskers["array"] = parts["high_s"] - parts["seconds"]
    whiskers["arrayminus"] = parts["seconds"] - parts["low_s"]
    # What nobody measured never looks as if somebody had.
    hatch = {"shape": "" if measured else "/", "fgcolor": layout.RIM, "size": 6}
    colours = split_colours(profile.graph, list(parts["cut"]))
    share = ", {:.1%} of T<br>%{text}<br>"
    told = {share: parts["share"], "from the start {:.3~s}s": parts["end_s"]}
    bars = go.Bar(
        x=parts["name"],
        y=parts["seconds"],
        marker={"color": colours, "line": {"width": 0}, "pattern": hatch},
        error_y=whiskers,
        text=parts["spread"],
        textposition="none",
        **layout.hover(told, "<b>%{x}</b><br>%{y:.3~s}s"),
    )
    iqr = format_percent(profile.spread(batch_size))
    scatter = f"{parts['passes'].max()} passes, interquartile range of T {iqr}"
    words = [f"T = {format_seconds(total)}", profile.provenance.origin]
    words += [scatter if known else "no spread known", *[status] * (status != "ok")]
    return layout.page(
        [bars],
        (
            f"{profile.graph.model}, batch size {batch_size}, on {profile.provenance.device}",
            "; ".join(words),
        ),
        _caption(profile, parts, batch_size, granularity),
        plot_px=PLOT,
        bargap=0.2 if few else 0,
        xaxis=layout.depth_axis(parts["name"], WORDS[granularity]),
        yaxis=layout.linear_axis("s", "Time") | {"rangemode": "tozero"},
    )


def _parts(profile: Profile, batch_size: int, granularity: Granularity) -> pd.DataFrame:
    """Times of the parts between the cuts that were measured, in execution order.

    Each is named after what it ends with, ``output`` for the last. Its ``seconds`` are the median
    of its share of its own pass, times T, so that they do not add up to T exactly; without enough
    passes, the difference of its ends' heads. ``low_s`` and ``high_s`` are quartiles of the same,
    ``passes`` those with stamps at both ends, ``end_s`` is the time of the head at its end.
    """
    head, total = profile.head_s(batch_size), profile.total_s(batch_size)
    cuts = [cut for cut in all_cuts(profile.graph, granularity) if not np.isnan(head[cut.index])]
    at = [cut.index for cut in cuts]
    stamps = profile.at(batch_size).stamped_ns
    shares = np.diff(np.where(stamps == NOT_STAMPED, np.nan, stamps)[:, at]) / stamps[:, -1:]
    passes = np.isfinite(shares).sum(axis=0)
    quartiles = np.full((3, len(passes)), np.nan)
    enough = passes >= FEWEST_STAMPS
    if enough.any():
        quartiles[:, enough] = np.nanquantile(shares[:, enough], [0.25, 0.5, 0.75], axis=0)
    low, middle, high = quartiles * total
    seconds = np.where(np.isnan(middle), np.diff(head[at]), middle)
    ends = zip(map(format_seconds, low), map(format_seconds, high), passes, strict=True)
    spread = ["quartiles {} to {}, {} passes".format(*one) for one in ends]
    return pd.DataFrame(
        {
            "name": [plain_text(cut.name) for cut in cuts[1:]],
            "cut": cuts[1:],
            "seconds": seconds,
            "share": seconds / total,
            "low_s": low,
            "high_s": high,
            "passes": passes,
            "spread": np.where(enough, spread, "no spread known"),
            "end_s": head[at[1:]],
        }
    )


def _caption(
    profile: Profile, parts: pd.DataFrame, batch_size: int, granularity: Granularity
) -> list[str]:
    origin, caution = profile.provenance.origin, profile.caution(batch_size)
    where = "whiskers: its quartiles" if len(parts) <= MOST_WHISKERS else "quartiles: in the hover"
    spread = (
        "Bars: median over the passes of the part's share of its own pass, × T (they add up to "
        f"{format_percent(parts['share'].sum())} of T); {where}."
    )
    if parts["high_s"].isna().all():
        spread = f"No whiskers: these {origin} times have too few passes for quartiles."
    return [
        f"{profile.graph.label()} on {profile.provenance.label()}.",
        caution and f"Times are {caution}.",
        "The first bar includes what runs before its block, the last what follows all blocks."
        * (granularity == "block"),
        spread,
        f"Hatched: {origin}, not measured." * (origin != "measured"),
        "Colours: the split after the part, as in the maps.",
    ]
