"""How does the best training strength change with the number of training examples: as n^(-1/4)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...statistics import agree, holm
from ..evidence import Arm, EvidenceRow, Judgement, Lacking, numbers
from ..theory import EXPONENT, Optima, sizes


@dataclass(frozen=True)
class Exponent:
    """Compares, at each test strength, an exponent with the `predicted` one.

    The exponent is the slope of the logarithm of the best training strength against the logarithm
    of the number of training examples. Its interval comes from a jackknife over seeds and test
    images.

    A row is "contradicted" where the exponent differs from `predicted` after Holm's correction over
    the test strengths. Otherwise it is "supported" where the exponent is surely below 0, after the
    same correction, and "undecided" if not. A row is "undecided" too where a best strength, or one
    of its replicates in the jackknife, is the weakest or strongest of all arms, because the true
    best may then lie beyond.
    """

    predicted: float = EXPONENT
    strengths: tuple[float, ...] = ()

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return []

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        groups = sizes(arms)
        if len(groups) < 3:
            raise Lacking("at least 3 numbers of training examples are needed for an exponent")
        x = np.log(list(groups)) - np.log(list(groups)).mean()
        weights = x / (x @ x)
        found = {s: Optima.of(list(groups.values()), s) for s in self.strengths or tests}
        gaps = [optima.combined(weights, self.predicted) for optima in found.values()]
        slopes = [optima.combined(weights) for optima in found.values()]
        rows = []
        for s, gap, slope, differs, some in zip(
            found,
            gaps,
            slopes,
            holm([one.p for one in gaps]),
            holm([one.p for one in slopes]),
            strict=True,
        ):
            falls = some <= 0.05 and slope.interval.estimate < 0
            word = "contradicted" if differs <= 0.05 else "supported" if falls else "undecided"
            edged = found[s].edged
            word = "undecided" if edged else word
            best = ", ".join(
                f"{np.exp(log):.3f} at {n}" for n, log in zip(groups, found[s].logs, strict=True)
            )
            note = f"exponent {numbers(slope.interval)}; best training strength {best}"
            note += (
                "; at the edge of the arms' strengths, so the best may lie beyond" if edged else ""
            )
            rows.append(
                EvidenceRow(
                    "exponent",
                    f"{s:g}",
                    "measured",
                    f"{self.predicted:g}",
                    gap,
                    word,
                    note,
                    unit="exponent",
                )
            )
        return Judgement(agree([row.word for row in rows]), tuple(rows))
