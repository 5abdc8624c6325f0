"""All pictures: a study, profile or graph goes in, a `plotly.graph_objects.Figure` comes out.

One file a figure, named after its function. Every figure carries a caption with what moves its
answer; another look is plotly's own, as in ``figure.update_layout(template="plotly_dark")``.
"""

from dscwb.figures.best_split import plot_best_split
from dscwb.figures.compression import plot_compression
from dscwb.figures.conventions import plot_conventions
from dscwb.figures.gain import plot_gain
from dscwb.figures.gains import plot_gains
from dscwb.figures.latency_breakdown import plot_latency_breakdown
from dscwb.figures.latency_vs_rate import plot_latency_vs_rate
from dscwb.figures.maps import plot_maps
from dscwb.figures.pareto import plot_pareto
from dscwb.figures.profile import plot_profile
from dscwb.figures.regret import plot_regret
from dscwb.figures.save import FigureError, save_figure

__all__ = [
    "FigureError",
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
