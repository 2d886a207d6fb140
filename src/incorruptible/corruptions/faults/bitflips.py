"""Bit flips: bits of a memory that are read as their opposite.

Relies on: the storage holds bit patterns (`Held.bits` is their width), which `BitFlips.suits`
checks. Keeps: flips are nested. Each bit has random numbers of its own, named by its place in the
pattern, so that a flip at one rate is there at every higher rate.
"""

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
from .protocol import RateFault, Raw, needs


@dataclass(frozen=True)
class BitFlips(RateFault):
    """Each bit of each cell flips with probability s, except for the `protected` most significant
    bits, which never flip.

    Protected bits count from the top of the pattern: in float32, 1 protects the sign, and 9 protect
    sign and exponent. Flips are nested: a bit that flips at one rate on a chip flips at every
    higher rate on this chip, and also with fewer protected bits if it is not among them. Raises
    `UserError` for a storage that does not hold bits, and if no bit is left to flip.

    Moments are exact where the pattern in each cell is known (`flipped`). Elsewhere they are exact
    if no bit is protected and the number is linear in its bits (two's complement and offset codes).
    With x = m + sum_i a_i t_i / 2, t_i = +-1, and rho = 1 - 2 s: E[x'] - m = rho (E[x] - m) and
    E[(x' - m)^2] = rho^2 E[(x - m)^2] + (1 - rho^2) sum_i a_i^2 / 4. In other cases `moments` is
    None.
    """

    protected: int = 0

    unit: ClassVar[str] = "bit error rate, the probability that a bit flips"
    source: ClassVar[str] = "low-voltage memories, Stutz et al., MLSys 2021 (arXiv 2006.13977)"
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
        """Raise `UserError` for a storage that does not hold bits, or whose patterns have no bit
        below the protected ones.
        """
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
            # A bit's numbers go by its place from below, so that `protected` does not change them.
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
    """Moments, in float64, of the number behind `pattern` after its bits flipped with probability
    `rate`.

    `number` reads patterns as numbers; `protected` bits at the top never flip. Up to 16 bits the
    moments come from a table of all 2^bits numbers, which is mixed bit by bit: E f(v) <- (1 - rate)
    f(v) + rate f(v with the bit flipped). A table of 2^32 numbers would take 32 GiB: of 32 bits the
    upper 16 give a table of A and B in number = A + B low, where `low` is the lower half as an
    integer. This holds for float32 with specials as zero, except for the one upper half in which
    float16 arrays saturate, where it is off by less than 0.4%.

    >>> first, second = flipped(torch.tensor([0b11]), lambda pattern: pattern, bits=2, rate=0.25)
    >>> first, second  # of 3, 2, 1, 0 with chances 9/16, 3/16, 3/16, 1/16
    (tensor([2.2500], dtype=torch.float64), tensor([6.], dtype=torch.float64))
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
    # (A + B low)^2 has three products, and flips of the two halves are independent.
    ea, eb, eaa, eab, ebb = (
        _mixed(table, rate, max(free - 16, 0))[upper] for table in (a, b, a * a, a * b, b * b)
    )
    return Raw(ea + eb * first, eaa + 2 * eab * first + ebb * second)


def _mixed(table: Tensor, rate: float, free: int) -> Tensor:
    """The mean of `table` over flips, each with probability `rate`, of the lowest `free` bits of
    its index.
    """
    for bit in range(free):
        pairs = table.reshape(-1, 2, 2**bit)
        table = ((1 - rate) * pairs + rate * pairs.flip(1)).flatten()
    return table


def _standing(before: Raw, held: Held) -> Tensor | None:
    """The pattern in each cell, or None.

    It is known if the number in the cell is certain (E[x]^2 = E[x^2]) and is the number of a
    pattern that the storage names: its highest, lowest or zero, or the pattern that was stored.
    """
    if not torch.equal(before.first**2, before.second):
        return None
    found = torch.full_like(held.value, -1)
    for pattern in (held.high, held.low, held.zero, held.value):
        pattern = held.cell(pattern)
        found = torch.where(held.number(pattern).double() == before.first, pattern, found)
    return None if bool((found < 0).any()) else found


def _linear(before: Raw, held: Held, bits: int, rate: float) -> Raw | None:
    """The moments behind flips of a number that is linear in its bits (see `BitFlips`), or None for
    other numbers.
    """
    # Linear means that each bit adds the same step whatever the other bits are.
    every = torch.arange(2**bits, device=held.value.device)
    x = held.number(every).double()
    steps = [float(x[2**bit] - x[0]) for bit in range(bits)]
    if not torch.equal(x, x[0] + sum(step * (every >> bit & 1) for bit, step in enumerate(steps))):
        return None
    # `middle` is m and `steps` are the a_i in the formulas of `BitFlips`.
    middle, rho = float(x.mean()), 1 - 2 * rate
    first, second = before.first - middle, before.second - 2 * middle * before.first + middle**2
    first, second = rho * first, rho**2 * second + (1 - rho**2) * sum(step**2 for step in steps) / 4
    return Raw(first + middle, second + 2 * middle * first + middle**2)


def _width(held: Held) -> int:
    assert held.bits is not None  # `suits` has refused storages without bits
    return held.bits
