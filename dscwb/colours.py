"""The colours of splits: a graph and its cuts go in, a colour for each comes out, always the same.

Light means that little runs on the device, dark that much does: full offloading is light grey, no
offloading dark grey, and the splits between run from yellow near the input to blue near the output
along plotly's Plasma, whose lightness falls steadily, so that it reads without colour vision too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from plotly.colors import sample_colorscale

from dscwb.cuts import Cut, bottlenecks
from dscwb.graph import ModelGraph

FULL_OFFLOADING_COLOUR = "rgb(226, 226, 226)"
NO_OFFLOADING_COLOUR = "rgb(64, 64, 64)"
# Plasma's own ends are too near to white and to the greys.
NEAR_INPUT, NEAR_OUTPUT = 0.97, 0.03
# The compressive bottlenecks, which are the splits that win, share this part of the scale evenly.
FIRST_ANCHOR, LAST_ANCHOR = 0.87, 0.13


def split_colours(graph: ModelGraph, cuts: Sequence[Cut]) -> tuple[str, ...]:
    """The colour of each cut, ``rgb(r, g, b)``; it depends on graph and cut only.

    Cuts with the same number of layers in the head have the same colour at every granularity.
    """
    table, last = bottlenecks(graph, "block" if graph.blocks else "op"), len(graph.layers)
    anchors = table["cut"][table["compressive"]].tolist()
    shades = np.linspace(FIRST_ANCHOR, LAST_ANCHOR, len(anchors)).tolist()
    if len(anchors) == 1:
        shades = [(FIRST_ANCHOR + LAST_ANCHOR) / 2]
    places = [0, *anchors, last], [NEAR_INPUT, *shades, NEAR_OUTPUT]
    inner = np.interp([cut.index for cut in cuts], *places).tolist()
    ends = {0: FULL_OFFLOADING_COLOUR, last: NO_OFFLOADING_COLOUR}
    # Whole channels: plotly.js reads others too, programs that open an SVG do not.
    sampled = (255 * np.array(sample_colorscale("Plasma", inner, colortype="tuple"))).round()
    return tuple(
        ends.get(cut.index, "rgb({:.0f}, {:.0f}, {:.0f})".format(*colour))
        for cut, colour in zip(cuts, sampled, strict=True)
    )
