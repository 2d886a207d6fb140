"""How a result is drawn: every result of this room has a `figure()`, drawn with matplotlib.

    measure(model, accuracy, data, "gaussian-filter-max", [0, 0.1]).figure().savefig("scores.png")

The command line's `--figure` writes the same figure. A `Charted` result has its `chart()` as well:
what is to be seen, as plain data (`plots.Lines`).

Invariant: a figure names the corruption, the number of chips and examples, and what its band is, so
that it can be read without the table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

__all__ = ["Charted", "Result", "against_strength", "counted"]


class Result(ABC):
    """What was measured, which can be drawn."""

    @abstractmethod
    def figure(self) -> Any:
        """The result as a matplotlib figure, at the size of a page."""


class Charted(Result):
    """A result whose figure is a chart of `incorruptible.plots`."""

    @abstractmethod
    def chart(self) -> Any:
        """What the figure shows."""

    def figure(self) -> Any:
        """The result as a matplotlib figure, at the size of a page."""
        from ..plots import draw

        return draw(self.chart())


def against_strength(
    found: Any, rows: Sequence[dict[str, Any]], last: str | None, level: str | None
) -> Any:
    """Score against strength: the mean over chips with its interval, and the chip named `last`.

    `rows` holds "mean", "low", "high" and, where there is one, `last` for each strength; `level`
    says what the band is, and is None where there is none.
    """
    from ..plots import Line, Lines

    band = ([row["low"] for row in rows], [row["high"] for row in rows]) if level else None
    curves = [Line(found.strengths, [row["mean"] for row in rows], "mean over chips", band)]
    if last is not None:
        shown = [row[last] for row in rows]
        curves.append(Line(found.strengths, shown, f"{last} chip", dashed=True))
    few, many = min(map(len, found.values)), max(map(len, found.values))
    said = [
        found.conditions,
        f"{counted(many) if few == many else f'{few} to {counted(many)}'}, "
        f"{found.n_examples} examples, BatchNorm {found.batchnorm}",
        f"band: {level}, over chips" if level else "",
    ]
    axes = f"{found.corruption}: {found.corruption_unit}", f"{found.name} ({found.unit})"
    return Lines("", "", {"": curves}, *axes, "; ".join(filter(None, said)))


def counted(chips: int) -> str:
    """A number of chips as people say it.

    >>> counted(1), counted(2)
    ('1 chip', '2 chips')
    """
    return f"{chips} chip{'' if chips == 1 else 's'}"
