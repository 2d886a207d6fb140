"""Gaussian and uniform errors, whose size is a named scale of the clean weights.

A *scale* says what a strength is relative to. With "filter-max", strength 0.1 is an error of a
tenth of the largest weight of each filter.

Relies on: `Array.peak` and `Array.norm` are taken over each filter (`weights.arrays`).
Keeps: a scale is computed from the clean weights, so the error does not depend on what other errors
made of them. A filter of zeros gets no error under a relative scale. `Gaussian.into` writes the
same bits as a call returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import UserError, unknown
from ..randomness.streams import Noise, add_normal
from ..weights.arrays import Array
from .protocol import Moments

# ---- What a relative error is relative to: the standard deviation at strength 1, filter by filter.
# Each scale is a function of an array that returns a tensor broadcastable to its value, computed
# from the clean weights.


def _layer_max(array: Array) -> Tensor:
    return array.value.abs().amax().expand((1,) * array.value.dim())


SCALES: dict[str, Callable[[Array], Tensor]] = {
    "filter-max": lambda array: array.peak(),
    "filter-sqrtmax": lambda array: array.peak().sqrt(),
    "filter-norm": lambda array: array.norm(),
    "layer-max": _layer_max,
    "absolute": lambda array: torch.ones(
        (1,) * array.value.dim(), dtype=array.value.dtype, device=array.value.device
    ),
}
UNITS: dict[str, str] = {
    "filter-max": "max|W_f|",
    "filter-sqrtmax": "sqrt(max|W_f|)",
    "filter-norm": "||W_f||",
    "layer-max": "max|W|",
    "absolute": "1",
}


def scale_of(name: str) -> Callable[[Array], Tensor]:
    """The scale called `name`. Raises `UserError`, which lists the scales, for any other name."""
    if not isinstance(name, str):
        raise UserError(
            f"{name!r} is no scale. A strength is not given here, but where chips are sampled: "
            f"Sampling(Gaussian('filter-max'), [{name!r}])."
        )
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    return SCALES[name]


# ---- Gaussian errors

_SOURCES = {
    "filter-max": "hardware-aware training's convention; aihwkit-lightning ADD_NORMAL_PER_CHANNEL",
    "filter-sqrtmax": "covariance max|W_f| s^2 I as printed in arXiv 2602.07320",
    "filter-norm": "random weight perturbation, arXiv 2404.00357",
    "layer-max": "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9",
    "absolute": "neural variable risk minimisation, arXiv 2011.06220",
}


@dataclass(frozen=True)
class Gaussian:
    """w + s m z with z ~ N(0, 1) for each weight and m the scale: mean 0, std = s m.

    `scale` is one of filter-max (m = max|W_f|), filter-sqrtmax (sqrt(max|W_f|)), filter-norm
    (||W_f||_2), layer-max (max|W|) and absolute (1). Strengths on different scales are never
    interchangeable: arXiv 2602.07320 prints the covariance max|W_f| s^2 I, which is filter-sqrtmax,
    while hardware-aware training usually means filter-max. A filter of zeros gets no error under
    the relative scales. Raises `UserError` for any other scale.
    """

    scale: str = field(metadata={"named": True})

    def __post_init__(self) -> None:
        scale_of(self.scale)

    def __str__(self) -> str:
        return f"gaussian-{self.scale}"

    @property
    def unit(self) -> str:
        return f"std of the error in {UNITS[self.scale]}"

    @property
    def formula(self) -> str:
        return f"w + s {UNITS[self.scale]} z, z ~ N(0, 1)".replace(" 1 z", " z")

    @property
    def source(self) -> str:
        return _SOURCES[self.scale]

    def std(self, array: Array) -> Tensor:
        """The standard deviation at strength 1, broadcastable to the array's value. SAM may use it
        as its metric.
        """
        return scale_of(self.scale)(array)

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        z = noise.normal(array.value)
        return z.mul_(self.std(array) * strength).add_(array.value).to(array.value.dtype)

    def into(self, array: Array, strength: float, noise: Noise, out: Tensor) -> None:
        """Write the values of a call, to the same bits, into `out`, which may be the array's own
        memory.
        """
        add_normal(noise, array.value, self.std(array) * strength, out)

    def moments(self, array: Array, strength: float) -> Moments:
        std = self.std(array) * strength
        return Moments(torch.zeros_like(std), std)


# ---- Uniform errors


@dataclass(frozen=True)
class Uniform:
    """w + s m u with u ~ U(-1, 1) for each weight and m the scale, as for `Gaussian`: mean 0, std =
    s m / sqrt(3). The error is bounded by s m, which Gaussian errors are not.
    """

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
        return (
            u.mul_(scale_of(self.scale)(array) * strength).add_(array.value).to(array.value.dtype)
        )

    def moments(self, array: Array, strength: float) -> Moments:
        std = scale_of(self.scale)(array) * (strength / math.sqrt(3))
        return Moments(torch.zeros_like(std), std)
