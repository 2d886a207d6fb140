"""A memory whose errors do not depend on its state, by convention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..faults import ConstantDrift, ConstantProgramming, ConstantRead, Fault
from .device import Device

__all__ = ["StateIndependent"]


@dataclass(frozen=True)
class StateIndependent(Device):
    """Programming error of 0.2 uS, drift exponents |0.1 + 0.05 z|, read noise of (g / G_max) k uS: aihwkit's default numbers.

    No device was measured; it is a convention to compare with, and any range will do.
    """

    name: ClassVar[str] = "state-independent"

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, math.inf

    def faults(self) -> tuple[Fault, ...]:
        return ConstantProgramming(), ConstantDrift(self.time), ConstantRead(self.time)
