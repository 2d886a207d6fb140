"""Faults of conductances: programming error, drift by a power law, and read noise.

These are the shapes of the errors; each device brings the coefficients (`pcm.py`, `rram.py` and
others). Conductances g are in uS, s is the strength, and z ~ N(0, 1) is drawn for each cell.

Relies on: `held.value` is the target conductance of each cell, which stays the same behind all
faults. Coefficients (sigma, nu, q) are taken at the target and not at what earlier faults made of
the cell; this is what gives closed forms to `moments`. Keeps: at strength 0 a conductance stays bit
for bit what it was, and no conductance becomes negative.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ...specs.durations import Seconds, seconds
from ..storages import Held, Storage
from .protocol import Raw, needs, rectified


@dataclass(frozen=True)
class ConductanceFault(ABC):
    """A fault of conductances. A subclass writes `after` (what becomes of the conductances) and
    `formula`, and names the range that was measured in `valid`.
    """

    unit: ClassVar[str] = "multiple of the error as measured (1 = nominal)"
    max_strength: ClassVar[float] = math.inf
    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False

    @property
    def valid(self) -> tuple[float, float]:
        """The smallest and the largest conductance in uS at which the fault was measured."""
        return 0.0, math.inf

    @property
    @abstractmethod
    def formula(self) -> str:
        """What becomes of the conductance g."""

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        self.check(held)
        return self.after(value, held, strength, noise)

    def suits(self, storage: Storage) -> None:
        """Raise `UserError` for a storage that does not hold conductances."""
        needs("conductances", self, storage)

    def check(self, held: Held) -> None:
        """Raise `UserError` if the cells can hold conductances at which the fault was not
        measured.
        """
        name = str(self).split(":")[0]
        (low, high), lowest, highest = self.valid, float(held.low), float(held.high)
        if lowest < low * (1 - 1e-9) or highest > high * (1 + 1e-9):
            raise UserError(
                f"{name}: {lowest:.4g} to {highest:.4g} uS is outside {low:g} to {high:g} uS, the "
                "range that was measured: set the crossbar's g_max and g_min (or on_off)."
            )

    @abstractmethod
    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        """The conductances in uS behind the fault, from the conductances `value` before it."""


@dataclass(frozen=True)
class Programming(ConductanceFault):
    """Programming error: g + s sigma(g) z, cut at 0 uS. Each cell draws z ~ N(0, 1) once and keeps
    it.

    A subclass writes `sigma`. Moments are closed forms where the programming error is the first
    fault; elsewhere `moments` is None.
    """

    @abstractmethod
    def sigma(self, g: Tensor) -> Tensor:
        """Standard deviation in uS at the conductance `g` in uS."""

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return (value + strength * self.sigma(held.value) * noise.normal(value)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | None:
        self.check(held)
        # E[x]^2 = E[x^2] says that the cells are certain: only then is the error normal.
        if not torch.equal(before.first**2, before.second):
            return None
        return rectified(before.first, strength * self.sigma(held.value.double()))


@dataclass(frozen=True)
class Ageing(ConductanceFault):
    """A fault that happens after programming. Its `time` in seconds is counted from time 0, at
    which the cells were first read. Time 0 lies `t_0` seconds after programming.
    """

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})

    ages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))

    @property
    def t_0(self) -> float:
        """Seconds from programming to time 0."""
        return 20.0


@dataclass(frozen=True)
class Drift(Ageing):
    """Drift by a power law: g (t / t_0)^(-s nu) with nu = |mu + sigma z|. Each cell draws z ~ N(0,
    1) once and keeps it; t = time + t_0.

    A subclass writes `nu` and may set `t_0`. At time 0 there is no drift.
    """

    @abstractmethod
    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        """mu and sigma of the drift exponent of each cell, two tensors of the cells' shape."""

    @property
    def formula(self) -> str:
        return f"g ((t + {self.t_0:g} s) / {self.t_0:g} s)^(-s nu), nu = |mu(g) + sigma(g) z|"

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        mu, sigma = self.nu(held)
        nu = (mu + sigma * noise.normal(value)).abs()
        # (time + t_0) / t_0 is 1 + time / t_0, whose logarithm log1p gives exactly at small times.
        left: Tensor = torch.exp(-strength * nu * math.log1p(self.time / self.t_0))
        return value * left

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        # The factor is independent of the conductance before it, so that their moments multiply.
        mu, sigma = (part.double() for part in self.nu(held))
        length = strength * math.log1p(self.time / self.t_0)
        return Raw(
            before.first * _decay(mu, sigma, length), before.second * _decay(mu, sigma, 2 * length)
        )


