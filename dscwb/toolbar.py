"""What plotly's toolbar offers, in every figure, page and report: nothing that uploads a figure."""

from __future__ import annotations

from typing import Any

CLOUD = "sendChartToCloud"
"""plotly's button "Share chart…", which would upload a figure."""
MODEBAR = {"remove": [CLOUD]}
"""For the layout, which stays with a figure wherever it is shown."""
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "toImageButtonOptions": {"format": "svg", "scale": 2},
}
"""For whatever draws figures."""
