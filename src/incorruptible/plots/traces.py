"""The curves, bars and cells of a chart on a page, as traces: the dicts that plotly.js draws.

Traces of one label share a `legendgroup`. Their `meta` says to which panel they belong and which
name the legend shows.

Relies on: plotly reads a little HTML in every text, so each text goes through `text`. `page.js`
reads `meta` and `legendgroup`.
Keeps: the colours are those on paper; hover texts show the same numbers as the tables of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .charts import COLOURS, Bars, Heat, Line, Lines

INK, MUTED = "#2A2C30", "#5F646B"
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "x")
# Dashes tell lines apart where there are more lines than colours.
DASHES = ("solid", "dot", "dashdot", "longdashdot")
FILL, BAND = "59", "26"  # opacities, as the last two digits of a colour
Trace = dict[str, Any]


def text(raw: str) -> str:
    """The text with its HTML escaped, which plotly would otherwise read."""
    return escape(raw, quote=False)


def curves(chart: Lines, panel: str) -> Iterator[Trace]:
    """Each curve of a panel: band, curve, ring, and triangles for values that are cut off."""
    numbers, y = chart.numbers(), dict(zip(chart.panels, chart.y_labels(), strict=True))[panel]
    limits = chart.limits(panel)
    for line in chart.panels[panel]:
        hover = [
            f"<b>{text(line.label)}</b><br>{text(chart.x)}: {place:g}<br>{text(y)}: {value}"
            for place, value in zip(line.points[0], line.texts(), strict=True)
        ]
        for trace in _curve(line, numbers[line.label], hover, limits[1] if limits else np.inf):
            own = {"type": "scatter", "legendgroup": line.label, "name": text(line.label)}
            yield own | trace | {"meta": {"panel": panel, "legend": line.label}}


def _curve(line: Line, number: int, hover: Sequence[str], top: float) -> Iterator[Trace]:
    x, y = line.points
    colour = COLOURS[number % len(COLOURS)]
    aside = {"hoverinfo": "skip", "showlegend": False}
    bars: Trace = {}
    if line.edges is not None and line.scattered:
        low, high = line.edges
        bars = {
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": high - y,
                "arrayminus": y - low,
                "width": 0,
            }
        }
    elif line.edges is not None:
        edge_x, edge_y = _outline(x, *line.edges)
        fill = {
            "fill": "toself",
            "fillcolor": colour + BAND,
            "mode": "lines",
            "line": {"width": 0, "color": colour},
        }
        yield {"x": edge_x, "y": edge_y, **fill, **aside}
    yield {
        "x": x,
        "y": y,
        "mode": "markers" if line.scattered else "lines" if len(x) > 20 else "lines+markers",
        "line": {"color": colour, "dash": _dash(number, line.dashed), "width": 2},
        "marker": {"color": colour, "symbol": MARKERS[number % len(MARKERS)], "size": 7},
        "hoverinfo": "text",
        "hovertext": hover,
        **bars,
    }
    if line.mark is not None:
        ring = {
            "color": colour,
            "symbol": "circle-open",
            "size": 15,
            "line": {"width": 2, "color": colour},
        }
        yield {"x": x[[line.mark]], "y": y[[line.mark]], "mode": "markers", "marker": ring, **aside}
    if (y > top).any():
        yield {
            "x": x[y > top],
            "y": [top] * int((y > top).sum()),
            "mode": "markers",
            "marker": {"color": colour, "symbol": "triangle-up", "size": 10},
            "cliponaxis": False,
            "hoverinfo": "text",
            "hovertext": [said for said, value in zip(hover, y, strict=True) if value > top],
            "showlegend": False,
        }


def _dash(number: int, dashed: bool) -> str:
    return "dash" if dashed else DASHES[number // len(COLOURS) % len(DASHES)]


def _outline(x: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> tuple[list[Any], list[Any]]:
    """The outline of a band. Each stretch without a gap has its own, with None between two."""
    known = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    edge_x: list[Any] = []
    edge_y: list[Any] = []
    for run in np.split(np.arange(len(x)), np.flatnonzero(np.diff(known)) + 1):
        if len(run) and known[run[0]]:
            edge_x += [None] * bool(edge_x) + [*x[run], *x[run[::-1]]]
            edge_y += [None] * bool(edge_y) + [*high[run], *low[run[::-1]]]
    return edge_x, edge_y


def histograms(chart: Bars, panel: str) -> Iterator[Trace]:
    """The histograms of a panel, one for each label."""
    numbers, bins, legend = chart.numbers(), chart.bins(panel), chart.legend(panel)
    for label, counts in chart.counts(panel).items():
        colour = COLOURS[numbers[label] % len(COLOURS)]
        yield {
            "type": "bar",
            "legendgroup": label,
            "name": text(legend[label]),
            "x": (bins[:-1] + bins[1:]) / 2,
            "y": counts,
            "width": np.diff(bins),
            "marker": {"color": colour + FILL, "line": {"color": colour, "width": 1}},
            "hoverinfo": "text",
            "hovertext": [
                f"<b>{text(label)}</b><br>{text(chart.x)}: {low:.4g} to "
                f"{high:.4g}<br>{text(chart.y)}: {count} of {counts.sum()}"
                for (low, high), count in zip(pairwise(bins), counts, strict=True)
            ],
            "meta": {"panel": panel, "legend": legend[label]},
        }


def cells(chart: Heat) -> Trace:
    """The cells of a heat map, with the colour bar above."""
    said = [
        [chart.text(row, column) for column in range(len(chart.columns))]
        for row in range(len(chart.rows))
    ]
    hover = [
        [
            f"{text(chart.y)}: <b>{text(row)}</b><br>{text(chart.x)}: <b>{text(column)}</b>"
            f"<br>{text(chart.value)}: {value or 'no data'}"
            for column, value in zip(chart.columns, values, strict=True)
        ]
        for row, values in zip(chart.rows, said, strict=True)
    ]
    bar = {
        "orientation": "h",
        "thickness": 10,
        "len": 1,
        "x": 0,
        "xanchor": "left",
        "xpad": 0,
        "y": 1,
        "yanchor": "bottom",
        "ypad": 8,
        "outlinewidth": 0,
        "nticks": 6,
        "tickcolor": MUTED,
        "tickfont": {"color": INK, "size": 12},
        "title": {"text": text(chart.value), "side": "top", "font": {"color": INK, "size": 13}},
    }
    return {
        "type": "heatmap",
        "z": chart.table,
        "text": said,
        "texttemplate": "%{text}",
        "hovertext": hover,
        "hoverinfo": "text",
        "hoverongaps": True,
        "colorscale": "Cividis",
        "colorbar": bar,
        "xgap": 1,
        "ygap": 1,
    }
