"""Resistive memory, whose conductances are imprecise and relax: what goes wrong, and the
devices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import UserError, unknown
from ...randomness.streams import Noise
from ...specs.durations import Seconds, seconds
from ...specs.grammar import write
from ..faults import Fault
from ..faults.conductance import ConductanceFault, Programming, added
from ..faults.protocol import Raw, rectified
from ..storages import Held
from .device import Device

__all__ = [
    "CMO",
    "RRAMCMO",
    "WAN",
    "CMOProgramming",
    "CMORead",
    "CMORelaxation",
    "MiloProgramming",
    "RRAMMilo",
    "RRAMWan",
    "WanProgramming",
    "wan",
]

# ---- Filamentary CMO/HfOx memory: error of programming, relaxation, and 1/f noise of reading

CMO_SOURCE = "Falcone et al., as fitted in aihwkit ReRamCMONoiseModel"
# by acceptance range in % of the target: sigma = c_0 + c_1 g in uS
CMO = {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}
T_READ = 1e-6  # s


@dataclass(frozen=True)
class _CMOFault(ConductanceFault):
    """A step measured from 9 to 88.2 uS."""

    source: ClassVar[str] = CMO_SOURCE

    @property
    def valid(self) -> tuple[float, float]:
        return 9.0, 88.2


@dataclass(frozen=True)
class _CMOLaterFault(_CMOFault):
    """A step of the time after programming, from 1 s on; nothing happens at time 0."""

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})

    ages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))
        if 0 < self.time < 1:
            name = str(self).split(":")[0]
            raise UserError(
                f"{name}: time={self.time}: nothing is known between 0s and 1s; set time=0s, or 1s "
                "or more."
            )


@dataclass(frozen=True)
class CMOProgramming(_CMOFault, Programming):
    """g + s (c_0 + c_1 g) z, cut at 0, where programming stops within `acceptance` % of the target:
    0.2 or 2.

    By hand, at 88.2 uS: 1.007 uS for 2 %, 0.0951 uS for 0.2 %.
    """

    acceptance: float = 2.0

    def __post_init__(self) -> None:
        if self.acceptance not in CMO:
            raise UserError(
                f"cmo-programming: acceptance={self.acceptance:g}: 0.2 or 2 (percent) was measured."
            )

    def __str__(self) -> str:
        return write("cmo-programming", self)

    @property
    def formula(self) -> str:
        return "g + s ({:.3g} + {:.3g} g) z uS, cut at 0 uS".format(*CMO[self.acceptance])

    def sigma(self, g: Tensor) -> Tensor:
        c_0, c_1 = CMO[self.acceptance]
        return c_0 + c_1 * g


@dataclass(frozen=True)
class CMORelaxation(_CMOLaterFault):
    """g + s (-0.0890 ln t + (0.0420 ln t + 0.4118) z) uS, cut at 0; z for each cell and for ever, t
    the seconds since programming.

    By hand, after a day: ln t = 11.367, the mean falls by 1.012 uS and the spread is 0.889 uS.
    """

    def __str__(self) -> str:
        return write("cmo-relaxation", self)

    @property
    def formula(self) -> str:
        return "g + s (-0.089 ln t + (0.042 ln t + 0.412) z) uS, cut at 0 uS"

    @property
    def change(self) -> tuple[float, float]:
        """Shift and spread in uS."""
        log = math.log(self.time) if self.time else 0.0
        return (-0.08900206 * log, 0.04201137 * log + 0.41183342) if self.time else (0.0, 0.0)

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        shift, std = self.change
        return (value + strength * (shift + std * noise.normal(value))).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        shift, std = self.change
        return added(before, strength * shift, torch.full_like(before.first, strength * std))


@dataclass(frozen=True)
class CMORead(_CMOLaterFault):
    """g + s 0.0277316483 log10(g) sqrt(ln((t + 1 us) / 2 us)) z uS, cut to the cell's range; a new
    z in each read.

    g in the logarithm is the target, in uS; aihwkit takes the conductance that was relaxed. By
    hand, 88.2 uS after a day: 0.267 uS.
    """

    rereads: ClassVar[bool] = True

    def __str__(self) -> str:
        return write("cmo-read", self)

    @property
    def formula(self) -> str:
        return "g + s 0.0277 log10(g) sqrt(ln((t + 1us) / 2us)) z uS, cut to the range of the cells"

    def sigma(self, g: Tensor) -> Tensor:
        """Standard deviation in uS at the conductance `g` in uS; none at time 0."""
        if not self.time:
            return torch.zeros_like(g)
        return 0.0277316483 * g.log10() * math.sqrt(math.log((self.time + T_READ) / (2 * T_READ)))

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        if not self.time:
            return value
        return (value + strength * self.sigma(held.value) * noise.normal(value)).clamp(
            float(held.low), float(held.high)
        )

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        if not self.time:
            return before
        spread = (before.second - before.first**2).clamp_min(0)
        std = (spread + (strength * self.sigma(held.value.double())) ** 2).sqrt()
        return _within(before.first, std, float(held.low), float(held.high))


def _within(mean: Tensor, std: Tensor, low: float, high: float) -> Raw:
    """Moments of a normal number that is cut to [low, high]: low + (x - low)+ - (x - high)+."""
    one, two = rectified(mean - low, std), rectified(mean - high, std)
    first = one.first - two.first
    second = one.second - two.second - 2 * (high - low) * two.first
    return Raw(low + first, low**2 + 2 * low * first + second)


# ---- Resistive memory: error of programming, and what relaxation makes of it

# by fit and seconds after programming: sigma in uS as a polynomial of g / G_0, lowest power first
WAN: dict[str, tuple[float, dict[float, tuple[float, ...]]]] = {
    "quartic": (
        40.0,
        {
            1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
            86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
            172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
        },
    ),
    "cubic": (1.0, {1.0: (1.053, 2.374e-1, -1.167e-2, 1.536e-4)}),
}
TOP = {"quartic": 40.0, "cubic": 39.26}  # uS, up to which each was fitted


def wan(name: str, fit: str, time: float) -> tuple[float, tuple[float, ...]]:
    """G_0 in uS and the coefficients of a fit at a time; a `UserError` of `name` where that was not
    measured.
    """
    if fit not in WAN:
        raise unknown(f"fit of {name}", fit, WAN)
    unit, by_time = WAN[fit]
    if time not in by_time:
        times = " or ".join(f"time={Seconds(one)}" for one in by_time)
        raise UserError(
            f"{name}: {Seconds(time)} after programming was not measured for fit={fit}: set "
            f"{times}."
        )
    return unit, by_time[time]


@dataclass(frozen=True)
class MiloProgramming(Programming):
    """g + s sigma(g) z with sigma = 4.782321 - 0.009107 g uS, fitted from 50 to 225 uS.

    By hand: sigma(50) = 4.327 uS, sigma(225) = 2.733 uS.
    Source: Milo et al., IRPS 2021, Fig. 4 (IGVVA-100), as fitted in CrossSim 3.2.
    """

    source: ClassVar[str] = "Milo et al., IRPS 2021, Fig. 4 (IGVVA-100), as fitted in CrossSim 3.2"

    def __str__(self) -> str:
        return "milo-programming"

    @property
    def valid(self) -> tuple[float, float]:
        return 50.0, 225.0

    @property
    def formula(self) -> str:
        return "g + s (4.78 - 0.00911 g) z uS, cut at 0 uS"

    def sigma(self, g: Tensor) -> Tensor:
        size: Tensor = 4.782321 - 0.009107 * g
        return size.clamp_min(0)


@dataclass(frozen=True)
class WanProgramming(Programming):
    """g + s sigma_t(g) z, cut at 0: the spread around the target at one of the times that were
    measured.

    `fit` quartic is a polynomial of g / 40 uS at 1 s, 1 d and 2 d, up to 40 uS; cubic is one of g
    in uS at 1 s, up to 39.26 uS. A cell keeps its z at all times. By hand, at 1 s and 20 uS: 0.348
    + 8.015 - 10.963 + 5.674 - 1.051 = 2.023 uS. Source: Wan et al., Nature 608 (2022), Extended
    Data Fig. 3; quartic as in aihwkit's ReRamWan2022NoiseModel, cubic as in CrossSim 3.2.
    """

    fit: str = "quartic"
    time: Seconds = field(default=Seconds(1), metadata={"parse": seconds})

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))
        wan("wan-programming", self.fit, self.time)

    def __str__(self) -> str:
        return write("wan-programming", self)

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, TOP[self.fit]

    @property
    def formula(self) -> str:
        return f"g + s sigma(g) z, cut at 0 uS, sigma the {self.fit} fit at {self.time}"

    @property
    def source(self) -> str:
        by = "aihwkit ReRamWan2022NoiseModel" if self.fit == "quartic" else "CrossSim 3.2"
        return (
            "Wan et al., Nature 608 (2022), Extended Data Fig. 3, doi 10.1038/s41586-022-04992-8, "
            f"as fitted in {by}"
        )

    def sigma(self, g: Tensor) -> Tensor:
        unit, coefficients = wan("wan-programming", self.fit, self.time)
        size = torch.zeros_like(g)
        for c in reversed(coefficients):
            size = size * (g / unit) + c
        return size.clamp_min(0)


# ---- Resistive memory, whose conductances are imprecise and relax


@dataclass(frozen=True)
class RRAMMilo(Device):
    """HfO2 cells programmed by the IGVVA-100 algorithm: error of programming, and nothing after it,
    which was not measured.

    Milo et al., IRPS 2021, Fig. 4, as fitted in CrossSim 3.2, from 50 to 225 uS: no cell is off.
    The nonlinear I-V curve of Fig. 1 is not modelled.
    """

    g_max: float = 225.0
    g_min: float = 50.0

    name: ClassVar[str] = "rram-milo"

    @property
    def valid(self) -> tuple[float, float]:
        return 50.0, 225.0

    def check_time(self) -> None:
        if self.time:
            raise UserError(
                f"{self.name}: {self.time} after programming was not measured: set time=0s."
            )

    def faults(self) -> tuple[Fault, ...]:
        return (MiloProgramming(),)


@dataclass(frozen=True)
class RRAMWan(Device):
    """The cells of NeuRRAM: the spread around the target at 1 s, 1 d or 2 d after programming,
    relaxation included.

    Wan et al., Nature 608 (2022), Extended Data Fig. 3. `fit` quartic is aihwkit's polynomial of g
    / 40 uS, taken at the absolute conductance whatever G_max is; cubic is CrossSim's, at 1 s alone
    and up to 39.26 uS.
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
    """Filamentary CMO/HfOx cells from 9 to 88.2 uS, one for each weight: programming, and from 1 s
    on relaxation and read noise.

    Falcone et al., as fitted in aihwkit's ReRamCMONoiseModel; programming stops within `acceptance`
    % of the target, 0.2 or 2. What is read is cut to the cells' range.
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
            raise UserError(
                f"{self.name}: {self.time} after programming was not measured: set time=0s, or 1s "
                "or more."
            )
        if self.acceptance not in CMO:
            raise UserError(
                f"{self.name}: acceptance={self.acceptance:g}: 0.2 or 2 (percent) was measured."
            )

    def faults(self) -> tuple[Fault, ...]:
        return CMOProgramming(self.acceptance), CMORelaxation(self.time), CMORead(self.time)
