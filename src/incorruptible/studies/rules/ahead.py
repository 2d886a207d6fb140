"""Is one arm, or the best of some, ahead of another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ...statistics import agree, crossed, verdict
from .. import ranges
from ..evidence import MARGIN, Arm, EvidenceRow, Judgement, Lacking, best

__all__ = ["Ahead", "matching"]


@dataclass(frozen=True)
class Ahead:
    """At each test strength, the arm of `left` against the arm of `right`; of several, the one that
    is best on validation.

    `left` and `right` are names, in which * stands for anything. `statistic` is the "score", or the
    "loss" on the test examples (left is ahead where its loss is lower); differences are over
    crossed seeds and examples, Holm over the strengths. "area" makes one comparison in place of
    many: of the area under score against strength, 0 included, between the arms that are best by
    their area on validation. "equivalent" where the difference lies within `margin`. `strengths`
    restricts the test strengths.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    statistic: Literal["score", "loss", "area"] = "score"
    strengths: tuple[float, ...] = ()
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """Names of arms without which nothing can be said."""
        return [*self.left, *self.right]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        differences, pairs = [], []
        sides = [matching(arms, patterns) for patterns in (self.left, self.right)]
        if self.statistic == "area":
            return self._in_area(*sides)
        for s in self.strengths or (tests if tests else (0.0,)):
            left, right = (side[0] if len(side) == 1 else best(side, s) for side in sides)
            k = left.index(s)
            ahead = (
                left.sign * (left.test[:, k] - right.test[:, k])
                if self.statistic == "score"
                else right.test_loss[:, k] - left.test_loss[:, k]
            )
            differences.append(crossed(ahead, margin=self.margin))
            pairs.append((s, left.name, right.name))
        words = verdict(differences)
        unit = sides[0][0].unit if self.statistic == "score" else "nats"
        rows = [
            EvidenceRow(
                f"ahead in {self.statistic}", f"{s:g}", left_name, right_name, gap, word, unit=unit
            )
            for (s, left_name, right_name), gap, word in zip(pairs, differences, words, strict=True)
        ]
        return Judgement(agree(words), tuple(rows))

    def _in_area(self, left: Sequence[Arm], right: Sequence[Arm]) -> Judgement:
        one, other = ranges.best(left, self.strengths), ranges.best(right, self.strengths)
        gap = one.sign * (ranges.area(one, self.strengths) - ranges.area(other, self.strengths))
        difference = crossed(gap, margin=self.margin)
        (word,) = verdict([difference])
        among = [
            f"{arm.name} of {len(side)}"
            for arm, side in ((one, left), (other, right))
            if len(side) > 1
        ]
        note = f"best by area on validation: {', '.join(among)}" if among else ""
        low, high = min(self.strengths or one.strengths), max(self.strengths or one.strengths)
        row = EvidenceRow(
            "ahead in area",
            f"{low:g} to {high:g}",
            one.name,
            other.name,
            difference,
            word,
            note,
            one.unit,
        )
        return Judgement(word, (row,))


def matching(arms: Sequence[Arm], patterns: Sequence[str]) -> list[Arm]:
    """The arms whose name one of the patterns matches. Raises `Lacking` where none does."""
    # checkpoints of a run are no arms of their own unless somebody asks for them
    found = [
        arm
        for arm in arms
        for one in patterns
        if arm.name == one
        or (fnmatchcase(arm.name, one) and ("@" in one or arm.role != "checkpoint"))
    ]
    found = list(dict.fromkeys(found))
    if not found:
        raise Lacking(f"no arm {' or '.join(map(repr, patterns))} is finished")
    return found
