"""SAM whose ascent is taken at a randomly perturbed point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..corruptions import Corrupted
from ..errors import UserError
from ..randomness.streams import Draw
from ..specs.grammar import write
from ..weights.arrays import Array
from .base import OfCorruption, Point, PointSteps, max_strength_of
from .sam import EUCLIDEAN, Ascent, metric_of


@dataclass(frozen=True)
class RWPSAM(OfCorruption):
    """SAM around corrupted weights: v is w corrupted at strength ratio * rho, g is the gradient at
    v, and the step takes the gradient at v + rho g / ||g||.

    The strength is rho, so strength 0 gives the gradient at the weights as they rest. `ratio` sets
    how strong the noise is relative to rho. `metric` is as for `SAM`. Costs two passes. Both
    gradients are applied to w straight through the corruption, as by `RWP`.
    """

    ratio: float = 1.0
    metric: str = EUCLIDEAN

    passes: ClassVar[int] = 2
    clean: ClassVar[bool] = False
    unit: ClassVar[str] = "rho, the radius of the ball; the noise has ratio * rho"
    source: ClassVar[str] = "this package; SAM is arXiv 2010.01412"

    def __post_init__(self) -> None:
        super().__post_init__()
        metric_of(self.metric)
        if not 0 <= self.ratio < float("inf"):
            raise UserError(
                f"rwp-sam: ratio {self.ratio!r}: a finite number that is not negative is needed."
            )

    def __str__(self) -> str:
        return write("rwp-sam", self, inner=str(self.corruption))

    @property
    def max_strength(self) -> float:
        """The largest strength."""
        return max_strength_of(self.corruption) / self.ratio if self.ratio else math.inf

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> PointSteps:
        corrupted = Corrupted(self.corruption, strength * self.ratio, draw)
        found = yield Point(corrupted, share=0)
        yield Point(Ascent(found.grads, arrays, strength, metric_of(self.metric), corrupted))
