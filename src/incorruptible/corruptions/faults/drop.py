"""Weights that are lost, each on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...streams import Noise
from ..storages import Held
from .protocol import Raw, Split, nothing
from .struck import struck

__all__ = ["Drop"]


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
    most: ClassVar[float] = 1.0

    def __str__(self) -> str:
        return "drop"

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        lost = struck(noise, held.array.value, strength)
        return torch.where(lost, held.cell(held.zero), value)

    def moments(self, before: Raw, held: Held, strength: float) -> Split:
        return Split(strength, nothing(before, held))
