"""What a picture of a model's splits shares at every rate: a graph goes in, colours and places out.

It takes longer to find than all the numbers of a study, and only another model changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dscwb.cuts import Granularity, all_cuts, bottlenecks
from dscwb.figures.colours import split_colours
from dscwb.graph import ModelGraph
from dscwb.study.states import States


@dataclass(frozen=True)
class Place:
    """A place of the compression plot: the input, or where the model can be split.

    Attributes:
        cut: Layers in the head.
        name: Block or operation.
        ratio: c = |h|/|x| in elements.
        kind: ``compressive``, ``natural`` or ``none``.
        colour: The split's colour.
    """

    cut: int
    name: str
    ratio: float
    kind: str
    colour: str


@dataclass(frozen=True, eq=False)
class Look:
    """Colours and places of one model at one granularity.

    Attributes:
        graph: The model.
        granularity: As asked for.
        colours: Colour of each cut, by its number of layers in the head.
        places: Of the compression plot, in execution order.
        ratio_range: Lowest and highest c of its axis.
    """

    graph: ModelGraph
    granularity: Granularity
    colours: Mapping[int, str]
    places: tuple[Place, ...]
    ratio_range: tuple[float, float]

    @classmethod
    def of(cls, graph: ModelGraph, granularity: Granularity) -> Look:
        """Collect it."""
        shown: Granularity = granularity
        if granularity == "compressive":
            shown = "block" if graph.blocks else "op"
        cuts = {cut.index: cut for cut in (*all_cuts(graph, shown), *all_cuts(graph, granularity))}
        colours = dict(zip(cuts, split_colours(graph, list(cuts.values())), strict=True))
        table = bottlenecks(graph, shown)
        kinds = np.where(table["natural"], "natural", "none").astype(object)
        kinds[table["compressive"].to_numpy()] = "compressive"
        # The last block may end where the model does: its cut is no candidate, but has a ratio.
        places = [
            Place(int(cut), name, float(ratio), kind, colours[int(cut)])
            for cut, name, ratio, kind in zip(
                table["cut"], table["name"], table["ratio"], kinds, strict=True
            )
        ]
        ratios = [1.0, *(place.ratio for place in places)]
        limits = min(ratios) / 1.8, max(ratios) * 1.3
        return cls(graph, granularity, colours, tuple(places), limits)

    def fits(self, study: States) -> bool:
        """Whether it is that of this study."""
        return self.graph is study.edge.graph and self.granularity == study.scenario.granularity

    @property
    def in_blocks(self) -> bool:
        """Whether depth is counted in blocks, not in layers."""
        return bool(self.graph.blocks) and self.granularity != "op"

    def depth(self, cut: int) -> int:
        """Whole blocks, or layers, in the head of a cut."""
        if not self.in_blocks:
            return cut
        return sum(block.end <= cut for block in self.graph.blocks)
