"""Resistive memory: conductances that are programmed imprecisely and then relax.

The module has three kinds of cells, each with its faults: filamentary CMO/HfOx (Falcone et al.),
HfO2 programmed by the IGVVA-100 algorithm (Milo et al.), and the cells of the NeuRRAM chip (Wan et
al.). *Relaxation* is the change of a conductance in the seconds and days after it was programmed.
Conductances g are in uS, s is the strength, and z ~ N(0, 1) is drawn for each cell.

Keeps: a time, a conductance or a fit that was not measured raises `UserError`, for a device and for
its faults alike. Nothing is extrapolated.
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
from ..faults.conductance import ConductanceFault, Programming, added, polynomial
from ..faults.protocol import Raw, rectified
from ..storages import Held
from .device import Device

# ---- Filamentary CMO/HfOx memory: programming error, relaxation, and 1/f read noise

CMO_SOURCE = "Falcone et al., as fitted in aihwkit ReRamCMONoiseModel"
# For each acceptance in % of the target: c_0 and c_1 of sigma = c_0 + c_1 g in uS.
CMO = {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}
T_READ = 1e-6  # seconds that a read takes


@dataclass(frozen=True)
class _CMOFault(ConductanceFault):
    """A fault of CMO/HfOx cells, measured from 9 to 88.2 uS."""

    source: ClassVar[str] = CMO_SOURCE
    valid: ClassVar[tuple[float, float]] = (9.0, 88.2)


@dataclass(frozen=True)
class _CMOLaterFault(_CMOFault):
    """A fault that happens after programming. It was measured from 1 s on; at time 0 nothing
    happens. Raises `UserError` for a time between 0 and 1 s.
    """

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
    """Programming error of CMO/HfOx cells: g + s (c_0 + c_1 g) z, cut at 0 uS.

    Programming stops as soon as a cell is within `acceptance` % of its target. Only 0.2 and 2 were
    measured; others raise `UserError`. Source: Falcone et al., as fitted in aihwkit's
    ReRamCMONoiseModel. By hand, at 88.2 uS: 1.007 uS for 2 % and 0.0951 uS for 0.2 %.
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
    """Relaxation of CMO/HfOx cells: g + s (-0.0890 ln t + (0.0420 ln t + 0.4118) z) uS, cut at 0
    uS. Each cell draws z once and keeps it; t is in seconds since programming.

    Source: Falcone et al., as fitted in aihwkit's ReRamCMONoiseModel. After a day, by hand: ln t =
    11.367, the mean falls by 1.012 uS and the spread is 0.889 uS.

    >>> print("{:.4f} {:.4f}".format(*CMORelaxation(seconds("1d")).change))
    -1.0117 0.8894
    """

    formula: ClassVar[str] = "g + s (-0.089 ln t + (0.042 ln t + 0.412) z) uS, cut at 0 uS"

    def __str__(self) -> str:
        return write("cmo-relaxation", self)

    @property
    def change(self) -> tuple[float, float]:
        """By how much the mean moves, and the standard deviation around it, both in uS."""
        if not self.time:
            return 0.0, 0.0
        log = math.log(self.time)
        return -0.08900206 * log, 0.04201137 * log + 0.41183342

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        shift, std = self.change
        return (value + strength * (shift + std * noise.normal(value))).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        shift, std = self.change
        return added(before, strength * shift, torch.full_like(before.first, strength * std))


@dataclass(frozen=True)
class CMORead(_CMOLaterFault):
    """Read noise of CMO/HfOx cells: g + s 0.0277316483 log10(g) sqrt(ln((t + 1 us) / 2 us)) z uS,
    cut to the range of the cells. Each read of a cell draws a new z.

    g in the logarithm is the target in uS; aihwkit takes the conductance after relaxation. At 88.2
    uS after a day, by hand: 0.267 uS. Source: Falcone et al., as fitted in aihwkit's
    ReRamCMONoiseModel.
    """

    rereads: ClassVar[bool] = True
    formula: ClassVar[str] = (
        "g + s 0.0277 log10(g) sqrt(ln((t + 1us) / 2us)) z uS, cut to the range of the cells"
    )

    def __str__(self) -> str:
        return write("cmo-read", self)

    def sigma(self, g: Tensor) -> Tensor:
        """Standard deviation in uS at the conductance `g` in uS; 0 at time 0."""
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
        # Independent errors add their variances. Before the cut the sum counts as normal.
        spread = (before.second - before.first**2).clamp_min(0)
        std = (spread + (strength * self.sigma(held.value.double())) ** 2).sqrt()
        return _within(before.first, std, float(held.low), float(held.high))


def _within(mean: Tensor, std: Tensor, low: float, high: float) -> Raw:
    """Moments of x ~ N(mean, std^2) cut to [low, high].

    The cut number is low + (x - low)+ - (x - high)+, where (y)+ = max(0, y), whose moments
    `rectified` gives. In the square, (x - low)+ (x - high)+ = (x - high)+^2 + (high - low) (x -
    high)+.
    """
    one, two = rectified(mean - low, std), rectified(mean - high, std)
    first = one.first - two.first
    second = one.second - two.second - 2 * (high - low) * two.first
    return Raw(low + first, low**2 + 2 * low * first + second)


