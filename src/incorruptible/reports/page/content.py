"""What a page says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...plots import Chart

TableCell = str | float | None


@dataclass(frozen=True, eq=False)
class Finding:
    """A claim, the word for it, and the comparisons that it rests on.

    A row has question, at, left, right, word, note and unit; where something was compared also
    difference, low, high, p and n, a list. Fractions are shown in points.
    """

    name: str
    word: str
    text: str
    rows: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, what it is about, and its charts."""

    title: str
    text: str = ""
    charts: Sequence[Chart] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of cells under columns; the first cell names its row, None is an empty cell.

    With `by_strength`, columns that are called as a test strength stand out while that strength is
    chosen.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    note: str = ""
    by_strength: bool = False


@dataclass(frozen=True, eq=False)
class Page:
    """All that a report says, from its question to the command that makes it again.

    `recipes` are pairs of an arm's name and its recipe as TOML; `facts` are pairs such as ("seeds",
    "8"); `strengths` are the test strengths to choose from, as the panels of charts with a selector
    are called.
    """

    title: str
    question: str
    summary: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    sections: Sequence[Section] = ()
    tables: Sequence[Table] = ()
    recipes: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, str]] = ()
    command: str = ""
    strengths: Sequence[str] = ()
    strength_unit: str = ""
