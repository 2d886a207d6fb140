"""Weights that are lost, each on its own; and the mask of independent chances that other faults use
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...randomness.streams import Noise
from ..storages import Held
from .protocol import Raw, Split, nothing

__all__ = ["Drop", "bernoulli_mask"]

# ---- A mask: true for each one on its own with probability `rate`, and what is true at one rate is
# true at every higher one

_STEPS = 2**24  # the uniform numbers of float32 are multiples of 1 / _STEPS


def bernoulli_mask(noise: Noise, like: Tensor, rate: float, tag: str = "") -> Tensor:
    """Booleans of the shape of `like`, true with probability `rate` to within 2^-48.

    A bit error rate of 1e-7 is less than two steps of a uniform number in float32: those on the
    step that the rate cuts are decided by a second number, which is drawn only if there are any.
    """
    whole, rest = divmod(min(rate, 1.0) * _STEPS, 1.0)
    uniform = noise.uniform(like, tag)
    sure: Tensor = uniform < whole / _STEPS
    if rest == 0:
        return sure
    close = (uniform < (whole + 1) / _STEPS) & ~sure
    if not bool(close.any()):
        return sure
    return sure | (close & (noise.uniform(like, f"{tag}/finer") < rest))


# ---- Weights that are lost, each on its own


@dataclass(frozen=True)
class Drop:
    """Each weight is zero with probability s: all its cells hold what makes a weight of zero.

    Rates are nested: what is lost at one rate on a chip is lost at every higher one.
    """

    unit: ClassVar[str] = "share of weights that are lost"
    formula: ClassVar[str] = "0 with probability s"
    source: ClassVar[str] = "DropConnect, Wan et al., ICML 2013"
    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    max_strength: ClassVar[float] = 1.0

    def __str__(self) -> str:
        return "drop"

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        lost = bernoulli_mask(noise, held.array.value, strength)
        return torch.where(lost, held.cell(held.zero), value)

    def moments(self, before: Raw, held: Held, strength: float) -> Split:
        return Split(strength, nothing(before, held))
