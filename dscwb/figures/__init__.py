"""The door to all pictures: a study, profile or graph goes in, a `plotly.graph_objects.Figure` out.

Each figure first collects its numbers in a record, which the tests check, and draws last. Every
figure carries a caption with what moves its answer.
"""

from dscwb.figures.anatomy import plot_compression
from dscwb.figures.breakdown import plot_latency_breakdown
from dscwb.figures.comparison import plot_conventions
from dscwb.figures.curves import plot_latency_vs_rate
from dscwb.figures.durations import plot_profile
from dscwb.figures.gains import plot_gains
from dscwb.figures.maps import mark_state, plot_best_split, plot_gain, plot_maps, plot_regret
from dscwb.figures.page import FigureError, save_figure
from dscwb.figures.pareto import plot_pareto

__all__ = [
    "FigureError",
    "mark_state",
    "plot_best_split",
    "plot_compression",
    "plot_conventions",
    "plot_gain",
    "plot_gains",
    "plot_latency_breakdown",
    "plot_latency_vs_rate",
    "plot_maps",
    "plot_pareto",
    "plot_profile",
    "plot_regret",
    "save_figure",
]
