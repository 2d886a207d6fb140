"""A chart on the page: the name of its element, its test strengths, and its numbers as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ...plots import Bars, Chart, Heat, Line, Lines
from .content import Table


def slug(text: str) -> str:
    """A name for an element, to link to.

    >>> slug("Accuracy, by arm")
    'accuracy-by-arm'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def anchor(chart: Chart) -> str:
    """The name of a chart's element."""
    return f"figure-{slug(chart.name)}"


def strengths(chart: Chart) -> set[str]:
    """The test strengths that a chart has panels for.

    The set is empty where the chart does not follow the page's selector of a strength.
    """
    return set() if isinstance(chart, Heat) or not chart.selector else set(chart.panels)


def tables(chart: Chart) -> Iterator[Table]:
    """The numbers of a chart: one table for each panel, or one for a heat map."""
    match chart:
        case Heat():
            rows = [
                [
                    name,
                    *(
                        chart.text(i, j) + " *" * ((i, j) in chart.marks)
                        for j in range(len(chart.columns))
                    ),
                ]
                for i, name in enumerate(chart.rows)
            ]
            marked = " (*: framed in the chart)" if chart.marks else ""
            yield Table(
                f"{chart.value} by {chart.y} and {chart.x}{marked}", [chart.y, *chart.columns], rows
            )
        case Lines():
            for (title, curves), y in zip(chart.panels.items(), chart.y_labels(), strict=True):
                yield _curves(_titled(chart, title, y), chart.x, curves)
        case Bars():
            for title in chart.panels:
                legend, bins = chart.legend(title), chart.bins(title)
                ranges = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(bins)]
                columns = [counts.tolist() for counts in chart.counts(title).values()]
                filled = [[span, *row] for span, *row in zip(ranges, *columns, strict=True)]
                yield Table(_titled(chart, title, chart.y), [chart.x, *legend.values()], filled)


def _titled(chart: Lines | Bars, panel: str, y: str) -> str:
    if chart.selector:
        return f"{y} at test strength {panel}"
    return f"{panel}: {y}" if panel else y


def _curves(title: str, x: str, curves: Sequence[Line]) -> Table:
    """One row for each x that any curve has, one column for each curve."""
    found = [dict(zip(map(float, line.points[0]), line.texts(), strict=True)) for line in curves]
    places = sorted({place for column in found for place in column})
    rows = [[f"{place:g}", *(column.get(place) for column in found)] for place in places]
    return Table(title, [x, *(line.label for line in curves)], rows)
