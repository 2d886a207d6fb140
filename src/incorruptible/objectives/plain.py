"""The plain gradient, at the clean weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..randomness.streams import Draw
from ..weights.arrays import Array
from .base import Point, PointSteps


@dataclass(frozen=True)
class Plain:
    """The gradient at the clean weights, as in ordinary training: the baseline of every comparison.
    The strength has no effect. Costs one pass.
    """

    passes: ClassVar[int] = 1
    clean: ClassVar[bool] = True
    unit: ClassVar[str] = "none"
    source: ClassVar[str] = "the optimiser's own"

    def __str__(self) -> str:
        return "plain"

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> PointSteps:
        yield Point(None)
