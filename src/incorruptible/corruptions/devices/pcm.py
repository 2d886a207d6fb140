"""Phase-change memory, whose conductances are imprecise, noisy, and fall with time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..faults import Fault, HermesDrift, HermesProgramming, HermesRead, PCMDrift, PCMProgramming, PCMRead
from ..faults.hermes import HERMES
from .device import Device

__all__ = ["PCMHermes", "PCMJoshi", "PCMNandakumar"]


@dataclass(frozen=True)
class PCMJoshi(Device):
    """Doped Ge2Sb2Te5 mushroom cells: programming error, drift and 1/f read noise; no drift at time 0.

    Joshi et al. 2020, doi 10.1038/s41467-020-16108-9; the programming polynomial as fitted in CrossSim 3.2. Fitted up to 25 uS;
    G_min 0.25 uS unless said otherwise.
    """

    g_max: float = 25.0
    g_min: float = 0.25

    name: ClassVar[str] = "pcm-joshi"
    fit: ClassVar[str] = "joshi"

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, 25.0

    def faults(self) -> tuple[Fault, ...]:
        return PCMProgramming(self.fit), PCMDrift(self.time), PCMRead(self.time)


@dataclass(frozen=True)
class PCMNandakumar(PCMJoshi):
    """As `PCMJoshi`, with the programming polynomial of Nandakumar et al., ICECS 2019 (aihwkit's PCMLike), and G_min = 0."""

    g_min: float = 0.0

    name: ClassVar[str] = "pcm-nandakumar"
    fit: ClassVar[str] = "nandakumar"


@dataclass(frozen=True)
class PCMHermes(Device):
    """The cells of IBM's HERMES chip, each a pair of devices that hold the same, or single ones (`pair` false, up to 10.35 uS).

    Le Gallo et al., Nature Electronics 2023, doi 10.1038/s41928-023-01010-1, as fitted in aihwkit's HermesNoiseModel, with the
    polynomials taken at the absolute conductance. A pair is one cell here, whose conductance is that of both.
    """

    g_max: float = 20.7
    pair: bool = True

    name: ClassVar[str] = "pcm-hermes"

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, HERMES[self.pair].top

    def faults(self) -> tuple[Fault, ...]:
        return HermesProgramming(self.pair), HermesDrift(self.time, self.pair), HermesRead(self.time, self.pair)
