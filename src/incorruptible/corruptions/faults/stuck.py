"""Stuck cells: cells that hold one value for ever, whatever was written to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import unknown
from ...randomness.streams import Noise
from ...specs.grammar import write
from ..storages import Held
from .bitflips import flipped
from .drop import bernoulli_mask
from .protocol import RateFault, Raw, Split, replaced_by

AT = ("zero", "max", "random")


@dataclass(frozen=True)
class Stuck(RateFault):
    """Each cell is stuck with probability s, independently of all others. Both cells of a pair are
    seldom stuck together.

    `at` says where. At "zero" a conductance is G_min, and a code or a weight is that of zero. At
    "max" a cell holds G_max, the code of the largest number, or the largest weight. At "random" it
    holds a value that is drawn once for each cell: a conductance uniform between G_min and G_max,
    one of all 2^bits patterns, or a weight uniform between minus and plus the largest.

    Rates are nested: a cell that is stuck at one rate on a chip is stuck at every higher rate on
    this chip, and at the same value. Raises `UserError` for another `at`.
    """

    at: str = "zero"

    unit: ClassVar[str] = "share of cells that are stuck"
    source: ClassVar[str] = (
        "stuck-at faults, Chen et al., IEEE Trans. Computers 2015, doi 10.1109/TC.2014.12"
    )
    ruins: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.at not in AT:
            raise unknown("place of stuck", self.at, AT)

    def __str__(self) -> str:
        return write("stuck", self)

    @property
    def formula(self) -> str:
        where = {"zero": "zero (or G_min)", "max": "its largest value", "random": "a random value"}[
            self.at
        ]
        return f"each cell is stuck at {where} with probability s"

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        lost = bernoulli_mask(noise, value, strength)
        other = _random(value, held, noise) if self.at == "random" else _certain(self.at, held)
        return torch.where(lost, other.to(value.dtype), value)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | Split:
        if self.at != "random":
            x = held.number(_certain(self.at, held)).double()
            other = Raw(x, x**2)
        elif held.bits is None:
            low, high = float(held.low), float(held.high)
            x = torch.ones_like(before.first[:1])
            other = Raw((low + high) / 2 * x, (low**2 + low * high + high**2) / 3 * x)
        else:  # flipping each bit with probability 1/2 makes every pattern equally likely
            other = flipped(torch.zeros_like(held.value[:1]), held.number, held.bits, 0.5)
        # The only cell of a weight is all its cells. A Split then keeps the two cases apart, so
        # that later faults can tell what stands in the cell.
        if held.value.shape[0] == 1:
            return Split(strength, Raw(*(part.expand_as(before.first) for part in other)))
        return replaced_by(before, other, strength)


def _certain(at: str, held: Held) -> Tensor:
    """The value of a cell that is stuck `at` "zero" or "max"."""
    if at == "max":
        return held.cell(held.high)
    return held.cell(held.low if held.unit == "uS" else held.zero)


def _random(value: Tensor, held: Held, noise: Noise) -> Tensor:
    """A random value for each cell. The values are the same at every rate."""
    share = noise.uniform(value, "value")
    if held.bits is None:
        return share.mul(held.high - held.low).add(held.low)
    # One float32 number has 24 random bits, enough for 16; patterns of 32 bits take two numbers.
    pattern: Tensor = (share * 2 ** min(held.bits, 16)).to(value.dtype)
    if held.bits > 16:
        pattern = pattern << 16 | (noise.uniform(value, "lower half") * 2**16).to(value.dtype)
    return pattern
