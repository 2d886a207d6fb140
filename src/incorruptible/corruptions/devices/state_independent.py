"""A memory whose errors do not depend on the conductance. Its numbers are a convention; no device
was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...specs.grammar import write
from ..faults import Fault
from ..faults.conductance import Drift, Programming, Read
from ..storages import Held
from .device import Device

SOURCE = "aihwkit StateIndependentNoiseModel"


@dataclass(frozen=True)
class ConstantProgramming(Programming):
    """Programming error: g + s 0.2 uS z, cut at 0 uS, with z ~ N(0, 1) for each cell.

    Source: aihwkit's StateIndependentNoiseModel; a convention, not a measurement.
    """

    source: ClassVar[str] = SOURCE
    formula: ClassVar[str] = "g + s 0.2 uS z, cut at 0 uS"

    def __str__(self) -> str:
        return "constant-programming"

    def sigma(self, g: Tensor) -> Tensor:
        return torch.full_like(g, 0.2)


@dataclass(frozen=True)
class ConstantDrift(Drift):
    """Drift: g (t / t_0)^(-s nu) with nu = |0.1 + 0.05 z|. Each cell draws z ~ N(0, 1) once and
    keeps it; t = time + t_0 with t_0 = 20 s.

    Source: aihwkit's StateIndependentNoiseModel.
    """

    source: ClassVar[str] = SOURCE

    def __str__(self) -> str:
        return write("constant-drift", self)

    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        return torch.full_like(held.value, 0.1), torch.full_like(held.value, 0.05)


@dataclass(frozen=True)
class ConstantRead(Read):
    """Read noise: g + s (g / G_max) k z uS, cut at 0 uS. Each read of a cell draws a new z ~ N(0,
    1); k is as in `Read`, with t_read = 250 ns.

    At 25 uS after an hour, by hand: k = sqrt(ln(3620 / 5e-7)) = 4.765, which is 0.191 of the
    conductance for G_max = 25 uS. Source: aihwkit's StateIndependentNoiseModel.

    >>> from incorruptible.corruptions.storages import Crossbar
    >>> from incorruptible.weights.arrays import Array
    >>> ConstantRead("1h").sigma(Crossbar().encode(Array("w", torch.ones(1, 1)))).flatten()
    tensor([0.1906, 0.1906])
    """

    source: ClassVar[str] = SOURCE

    def __str__(self) -> str:
        return write("constant-read", self)

    def q(self, held: Held) -> Tensor:
        return torch.full_like(held.value, 1 / float(held.high))


@dataclass(frozen=True)
class StateIndependent(Device):
    """A memory whose errors do not depend on the conductance: programming error of 0.2 uS, drift
    exponents |0.1 + 0.05 z|, and read noise of (g / G_max) k uS.

    These are aihwkit's default numbers. No device was measured: use it to compare with results from
    aihwkit. Any range of conductances is allowed.
    """

    name: ClassVar[str] = "state-independent"
    valid: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def faults(self) -> tuple[Fault, ...]:
        return ConstantProgramming(), ConstantDrift(self.time), ConstantRead(self.time)
