"""The content of a page, as plain data without any HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...plots import Chart

TableCell = str | float | None


@dataclass(frozen=True, eq=False)
class Finding:
    """A claim, the word for it, and the comparisons that the word rests on.

    A row has question, at, left, right, word, note and unit. Where something was compared, it also
    has difference, low, high, p and n, a list. Fractions are shown in points.
    """

    name: str
    word: str
    text: str
    rows: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, a text of paragraphs, and charts."""

    title: str
    text: str = ""
    charts: Sequence[Chart] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of cells under columns. The first cell names its row, and None is an empty cell.

    With `by_strength`, a column whose name is a test strength stands out while the reader chooses
    that strength.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    note: str = ""
    by_strength: bool = False


@dataclass(frozen=True, eq=False)
class Page:
    """The content of a report, from its question to the command that makes the page again.

    `recipes` are pairs of an arm's name and its recipe as TOML. `facts` are pairs such as ("seeds",
    "8"). `strengths` are the test strengths that a reader can choose; the panels of charts with a
    selector have these names.
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
