"""The workbench: sliders over the best split of a model, with linked views of what is behind it."""

from dscwb.workbench.session import SplitWorkbench

__all__ = ["SplitWorkbench"]
