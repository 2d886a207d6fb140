"""Weights held as they are: one cell for each, and nothing is rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...weights.arrays import Array
from .protocol import Held

__all__ = ["Weights"]


@dataclass(frozen=True)
class Weights:
    """The number itself; a cell's range is that of the array's largest weight to both sides."""

    exact: ClassVar[bool] = True
    cells: ClassVar[str] = "weights"
    held: ClassVar[str] = "weights held as they are"
    unit: ClassVar[str] = "the weight's own"

    def __str__(self) -> str:
        return "weights"

    def encode(self, array: Array) -> Held:
        """[1, *shape]: the weights."""
        value = array.value.to(torch.promote_types(array.value.dtype, torch.float32))[None].clone()
        top = value.abs().max()
        return Held(
            array,
            value,
            torch.ones_like(value[:, :1].flatten()[:1]),
            0.0,
            -top,
            top,
            0.0,
            self.unit,
        )
