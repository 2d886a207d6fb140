"""Is one arm, or the best of some, ahead of another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ...statistics import agree, crossed, verdict
from ..evidence import MARGIN, Arm, Judgement, Lacking, Row, best

__all__ = ["Ahead"]


@dataclass(frozen=True)
class Ahead:
    """At each test strength, the arm of `left` against the arm of `right`; of several, the one that is best on validation.

    `left` and `right` are names, in which * stands for anything. `statistic` is the "score", or the "loss" on the test
    examples (left is ahead where its loss is lower); differences are over crossed seeds and examples, Holm over the strengths.
    "equivalent" where the difference lies within `margin`. `strengths` restricts the test strengths.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    statistic: Literal["score", "loss"] = "score"
    strengths: tuple[float, ...] = ()
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """Names of arms without which nothing can be said."""
        return [*self.left, *self.right]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        differences, pairs = [], []
        sides = [_matching(arms, patterns) for patterns in (self.left, self.right)]
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
        unit = "points" if self.statistic == "score" else "nats"
        rows = [
            Row(f"ahead in {self.statistic}", f"{s:g}", left_name, right_name, gap, word, unit=unit)
            for (s, left_name, right_name), gap, word in zip(pairs, differences, words, strict=True)
        ]
        return Judgement(agree(words), tuple(rows))


def _matching(arms: Sequence[Arm], patterns: Sequence[str]) -> list[Arm]:
    found = [arm for arm in arms if any(arm.name == one or fnmatchcase(arm.name, one) for one in patterns)]
    if not found:
        raise Lacking(f"no arm {' or '.join(map(repr, patterns))} is finished")
    return found
