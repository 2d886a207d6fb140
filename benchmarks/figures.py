"""The rows as a figure: each is a dot with its interval, and a bar shows its target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from incorruptible.plots.charts import COLOURS, wrapped
from incorruptible.plots.paper import MUTED, STYLE, caption

from .results import Kept
from .rows import Row
from .targets import limit_of

__all__ = ["drawn", "families"]

ROW, WIDE = 0.19, 7.2  # inches
INK = "#222222"


def families(found: Sequence[Kept]) -> dict[str, list[Kept]]:
    """The groups of each figure: training, measuring, and the others. Groups without rows are left out."""
    made: dict[str, list[Kept]] = {}
    for one in found:
        if one.rows:
            family = one.group.split("-")[0]
            made.setdefault(family if family in ("training", "measuring") else "others", []).append(one)
    return made


def drawn(found: Sequence[Kept]) -> Any:
    """A matplotlib figure with a panel for each group and its rows from the top. The axis is logarithmic if ratios span much."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [0.75 + ROW * len(one.rows) for one in found]
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDE, sum(heights) + 0.5))
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axis, one in zip(axes, found, strict=True):
            _panel(axis, one)
        caption(
            figure,
            "Dots: medians, with 95% intervals; filled: processor time on one thread (memory: counted), open: the wall's "
            "time. Bars: targets, for the upper end of an interval; red where that is beyond.",
        )
    return figure


def _panel(axis: Any, one: Kept) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    places = range(len(one.rows))
    for place, row in zip(places, one.rows, strict=True):
        _dot(axis, place, row)
    axis.set_yticks(list(places), labels=[_name(row) for row in one.rows])
    axis.set_ylim(len(one.rows) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    middles = [row.middle for row in one.rows]
    if min(middles) > 0 and max(middles) / min(middles) > 5:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    if "times" in one.rows[0].unit:
        axis.axvline(1, color=MUTED, linewidth=0.7)
    axis.set_xlabel("\n".join(wrapped("; ".join(dict.fromkeys(row.unit for row in one.rows)), 90)))
    axis.set_title(one.group, loc="left")


def _name(row: Row) -> str:
    return f"{row.variant}, wall" if row.threads > 1 else row.variant


def _dot(axis: Any, place: int, row: Row) -> None:
    upper = limit_of(row)
    if not math.isnan(row.low):
        axis.plot([row.low, row.high], [place, place], color=INK, linewidth=1)
    filled = "full" if row.clock != "wall" else "none"
    axis.plot([row.middle], [place], marker="o", markersize=4, fillstyle=filled, color=COLOURS[0])
    if upper is not None:
        colour = "#C00000" if row.high > upper else INK
        axis.plot([upper, upper], [place - 0.4, place + 0.4], color=colour, linewidth=2)
