"""Which splits a fleet takes as time goes on, and what its servers and requests come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dscwb.colours import split_colours
from dscwb.figures import layout
from dscwb.fleets.fleet import NO_REQUESTS
from dscwb.fleets.kinds import strategy_name
from dscwb.units import format_percent, format_seconds, shown_name

if TYPE_CHECKING:
    from dscwb.fleets.fleet import Fleet
    from dscwb.study import Study

PLOT = 400  # pixels of both panels together
BUSY = "rgb(213, 94, 0)"


def plot_split_shares(
    fleet: Fleet, study: Study, *, strategy: str = "selfish", devices: str = "all"
) -> go.Figure:
    """Shares of the splits over time, and below them how busy the servers are.

    Args:
        fleet: What `fleet` gave.
        study: The study of these devices: its model gives each split its colour.
        strategy: One of those that were run.
        devices: A kind of device, or ``all`` of them.

    Raises:
        ValueError: There are no such strategy or devices, none of their requests was counted, or
            they run another model than the study's.
    """
    for what, given, known in (
        ("strategy", strategy, list(fleet.runs)),
        ("devices", devices, ["all", *fleet.kinds]),
    ):
        if given not in known:
            raise ValueError(f"{what} is {given!r}; choose one of {', '.join(known)}.")
    model = study.edge.graph.model
    for kind, other in zip(fleet.kinds, fleet.models, strict=True):
        if other != model and devices in ("all", kind):
            raise ValueError(
                f"{kind!r} run {other}, and the study is of {model}; give devices and their own "
                "study."
            )
    table: Any = fleet.over_time(strategy).loc[devices]
    if not table["requests"].any():
        raise ValueError(NO_REQUESTS)
    order = [name for name in study.splits if name in table and table[name].max() > 0]
    taken = [name for name in table.columns[3:] if table[name].max() > 0]
    if set(taken) - set(order):
        raise ValueError(
            f"The study has no split {sorted(set(taken) - set(order))[0]!r}; give the study of "
            "these devices."
        )
    cuts = [study.lines.splits[study.splits.index(name)] for name in order]
    colours = split_colours(study.edge.graph, cuts)
    figure = make_subplots(
        rows=2, shared_xaxes=True, row_heights=[0.66, 0.34], vertical_spacing=0.06
    )
    width_s = fleet.runs[strategy].width_s
    for name, colour in zip(order, colours, strict=True):
        figure.add_bar(
            x=table.index + width_s / 2,
            y=table[name],
            width=width_s,
            name=layout.label(name),
            meta=name,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate=f"<b>{shown_name(name)}</b>, %{{x:.3~s}}s<br>%{{y:.1%}} of the requests"
            "<extra></extra>",
        )
    busy = table["utilisation"].to_numpy()
    figure.add_scatter(
        x=[*table.index, table.index[-1] + width_s],
        y=[*busy, busy[-1]],
        mode="lines",
        line={"color": BUSY, "width": 2, "shape": "hv"},
        name="servers busy",
        hovertemplate="%{x:.3~s}s<br>busy %{y:.1%} of the time<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_yaxes(layout.AXIS, range=[0, 1], tickformat=".0%")
    figure.update_yaxes(title_text="Share of requests", row=1, col=1)
    figure.update_yaxes(title_text="Servers busy", row=2, col=1)
    figure.update_xaxes(layout.AXIS)
    figure.update_xaxes(title_text="Time in s", row=2, col=1)
    counted = table[order].mul(table["requests"], axis=0).sum() / table["requests"].sum()
    most = str(counted.idxmax())
    share = f"{shown_name(most)} for {format_percent(counted[most])} of all requests"
    told = f"{strategy_name(strategy)}: {share}"
    several = devices == "all" and len(fleet.kinds) > 1
    mixed = f"{', '.join(fleet.kinds)} together; told of one of them: " * several
    return layout.page(
        figure,
        (f"{model}: the splits that {devices} devices take", told),
        [
            f"Each bar counts the requests that came in {format_seconds(width_s)}.",
            f"{len(fleet.servers)} pool{'s' * (len(fleet.servers) > 1)} of servers; busy: share of "
            "its workers' time.",
            mixed + study.label(),
        ],
        plot_px=PLOT,
        legend=layout.LEGEND_ABOVE,
        barmode="stack",
        bargap=0,
    )
