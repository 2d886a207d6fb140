"""What a relative error is relative to: the standard deviation at strength 1, filter by filter.

Each scale is a function of an array that returns a tensor broadcastable to its value, computed from the clean weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..arrays import Array
from ..errors import unknown

__all__ = ["SCALES", "UNITS", "scale_of"]


def _layer_max(array: Array) -> Tensor:
    return array.value.abs().amax().expand((1,) * array.value.dim())


SCALES: dict[str, Callable[[Array], Tensor]] = {
    "filter-max": lambda array: array.peak(),
    "filter-sqrtmax": lambda array: array.peak().sqrt(),
    "filter-norm": lambda array: array.norm(),
    "layer-max": _layer_max,
    "absolute": lambda array: torch.ones((1,) * array.value.dim(), dtype=array.value.dtype, device=array.value.device),
}
UNITS: dict[str, str] = {
    "filter-max": "max|W_f|",
    "filter-sqrtmax": "sqrt(max|W_f|)",
    "filter-norm": "||W_f||",
    "layer-max": "max|W|",
    "absolute": "1",
}


def scale_of(name: str) -> Callable[[Array], Tensor]:
    """The scale of that name, or a `Mistake` that lists them."""
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    return SCALES[name]
