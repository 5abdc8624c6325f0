"""All pictures: a study, profile or graph goes in, a `plotly.graph_objects.Figure` comes out.

One file a figure, named after its function. Every figure carries a caption with what moves its
answer; another look is plotly's own, as in ``figure.update_layout(template="plotly_dark")``.
"""

from dscwb.figures.best_split import plot_best_split as plot_best_split
from dscwb.figures.compression import plot_compression as plot_compression
from dscwb.figures.conventions import plot_conventions as plot_conventions
from dscwb.figures.fleet import plot_fleet as plot_fleet
from dscwb.figures.gain import plot_gain as plot_gain
from dscwb.figures.gains import plot_gains as plot_gains
from dscwb.figures.latency_breakdown import plot_latency_breakdown as plot_latency_breakdown
from dscwb.figures.latency_vs_rate import plot_latency_vs_rate as plot_latency_vs_rate
from dscwb.figures.maps import plot_maps as plot_maps
from dscwb.figures.pareto import plot_pareto as plot_pareto
from dscwb.figures.profile import plot_profile as plot_profile
from dscwb.figures.regret import plot_regret as plot_regret
from dscwb.figures.save import FigureError as FigureError
from dscwb.figures.save import save_figure as save_figure
from dscwb.figures.split_shares import plot_split_shares as plot_split_shares
from dscwb.figures.validation import plot_validation as plot_validation
from dscwb.showing import use_in_notebooks

use_in_notebooks()
