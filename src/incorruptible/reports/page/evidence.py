"""The comparisons that a finding rests on, in words, in numbers and as places in a drawing.

A drawing is a number line, WIDTH pixels wide. An interval is a stroke on it, its middle a dot.
Rows of one unit share one number line, so that their intervals can be compared by eye.

Relies on: rows are those of `EvidenceRow.plain`; `parts.html` draws with the same width.
Keeps: 0 always lies on the number line; a row without a finite interval is said in words and not
drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ...studies.evidence import shown_in
from .tables import signed

WIDTH, EDGE = 200, 16  # pixels: of a drawing (as in parts.html), and its free margin on either side
Span = tuple[float, float]


def by_question(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a finding under their questions, as the page writes and draws them."""
    spans = {
        _unit(row): _span([other for other in rows if _unit(other) == _unit(row)]) for row in rows
    }
    found = []
    for title, group in groupby(rows, lambda row: str(row["question"])):
        own = list(group)
        unit = next((_unit(row) for row in own if _known(row)), "")
        found.append(
            {
                "title": title,
                "scale": _scale(spans.get(unit), unit),
                "rows": [_row(row, spans[_unit(row)]) for row in own],
            }
        )
    return found


def _row(row: Mapping[str, Any], span: Span | None) -> dict[str, Any]:
    p = row.get("p")
    return {
        "at": row["at"],
        "compared": f"{row['left']} − {row['right']}",
        "difference": None if row.get("difference") is None else _text(row),
        "drawn": _interval(span, *_values(row)) if span and _known(row) else None,
        "p": "–" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}",
        "n": " × ".join(map(str, row.get("n") or ())),
        "word": row["word"],
        "note": row.get("note"),
    }


def _text(row: Mapping[str, Any]) -> str:
    if not _known(row):
        return "no finite interval"
    spec = f"+.{shown_in(row['unit']).places}f"
    low, middle, high = (signed(value, spec) for value in _values(row))
    return f"{middle} ({low} to {high}) {_unit(row)}"


def _unit(row: Mapping[str, Any]) -> str:
    return shown_in(row["unit"]).points


def _values(row: Mapping[str, Any]) -> tuple[float, float, float]:
    factor = shown_in(row["unit"]).factor
    return factor * row["low"], factor * row["difference"], factor * row["high"]


def _known(row: Mapping[str, Any]) -> bool:
    """Whether something was compared, and the interval has two finite ends."""
    found = [row.get(key) for key in ("low", "difference", "high")]
    return all(value is not None and math.isfinite(value) for value in found)


def _span(rows: Sequence[Mapping[str, Any]]) -> Span | None:
    """From the lowest end of an interval to the highest, and always over 0."""
    ends = [end for row in rows if _known(row) for end in _values(row)]
    return (min(0.0, *ends), max(0.0, *ends)) if any(ends) else None


def _at(span: Span, value: float) -> str:
    low, high = span
    return f"{EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low):.1f}"


def _interval(span: Span, low: float, middle: float, high: float) -> dict[str, str]:
    places = {"zero": 0.0, "low": low, "middle": middle, "high": high}
    return {name: _at(span, value) for name, value in places.items()}


def _scale(span: Span | None, unit: str) -> list[tuple[str, str]]:
    """Where the number line has labels: at 0 and at its ends.

    An end that is too near to 0 for two labels has none.
    """
    if span is None:
        return []
    low, high = span
    labels = [
        (end, signed(end, "+.0f" if abs(end) >= 100 else "+.2g"))
        for end in span
        if abs(end) > 0.25 * (high - low)
    ]
    return [(_at(span, value), text) for value, text in [*labels, (0.0, f"0 {unit}")]]
