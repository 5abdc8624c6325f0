"""Studies: two profiles and a scenario go in, the answer for every state comes out.

`sweeps` makes a `Study` of the `states` below it, `confidence` says what noise could change in it,
`sureness` what a wrong model could, `thresholds` turns it into a policy; `conventions`, `tradeoffs`
and `rates` ask it further questions.
"""

from dscwb.study.sweeps import Study, sweep

__all__ = ["Study", "sweep"]
