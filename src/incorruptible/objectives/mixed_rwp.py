"""Mixed random weight perturbation: corrupted and clean gradient, weighed against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..corruptions import Corrupted, Corruption, as_corruption
from ..errors import UserError
from ..randomness.streams import Draw
from ..specs.grammar import write
from ..weights.arrays import Array
from .base import Point, PointSteps, max_strength_of

__all__ = ["MixedRWP"]


@dataclass(frozen=True)
class MixedRWP:
    """share * g at w corrupted + (1 - share) * g at w; two passes over the same batch.

    The source takes two different batches, one for each gradient; here both see the closure's. The
    corrupted gradient is applied to w straight through the corruption, as by `RWP`.
    """

    corruption: Corruption = field(metadata={"inner": True, "named": True})
    share: float = 0.5

    passes: ClassVar[int] = 2
    clean: ClassVar[bool] = True
    unit: ClassVar[str] = "the corruption's"
    source: ClassVar[str] = "m-RWP, arXiv 2404.00357"

    def __post_init__(self) -> None:
        object.__setattr__(self, "corruption", as_corruption(self.corruption))
        if not 0 < self.share < 1:
            raise UserError(
                f"mixed-rwp: share {self.share!r}: a number between 0 and 1 is needed (1 is rwp, 0 "
                "is plain)."
            )

    def __str__(self) -> str:
        return write("mixed-rwp", self, inner=str(self.corruption))

    @property
    def max_strength(self) -> float:
        """The largest strength."""
        return max_strength_of(self.corruption)

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> PointSteps:
        yield Point(Corrupted(self.corruption, strength, draw), self.share)
        yield Point(None, 1 - self.share)