# ---- The cells of Milo et al. and of Wan et al.: the spread around the target

# For each fit: G_0 in uS, and for each time in seconds after programming sigma in uS as a
# polynomial of g / G_0, lowest power first.
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
# The largest conductance in uS up to which each was fitted. Beyond it a polynomial says nothing.
TOP = {"quartic": 40.0, "cubic": 39.26}


def wan(name: str, fit: str, time: float) -> tuple[float, tuple[float, ...]]:
    """G_0 in uS and the coefficients of a fit of `WAN` at a time in seconds after programming.

    Raises `UserError`, which begins with `name`, for an unknown fit and for a time at which it was
    not measured.
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
    """Programming error of HfO2 cells: g + s sigma(g) z, cut at 0 uS, with sigma = 4.782321 -
    0.009107 g uS, fitted from 50 to 225 uS.

    Source: Milo et al., IRPS 2021, Fig. 4 (IGVVA-100), as fitted in CrossSim 3.2.

    By hand, at 50 and 225 uS: 4.782321 - 0.455350 = 4.3270 uS and 4.782321 - 2.049075 = 2.7332 uS.

    >>> MiloProgramming().sigma(torch.tensor([50.0, 225.0]))
    tensor([4.3270, 2.7332])
    """

    source: ClassVar[str] = "Milo et al., IRPS 2021, Fig. 4 (IGVVA-100), as fitted in CrossSim 3.2"
    formula: ClassVar[str] = "g + s (4.78 - 0.00911 g) z uS, cut at 0 uS"
    valid: ClassVar[tuple[float, float]] = (50.0, 225.0)

    def __str__(self) -> str:
        return "milo-programming"

    def sigma(self, g: Tensor) -> Tensor:
        size: Tensor = 4.782321 - 0.009107 * g
        return size.clamp_min(0)


@dataclass(frozen=True)
class WanProgramming(Programming):
    """Error of NeuRRAM cells, relaxation included: g + s sigma_t(g) z, cut at 0 uS. sigma_t is the
    spread around the target at one of the times that were measured; a cell keeps its z at all
    times.

    `fit` "quartic" is a polynomial of g / 40 uS at 1 s, 1 d and 2 d, up to 40 uS; "cubic" is a
    polynomial of g in uS at 1 s, up to 39.26 uS. Raises `UserError` for other fits and times.
    Source: Wan et al., Nature 608 (2022), Extended Data Fig. 3; quartic as in aihwkit's
    ReRamWan2022NoiseModel, cubic as in CrossSim 3.2. At 1 s and 20 uS, by hand: 0.348 + 8.015 -
    10.963 + 5.674 - 1.051 = 2.023 uS.

    >>> WanProgramming().sigma(torch.tensor([20.0]))
    tensor([2.0229])
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
        return polynomial(g / unit, coefficients).clamp_min(0)


# ---- The devices


@dataclass(frozen=True)
class RRAMMilo(Device):
    """Resistive memory, HfO2 cells programmed by the IGVVA-100 algorithm: programming error. What
    happens after programming was not measured.

    Milo et al., IRPS 2021, Fig. 4, as fitted in CrossSim 3.2, from 50 to 225 uS: no cell is ever
    off. The nonlinear I-V curve of Fig. 1 is not modelled. Raises `UserError` for any time but 0.
    """

    g_max: float = 225.0
    g_min: float = 50.0

    name: ClassVar[str] = "rram-milo"
    valid: ClassVar[tuple[float, float]] = (50.0, 225.0)

    def check_time(self) -> None:
        if self.time:
            raise UserError(
                f"{self.name}: {self.time} after programming was not measured: set time=0s."
            )

    def faults(self) -> tuple[Fault, ...]:
        return (MiloProgramming(),)


@dataclass(frozen=True)
class RRAMWan(Device):
    """Resistive memory of the NeuRRAM chip: the spread around the target at 1 s, 1 d or 2 d after
    programming, relaxation included.

    Wan et al., Nature 608 (2022), Extended Data Fig. 3. `fit` "quartic" is aihwkit's polynomial of
    g / 40 uS, taken at the absolute conductance whatever G_max is. `fit` "cubic" is CrossSim's, at
    1 s only and up to 39.26 uS. There is no read noise: none was measured apart from the spread.
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
    """Resistive memory, filamentary CMO/HfOx cells from 9 to 88.2 uS, a single cell for each
    weight: programming error, and from 1 s on relaxation and read noise.

    Falcone et al., as fitted in aihwkit's ReRamCMONoiseModel. Programming stops within `acceptance`
    % of the target, 0.2 or 2. What is read is cut to the range of the cells. Drift compensation
    does not help here: all cells fall by the same amount, which shifts weights and does not shrink
    them.
    """

    g_max: float = 88.2
    g_min: float = 9.0
    mapping: str = "offset"
    acceptance: float = 2.0

    name: ClassVar[str] = "rram-cmo"
    valid: ClassVar[tuple[float, float]] = (9.0, 88.2)

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
