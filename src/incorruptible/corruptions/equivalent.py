"""Which strength of one corruption is as strong as that of another, for the weights of one model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..arrays import Array
from .protocol import Corruption
from .scales import scale_of

__all__ = ["Equivalent", "equivalent"]


class Equivalent(NamedTuple):
    """The equivalent strength over all arrays, and for each one."""

    strength: float
    arrays: dict[str, float]


def equivalent(
    corruption: Corruption, strength: float, arrays: Sequence[Array], scale: str = "filter-max"
) -> Equivalent:
    """The strength of `gaussian-<scale>` whose error has the same size, computed from the weights themselves.

    Root mean square, over the weights of filters that are not all zero, of the error in units of the scale:
    s_eq^2 = mean_i (E[e_i]^2 + Var[e_i]) / m_i^2. A filter-max strength can therefore be compared between models. The
    conversion keeps the size, not the shape: an error that is biased or in proportion to the weight may hurt otherwise.

    >>> import torch
    >>> from .gaussian import Gaussian
    >>> wide = Array("w", torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    >>> round(equivalent(Gaussian("filter-norm"), 0.1, [wide]).strength, 4)  # norms 5 and 2, maxima 4 and 2
    0.1132
    """
    total, count, each = 0.0, 0, {}
    for array in arrays:
        scales = scale_of(scale)(array).double()
        error = corruption.moments(array, strength)
        ratios = ((error.mean.double() ** 2 + error.std.double() ** 2) / scales**2).expand_as(array.value)
        live = scales > 0
        ratios = ratios.flatten() if bool(live.all()) else ratios[live.expand_as(ratios)]  # picking them takes long
        ratio, n = float(ratios.sum()), ratios.numel()
        each[array.name] = math.sqrt(ratio / n) if n else 0.0
        total, count = total + ratio, count + n
    return Equivalent(math.sqrt(total / count) if count else 0.0, each)
