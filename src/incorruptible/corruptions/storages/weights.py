"""Weights held as they are: one cell for each weight, and nothing is rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...weights.arrays import Array
from .protocol import Held


@dataclass(frozen=True)
class Weights:
    """Each cell holds the weight itself. The range of a cell is from minus to plus the array's
    largest weight in magnitude.

    Choose it for faults that need no model of the memory, such as lost weights.
    """

    exact: ClassVar[bool] = True
    cells: ClassVar[str] = "weights"
    held: ClassVar[str] = "weights held as they are"
    unit: ClassVar[str] = "the weight's own"

    def __str__(self) -> str:
        return "weights"

    def encode(self, array: Array) -> Held:
        """The cells [1, *shape]: the weights themselves, in float32 or wider."""
        value = array.value.to(torch.promote_types(array.value.dtype, torch.float32))[None].clone()
        top = value.abs().max()
        return Held(
            array,
            value,
            torch.ones_like(value[:, :1].flatten()[:1]),  # a single 1
            0.0,
            -top,
            top,
            0.0,
            self.unit,
        )
