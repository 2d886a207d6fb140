"""Does one run on each task do as well as the one recipe that is carried over to all of them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...statistics import agree, crossed, curves
from ..evidence import MARGIN, Arm, EvidenceRow, Judgement, Lacking, matching, served
from ..ranges import area, validation_area
from .shortfall import non_inferior


@dataclass(frozen=True)
class Carried:
    """Compares, in each group, the area under score against test strength of one run with the area
    of one recipe that all groups share.

    Each of `groups` is a title, a run, and a pattern of arms. Each strength of the run is served by
    the checkpoint that validation chooses. A recipe is shared if every group has an arm of it;
    names of its arms differ only in what their pattern has before its first *. Of the shared
    recipes, the one is carried over whose area on validation, averaged over the groups, is best.
    Intervals are over crossed seeds and examples.

    A row is "supported" where the lower limit lies above -`margin`, and "contradicted" where the
    upper limit lies below -`margin`.
    """

    groups: tuple[tuple[str, str, str], ...]
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return [name for _, *names in self.groups for name in names]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        found: list[dict[str, Arm]] = []
        for _, _, pattern in self.groups:
            head = pattern.partition("*")[0]
            found.append({arm.name.removeprefix(head): arm for arm in matching(arms, pattern)})
        shared = [name for name in found[0] if all(name in one for one in found)]
        if not shared:
            raise Lacking("no recipe is finished in all groups")

        def validation(name: str) -> float:
            return float(np.mean([one[name].sign * validation_area(one[name]) for one in found]))

        carried = max(shared, key=validation)
        rows = []
        for (title, run, _), one in zip(self.groups, found, strict=True):
            other = one[carried]
            strengths = sorted(other.strengths)
            ours = np.array([served(arms, run, s).test for s in strengths])
            gap = crossed(
                other.sign * (curves.area(np.moveaxis(ours, 0, 2), strengths) - area(other))
            )
            note = f"best by area on validation, over all {len(self.groups)}, of {len(shared)}"
            at = f"{strengths[0]:g} to {strengths[-1]:g}"
            word = non_inferior(gap.interval, self.margin)
            rows.append(
                EvidenceRow(f"{title}, area", at, run, other.name, gap, word, note, other.unit)
            )
        return Judgement(agree([row.word for row in rows]), tuple(rows))
