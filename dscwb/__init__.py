"""dscwb: where should this network be split between my device and my server, and what is it worth?

Two arms meet at a profile file. The torch arm (`capture`, `profile`) needs the model, the analysis
arm (`sweep`, `plot_best_split`, `SplitWorkbench`) only the file. Names load on first use, so that
``import dscwb`` costs neither torch nor plotly.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
