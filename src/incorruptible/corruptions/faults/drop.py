"""Weights that are lost, each on its own; and the random mask that other faults use too.

Keeps: masks are nested. What is true at one rate on a chip is true at every higher rate on this
chip, because each place compares the same uniform number with the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...randomness.streams import Noise
from ..storages import Held
from .protocol import RateFault, Raw, Split, nothing

_STEPS = 2**24  # uniform numbers in float32 are multiples of 1 / _STEPS


def bernoulli_mask(noise: Noise, like: Tensor, rate: float, tag: str = "") -> Tensor:
    """Booleans of the shape of `like`, each true with probability `rate` to within 2^-48.

    `tag` names the random numbers, so that one fault can draw several masks. A single float32
    number would be too coarse: a bit error rate of 1e-7 is less than two of its steps. Places whose
    number lies on the step that the rate cuts are decided by a second uniform number, which is
    drawn only if there are such places.

    >>> from incorruptible.randomness.streams import Draw
    >>> noise = Draw(0, "example", 0).of("w")
    >>> few, more = (bernoulli_mask(noise, torch.empty(10_000), rate) for rate in (0.01, 0.1))
    >>> int(few.sum()), int(more.sum()), bool((few & ~more).any())  # 100 and 1000 are expected
    (118, 969, False)
    """
    whole, rest = divmod(min(rate, 1.0) * _STEPS, 1.0)
    uniform = noise.uniform(like, tag)
    sure: Tensor = uniform < whole / _STEPS
    if rest == 0:
        return sure
    # On the step that the rate cuts, a place is true with the probability of the rest of the rate.
    close = (uniform < (whole + 1) / _STEPS) & ~sure
    if not bool(close.any()):
        return sure
    return sure | (close & (noise.uniform(like, f"{tag}/finer") < rest))


@dataclass(frozen=True)
class Drop(RateFault):
    """Each weight is zero with probability s: all its cells hold what makes a weight of zero.

    Rates are nested: a weight that is lost at one rate on a chip is lost at every higher rate on
    this chip.
    """

    unit: ClassVar[str] = "share of weights that are lost"
    formula: ClassVar[str] = "0 with probability s"
    source: ClassVar[str] = "DropConnect, Wan et al., ICML 2013"

    def __str__(self) -> str:
        return "drop"

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        lost = bernoulli_mask(noise, held.array.value, strength)
        return torch.where(lost, held.cell(held.zero), value)

    def moments(self, before: Raw, held: Held, strength: float) -> Split:
        return Split(strength, nothing(before, held))
