"""SONOS charge-trap memory read below threshold: currents that are programmed imprecisely and move
as charge is lost.

The source speaks of the current I of a cell in nA. This module converts: I [nA] = g [uS] v_read [V]
1000, with g the conductance in uS that the crossbar holds. s is the strength, and z ~ N(0, 1) is
drawn for each cell.

Relies on: the tables `SPREAD` and `SHIFT` have one row for each of the days 0 to 5. Keeps: between
two days every coefficient is linear in time, and a time beyond 5 days raises `UserError`. At time 0
nothing has moved, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ...specs.durations import Seconds, seconds
from ...specs.grammar import write
from ..faults import Fault
from ..faults.conductance import ConductanceFault, Programming, added, polynomial
from ..faults.protocol import Raw
from ..storages import Held
from .device import Device

# ---- Programming error, loss of charge, and read noise, in the current of a cell

DAY = 86400.0  # seconds
# For each of the days 0 to 5 after programming: A and B in nA of the spread A - A exp(-I / B).
SPREAD = (
    (19.88665, 176.3115),
    (25.59102, 186.85544),
    (28.72753, 193.56834),
    (31.04318, 198.90332),
    (33.76214, 204.77023),
    (34.57909, 207.34309),
)
READ = (12.58037, 215.36557)  # A and B in nA of the noise of one read
# For each of the days 0 to 5: by how many nA the mean has moved, as a polynomial of I in nA, lowest
# power first.
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
    """The largest current in nA that was measured at a time in seconds after programming: 3200 at
    time 0, and below 1800 later.
    """
    return 1799.99 if time else 3200.0


@dataclass(frozen=True)
class _Current(ConductanceFault):
    """A fault that its source states for the current I [nA] = g [uS] v_read [V] 1000. Raises
    `UserError` unless `v_read` is a voltage above 0 V.
    """

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
        """The current in nA of a cell of 1 uS."""
        return self.v_read * 1000


@dataclass(frozen=True)
class SONOSProgramming(_Current, Programming):
    """Programming error of SONOS cells: g + s sigma(g) z, cut at 0 uS. In currents, sigma is A - A
    exp(-I / B) with A = 19.88665 nA and B = 176.3115 nA.

    Source: Agrawal et al., IEDM 2022, Fig. 10(a), as fitted in CrossSim 3.2; measured up to 3200
    nA. At 16 uS and 0.1 V, which is 1600 nA, by hand: sigma = 19.88 nA = 0.1988 uS.

    >>> SONOSProgramming().sigma(torch.tensor([16.0]))
    tensor([0.1988])
    """

    formula: ClassVar[str] = "I + s (A - A exp(-I / B)) z, cut at 0, A = 19.9 nA, B = 176 nA"

    def __str__(self) -> str:
        return write("sonos-programming", self)

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, top(0) / self.per_siemens

    def sigma(self, g: Tensor) -> Tensor:
        return _spread(g * self.per_siemens, *SPREAD[0]) / self.per_siemens


@dataclass(frozen=True)
class SONOSDrift(_Current):
    """Loss of charge of SONOS cells: I + s d_t(I) + s sqrt(sigma_t(I + d_t(I))^2 - sigma_0(I)^2) z,
    cut at 0. The mean moves and the spread grows.

    I is the programmed current, d_t a polynomial of the 10th degree, and sigma_t = A_t - A_t exp(-I
    / B_t). Their coefficients are linear between the days 0 to 5 after programming. Each cell draws
    z once and keeps it. This z is independent of the z of the programming error, so that behind
    `sonos-programming` of strength 1 the spread is the measured sigma_t. That the two are
    independent is an assumption; it was not measured.

    Raises `UserError` for a time beyond 5 days. Source: Agrawal et al., IEDM 2022, Fig. 10(a) and
    (b), as fitted in CrossSim 3.2; measured below 1800 nA. At 1600 nA after 5 days, by hand: I + d
    = 1559.3 nA and sigma_t = 34.56 nA.
    """

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})

    ages: ClassVar[bool] = True
    formula: ClassVar[str] = "I + s d_t(I) + s sqrt(sigma_t(I + d_t)^2 - sigma_0(I)^2) z, cut at 0"

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

    def shift(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """By how much the mean of a cell programmed to `g` has moved, and the standard deviation
        that was added to the programming error; both in uS, of the shape of `g`.
        """
        day = min(int(self.time / DAY), 4)  # day 5 is the end of the interval that begins on day 4
        part = self.time / DAY - day

        def between(rows: Sequence[Sequence[float]]) -> list[float]:
            """The coefficients at `self.time`, linear between the days before and after."""
            both = zip(rows[day], rows[day + 1], strict=True)
            return [(1 - part) * one + part * two for one, two in both]

        current = g.double() * self.per_siemens
        moved, (a, b) = polynomial(current, between(SHIFT)), between(SPREAD)
        # Independent errors add their variances: what was added is the difference of the two.
        grown = (
            (_spread(current + moved, a, b) ** 2 - _spread(current, *SPREAD[0]) ** 2)
            .clamp_min(0)
            .sqrt()
        )
        if not self.time:  # without this, rounding would leave a trace at time 0
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
    """Read noise of SONOS cells: I + s sigma(I) z, cut at 0. Each read of a cell draws a new z.

    sigma = A - A exp(-I / B) with A = 12.58037 nA and B = 215.36557 nA, at the programmed current
    and the same at every time. Source: Agrawal et al., IEDM 2022, Fig. 11(b), as fitted in CrossSim
    3.2, which takes the current after all errors.
    """

    rereads: ClassVar[bool] = True
    formula: ClassVar[str] = "I + s (A - A exp(-I / B)) z, cut at 0, A = 12.6 nA, B = 215 nA"

    def __str__(self) -> str:
        return write("sonos-read", self)

    def sigma(self, g: Tensor) -> Tensor:
        """Standard deviation in uS of a cell programmed to `g` in uS."""
        return _spread(g * self.per_siemens, *READ) / self.per_siemens

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return (value + strength * self.sigma(held.value) * noise.normal(value)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        return added(before, 0.0, strength * self.sigma(held.value.double()))


def _spread(current: Tensor, a: float, b: float) -> Tensor:
    """A - A exp(-I / B) in nA at the currents I in nA; 0 where there is no current."""
    spread: Tensor = a - a * torch.exp(-current / b)
    return spread.clamp_min(0)


# ---- The device


@dataclass(frozen=True)
class SONOS(Device):
    """Charge-trap memory, 40 nm SONOS cells: programming error, and up to 5 days after it a mean
    that moves and a spread that grows.

    Agrawal et al., IEDM 2022, Figs. 10 and 11(b), as fitted in CrossSim 3.2. Currents are I [nA] =
    g [uS] v_read [V] 1000, up to 3200 nA at time 0 and below 1800 nA later. `read_noise` adds the
    noise that differs from read to read. It is off unless asked for, as in CrossSim: the spread of
    Fig. 10(a) was itself measured by reading, so some of the read noise would count twice.
    """

    g_max: float = 16.0
    g_min: float = 1.6e-6
    v_read: float = 0.1
    read_noise: bool = False

    name: ClassVar[str] = "sonos"

    def __post_init__(self) -> None:
        # The fault refuses a v_read that is no voltage. `valid` divides by it, so this comes first.
        SONOSProgramming(self.v_read)
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
