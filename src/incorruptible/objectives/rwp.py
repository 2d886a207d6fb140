"""Random weight perturbation, also called noise-injection or hardware-aware training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..corruptions import Corrupted
from ..randomness.streams import Draw
from ..weights.arrays import Array
from .base import OfCorruption, Point, PointSteps


@dataclass(frozen=True)
class RWP(OfCorruption):
    """Random weight perturbation: the gradient at corrupted weights c(w), with a new draw of the
    corruption for each micro-batch.

    The first choice for hardening. Costs one pass, as plain training does. The strength is the
    corruption's. Any corruption will do: the gradient of the loss at c(w) is applied to w
    unchanged, straight through c (the straight-through estimator, Bengio et al., arXiv 1308.3432),
    so c itself is never differentiated. For additive noise, whose scale (max|W_f|) is held fixed,
    this is an unbiased gradient of E[L(c(w))]. Where c multiplies a weight or loses it
    (multiplicative, drift, dropconnect), the exact gradient has a factor dc/dw, which is left out.
    Where c is a step (levels, codes, flips), dc/dw is 0 almost everywhere, and training proceeds
    only because it is left out.

    By hand: L = (w - 1)^2 / 2 at w = 0.3, held in the levels 0, 1/2 and 1: c(w) = 0.5, and the
    gradient is -0.5.
    """

    passes: ClassVar[int] = 1
    clean: ClassVar[bool] = False
    source: ClassVar[str] = "arXiv 2602.07320; hardware-aware training since Joshi et al. 2020"

    def __str__(self) -> str:
        return f"rwp({self.corruption})"

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> PointSteps:
        yield Point(Corrupted(self.corruption, strength, draw))
