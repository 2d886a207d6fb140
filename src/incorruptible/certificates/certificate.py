"""What all certificates have in common: strengths that were tested in order, and a sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ..evaluation.base import Result
from .assumptions import Assumptions

__all__ = ["Certificate", "StrengthVerdict", "fixed_sequence"]


# ---- The order in which strengths are tested, so that no correction for their number is needed


class StrengthVerdict(NamedTuple):
    """One strength under test: `hits` of `n` trials, the exact lower bound of their chance, and
    whether it is enough.

    `holds`: the accuracy that the required share of all chips reaches, by the same chips and the
    same confidence; nan where nothing of the kind is known. `not_finite` counts the answers that
    were not finite, and are wrong.
    """

    strength: float
    hits: int
    n: int
    bound: float
    granted: bool
    holds: float = float("nan")
    not_finite: int = 0

    def plain(self) -> dict[str, Any]:
        """As plain data; `not_finite` where it is not 0."""
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

    A false promise needs the first strength whose promise is false to pass its test, which has
    chance at most 1 - confidence; so all that pass hold together at that confidence, without a
    correction for their number, and also where the same chips serve for all (fixed-sequence
    testing: Maurer, Hothorn & Lehmacher 1995). The strengths must be chosen beforehand.
    """
    steps: list[StrengthVerdict] = []
    for strength in sorted(strengths):
        steps.append(test(strength))
        if not steps[-1].granted:
            break
    return tuple(steps)


# ---- What all certificates have in common: strengths that were tested in order, and a sentence


@dataclass(frozen=True, repr=False, eq=False)
class Certificate(Result):
    """A promise of `accuracy` at `confidence`, up to the largest strength that passed; `steps` are
    those that were tested.
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
        """The certified strength: the largest up to which every one that was tested passed; None
        for a refusal.
        """
        return self.passed[-1].strength if self.passed else None

    @property
    def granted(self) -> bool:
        """Whether anything is promised."""
        return bool(self.passed)

    @abstractmethod
    def claim(self) -> str:
        """What is promised or refused, and by which numbers."""

    @abstractmethod
    def covers(self) -> str:
        """What it speaks of, and what not."""

    @abstractmethod
    def assumed(self) -> str:
        """What must be true for it to be."""

    @abstractmethod
    def cells(self, step: StrengthVerdict) -> dict[str, str]:
        """One line of the table, under its titles."""

    def foot(self) -> str:
        """What there is to say below the table."""
        return ""

    def sentence(self) -> str:
        """For a specification: what is promised, how sure, by which n, about what, on which
        assumptions.
        """
        return " ".join([self.claim(), *self._ladder(), self.covers(), self.assumed()])

    def table(self) -> str:
        """One line for each strength that was tested."""
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
        """Everything as plain data, with the sentence."""
        return {
            "kind": self.kind,
            "granted": self.granted,
            "certified_strength": self.strength,
            "sentence": self.sentence(),
            "accuracy": self.accuracy,
            "confidence": self.confidence,
            "steps": [step.plain() for step in self.steps],
            "ground": self.assumptions.plain(),
        }

    def _ladder(self) -> list[str]:
        """How several strengths hold together."""
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
