"""Mixed random weight perturbation: a weighted mean of the corrupted and the clean gradient."""

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


@dataclass(frozen=True)
class MixedRWP:
    """Mixed random weight perturbation (m-RWP, arXiv 2404.00357): share times the gradient at
    corrupted weights plus (1 - share) times the gradient at the clean weights.

    Costs two passes. The paper takes a batch of its own for each of the two gradients; here both
    are of the closure's batch. The
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
