"""Gaussian error in proportion to each weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..arrays import Array
from ..streams import Noise
from .protocol import Moments

__all__ = ["Multiplicative"]


@dataclass(frozen=True)
class Multiplicative:
    """w (1 + s z) with z ~ N(0, 1) for each weight: std = s |w|, mean 0; weights of zero stay zero."""

    unit = "std of each weight's relative error"
    formula = "w (1 + s z), z ~ N(0, 1)"
    source = "diverse-weight multiplicative perturbation, arXiv 2406.16540"

    def __str__(self) -> str:
        return "multiplicative"

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        return noise.normal(array.value).mul_(strength).add_(1).mul_(array.value).to(array.value.dtype)

    def moments(self, array: Array, strength: float) -> Moments:
        std = array.value.abs() * strength
        return Moments(torch.zeros_like(std), std)
