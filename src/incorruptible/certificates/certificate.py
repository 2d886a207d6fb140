"""What both kinds of certificate have in common: strengths that are tested in increasing order, and
a text that says what is promised.

Keeps: at most one strength fails, and it is the last one tested (`fixed_sequence`). All strengths
that passed hold together at the stated confidence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ..evaluation.base import Result
from .assumptions import Assumptions


class StrengthVerdict(NamedTuple):
    """The test of one strength: `hits` of `n` trials, the exact lower bound of the chance of a hit,
    and whether the bound is high enough.

    `holds` is the score that the required share of all chips reaches, shown by the same chips at
    the same confidence, and nan if the certificate does not say so. `not_finite` counts answers
    that were not finite; these count as wrong.
    """

    strength: float
    hits: int
    n: int
    bound: float
    granted: bool
    holds: float = float("nan")
    not_finite: int = 0

    def plain(self) -> dict[str, Any]:
        """The verdict as plain data, with `not_finite` only if it is not 0."""
        found = self._asdict()
        return (
            found
            if self.not_finite
            else {key: value for key, value in found.items() if key != "not_finite"}
        )


def fixed_sequence(
    strengths: Sequence[float], test: Callable[[float], StrengthVerdict]
) -> tuple[StrengthVerdict, ...]:
    """Test strengths in increasing order, each at the full confidence, up to the first that fails.

    A false promise needs the first strength whose promise is false to pass its test, and this has
    chance at most 1 - confidence. All strengths that pass therefore hold together at that
    confidence, without a correction for their number, even if the same chips serve for all of them
    (fixed-sequence testing: Maurer, Hothorn & Lehmacher 1995). The strengths must be chosen before
    the chips are seen.

    >>> passes = lambda s: StrengthVerdict(s, 0, 0, 0.0, granted=s < 0.2)
    >>> [step.strength for step in fixed_sequence([0.3, 0.1, 0.2], passes)]
    [0.1, 0.2]
    """
    steps: list[StrengthVerdict] = []
    for strength in sorted(strengths):
        steps.append(test(strength))
        if not steps[-1].granted:
            break
    return tuple(steps)


@dataclass(frozen=True, repr=False, eq=False)
class Certificate(Result):
    """A promise of `accuracy` at `confidence`, up to the largest strength that passed, or a
    refusal. `steps` are the strengths that were tested, in order.

    A subclass writes the sentences (`claim`, `covers`, `assumed`) and the columns of the table
    (`cells`).
    """

    kind: ClassVar[str] = ""

    assumptions: Assumptions
    accuracy: float
    confidence: float
    steps: tuple[StrengthVerdict, ...]

    @property
    def passed(self) -> tuple[StrengthVerdict, ...]:
        """The strengths that passed."""
        return tuple(step for step in self.steps if step.granted)

    @property
    def strength(self) -> float | None:
        """The certified strength: the largest that passed, as did every smaller one that was
        tested. None says that the certificate was refused.
        """
        return self.passed[-1].strength if self.passed else None

    @property
    def granted(self) -> bool:
        """Whether anything is promised."""
        return bool(self.passed)

    @abstractmethod
    def claim(self) -> str:
        """A sentence with what is promised or refused, and by which numbers."""

    @abstractmethod
    def covers(self) -> str:
        """A sentence with what the promise covers and what it does not."""

    @abstractmethod
    def assumed(self) -> str:
        """A sentence with what must be true for the promise to hold."""

    @abstractmethod
    def cells(self, step: StrengthVerdict) -> dict[str, str]:
        """One line of the table: the title of each column, and what this strength has there."""

    def foot(self) -> str:
        """A remark below the table, or nothing."""
        return ""

    def sentence(self) -> str:
        """The certificate for a specification: what is promised, at which confidence, from how many
        chips, what it covers, and under which assumptions.
        """
        return " ".join([self.claim(), *self._ladder(), self.covers(), self.assumed()])

    def table(self) -> str:
        """A table with one line for each strength that was tested."""
        lines = ["  ".join(self.cells(self.steps[0]))]
        for step in self.steps:
            line = "  ".join(f"{cell:>{len(title)}}" for title, cell in self.cells(step).items())
            lines.append(f"{line}  {'certified' if step.granted else 'refused'}")
        skipped = ", ".join(
            f"{strength:g}" for strength in self.assumptions.strengths[len(self.steps) :]
        )
        wrong = ", ".join(
            f"{step.not_finite} at {step.strength:g}" for step in self.steps if step.not_finite
        )
        more = [
            f"answers that were not finite, and are wrong: {wrong}" if wrong else "",
            f"not tested, after a failure: {skipped}" if skipped else "",
            self.foot(),
        ]
        return "\n".join([*lines, *(line for line in more if line)])

    def plain(self) -> dict[str, Any]:
        """The certificate as plain data, with its sentence."""
        return {
            "kind": self.kind,
            "granted": self.granted,
            "certified_strength": self.strength,
            "sentence": self.sentence(),
            "accuracy": self.accuracy,
            "confidence": self.confidence,
            "steps": [step.plain() for step in self.steps],
            "ground": self.assumptions.plain(),  # the key's earlier name, which files already have
        }

    def _ladder(self) -> list[str]:
        """A sentence on how several strengths hold together, in a list; empty if only one was
        tested or none passed.
        """
        if len(self.assumptions.strengths) == 1 or not self.passed:
            return []
        failed = [f"{step.strength:g} failed" for step in self.steps if not step.granted] or [
            "none failed"
        ]
        return [
            f"{self.strength:g} is the certified strength: in increasing order, each at the full "
            f"confidence, {', '.join(f'{step.strength:g}' for step in self.passed)} passed and "
            f"{failed[0]}; the confidence holds for all that passed together, and nothing is said "
            "of strengths that were not tested."
        ]

    def __str__(self) -> str:
        return f"{self.sentence()}\n\n{self.table()}"
