"""Charts on a page: the dicts that plotly.js draws, made without the package plotly.

Relies on: `page.js` gives a chart its width, breaks long titles, and shows the panel that a reader
chooses. Keeps: charts have the colours of a light page; `DARK` names for each of these colours the
one that takes its place on a dark page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..files.records import plain
from .charts import COLOURS, Bars, Chart, Heat, Lines, grid, log_ticks, whole
from .traces import INK, MUTED, Trace, cells, curves, histograms, text

GRID, PAPER = "#DEDFE0", "#FDFDFB"
FONT = {"family": "system-ui, sans-serif", "size": 13, "color": INK}
# Each colour of a chart, and the colour that takes its place on a dark page.
DARK = dict(
    zip(
        (*COLOURS, INK, MUTED, GRID, PAPER),
        ("#5AA2F0", "#F2854A", "#35C99C", "#E5A3CB", "#F0B440", "#A4DCFB", "#F2F2EF", "#C9A46B")
        + ("#DEDEDA", "#A3A8AE", "#363A40", "#16181B"),
        strict=True,
    )
)


def figure(chart: Chart) -> dict[str, Any]:
    """The chart as {"data": [...], "layout": {...}}, in the colours of a light page and without a
    background.

    `layout["meta"]` has the number of panels that are drawn at once, the largest number in a row,
    the height of a panel in pixels, and whether a selector chooses among the panels. With a
    selector, traces name their panel in `meta` and annotations in `name`; the traces of the first
    panel are visible.
    """
    found: dict[str, Any] = plain(_heat(chart) if isinstance(chart, Heat) else _panels(chart))
    return found


def _layout(shown: int, columns: int, selector: bool) -> dict[str, Any]:
    down, across = grid(shown, columns)
    cell = 400 if shown == 1 else 330
    return {
        "meta": {"panels": shown, "columns": columns, "cell": cell, "selector": selector},
        "grid": {
            "rows": down,
            "columns": across,
            "pattern": "independent",
            "xgap": 0.18,
            "ygap": 0.42,
        },
        "height": down * cell,
        "margin": {"l": 48, "r": 12, "t": 52, "b": 56},
        "showlegend": False,
        "hovermode": "closest",
        "barmode": "overlay",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": FONT,
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": MUTED, "align": "left", "font": FONT},
        "shapes": [],
        "annotations": [],
    }


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": text(title), "standoff": 8, "font": FONT},
        "automargin": True,
        "zeroline": False,
        "gridcolor": GRID,
        "linecolor": MUTED,
        "tickcolor": MUTED,
        **more,
    }


def _panels(chart: Lines | Bars) -> dict[str, Any]:
    shown = list(chart.panels)[:1] if chart.selector else list(chart.panels)
    layout = _layout(len(shown), chart.columns if isinstance(chart, Lines) else 2, chart.selector)
    data: list[Trace] = []
    for index, title in enumerate(chart.panels):
        # The panels of a selector are drawn over the same axes.
        place = (
            {"visible": index == 0}
            if chart.selector
            else {axis + "axis": _place(axis, index) for axis in "xy"}
        )
        drawn = curves(chart, title) if isinstance(chart, Lines) else histograms(chart, title)
        data += [{**trace, **place} for trace in drawn]
        layout["annotations"] += _names(chart, index, title)
    for index, title in enumerate(shown):
        x, y = _x(chart, title), _y(chart, title)
        if index and (isinstance(chart, Bars) or chart.share_y):
            y["matches"] = "y"
        number = _place("", index)
        layout |= {f"xaxis{number}": x, f"yaxis{number}": y}
        label = chart.y_labels()[index] if isinstance(chart, Lines) else chart.y
        layout["annotations"].append(_heading(index, "" if chart.selector else title, label))
        for level in (chart.levels or {}).values():
            layout["shapes"].append(_level(index, level, across=isinstance(chart, Lines)))
    return {"data": data, "layout": layout}


def _place(axis: str, index: int) -> str:
    """The name of a panel's axis in plotly: x, x2, x3."""
    return axis + (str(index + 1) if index else "")


def _x(chart: Lines | Bars, panel: str) -> dict[str, Any]:
    if isinstance(chart, Bars):
        return _axis(chart.x, showgrid=False)
    if not chart.log_x:
        found = [line.points[0] for curves in chart.panels.values() for line in curves]
        return _axis(chart.x, **_whole_ticks(found))
    _, ticks = log_ticks(chart.panels[panel])
    if not ticks:
        return _axis(chart.x, type="log", dtick=1)
    return _axis(
        chart.x,
        type="log",
        ticks="outside",
        tickvals=ticks,
        ticktext=[chart.tick(tick) for tick in ticks],
    )


