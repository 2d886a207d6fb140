"""SONOS charge-trap memory read below threshold, whose currents are imprecise and move as charge is
lost: faults and device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ...specs.durations import Seconds, seconds
from ...specs.grammar import write
from ..faults import Fault
from ..faults.conductance import ConductanceFault, Programming, added
from ..faults.protocol import Raw
from ..storages import Held
from .device import Device

__all__ = ["DAY", "SONOS", "SONOSDrift", "SONOSProgramming", "SONOSRead", "top"]

# ---- SONOS charge-trap memory: error of programming, loss of charge, and noise of reading, in the
# current of a cell

DAY = 86400.0
# of the days 0 to 5 after programming: A and B in nA of the spread A - A exp(-I / B)
SPREAD = (
    (19.88665, 176.3115),
    (25.59102, 186.85544),
    (28.72753, 193.56834),
    (31.04318, 198.90332),
    (33.76214, 204.77023),
    (34.57909, 207.34309),
)
READ = (12.58037, 215.36557)  # A and B in nA of the noise of one read
# of the days 0 to 5: by how many nA the mean has moved, as a polynomial of I in nA, lowest power
# first
SHIFT: tuple[tuple[float, ...], ...] = (
    (0.0,) * 11,
    (
        0.172684,
        0.0572552,
        -0.000685715,
        3.50271e-06,
        -9.37682e-09,
        1.40575e-11,
        -1.19803e-14,
        5.41293e-18,
        -8.85448e-22,
        -1.66869e-25,
        5.9518e-29,
    ),
    (
        0.250712,
        0.0662195,
        -0.000683218,
        2.99442e-06,
        -6.78255e-09,
        7.70482e-12,
        -3.04983e-15,
        -2.15919e-18,
        2.94617e-21,
        -1.23359e-24,
        1.85329e-28,
    ),
    (
        -0.01753,
        0.0976883,
        -0.000963791,
        4.55551e-06,
        -1.22391e-08,
        1.93786e-11,
        -1.85899e-14,
        1.07659e-17,
        -3.58211e-21,
        5.96785e-25,
        -3.3041e-29,
    ),
    (
        0.0403338,
        0.103111,
        -0.0010474,
        4.83961e-06,
        -1.28132e-08,
        1.99484e-11,
        -1.85139e-14,
        1.00008e-17,
        -2.84944e-21,
        3.01008e-25,
        1.18747e-29,
    ),
    (
        0.319927,
        0.106596,
        -0.00104054,
        4.5029e-06,
        -1.10352e-08,
        1.56477e-11,
        -1.27592e-14,
        5.45513e-18,
        -7.26841e-22,
        -2.43893e-25,
        7.14608e-29,
    ),
)


def top(time: float) -> float:
    """The largest current in nA that was measured at a time: 3200 at programming, and below 1800
    later.
    """
    return 1799.99 if time else 3200.0


@dataclass(frozen=True)
class _Current(ConductanceFault):
    """A step that speaks of I [nA] = g [uS] v_read [V] 1000."""

    v_read: float = 0.1

    source: ClassVar[str] = (
        "Agrawal et al., IEDM 2022, 21.7, Figs. 10 and 11, as fitted in CrossSim 3.2"
    )

    def __post_init__(self) -> None:
        name = str(self).split(":")[0]
        if not 0 < self.v_read < math.inf:
            raise UserError(
                f"{name}: v_read={self.v_read:g}: a voltage above 0 V is needed, as in v_read=0.1."
            )

    @property
    def per_siemens(self) -> float:
        """nA of current per uS."""
        return self.v_read * 1000


@dataclass(frozen=True)
class SONOSProgramming(_Current, Programming):
    """g + s sigma(g) z, cut at 0, with sigma_I = A - A exp(-I / B), A = 19.88665 nA and B =
    176.3115 nA.

    By hand, at 16 uS and 0.1 V, which is 1600 nA: sigma = 19.88 nA = 0.1988 uS. Source: Agrawal et
    al., IEDM 2022, Fig. 10(a), as fitted in CrossSim 3.2; measured up to 3200 nA.
    """

    def __str__(self) -> str:
        return write("sonos-programming", self)

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, top(0) / self.per_siemens

    @property
    def formula(self) -> str:
        return "I + s (A - A exp(-I / B)) z, cut at 0, A = 19.9 nA, B = 176 nA"

    def sigma(self, g: Tensor) -> Tensor:
        return _spread(g * self.per_siemens, *SPREAD[0]) / self.per_siemens


@dataclass(frozen=True)
class SONOSDrift(_Current):
    """I + s d_t(I) + s sqrt(sigma_t(I + d_t(I))^2 - sigma_0(I)^2) z, cut at 0: the mean moves, and
    the spread grows.

    I is the programmed current, d_t a polynomial of the 10th degree, sigma_t = A_t - A_t exp(-I /
    B_t); their coefficients are linear between the days 0 to 5 after programming. z ~ N(0, 1) for
    each cell and for ever, apart from the error of programming: behind `sonos-programming` of
    strength 1 the spread is the measured sigma_t. That the two are independent was not measured. By
    hand, 1600 nA after 5 d: I + d = 1559.3 nA, sigma_t = 34.56 nA. Source: Agrawal et al., IEDM
    2022, Fig. 10(a) and (b), as fitted in CrossSim 3.2; measured below 1800 nA.
    """

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})

    ages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))
        super().__post_init__()
        if self.time > 5 * DAY:
            raise UserError(
                f"sonos-drift: time={self.time}: 5d is the longest that was measured; set a time "
                "from 0s to 5d."
            )

    def __str__(self) -> str:
        return write("sonos-drift", self)

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, top(self.time) / self.per_siemens

    @property
    def formula(self) -> str:
        return "I + s d_t(I) + s sqrt(sigma_t(I + d_t)^2 - sigma_0(I)^2) z, cut at 0"

    def shift(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """By how much the mean of a cell programmed to `g` has moved, and what has come to its
        spread; both in uS.
        """
        day = min(int(self.time / DAY), 4)
        part = self.time / DAY - day
        current, moved = g.double() * self.per_siemens, torch.zeros_like(g, dtype=torch.float64)
        for one, two in zip(reversed(SHIFT[day]), reversed(SHIFT[day + 1]), strict=True):
            moved = moved * current + ((1 - part) * one + part * two)
        a, b = (
            (1 - part) * one + part * two
            for one, two in zip(SPREAD[day], SPREAD[day + 1], strict=True)
        )
        grown = (
            (_spread(current + moved, a, b) ** 2 - _spread(current, *SPREAD[0]) ** 2)
            .clamp_min(0)
            .sqrt()
        )
        if not self.time:  # no rounding
            moved, grown = torch.zeros_like(moved), torch.zeros_like(grown)
        return (moved / self.per_siemens).to(g.dtype), (grown / self.per_siemens).to(g.dtype)

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        moved, grown = self.shift(held.value)
        return (value + strength * (moved + grown * noise.normal(value))).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        moved, grown = self.shift(held.value.double())
        return added(before, strength * moved, strength * grown)


@dataclass(frozen=True)
class SONOSRead(_Current):
    """I + s sigma(I) z, cut at 0, with a new z ~ N(0, 1) for each cell in each read.

    sigma = A - A exp(-I / B) with A = 12.58037 nA and B = 215.36557 nA, at the programmed current,
    and at every time. Source: Agrawal et al., IEDM 2022, Fig. 11(b), as fitted in CrossSim 3.2,
    which takes the current after all errors.
    """

    rereads: ClassVar[bool] = True

    def __str__(self) -> str:
        return write("sonos-read", self)

    @property
    def formula(self) -> str:
        return "I + s (A - A exp(-I / B)) z, cut at 0, A = 12.6 nA, B = 215 nA"

    def sigma(self, g: Tensor) -> Tensor:
        """Standard deviation in uS of a cell programmed to `g` in uS."""
        return _spread(g * self.per_siemens, *READ) / self.per_siemens

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return (value + strength * self.sigma(held.value) * noise.normal(value)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        return added(before, 0.0, strength * self.sigma(held.value.double()))


def _spread(current: Tensor, a: float, b: float) -> Tensor:
    """A - A exp(-I / B) in nA; 0 for no current."""
    spread: Tensor = a - a * torch.exp(-current / b)
    return spread.clamp_min(0)


# ---- SONOS charge-trap memory read below threshold, whose currents are imprecise and move as
# charge is lost


@dataclass(frozen=True)
class SONOS(Device):
    """40 nm SONOS cells: error of programming, and after it, up to 5 d, a mean that moves and a
    spread that grows.

    Agrawal et al., IEDM 2022, Figs. 10 and 11(b), as fitted in CrossSim 3.2: currents I [nA] = g
    [uS] v_read [V] 1000, up to 3200 nA at time 0 and below 1800 nA later. `read_noise` adds what
    differs from read to read. It is off unless asked for, as in CrossSim, because the spread of
    Fig. 10(a) was itself read, so that some of it is counted twice.
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
            raise UserError(
                f"{self.name}: {self.time} after programming was not measured: set a time from 0s "
                "to 5d."
            )

    def faults(self) -> tuple[Fault, ...]:
        steps = SONOSProgramming(self.v_read), SONOSDrift(self.v_read, self.time)
        return (*steps, SONOSRead(self.v_read)) if self.read_noise else steps
