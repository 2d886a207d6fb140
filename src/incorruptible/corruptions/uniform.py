"""Uniform error whose half-width is set by a named scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..arrays import Array
from ..streams import Noise
from .protocol import Moments
from .scales import UNITS, scale_of

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform:
    """w + s m u with u ~ U(-1, 1) for each weight and m the scale, as for `Gaussian`: std = s m / sqrt(3), mean 0."""

    scale: str = field(metadata={"named": True})

    def __post_init__(self) -> None:
        scale_of(self.scale)

    def __str__(self) -> str:
        return f"uniform-{self.scale}"

    @property
    def unit(self) -> str:
        return f"half-width of the error in {UNITS[self.scale]}"

    @property
    def formula(self) -> str:
        return f"w + s {UNITS[self.scale]} u, u ~ U(-1, 1)".replace(" 1 u", " u")

    @property
    def source(self) -> str:
        return "bounded error, as of rounding or write-verify; arXiv 2011.06220 trains with it"

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        u = noise.uniform(array.value).mul_(2).sub_(1)
        return u.mul_(scale_of(self.scale)(array) * strength).add_(array.value).to(array.value.dtype)

    def moments(self, array: Array, strength: float) -> Moments:
        std = scale_of(self.scale)(array) * (strength / math.sqrt(3))
        return Moments(torch.zeros_like(std), std)
