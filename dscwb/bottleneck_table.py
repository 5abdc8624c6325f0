"""The table of bottlenecks: a data frame that prints itself in a few lines."""

from __future__ import annotations

import pandas as pd

from dscwb.units import format_number

SHOWN = 4  # compressive bottlenecks: no model of the paper has more


class BottleneckTable(pd.DataFrame):
    """What `bottlenecks` gives: it prints what matters of it, and parts of it are plain frames."""

    def _told(self) -> tuple[str, pd.DataFrame]:
        kept = self.loc[self["compressive"].astype(bool), ["name", "elements", "ratio"]]
        words = (
            f"{len(self)} cuts, {int(self['natural'].sum())} natural and {len(kept)} compressive "
            f"bottlenecks{':' if len(kept) <= SHOWN else f', of these the first {SHOWN}:'}"
        )
        return words, kept.head(SHOWN).assign(ratio=kept["ratio"].head(SHOWN).map(format_number))

    def __repr__(self) -> str:
        """Counts, and the compressive bottlenecks, in six lines."""
        words, kept = self._told()
        return f"{words}\n{kept.to_string(index=False)}"

    def _repr_html_(self) -> str:
        words, kept = self._told()
        return f"<p>{words}</p>{kept.to_html(index=False, border=0)}"