def _decay(mu: Tensor, sigma: Tensor, length: float) -> Tensor:
    """E exp(-length |mu + sigma z|) for z ~ N(0, 1).

    With P the normal distribution function, it is the sum of two terms, one for each sign of mu +
    sigma z: exp(-length mu + length^2 sigma^2 / 2) P(mu / sigma - length sigma), and the same with
    -mu in place of mu. Both terms are computed in logarithms: where drift is strong their factors
    overflow, and their products do not.
    """
    t, half = mu / sigma, (length * sigma) ** 2 / 2
    down = half - length * mu + torch.special.log_ndtr(t - length * sigma)
    up = half + length * mu + torch.special.log_ndtr(-t - length * sigma)
    mean: Tensor = down.exp() + up.exp()
    return mean


@dataclass(frozen=True)
class Read(Ageing):
    """Read noise: g (1 + s q k z), cut at 0 uS. Each read of a cell draws a new z ~ N(0, 1).

    k = sqrt(ln((time + t_0 + t_read) / (2 t_read))) is the 1/f noise that gathers from programming
    to a read of t_read seconds. A subclass writes `q`. There is no read noise at time 0: the
    programming error was measured by reading the cells, so it contains the noise of these reads.
    """

    rereads: ClassVar[bool] = True
    t_read: ClassVar[float] = 250e-9

    @abstractmethod
    def q(self, held: Held) -> Tensor:
        """The noise's standard deviation divided by the conductance, for each cell, where k = 1."""

    @property
    def formula(self) -> str:
        return (
            f"g (1 + s q(g) sqrt(ln((t + {self.t_0:g} s) / {self.t_read * 2e9:.4g} ns)) z), cut at "
            "0 uS"
        )

    def sigma(self, held: Held) -> Tensor:
        """The noise's standard deviation divided by the conductance, for each cell: q k, and 0 at
        time 0.
        """
        if not self.time:
            return torch.zeros_like(held.value)
        return self.q(held) * math.sqrt(
            math.log((self.time + self.t_0 + self.t_read) / (2 * self.t_read))
        )

    def after(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return value * (1 + strength * self.sigma(held) * noise.normal(value)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        self.check(held)
        # As in `Drift`, the factor is independent of the conductance.
        sigma = strength * self.sigma(held).double()
        factor = rectified(torch.ones_like(sigma), sigma)
        return Raw(before.first * factor.first, before.second * factor.second)


def added(before: Raw, shift: Tensor | float, std: Tensor) -> Raw:
    """Moments of max(0, g + shift + std z), from the moments `before` of g, for z ~ N(0, 1)
    independent of g. `shift` and `std` are in uS.

    Exact where g is normal. A g that was itself cut at 0 is treated as a normal number with the
    same moments; the result is off by no more than what the cut took away.

    >>> certain = Raw(torch.zeros(1), torch.zeros(1))
    >>> added(certain, 0.0, torch.ones(1)).first  # 1 / sqrt(2 pi)
    tensor([0.3989])
    """
    spread = (before.second - before.first**2).clamp_min(0)
    return rectified(before.first + shift, (spread + std**2).sqrt())


def polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """c_0 + c_1 x + c_2 x^2 + ..., by Horner's rule; the `coefficients` begin with c_0.

    >>> polynomial(torch.tensor([2.0]), (1.0, 0.5, 0.25))
    tensor([3.])
    """
    value = torch.zeros_like(x)
    for c in reversed(coefficients):
        value = value * x + c
    return value
