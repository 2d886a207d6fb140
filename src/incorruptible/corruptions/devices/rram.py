"""Resistive memory, whose conductances are imprecise and relax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ...durations import Seconds, seconds
from ...errors import Mistake
from ..faults import CMOProgramming, CMORead, CMORelaxation, Fault, MiloProgramming, WanProgramming
from ..faults.cmo import CMO
from ..faults.rram import TOP, wan
from .device import Device

__all__ = ["RRAMCMO", "RRAMMilo", "RRAMWan"]


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


@dataclass(frozen=True)
class RRAMCMO(Device):
    """Filamentary CMO/HfOx cells from 9 to 88.2 uS, one for each weight: programming, and from 1 s on relaxation and read noise.

    Falcone et al., as fitted in aihwkit's ReRamCMONoiseModel; programming stops within `acceptance` % of the target, 0.2 or 2. What
    is read is cut to the cells' range.
    """

    g_max: float = 88.2
    g_min: float = 9.0
    mapping: str = "offset"
    acceptance: float = 2.0

    name: ClassVar[str] = "rram-cmo"

    @property
    def valid(self) -> tuple[float, float]:
        return 9.0, 88.2

    def check_time(self) -> None:
        if 0 < self.time < 1:
            raise Mistake(f"{self.name}: {self.time} after programming was not measured: set time=0s, or 1s or more.")
        if self.acceptance not in CMO:
            raise Mistake(f"{self.name}: acceptance={self.acceptance:g}: 0.2 or 2 (percent) was measured.")

    def faults(self) -> tuple[Fault, ...]:
        return CMOProgramming(self.acceptance), CMORelaxation(self.time), CMORead(self.time)
