"""A chart on the page: where it is drawn, what it says in words, and its numbers for whoever does
not see it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ...plots import Bars, Chart, Heat, Line, Lines
from .content import Table
from .markup import Markup, element, paragraphs, slug
from .tables import table

__all__ = ["anchor", "element_of", "strengths"]


def anchor(chart: Chart) -> str:
    """The name of a chart's element."""
    return slug("figure", chart.name)


def strengths(chart: Chart) -> set[str]:
    """The test strengths that a chart has panels for; none where it does not follow the
    selector.
    """
    return set() if isinstance(chart, Heat) or not chart.selector else set(chart.panels)


def element_of(chart: Chart) -> Markup:
    """The figure, empty until the script draws it."""
    name = anchor(chart)
    chosen = element(
        "p", "Test strength ", element("b", "", class_="chosen-strength"), class_="at-strength"
    )
    return element(
        "figure",
        element("h3", chart.title, id=f"{name}-title"),
        chosen if strengths(chart) else "",
        element(
            "div",
            element("div", class_="plot", aria_hidden="true"),
            role="img",
            aria_label=chart.alt or chart.title,
        ),
        element("p", "Nothing was measured at this strength.", class_="nothing", hidden=True)
        if strengths(chart)
        else "",
        element("ul", class_="legend", aria_label="Shown in the chart")
        if not isinstance(chart, Heat)
        else "",
        element("figcaption", paragraphs(chart.caption)) if chart.caption else "",
        element("details", element("summary", "Data"), *(table(one) for one in _tables(chart))),
        id=name,
        aria_labelledby=f"{name}-title",
        class_="chart",
    )


def _tables(chart: Chart) -> Iterator[Table]:
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
