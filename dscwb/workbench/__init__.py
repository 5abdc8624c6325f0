"""The workbench: a folder of profiles goes in, sliders over linked views come out.

`session` holds the frozen state of `choices` and passes it on: `controls` change it, `views` and
`canvas` draw what `scene` says of it, `words` tells the answer and
`checks` how sure it is.
"""

from dscwb.workbench.session import SplitWorkbench

__all__ = ["SplitWorkbench"]
