"""Phase-change memory: error of programming, drift, and 1/f noise of reading."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...durations import Seconds, seconds
from ...errors import unknown
from ...grammar import write
from ...streams import Noise
from ..storages import Held, Storage
from .protocol import Raw, needs, rectified

__all__ = ["PCMDrift", "PCMProgramming", "PCMRead"]

T_0 = 20.0  # s after programming, at which the drift was first read
T_READ = 250e-9  # s, the length of a read

# sigma in uS as a polynomial of g in uS, lowest power first, and where it is from
FITS = {
    "joshi": (
        (0.28638599, 0.07585724, -0.00178767),
        "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as fitted in CrossSim 3.2",
    ),
    "nandakumar": (
        (0.26348, 1.9650 / 25, -1.1731 / 625),
        "Nandakumar et al., ICECS 2019, as in aihwkit PCMLikeNoiseModel",
    ),
}


@dataclass(frozen=True)
class PCMProgramming:
    """g + s sigma(g) z, cut at 0, with z ~ N(0, 1) for each cell and sigma a polynomial of g in uS, fitted up to 25 uS.

    By hand, fit joshi: sigma(25) = 0.286 + 1.896 - 1.117 = 1.065 uS.
    """

    fit: str = "joshi"

    unit: ClassVar[str] = "multiple of the error as measured (1 = nominal)"
    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    most: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise unknown("fit of pcm-programming", self.fit, FITS)

    def __str__(self) -> str:
        return write("pcm-programming", self)

    @property
    def formula(self) -> str:
        return "g + s sigma(g) z, cut at 0 uS, sigma = {:.3g} + {:.3g} g - {:.3g} g^2 uS".format(
            *(abs(c) for c in FITS[self.fit][0])
        )

    @property
    def source(self) -> str:
        return FITS[self.fit][1]

    def suits(self, storage: Storage) -> None:
        needs("conductances", self, storage)

    def sigma(self, g: Tensor) -> Tensor:
        """Standard deviation in uS at the conductance `g` in uS."""
        c0, c1, c2 = FITS[self.fit][0]
        size: Tensor = c0 + c1 * g + c2 * g**2
        return size.clamp_min(0)

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return (value + strength * self.sigma(held.value) * noise.normal(value)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | None:
        if not torch.equal(before.first**2, before.second):
            return None
        return rectified(before.first, strength * self.sigma(held.value.double()))


@dataclass(frozen=True)
class PCMDrift:
    """g (t / t_0)^(-s nu) with nu = |mu + sigma z|, one z ~ N(0, 1) for each cell and for ever; t = time + t_0, t_0 = 20 s.

    With r = g / G_max: mu = -0.0155 ln r + 0.0244 within 0.049 to 0.1, sigma = -0.0125 ln r - 0.0059 within 0.008 to 0.045.
    Source: Joshi et al. 2020, as in aihwkit's PCMLikeNoiseModel.
    """

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})

    unit: ClassVar[str] = "multiple of the error as measured (1 = nominal)"
    formula: ClassVar[str] = "g ((t + 20 s) / 20 s)^(-s nu), nu = |mu(g) + sigma(g) z|"
    source: ClassVar[str] = "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as in aihwkit PCMLikeNoiseModel"
    ages: ClassVar[bool] = True
    rereads: ClassVar[bool] = False
    most: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))

    def __str__(self) -> str:
        return write("pcm-drift", self)

    def suits(self, storage: Storage) -> None:
        needs("conductances", self, storage)

    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        """mu and sigma of the drift exponent of each cell."""
        log = (held.value / held.high).clamp_min(1e-7).log()
        return (-0.0155 * log + 0.0244).clamp(0.049, 0.1), (-0.0125 * log - 0.0059).clamp(0.008, 0.045)

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        mu, sigma = self.nu(held)
        nu = (mu + sigma * noise.normal(value)).abs()
        left: Tensor = torch.exp(-strength * nu * math.log1p(self.time / T_0))
        return value * left

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        mu, sigma = (part.double() for part in self.nu(held))
        length = strength * math.log1p(self.time / T_0)
        return Raw(before.first * _decay(mu, sigma, length), before.second * _decay(mu, sigma, 2 * length))


def _decay(mu: Tensor, sigma: Tensor, length: float) -> Tensor:
    """E exp(-length |mu + sigma z|)."""
    t, half = mu / sigma, (length * sigma) ** 2 / 2
    down: Tensor = torch.exp(half - length * mu) * torch.special.ndtr(t - length * sigma)
    up: Tensor = torch.exp(half + length * mu) * torch.special.ndtr(-t - length * sigma)
    return down + up


@dataclass(frozen=True)
class PCMRead:
    """g (1 + s q k z), cut at 0, with a new z ~ N(0, 1) for each cell in each read.

    q = min(0.0088 / r^0.65, 0.2) with r = g_target / G_max, and k = sqrt(ln((time + 20 s + t_read) / (2 t_read))) with
    t_read = 250 ns is the 1/f noise gathered since programming. None at time 0, at which the error of programming was
    measured, reads included.
    Source: Joshi et al. 2020, as in aihwkit's PCMLikeNoiseModel, where r is that of the programmed conductance.
    """

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})

    unit: ClassVar[str] = "multiple of the error as measured (1 = nominal)"
    formula: ClassVar[str] = "g (1 + s q(g) sqrt(ln((t + 20 s) / 500 ns)) z), cut at 0 uS"
    source: ClassVar[str] = "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as in aihwkit PCMLikeNoiseModel"
    ages: ClassVar[bool] = True
    rereads: ClassVar[bool] = True
    most: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))

    def __str__(self) -> str:
        return write("pcm-read", self)

    def suits(self, storage: Storage) -> None:
        needs("conductances", self, storage)

    def sigma(self, held: Held) -> Tensor:
        """Standard deviation over the conductance, for each cell."""
        if not self.time:
            return torch.zeros_like(held.value)
        share = (held.value / held.high).clamp_min(1e-7) ** 0.65
        gathered = math.sqrt(math.log((self.time + T_0 + T_READ) / (2 * T_READ)))
        return (0.0088 / share).clamp_max(0.2) * gathered

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return value * (1 + strength * self.sigma(held) * noise.normal(value)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        sigma = strength * self.sigma(held).double()
        factor = rectified(torch.ones_like(sigma), sigma)
        return Raw(before.first * factor.first, before.second * factor.second)
