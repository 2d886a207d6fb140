"""Filamentary CMO/HfOx memory: error of programming, relaxation, and 1/f noise of reading."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...durations import Seconds, seconds
from ...errors import Mistake
from ...grammar import write
from ...streams import Noise
from ..storages import Held
from .conductance import Programming, Step, added
from .protocol import Raw, rectified

__all__ = ["CMO", "CMOProgramming", "CMORead", "CMORelaxation"]

SOURCE = "Falcone et al., as fitted in aihwkit ReRamCMONoiseModel"
# by acceptance range in % of the target: sigma = c_0 + c_1 g in uS
CMO = {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}
T_READ = 1e-6  # s


@dataclass(frozen=True)
class _Range(Step):
    """A step measured from 9 to 88.2 uS."""

    source: ClassVar[str] = SOURCE

    @property
    def valid(self) -> tuple[float, float]:
        return 9.0, 88.2


@dataclass(frozen=True)
class _Later(_Range):
    """A step of the time after programming, from 1 s on; nothing happens at time 0."""

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})

    ages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))
        if 0 < self.time < 1:
            name = str(self).split(":")[0]
            raise Mistake(f"{name}: time={self.time}: nothing is known between 0s and 1s; set time=0s, or 1s or more.")


@dataclass(frozen=True)
class CMOProgramming(_Range, Programming):
    """g + s (c_0 + c_1 g) z, cut at 0, where programming stops within `acceptance` % of the target: 0.2 or 2.

    By hand, at 88.2 uS: 1.007 uS for 2 %, 0.0951 uS for 0.2 %.
    """

    acceptance: float = 2.0

    def __post_init__(self) -> None:
        if self.acceptance not in CMO:
            raise Mistake(f"cmo-programming: acceptance={self.acceptance:g}: 0.2 or 2 (percent) was measured.")

    def __str__(self) -> str:
        return write("cmo-programming", self)

    @property
    def formula(self) -> str:
        return "g + s ({:.3g} + {:.3g} g) z uS, cut at 0 uS".format(*CMO[self.acceptance])

    def sigma(self, g: Tensor) -> Tensor:
        c_0, c_1 = CMO[self.acceptance]
        return c_0 + c_1 * g


@dataclass(frozen=True)
class CMORelaxation(_Later):
    """g + s (-0.0890 ln t + (0.0420 ln t + 0.4118) z) uS, cut at 0; z for each cell and for ever, t the seconds since programming.

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
class CMORead(_Later):
    """g + s 0.0277316483 log10(g) sqrt(ln((t + 1 us) / 2 us)) z uS, cut to the cell's range; a new z in each read.

    g in the logarithm is the target, in uS; aihwkit takes the conductance that was relaxed. By hand, 88.2 uS after a day: 0.267 uS.
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
