"""Studies: where two machines should split a model, at every batch size and data rate of a grid.

`sweep` asks, a `Study` answers; the other files hold what it says: one point's `decision`, what
splitting is `worth`, which cuts can win at all (`dominance`), what noise could change
(`confidence`) and what a wrong model could (`sureness`), `thresholds` for a policy, other payload
`conventions`, `tradeoffs`, and its `tables` and `captions`.
"""

from dscwb.study.study import Study
from dscwb.study.sweeps import sweep

__all__ = ["Study", "sweep"]
