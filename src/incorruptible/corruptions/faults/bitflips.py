"""Memory that errs: bits that read as their opposite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ...specs.grammar import write
from ..storages import Held, Storage
from .drop import bernoulli_mask
from .protocol import Raw, needs

__all__ = ["BitFlips", "flipped"]


@dataclass(frozen=True)
class BitFlips:
    """Each bit of each cell flips with probability s, but for the `protected` most significant
    ones, which never do.

    Protected bits count from the top of the pattern: of float32, 1 is the sign and 9 are sign and
    exponent. Flips are nested: those at one rate on a chip are there at every higher one, and those
    of a protected memory in one that is less so.

    Moments are exact where it is known what stands in the cells (`flipped`). Elsewhere, where the
    number is linear in the bits (two's complement and offset codes) and none is protected: with x =
    m + sum_i a_i t_i / 2, t_i = +-1 and rho = 1 - 2 s, E[x'] - m = rho (E[x] - m) and E[(x' - m)^2]
    = rho^2 E[(x - m)^2] + (1 - rho^2) sum_i a_i^2 / 4.
    """

    protected: int = 0

    unit: ClassVar[str] = "bit error rate, the probability that a bit flips"
    source: ClassVar[str] = "low-voltage memories, Stutz et al., MLSys 2021 (arXiv 2006.13977)"
    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    max_strength: ClassVar[float] = 1.0
    ruins: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.protected >= 0 and self.protected == int(self.protected)):
            raise UserError(
                f"bit-flips: protected={self.protected}: a count of bits, 0 or more, is needed."
            )

    def __str__(self) -> str:
        return write("bit-flips", self)

    @property
    def formula(self) -> str:
        return (
            "each bit flips with probability "
            f"s{f' below the top {self.protected}' if self.protected else ''}"
        )

    def suits(self, storage: Storage) -> None:
        needs("bits", self, storage)
        bits = getattr(storage, "bits", 0)
        if self.protected >= bits:
            raise UserError(
                f"bit-flips: protected={self.protected} of the {bits} bits of {storage} leaves "
                f"none to flip: at most {bits - 1}."
            )

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        flips = torch.zeros_like(value)
        for bit in range(_width(held) - self.protected):
            flips |= bernoulli_mask(noise, value, strength, f"bit {bit}").to(value.dtype) << bit
        return value ^ flips

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | None:
        if strength == 0:
            return before
        pattern, bits = _standing(before, held), _width(held)
        if pattern is not None:
            return flipped(pattern, held.number, bits, strength, self.protected)
        return None if self.protected or bits > 16 else _linear(before, held, bits, strength)


def flipped(
    pattern: Tensor, number: Callable[[Tensor], Tensor], bits: int, rate: float, protected: int = 0
) -> Raw:
    """Moments of the number behind `pattern` after its bits flipped, in float64.

    Up to 16 bits from a table of all 2^bits numbers, mixed bit by bit: E f(v) <- (1 - rate) f(v) +
    rate f(v with the bit flipped). Of 32 bits, the upper 16 give a table of A and B in number = A +
    B low, which holds for float32 with specials as zero (but for the one upper half in which
    float16 arrays saturate, by less than 0.4%), and `low` is a 16-bit integer.
    """
    free = bits - protected
    every = torch.arange(2 ** min(bits, 16), device=pattern.device)
    if bits <= 16:
        x = number(every).double()
        return Raw(*(_mixed(power, rate, free)[pattern.long()] for power in (x, x**2)))
    upper, lower = (pattern >> 16).long(), (pattern & 0xFFFF).long()
    a = number(every << 16).double()
    b = (number(every << 16 | 0xFFFF).double() - a) / 0xFFFF
    low = every.double()
    first, second = (_mixed(power, rate, min(free, 16))[lower] for power in (low, low**2))
    ea, eb, eaa, eab, ebb = (
        _mixed(table, rate, max(free - 16, 0))[upper] for table in (a, b, a * a, a * b, b * b)
    )
    return Raw(ea + eb * first, eaa + 2 * eab * first + ebb * second)


def _mixed(table: Tensor, rate: float, free: int) -> Tensor:
    """The mean of `table` over flips of the lowest `free` bits of its index."""
    for bit in range(free):
        pairs = table.reshape(-1, 2, 2**bit)
        table = ((1 - rate) * pairs + rate * pairs.flip(1)).flatten()
    return table


def _standing(before: Raw, held: Held) -> Tensor | None:
    """The pattern in each cell, if what stands there is certain and one of those that the storage
    names.
    """
    if not torch.equal(before.first**2, before.second):
        return None
    found = torch.full_like(held.value, -1)
    for pattern in (held.high, held.low, held.zero, held.value):
        pattern = held.cell(pattern)
        found = torch.where(held.number(pattern).double() == before.first, pattern, found)
    return None if bool((found < 0).any()) else found


def _linear(before: Raw, held: Held, bits: int, rate: float) -> Raw | None:
    every = torch.arange(2**bits, device=held.value.device)
    x = held.number(every).double()
    steps = [float(x[2**bit] - x[0]) for bit in range(bits)]
    if not torch.equal(x, x[0] + sum(step * (every >> bit & 1) for bit, step in enumerate(steps))):
        return None
    middle, rho = float(x.mean()), 1 - 2 * rate
    first, second = before.first - middle, before.second - 2 * middle * before.first + middle**2
    first, second = rho * first, rho**2 * second + (1 - rho**2) * sum(step**2 for step in steps) / 4
    return Raw(first + middle, second + 2 * middle * first + middle**2)


def _width(held: Held) -> int:
    assert held.bits is not None  # suits() has seen to it
    return held.bits
