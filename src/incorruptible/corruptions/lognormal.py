"""Errors in proportion to each weight: Gaussian, or log-normal, which never changes a weight's
sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..randomness.streams import Noise
from ..weights.arrays import Array
from .protocol import Moments

# ---- Gaussian errors in proportion to each weight


@dataclass(frozen=True)
class Multiplicative:
    """w (1 + s z) with z ~ N(0, 1) for each weight: mean 0, std = s |w|. Weights of zero stay
    zero.
    """

    unit = "std of each weight's relative error"
    formula = "w (1 + s z), z ~ N(0, 1)"
    source = "diverse-weight multiplicative perturbation, arXiv 2406.16540"

    def __str__(self) -> str:
        return "multiplicative"

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        return (
            noise.normal(array.value).mul_(strength).add_(1).mul_(array.value).to(array.value.dtype)
        )

    def moments(self, array: Array, strength: float) -> Moments:
        std = array.value.abs() * strength
        return Moments(torch.zeros_like(std), std)


# ---- Log-normal errors, which never change a weight's sign


@dataclass(frozen=True)
class LogNormal:
    """w exp(s z) with z ~ N(0, 1) for each weight: the median is w, the mean w exp(s^2 / 2).

    With `unbiased` the exponent is s z - s^2 / 2, so that the mean is w. Either way the standard
    deviation is the mean times sqrt(exp(s^2) - 1). `moments` raises `UserError` above s = 26,
    because the standard deviation is then more than a float64 can hold.
    """

    unbiased: bool = False

    unit = "std of ln|w|"
    source = "device variation of memristive crossbars; Liu et al., Vortex, DAC 2015"

    def __str__(self) -> str:
        return "lognormal:unbiased=true" if self.unbiased else "lognormal"

    @property
    def formula(self) -> str:
        return "w exp(s z - s^2/2), z ~ N(0, 1)" if self.unbiased else "w exp(s z), z ~ N(0, 1)"

    def _shift(self, strength: float) -> float:
        return -(strength**2) / 2 if self.unbiased else 0.0

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        z = noise.normal(array.value).mul_(strength).add_(self._shift(strength))
        return z.exp_().mul_(array.value).to(array.value.dtype)

    def moments(self, array: Array, strength: float) -> Moments:
        try:
            growth = math.exp(strength**2 / 2 + self._shift(strength))
            spread = growth * math.sqrt(math.expm1(strength**2))
        except OverflowError:
            raise UserError(
                f"{self}: strength {strength:g}: its spread is beyond 1e308; at most 26 has a "
                "finite one."
            ) from None
        return Moments(array.value * (growth - 1), array.value.abs() * spread)