def _y(chart: Lines | Bars, panel: str) -> dict[str, Any]:
    if isinstance(chart, Bars):
        # A selector draws all panels over the same axes.
        counts = [one for title in chart.panels for one in chart.counts(title).values()]
        return _axis("", rangemode="tozero", **_whole_ticks(counts))
    limits = chart.limits(panel)
    return _axis("") if limits is None else _axis("", range=list(limits))


def _whole_ticks(parts: Sequence[ArrayLike]) -> dict[str, Any]:
    """Ticks at whole numbers, where plotly would put ticks between them as well."""
    values = np.concatenate([[0.0], *parts])
    return {"dtick": 1} if whole(values) and np.nanmax(values) - np.nanmin(values) < 10 else {}


def _heading(index: int, title: str, y: str) -> dict[str, Any]:
    """The title of a panel and the label of its y axis, as text above its upper left corner. There
    the label can be read without turning one's head.
    """
    return {
        "text": "<br>".join([f"<b>{text(title)}</b>"] * bool(title) + [text(y)]),
        "xref": f"{_place('x', index)} domain",
        "yref": f"{_place('y', index)} domain",
        "x": 0,
        "y": 1,
        "yshift": 6,
        "xanchor": "left",
        "yanchor": "bottom",
        "align": "left",
        "showarrow": False,
        "font": FONT,
    }


def _level(index: int, level: float, across: bool) -> dict[str, Any]:
    """A line through the panel, horizontal for `across` and vertical otherwise."""
    along, at = ("x", "y") if across else ("y", "x")
    ends = {f"{along}0": 0, f"{along}1": 1, f"{at}0": level, f"{at}1": level}
    refs = {f"{along}ref": f"{_place(along, index)} domain", f"{at}ref": _place(at, index)}
    return {
        "type": "line",
        **ends,
        **refs,
        "line": {"color": INK, "width": 1.2, "dash": "dot" if across else "dash"},
    }


def _names(chart: Lines | Bars, index: int, panel: str) -> list[dict[str, Any]]:
    """The names of a panel's levels, beside their lines."""
    own: dict[str, Any] = {"showarrow": False, "font": {"size": 12, "color": MUTED}}
    if chart.selector:
        own |= {"name": panel, "visible": index == 0}
        index = 0
    x, y = _place("x", index), _place("y", index)
    found = []
    for name, level in (chart.levels or {}).items():
        if isinstance(chart, Lines):
            at = {
                "x": 1,
                "xref": f"{x} domain",
                "xanchor": "right",
                "y": level,
                "yref": y,
                "yanchor": "bottom",
            }
        else:
            # The label stands on the side that has more room.
            right = level > chart.bins(panel)[[0, -1]].mean()
            side = {"xanchor": "right", "xshift": -3} if right else {"xanchor": "left", "xshift": 3}
            at = {"x": level, "xref": x, "y": 1, "yref": f"{y} domain", "yanchor": "top", **side}
        found.append({"text": text(name), **at, **own})
    return found


def _heat(chart: Heat) -> dict[str, Any]:
    down, across = chart.table.shape
    layout = _layout(1, 1, False)
    layout["height"] = layout["meta"]["cell"] = 26 * down + 170
    layout["margin"]["t"] = 60
    # Axes are numbered, because plotly's categories would merge two rows of the same name.
    for axis, title, names in (("xaxis", chart.x, chart.columns), ("yaxis", chart.y, chart.rows)):
        ticks = {"tickvals": list(range(len(names))), "ticktext": [text(name) for name in names]}
        layout[axis] = _axis(title, **ticks, showgrid=False, ticklabelstandoff=4)
    layout["xaxis"] |= {"range": [-0.5, across - 0.5]}
    layout["yaxis"] |= {"range": [down - 0.5, -0.5]}
    layout["xaxis"]["title"]["standoff"] = 14
    # A black frame inside a white frame is seen on every colour of the map.
    layout["shapes"] = [
        {
            "type": "rect",
            "x0": column - 0.46,
            "x1": column + 0.46,
            "y0": row - 0.44,
            "y1": row + 0.44,
            "line": line,
        }
        for row, column in chart.marks
        for line in ({"color": "white", "width": 4}, {"color": "black", "width": 1.6})
    ]
    return {"data": [cells(chart)], "layout": layout}
