"""A memory whose errors do not depend on its state, by convention."""

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

__all__ = ["ConstantDrift", "ConstantProgramming", "ConstantRead", "StateIndependent"]

# ---- A memory whose errors do not depend on its state: programming, drift, and noise of reading

SOURCE = "aihwkit StateIndependentNoiseModel"


@dataclass(frozen=True)
class ConstantProgramming(Programming):
    """g + s 0.2 uS z, cut at 0. Source: aihwkit's StateIndependentNoiseModel, by convention and not
    by measurement.
    """

    source: ClassVar[str] = SOURCE

    def __str__(self) -> str:
        return "constant-programming"

    @property
    def formula(self) -> str:
        return "g + s 0.2 uS z, cut at 0 uS"

    def sigma(self, g: Tensor) -> Tensor:
        return torch.full_like(g, 0.2)


@dataclass(frozen=True)
class ConstantDrift(Drift):
    """g (t / t_0)^(-s nu) with nu = |0.1 + 0.05 z|, one z ~ N(0, 1) for each cell and for ever; t =
    time + t_0, t_0 = 20 s.

    Source: aihwkit's StateIndependentNoiseModel.
    """

    source: ClassVar[str] = SOURCE

    def __str__(self) -> str:
        return write("constant-drift", self)

    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        return torch.full_like(held.value, 0.1), torch.full_like(held.value, 0.05)


@dataclass(frozen=True)
class ConstantRead(Read):
    """g + s (g / G_max) k z uS, cut at 0, with a new z ~ N(0, 1) for each cell in each read; k as
    for `Read`, t_read = 250 ns.

    By hand, at 25 uS after an hour: k = sqrt(ln(3620 / 5e-7)) = 4.765, 0.191 of the conductance for
    G_max = 25 uS. Source: aihwkit's StateIndependentNoiseModel.
    """

    source: ClassVar[str] = SOURCE

    def __str__(self) -> str:
        return write("constant-read", self)

    def q(self, held: Held) -> Tensor:
        return torch.full_like(held.value, 1 / float(held.high))


# ---- A memory whose errors do not depend on its state, by convention


@dataclass(frozen=True)
class StateIndependent(Device):
    """Programming error of 0.2 uS, drift exponents |0.1 + 0.05 z|, read noise of (g / G_max) k uS:
    aihwkit's default numbers.

    No device was measured; it is a convention to compare with, and any range will do.
    """

    name: ClassVar[str] = "state-independent"

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, math.inf

    def faults(self) -> tuple[Fault, ...]:
        return ConstantProgramming(), ConstantDrift(self.time), ConstantRead(self.time)
