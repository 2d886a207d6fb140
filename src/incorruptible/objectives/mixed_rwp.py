"""Mixed random weight perturbation: a weighted mean of the corrupted and the clean gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..corruptions import Corrupted
from ..errors import UserError
from ..randomness.streams import Draw
from ..specs.grammar import write
from ..weights.arrays import Array
from .base import OfCorruption, Point, PointSteps


@dataclass(frozen=True)
class MixedRWP(OfCorruption):
    """Mixed random weight perturbation (m-RWP, arXiv 2404.00357): share times the gradient at
    corrupted weights plus (1 - share) times the gradient at the clean weights.

    Costs two passes. The paper takes a batch of its own for each of the two gradients; here both
    are of the closure's batch. The
    corrupted gradient is applied to w straight through the corruption, as by `RWP`.
    """

    share: float = 0.5

    passes: ClassVar[int] = 2
    clean: ClassVar[bool] = True
    source: ClassVar[str] = "m-RWP, arXiv 2404.00357"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise UserError(
                f"mixed-rwp: share {self.share!r}: a number between 0 and 1 is needed (1 is rwp, 0 "
                "is plain)."
            )

    def __str__(self) -> str:
        return write("mixed-rwp", self, inner=str(self.corruption))

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> PointSteps:
        yield Point(Corrupted(self.corruption, strength, draw), self.share)
        yield Point(None, 1 - self.share)
