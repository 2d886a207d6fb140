"""Does noisy risk on test examples grow with the strength, as bounds at larger strengths assume?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...statistics import Difference, agree, crossed, verdict
from ..evidence import Arm, EvidenceRow, Judgement
from ..theory import sizes


@dataclass(frozen=True)
class Grows:
    """Takes, for each number of training examples, the increase of the error rate on test examples
    between each two neighbouring strengths.

    The increase is under the same chips at both strengths, averaged over the arms. Its interval is
    over crossed seeds and examples, and words come after Holm's correction over all rows. A row is
    also "contradicted" where the risk of any single arm falls, after Holm's correction over all
    arms and rows.
    """

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return []

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        cells: list[tuple[int, float, float, Difference]] = []
        single: list[list[Difference]] = []
        for size, group in sizes(arms).items():
            for k, (low, high) in enumerate(pairwise(group[0].strengths)):
                # The difference of two scores is the rise of the error rate.
                rises = np.array([arm.test[:, k] - arm.test[:, k + 1] for arm in group])
                cells.append((size, low, high, crossed(rises.mean(0))))
                single.append([crossed(one) for one in rises])
        words = iter(verdict([one for row in single for one in row]))
        rows = []
        for (size, low, high, rise), word, own in zip(
            cells, verdict([cell[3] for cell in cells]), single, strict=True
        ):
            falls = sum(one.interval.estimate < 0 for one in own)
            surely = [next(words) for _ in own].count("contradicted")
            note = f"of {len(own)} arms the risk of {falls} falls, of {surely} surely"
            word = "contradicted" if surely else word
            rows.append(
                EvidenceRow(
                    f"{size} training examples",
                    f"{high:g}",
                    f"{high:g}",
                    f"{low:g}",
                    rise,
                    word,
                    note,
                )
            )
        return Judgement(agree([row.word for row in rows]), tuple(rows))
