"""SONOS charge-trap memory read below threshold, whose currents are imprecise and move as charge is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...errors import Mistake
from ..faults import Fault, SONOSDrift, SONOSProgramming, SONOSRead
from ..faults.sonos import DAY, top
from .device import Device

__all__ = ["SONOS"]


@dataclass(frozen=True)
class SONOS(Device):
    """40 nm SONOS cells: error of programming, and after it, up to 5 d, a mean that moves and a spread that grows.

    Agrawal et al., IEDM 2022, Figs. 10 and 11(b), as fitted in CrossSim 3.2: currents I [nA] = g [uS] v_read [V] 1000, up to
    3200 nA at time 0 and below 1800 nA later. `read_noise` adds what differs from read to read. It is off unless asked for, as in
    CrossSim, because the spread of Fig. 10(a) was itself read, so that some of it is counted twice.
    """

    g_max: float = 16.0
    g_min: float = 1.6e-6
    v_read: float = 0.1
    read_noise: bool = False

    name: ClassVar[str] = "sonos"

    def __post_init__(self) -> None:
        SONOSProgramming(self.v_read)  # refuses what is no voltage
        super().__post_init__()

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, top(self.time) / (self.v_read * 1000)

    def check_time(self) -> None:
        if self.time > 5 * DAY:
            raise Mistake(f"{self.name}: {self.time} after programming was not measured: set a time from 0s to 5d.")

    def faults(self) -> tuple[Fault, ...]:
        steps = SONOSProgramming(self.v_read), SONOSDrift(self.v_read, self.time)
        return (*steps, SONOSRead(self.v_read)) if self.read_noise else steps
