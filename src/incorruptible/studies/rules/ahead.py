"""Is one arm, or the best of some, ahead of another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...statistics import agree, crossed, verdict
from .. import ranges
from ..evidence import MARGIN, Arm, EvidenceRow, Judgement, duel, matching


@dataclass(frozen=True)
class Ahead:
    """Compares, at each test strength, the best arm of `left` with the best arm of `right`.

    `left` and `right` are names of arms, in which * stands for anything. Of several arms,
    validation at that strength chooses the best. `statistic` is the "score", or the "loss" on the
    test examples, where the lower loss is ahead. Intervals are over crossed seeds and examples,
    words come after Holm's correction over the strengths, and "equivalent" means a difference
    within `margin`. `strengths` restricts the test strengths.

    The statistic "area" makes one comparison in place of many. It compares the area under score
    against strength, 0 included, of the arms whose area on validation is best.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    statistic: Literal["score", "loss", "area"] = "score"
    strengths: tuple[float, ...] = ()
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return [*self.left, *self.right]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        left, right = matching(arms, *self.left), matching(arms, *self.right)
        if self.statistic == "area":
            return self._in_area(left, right)
        strengths = self.strengths or tests or (0.0,)
        question = f"ahead in {self.statistic}"
        rows = duel(question, left, right, strengths, self.margin, self.statistic)
        return Judgement(agree([row.word for row in rows]), tuple(rows))

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
