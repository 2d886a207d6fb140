"""Does max(test strength, kappa sigma*) name the best training strength, with one kappa for all?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...statistics import agree, verdict
from ..evidence import MARGIN, Arm, EvidenceRow, Judgement, best, difference
from ..theory import predict, sizes


@dataclass(frozen=True)
class Preferred:
    """Compares the arm nearest to the predicted training strength with two others.

    `theory.predict` gives the prediction: sigma* = (A/(nT))^(1/4) comes from the arm of strength 0
    of each number of training examples, and kappa is fitted at `fitted` training examples. `span`
    are the two strengths between which the bounded loss gives T.

    At every other number of training examples and each test strength, the first question compares
    with the arm that is best on validation. This question decides, and "equivalent" (within
    `margin`) counts as supported there. The second question compares with the arm nearest to the
    test strength. Words come after Holm's correction over the rows of a question.
    """

    fitted: int
    span: tuple[float, float] = (0.0, 0.1)
    strengths: tuple[float, ...] = ()
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return []

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        found = predict(arms, self.strengths or tests, self.fitted, self.span)
        groups = sizes(arms)
        pairs: dict[str, list[tuple[int, float, Arm, Arm]]] = {
            "as validation's choice": [],
            "as the test strength": [],
        }
        for (size, s), strength in found.strength.items():
            noisy = [arm for arm in groups[size] if arm.peak > 0]
            if size == self.fitted or not np.isfinite(strength):
                continue
            ours = _nearest(noisy, strength)
            for question, other in zip(pairs, (best(noisy, s), _nearest(noisy, s)), strict=True):
                pairs[question].append((size, s, ours, other))
        rows, words = [], []
        for question, cells in pairs.items():
            gaps = [difference(ours, other, s, self.margin) for _, s, ours, other in cells]
            for (size, s, ours, other), gap, word in zip(
                cells, gaps, verdict(gaps) if gaps else (), strict=True
            ):
                note = (
                    f"predicted {found.strength[size, s]:.3f}: sigma* {found.sigma[size]:.3f}, "
                    f"kappa {found.kappa:.3g}"
                )
                rows.append(
                    EvidenceRow(
                        f"as good {question}, {size} examples",
                        f"{s:g}",
                        ours.name,
                        other.name,
                        gap,
                        word,
                        note,
                    )
                )
                if question == "as validation's choice":
                    words.append("supported" if word == "equivalent" else word)
        for size in groups:
            if not np.isfinite(found.sigma[size]):
                note = (
                    f"no prediction for {size} training examples: the loss of some network does "
                    "not curve upwards"
                )
                rows.append(EvidenceRow("left out", "-", "-", "-", None, "", note))
        return Judgement(agree(words), tuple(rows))


def _nearest(arms: Sequence[Arm], strength: float) -> Arm:
    return min(arms, key=lambda arm: abs(np.log(arm.peak / strength)))
