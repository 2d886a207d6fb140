"""Resistive memory, whose conductances are imprecise and relax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ...durations import Seconds, seconds
from ...errors import Mistake
from ..faults import Fault, MiloProgramming, WanProgramming
from ..faults.rram import TOP, wan
from .device import Device

__all__ = ["RRAMMilo", "RRAMWan"]


@dataclass(frozen=True)
class RRAMMilo(Device):
    """HfO2 cells programmed by the IGVVA-100 algorithm: error of programming, and nothing after it, which was not measured.

    Milo et al., IRPS 2021, Fig. 4, as fitted in CrossSim 3.2, from 50 to 225 uS: no cell is off. The nonlinear I-V
    curve of Fig. 1 is not modelled.
    """

    g_max: float = 225.0
    g_min: float = 50.0

    name: ClassVar[str] = "rram-milo"

    @property
    def valid(self) -> tuple[float, float]:
        return 50.0, 225.0

    def check_time(self) -> None:
        if self.time:
            raise Mistake(f"{self.name}: {self.time} after programming was not measured: set time=0s.")

    def faults(self) -> tuple[Fault, ...]:
        return (MiloProgramming(),)


@dataclass(frozen=True)
class RRAMWan(Device):
    """The cells of NeuRRAM: the spread around the target at 1 s, 1 d or 2 d after programming, relaxation included.

    Wan et al., Nature 608 (2022), Extended Data Fig. 3. `fit` quartic is aihwkit's polynomial of g / 40 uS, taken at the absolute
    conductance whatever G_max is; cubic is CrossSim's, at 1 s alone and up to 39.26 uS.
    """

    g_max: float = 40.0
    g_min: float = 1.0
    time: Seconds = field(default=Seconds(1), metadata={"parse": seconds})
    fit: str = "quartic"

    name: ClassVar[str] = "rram-wan"

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, TOP[self.fit]

    def check_time(self) -> None:
        wan(self.name, self.fit, self.time)

    def faults(self) -> tuple[Fault, ...]:
        return (WanProgramming(self.fit, self.time),)
