"""Does max(test strength, kappa sigma*) name the training strength that is best, with kappa from
one size only?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...statistics import agree, verdict
from ..evidence import MARGIN, Arm, EvidenceRow, Judgement, Lacking, best, difference
from ..theory import best_strength, kappa, preferred, sizes

__all__ = ["Prediction", "Preferred"]


class Prediction(NamedTuple):
    """sigma* of each number of training examples, kappa, and the training strength by (examples,
    test strength).
    """

    sigma: dict[int, float]
    kappa: float
    strength: dict[tuple[int, float], float]


@dataclass(frozen=True)
class Preferred:
    """sigma* = (A/(nT))^(1/4) comes from the arm of strength 0 of each number of training examples,
    by geometric mean over seeds; kappa is fitted to validation's best training strengths at
    `fitted` examples. At every other number of examples and each test strength, the arm nearest to
    the prediction against the one that is best on validation (first question, which decides;
    "equivalent" within `margin` counts as supported) and against the one nearest to the test
    strength.

    `span` are the two strengths between which the bounded loss gives T. Holm over the rows of a
    question.
    """

    fitted: int
    span: tuple[float, float] = (0.0, 0.1)
    strengths: tuple[float, ...] = ()
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """Names of arms without which nothing can be said."""
        return []

    def predict(self, arms: Sequence[Arm], tests: Sequence[float]) -> Prediction:
        """What the theory says, before it is held against anything."""
        groups = sizes(arms)
        if self.fitted not in groups:
            raise Lacking(
                f"no arms of {self.fitted} training examples are finished; there are {list(groups)}"
            )
        sigma = {}
        for size, group in groups.items():
            if lacking := [s for s in self.span if s not in group[0].strengths]:
                raise Lacking(f"the span's {lacking[0]:g} is not among the test strengths")
            if group[0].peak > 0:
                raise Lacking(f"no arm of strength 0 with {size} training examples is finished")
            each = preferred(group[0], self.span)
            sigma[size] = float(np.exp(np.log(each).mean())) if np.isfinite(each).all() else np.nan
        noisy = [arm for arm in groups[self.fitted] if arm.peak > 0]
        if len(noisy) < 3:
            raise Lacking("at least 3 training strengths above 0 are needed to fit kappa")
        wanted = self.strengths or tuple(tests)
        peaks = [arm.peak for arm in noisy]
        chosen = {
            s: best_strength([arm.validation[:, arm.index(s)].mean() for arm in noisy], peaks)
            for s in wanted
        }
        fit = kappa(chosen, sigma[self.fitted])
        if not np.isfinite(fit):
            raise Lacking(
                f"the loss of some network with {self.fitted} training examples does not curve "
                "upwards: no kappa"
            )
        return Prediction(
            sigma,
            fit,
            {(n, s): float(np.maximum(s, fit * sigma[n])) for n in groups for s in wanted},
        )

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        found, groups = self.predict(arms, tests), sizes(arms)
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
