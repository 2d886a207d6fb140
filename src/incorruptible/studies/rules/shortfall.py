"""How far does one run fall short of the arm that was tuned hardest for each test strength?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...statistics import Interval, agree, crossed
from ..evidence import Arm, EvidenceRow, Judgement, best, matching, served


@dataclass(frozen=True)
class Shortfall:
    """Compares, in each group and at each test strength, one run with the best tuned arm.

    Each of `groups` is a title, a run, and a pattern of tuned arms. The run is represented by the
    checkpoint that each seed's own validation data choose, the tuned arms by the one with the best
    mean validation score. Intervals are over crossed seeds and examples.

    A row is "supported" where the lower limit lies above -`target`: the run falls short by less
    than the target. It is "contradicted" where the upper limit lies below -`target`, and
    "undecided" otherwise. The note says whether the estimate itself is within `target` and `most`.
    Each interval is taken by itself, without a correction over rows. The comparison favours the
    tuned arms, which are many and are chosen by their mean over all seeds.
    """

    groups: tuple[tuple[str, str, str], ...]
    target: float = 0.005
    most: float = 0.01

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return [name for _, *names in self.groups for name in names]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        rows = []
        for title, run, pattern in self.groups:
            tuned = matching(arms, pattern)
            for s in tests:
                ours, theirs = served(arms, run, s), best(tuned, s)
                gap = crossed(theirs.sign * (ours.test - theirs.test[:, theirs.index(s)]))
                lost = -gap.interval.estimate
                said = (
                    "within the target"
                    if lost <= self.target
                    else "within the limit"
                    if lost <= self.most
                    else "beyond the limit"
                )
                note = f"{said}; best of {len(tuned)}" + (
                    f"; checkpoint: {ours.picks}" if ours.picks else ""
                )
                word = non_inferior(gap.interval, self.target)
                rows.append(
                    EvidenceRow(title, f"{s:g}", run, theirs.name, gap, word, note, theirs.unit)
                )
        return Judgement(agree([row.word for row in rows]), tuple(rows))


def non_inferior(gap: Interval, margin: float) -> str:
    """The word for a difference that should not lie further below 0 than `margin`.

    >>> non_inferior(Interval(-0.004, 0.001, 0.006), 0.005), non_inferior(Interval(-0.02, -0.01, -0.006), 0.005)
    ('supported', 'contradicted')
    """
    return (
        "supported" if gap.low > -margin else "contradicted" if gap.high < -margin else "undecided"
    )
