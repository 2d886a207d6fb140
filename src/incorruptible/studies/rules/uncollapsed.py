"""Does no run collapse, however large a strength it may use?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...statistics import agree, crossed
from ..evidence import Arm, EvidenceRow, Judgement, Lacking, best, matching
from .shortfall import non_inferior


@dataclass(frozen=True)
class Uncollapsed:
    """Compares, in each group, the score without noise of each run with that of the best arm.

    Each of `groups` is a title, a pattern of runs, and a pattern of arms. A run is represented by
    its last weights, the arms by the one whose score without noise is best on validation. Intervals
    are over crossed seeds and examples.

    A row is "supported" where the lower limit lies above -`margin`, and "contradicted" where the
    upper limit lies below -`margin`. Each group must have `runs` runs. Where one is missing, for
    example because it diverged, nothing is concluded.
    """

    groups: tuple[tuple[str, str, str], ...]
    runs: int = 1
    margin: float = 0.02

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return [name for _, *names in self.groups for name in names]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        rows = []
        for title, runs, pattern in self.groups:
            theirs = best(matching(arms, pattern), 0.0)
            if len(found := matching(arms, runs)) < self.runs:
                raise Lacking(
                    f"of {self.runs} runs {runs!r} only {len(found)} came to an end in all seeds"
                )
            for run in found:
                k = run.index(0.0)
                gap = crossed(run.sign * (run.test[:, k] - theirs.test[:, k]))
                reached = [
                    max(one["strength"] for one in seed if "strength" in one)
                    for seed in run.metrics
                ]
                note = (
                    f"largest strength {min(reached):.3g} to {max(reached):.3g}" if reached else ""
                )
                word = non_inferior(gap.interval, self.margin)
                rows.append(
                    EvidenceRow(title, "0", run.name, theirs.name, gap, word, note, theirs.unit)
                )
        return Judgement(agree([row.word for row in rows]), tuple(rows))
