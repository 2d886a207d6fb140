"""Tables, and numbers in them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from .content import Table, TableCell
from .markup import Markup, element, join, paragraphs

__all__ = ["scrolled", "signed", "table"]


def table(table: Table, strengths: Collection[str] = ()) -> Markup:
    """A table with its title and note; numbers of a column have equally many places."""
    by = [name if table.by_strength and name in strengths else None for name in table.columns]
    places = [_places([row[i] for row in table.rows]) for i in range(len(table.columns))]
    head = element(
        "tr",
        *(
            _cell("th", name, name=name, at=by[i], scope="col")
            for i, name in enumerate(table.columns)
        ),
    )
    body = [
        element(
            "tr",
            *(
                _cell(
                    "td" if i else "th",
                    cell,
                    places[i],
                    at=by[i],
                    **({} if i else {"scope": "row"}),
                )
                for i, cell in enumerate(row)
            ),
        )
        for row in table.rows
    ]
    whole = element(
        "table",
        element("caption", table.title),
        element("thead", head),
        element("tbody", join(*body)),
        class_="numbers",
    )
    return join(scrolled(whole, table.title), paragraphs(table.note))


def scrolled(inside: Markup, name: str) -> Markup:
    """A box of its own in which a wide table scrolls, also by keyboard."""
    return element(
        "div", inside, class_="scroll", role="region", tabindex="0", aria_label=f"Table: {name}"
    )


def _places(column: Sequence[TableCell]) -> int:
    """As many as give the largest number of the column four digits; none if all are whole."""
    numbers = [
        abs(cell) for cell in column if not isinstance(cell, str | None) and math.isfinite(cell)
    ]
    largest = max(numbers, default=0.0)
    if largest == 0 or all(float(number).is_integer() for number in numbers):
        return 0
    return max(0, 3 - math.floor(math.log10(largest)))


def _cell(
    kind: str,
    cell: TableCell,
    places: int = 0,
    at: str | None = None,
    name: str = "",
    **attributes: str,
) -> Markup:
    number = not isinstance(cell, str | None)
    if isinstance(cell, str):
        text = cell
    elif cell is None or not math.isfinite(cell):
        text = "–"
    else:
        text = f"{cell:.{places}f}".replace("-", "\N{MINUS SIGN}")
    if at is not None:
        attributes["data_strength"] = at
    return element(kind, text, class_="number" if number else False, **attributes)


def signed(value: float, spec: str = "+.2f") -> str:
    """A difference with its sign, and a minus as wide as a plus.

    >>> signed(-1.234)
    '−1.23'
    """
    return format(value, spec).replace("-", "\N{MINUS SIGN}")
