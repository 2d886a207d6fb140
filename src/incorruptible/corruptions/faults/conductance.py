"""What goes wrong with conductances: error of programming, drift by a power law, and noise of
reading.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ...specs.durations import Seconds, seconds
from ..storages import Held, Storage
from .protocol import Raw, needs, rectified

__all__ = ["Ageing", "ConductanceFault", "Drift", "Programming", "Read", "added"]


@dataclass(frozen=True)
class ConductanceFault(ABC):
    """What all steps share."""

    unit: ClassVar[str] = "multiple of the error as measured (1 = nominal)"
    max_strength: ClassVar[float] = math.inf
    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False

    @property
    def valid(self) -> tuple[float, float]:
        """The range in uS over which it was measured."""
        return 0.0, math.inf

    @property
    @abstractmethod
    def formula(self) -> str:
        """What becomes of the conductance g."""

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        self.check(held)
        return self.after(value, held, strength, noise)

    def suits(self, storage: Storage) -> None:
        """Raise `UserError` for a storage of no conductances."""
        needs("conductances", self, storage)

    def check(self, held: Held) -> None:
        """Raise `UserError` outside the range that was measured."""
        name = str(self).split(":")[0]
        (low, high), lowest, highest = self.valid, float(held.low), float(held.high)
        if lowest < low * (1 - 1e-9) or highest > high * (1 + 1e-9):
            raise UserError(
                f"{name}: {lowest:.4g} to {highest:.4g} uS is outside {low:g} to {high:g} uS, the "
                "range that was measured: set the crossbar's g_max and g_min (or on_off)."
            )

    @abstractmethod
    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        """The conductances in uS behind the step."""


@dataclass(frozen=True)
class Programming(ConductanceFault):
    """g + s sigma(g) z, cut at 0, with z ~ N(0, 1) for each cell and for ever. A subclass writes
    `sigma`.
    """

    @abstractmethod
    def sigma(self, g: Tensor) -> Tensor:
        """Standard deviation in uS at the conductance `g` in uS."""

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return (value + strength * self.sigma(held.value) * noise.normal(value)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | None:
        self.check(held)
        if not torch.equal(before.first**2, before.second):
            return None
        return rectified(before.first, strength * self.sigma(held.value.double()))


@dataclass(frozen=True)
class Ageing(ConductanceFault):
    """What happens after programming; `time` counts from time 0, which lies `t_0` seconds after
    it.
    """

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})

    ages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))

    @property
    def t_0(self) -> float:
        """Seconds from programming to time 0, at which cells were first read."""
        return 20.0


@dataclass(frozen=True)
class Drift(Ageing):
    """g (t / t_0)^(-s nu), nu = |mu + sigma z| with one z ~ N(0, 1) for each cell and for ever; t =
    time + t_0.

    A subclass writes `nu` and may set `t_0`, the seconds after programming at which the drift was
    first read.
    """

    @abstractmethod
    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        """mu and sigma of the drift exponent of each cell."""

    @property
    def formula(self) -> str:
        return f"g ((t + {self.t_0:g} s) / {self.t_0:g} s)^(-s nu), nu = |mu(g) + sigma(g) z|"

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        mu, sigma = self.nu(held)
        nu = (mu + sigma * noise.normal(value)).abs()
        left: Tensor = torch.exp(-strength * nu * math.log1p(self.time / self.t_0))
        return value * left

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        mu, sigma = (part.double() for part in self.nu(held))
        length = strength * math.log1p(self.time / self.t_0)
        return Raw(
            before.first * _decay(mu, sigma, length), before.second * _decay(mu, sigma, 2 * length)
        )


def _decay(mu: Tensor, sigma: Tensor, length: float) -> Tensor:
    """E exp(-length |mu + sigma z|), in logarithms, for its factors overflow where drift is
    strong.
    """
    t, half = mu / sigma, (length * sigma) ** 2 / 2
    down = half - length * mu + torch.special.log_ndtr(t - length * sigma)
    up = half + length * mu + torch.special.log_ndtr(-t - length * sigma)
    mean: Tensor = down.exp() + up.exp()
    return mean


@dataclass(frozen=True)
class Read(Ageing):
    """g (1 + s q k z), cut at 0, with a new z ~ N(0, 1) for each cell in each read.

    k = sqrt(ln((time + t_0 + t_read) / (2 t_read))) is the 1/f noise gathered since programming by
    a read of t_read seconds; a subclass writes q. None at time 0, at which the error of programming
    was measured, reads included.
    """

    rereads: ClassVar[bool] = True
    t_read: ClassVar[float] = 250e-9

    @abstractmethod
    def q(self, held: Held) -> Tensor:
        """Standard deviation over the conductance, for each cell, where k = 1."""

    @property
    def formula(self) -> str:
        return (
            f"g (1 + s q(g) sqrt(ln((t + {self.t_0:g} s) / {self.t_read * 2e9:.4g} ns)) z), cut at "
            "0 uS"
        )

    def sigma(self, held: Held) -> Tensor:
        """Standard deviation over the conductance, for each cell."""
        if not self.time:
            return torch.zeros_like(held.value)
        return self.q(held) * math.sqrt(
            math.log((self.time + self.t_0 + self.t_read) / (2 * self.t_read))
        )

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return value * (1 + strength * self.sigma(held) * noise.normal(value)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        sigma = strength * self.sigma(held).double()
        factor = rectified(torch.ones_like(sigma), sigma)
        return Raw(before.first * factor.first, before.second * factor.second)


def added(before: Raw, shift: Tensor | float, std: Tensor) -> Raw:
    """Moments of max(0, g + shift + std z), z independent of g: exact where g is normal.

    A g that was itself cut at 0 is taken as normal of the same moments: off by no more than what
    the cut took.
    """
    spread = (before.second - before.first**2).clamp_min(0)
    return rectified(before.first + shift, (spread + std**2).sqrt())
