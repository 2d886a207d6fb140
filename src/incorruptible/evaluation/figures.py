"""What every result of this room states, and how it is drawn.

`stated` says in one place what a result must tell of its chips and its score, so that none leaves
out what another has. Every result has a `figure()`, drawn with matplotlib:

    measure(model, accuracy, data, "gaussian-filter-max", [0, 0.1]).figure().savefig("scores.png")

The command line's `--figure` writes the same figure. A `Charted` result has its `chart()` as well:
what is to be seen, as plain data (`plots.Lines`).

Invariant: a figure names the corruption, the number of chips and examples, and what its band is, so
that it can be read without the table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from ..corruptions import traits

if TYPE_CHECKING:
    from .sampling import Sampling
    from .scoring import ScoreFunction

__all__ = ["Charted", "Result", "Stated", "against_strength", "counted", "stated"]


class Stated(TypedDict):
    """What every result states of its chips and its score; the fields have these names."""

    corruption: str
    corruption_unit: str
    conditions: str
    name: str
    unit: str
    seed: int
    purpose: str
    batchnorm: str
    autocast: str | None
    channels_last: bool
    read: str | None


def stated(sampling: Sampling, score: ScoreFunction) -> Stated:
    """What a result of these chips, scored like this, must state."""
    return {
        "corruption": str(sampling.corruption),
        "corruption_unit": sampling.corruption.unit,
        "conditions": traits(sampling.corruption).conditions,
        "name": str(getattr(score, "name", None) or getattr(score, "__name__", "score")),
        "unit": getattr(score, "unit", "mean over examples"),
        "seed": sampling.seed,
        "purpose": sampling.purpose,
        "batchnorm": sampling.batchnorm,
        "autocast": sampling.autocast,
        "channels_last": sampling.channels_last,
        "read": sampling.read_noise,
    }


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
