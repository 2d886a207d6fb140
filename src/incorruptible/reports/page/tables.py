"""How the page writes the cells of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .content import Table, TableCell


def places(table: Table) -> list[int]:
    """For each column, the decimal places of its numbers.

    The largest number of the column gets four digits. A column of whole numbers has no places.
    """
    return [_places([row[i] for row in table.rows]) for i in range(len(table.columns))]


def _places(column: Sequence[TableCell]) -> int:
    numbers = [
        abs(cell) for cell in column if not isinstance(cell, str | None) and math.isfinite(cell)
    ]
    largest = max(numbers, default=0.0)
    if largest == 0 or all(float(number).is_integer() for number in numbers):
        return 0
    return max(0, 3 - math.floor(math.log10(largest)))


def written(cell: TableCell, places: int) -> str:
    """The text of a cell, with a dash where there is no finite number."""
    if isinstance(cell, str):
        return cell
    return "–" if cell is None or not math.isfinite(cell) else signed(cell, f".{places}f")


def signed(value: float, spec: str = "+.2f") -> str:
    """A number whose minus is as wide as a plus.

    >>> signed(-1.234)
    '−1.23'
    """
    return format(value, spec).replace("-", "\N{MINUS SIGN}")
