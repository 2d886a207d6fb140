"""Random weight perturbation: the gradient at corrupted weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..arrays import Array
from ..corruptions import Corruption
from ..points import Path, Point
from ..streams import Draw

__all__ = ["RWP"]


@dataclass(frozen=True)
class RWP:
    """g at w corrupted, a fresh draw for each micro-batch: an unbiased gradient of E[L(corrupted w)]; one pass.

    The strength is the corruption's. Its scale is held fixed in the gradient (max|W_f| is not differentiated).
    """

    corruption: Corruption = field(metadata={"inner": True, "named": True})

    passes: ClassVar[int] = 1
    clean: ClassVar[bool] = False
    unit: ClassVar[str] = "the corruption's"
    source: ClassVar[str] = "arXiv 2602.07320; hardware-aware training since Joshi et al. 2020"

    def __str__(self) -> str:
        return f"rwp({self.corruption})"

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> Path:
        yield Point(lambda array: self.corruption(array, strength, draw.of(array.name)))
