"""The evidence for a finding: its comparisons in numbers, and drawn beside them with their
intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from .content import Finding
from .markup import Markup, element, join, slug
from .tables import scrolled, signed

__all__ = ["chip", "evidence"]

WORDS = ("supported", "contradicted", "equivalent", "conditional", "undecided")
WIDTH, HEIGHT, EDGE = 200, 22, 16  # of a drawing, and what of it stays free at either side
COLUMNS = ("at", "left − right", "difference (interval)", "drawn", "p", "n", "word")
Span = tuple[float, float]


def chip(word: str) -> Markup:
    """The word for a finding, as a small label; colour only repeats what it says."""
    return element("span", word, class_=f"chip {word if word in WORDS else ''}".strip())


def evidence(finding: Finding) -> Markup:
    """A finding under its heading: the claim, and a table with a forest of differences, one scale
    for each unit.
    """
    title = f"Comparisons for {finding.name}"
    anchor = slug("finding", finding.name)
    spans = {
        _unit(row): _span([other for other in finding.rows if _unit(other) == _unit(row)])
        for row in finding.rows
    }
    bodies = [
        element("tbody", _group(question, list(rows), spans))
        for question, rows in groupby(finding.rows, lambda row: str(row["question"]))
    ]
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in COLUMNS)))
    whole = element(
        "table", element("caption", title, class_="unseen"), head, *bodies, class_="evidence"
    )
    return element(
        "section",
        element("h3", finding.name, " ", chip(finding.word), id=f"{anchor}-title"),
        element("p", finding.text),
        scrolled(whole, title) if finding.rows else "",
        id=anchor,
        aria_labelledby=f"{anchor}-title",
    )


def _group(
    question: str, rows: Sequence[Mapping[str, Any]], spans: Mapping[str, Span | None]
) -> Markup:
    """Rows of one question, under the scale that they are drawn to."""
    unit = next((_unit(row) for row in rows if _known(row)), "")
    span = spans.get(unit)
    head = element(
        "tr",
        element("th", question, colspan="3", scope="rowgroup"),
        element("td", _scale(span, unit) if span else "", class_="drawn"),
        element("td", colspan="3"),
        class_="question",
    )
    return join(head, *(_row(row, spans[_unit(row)]) for row in rows))


def _row(row: Mapping[str, Any], span: Span | None) -> Markup:
    cells = [
        element("th", str(row["at"]), scope="row"),
        element("td", f"{row['left']} − {row['right']}", class_="compared"),
    ]
    if row.get("difference") is None:
        cells.append(element("td", "–", colspan="4"))
    else:
        p = row.get("p")
        cells += [
            element("td", _text(row), class_="number"),
            element(
                "td", _interval(span, *_values(row)) if span and _known(row) else "", class_="drawn"
            ),
            element(
                "td", "–" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}", class_="number"
            ),
            element("td", " × ".join(str(count) for count in row.get("n") or ()), class_="number"),
        ]
    drawn = element("tr", *cells, element("td", chip(str(row["word"]))))
    if not row.get("note"):
        return drawn
    note = element("td", element("span", str(row["note"])), colspan=str(len(COLUMNS)))
    return join(drawn, element("tr", note, class_="note"))


def _text(row: Mapping[str, Any]) -> str:
    if not _known(row):
        return "no finite interval"
    spec = "+.2f" if row["unit"] == "fraction" else "+.3f"
    low, middle, high = (signed(value, spec) for value in _values(row))
    return f"{middle} ({low} to {high}) {_unit(row)}"


def _unit(row: Mapping[str, Any]) -> str:
    return "points" if row["unit"] == "fraction" else str(row["unit"])


def _values(row: Mapping[str, Any]) -> tuple[float, float, float]:
    factor = 100 if row["unit"] == "fraction" else 1
    return factor * row["low"], factor * row["difference"], factor * row["high"]


def _known(row: Mapping[str, Any]) -> bool:
    """Whether something was compared, and the interval has two ends."""
    found = [row.get(key) for key in ("low", "difference", "high")]
    return all(value is not None and math.isfinite(value) for value in found)


def _span(rows: Sequence[Mapping[str, Any]]) -> Span | None:
    """From the lowest end of an interval to the highest, and always over 0."""
    ends = [end for row in rows if _known(row) for end in _values(row)]
    return (min(0.0, *ends), max(0.0, *ends)) if any(ends) else None


def _at(span: Span, value: float) -> str:
    low, high = span
    return f"{EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low):.1f}"


def _picture(height: int, *inside: Markup) -> Markup:
    # The numbers stand in the cell beside it: to a screen reader the drawing says nothing new
    size = {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"}
    return element("svg", *inside, class_="forest", aria_hidden="true", **size)


def _stroke(x1: str, x2: str, y1: float, y2: float, kind: str) -> Markup:
    return element("line", x1=x1, x2=x2, y1=str(y1), y2=str(y2), class_=kind)


def _interval(span: Span, low: float, middle: float, high: float) -> Markup:
    zero, half = _at(span, 0), HEIGHT / 2
    return _picture(
        HEIGHT,
        _stroke(zero, zero, 0, HEIGHT, "zero"),
        _stroke(_at(span, low), _at(span, high), half, half, "whisker"),
        element("circle", cx=_at(span, middle), cy=str(half), r="3.5"),
    )


def _scale(span: Span, unit: str) -> Markup:
    """The ends of the scale and its zero, unless an end is too near to it for two labels."""
    low, high = span
    ends = [end for end in span if abs(end) > 0.25 * (high - low)]
    labels = [(end, signed(end, "+.2g")) for end in ends] + [(0.0, f"0 {unit}")]
    return _picture(
        HEIGHT,
        *(
            element("text", text, x=_at(span, value), y="12", text_anchor="middle")
            for value, text in labels
        ),
        *(_stroke(_at(span, value), _at(span, value), 16, HEIGHT, "zero") for value, _ in labels),
    )
