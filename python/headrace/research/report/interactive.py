"""Price with trades by bokeh: zoom by wheel and box, values under the pointer; its script stands in the file.

Guarantees: nothing is loaded from elsewhere; without bokeh ``is_there`` is False and the page draws by itself.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from headrace.research.result import BacktestResult

__all__ = ["is_there", "price_plots"]

# In both schemes: the plot itself has no background.
GREY, RULE, GAIN, LOSS, CALM = "#8593a6", "#8593a640", "#0f9d6b", "#d64545", "#94a3b8"


def is_there() -> bool:
    """Whether bokeh is installed."""
    return find_spec("bokeh") is not None


def price_plots(result: BacktestResult, instruments: list[str]) -> tuple[str, list[str]]:
    """Return the script that all plots need, and the HTML of each plot."""
    from bokeh.embed import components
    from bokeh.resources import INLINE

    if not instruments:
        return "", []
    script, divs = components([_plot(result, name) for name in instruments])
    return f"{INLINE.render_js()}{script}", list(divs)


def _plot(result: BacktestResult, instrument: str) -> Any:
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    prices = result.prices[instrument]
    plot = figure(
        height=340,
        sizing_mode="stretch_width",
        x_axis_type="datetime",
        tools="xpan,xwheel_zoom,xbox_zoom,reset",
        active_scroll="xwheel_zoom",
        active_drag="xpan",
        toolbar_location="above",
    )
    plot.line(_dates(prices["ts"]), prices["price"], color=CALM, line_width=1.5)
    shown: list[Any] = []
    for side, name, colour, marker in ((1, "bought", GAIN, "triangle"), (-1, "sold", LOSS, "inverted_triangle")):
        fills = [own for own in result.fills if own.instrument == instrument and own.side == side]
        data = {
            "x": _dates(np.array([own.ts for own in fills], np.int64)),
            "y": [float(own.price) for own in fills],
            "quantity": [f"{own.quantity:f}" for own in fills],
            "price": [f"{own.price:f}" for own in fills],
            "strategy": [own.strategy for own in fills],
            "side": [name] * len(fills),
        }
        shown.append(plot.scatter("x", "y", source=data, size=9, color=colour, marker=marker))
    tips = [("", "@side @quantity at @price"), ("strategy", "@strategy"), ("UTC", "@x{%F %T}")]
    plot.add_tools(HoverTool(renderers=shown, tooltips=tips, formatters={"@x": "datetime"}))
    _dress(plot)
    return plot


def _dates(times: np.ndarray) -> Any:
    return times.astype("datetime64[ns]")


def _dress(plot: Any) -> None:
    """Give a plot no background, and greys that light and dark both carry."""
    plot.background_fill_alpha = plot.border_fill_alpha = 0
    plot.outline_line_color = None
    plot.yaxis.formatter.use_scientific = False
    for axis in (plot.xaxis, plot.yaxis):
        axis.major_label_text_color, axis.axis_line_color = GREY, None
        axis.major_tick_line_color = axis.minor_tick_line_color = None
        axis.major_label_text_font_size, axis.major_label_text_font = "12px", "system-ui"
    plot.xgrid.grid_line_color, plot.ygrid.grid_line_color = None, RULE
    plot.toolbar.logo = None
