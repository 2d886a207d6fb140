"""Phase-change memory: error of programming, drift, and 1/f noise of reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...errors import unknown
from ...grammar import write
from ..storages import Held
from .conductance import Drift, Programming, Read

__all__ = ["PCMDrift", "PCMProgramming", "PCMRead"]

# sigma in uS as a polynomial of g in uS, lowest power first, and where it is from
FITS = {
    "joshi": (
        (0.28638599, 0.07585724, -0.00178767),
        "Joshi et al. 2020, Fig. 3(b), doi 10.1038/s41467-020-16108-9, as fitted in CrossSim 3.2",
    ),
    "nandakumar": (
        (0.26348, 1.9650 / 25, -1.1731 / 625),
        "Nandakumar et al., ICECS 2019, as in aihwkit PCMLikeNoiseModel",
    ),
}


@dataclass(frozen=True)
class PCMProgramming(Programming):
    """g + s sigma(g) z, cut at 0, with z ~ N(0, 1) for each cell and sigma a polynomial of g in uS, fitted up to 25 uS.

    By hand, fit joshi: sigma(25) = 0.286 + 1.896 - 1.117 = 1.065 uS.
    """

    fit: str = "joshi"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise unknown("fit of pcm-programming", self.fit, FITS)

    def __str__(self) -> str:
        return write("pcm-programming", self)

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, 25.0

    @property
    def formula(self) -> str:
        return "g + s sigma(g) z, cut at 0 uS, sigma = {:.3g} + {:.3g} g - {:.3g} g^2 uS".format(
            *(abs(c) for c in FITS[self.fit][0])
        )

    @property
    def source(self) -> str:
        return FITS[self.fit][1]

    def sigma(self, g: Tensor) -> Tensor:
        c0, c1, c2 = FITS[self.fit][0]
        size: Tensor = c0 + c1 * g + c2 * g**2
        return size.clamp_min(0)


@dataclass(frozen=True)
class PCMDrift(Drift):
    """g (t / t_0)^(-s nu) with nu = |mu + sigma z|, one z ~ N(0, 1) for each cell and for ever; t = time + t_0, t_0 = 20 s.

    With r = g / G_max: mu = -0.0155 ln r + 0.0244 within 0.049 to 0.1, sigma = -0.0125 ln r - 0.0059 within 0.008 to 0.045.
    Source: Joshi et al. 2020, as in aihwkit's PCMLikeNoiseModel.
    """

    source: ClassVar[str] = "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as in aihwkit PCMLikeNoiseModel"

    def __str__(self) -> str:
        return write("pcm-drift", self)

    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        log = (held.value / held.high).clamp_min(1e-7).log()
        return (-0.0155 * log + 0.0244).clamp(0.049, 0.1), (-0.0125 * log - 0.0059).clamp(0.008, 0.045)


@dataclass(frozen=True)
class PCMRead(Read):
    """g (1 + s q k z), cut at 0, with a new z ~ N(0, 1) for each cell in each read.

    q = min(0.0088 / r^0.65, 0.2) with r = g_target / G_max, and k = sqrt(ln((time + 20 s + t_read) / (2 t_read))) with
    t_read = 250 ns is the 1/f noise gathered since programming. None at time 0, at which the error of programming was
    measured, reads included.
    Source: Joshi et al. 2020, as in aihwkit's PCMLikeNoiseModel, where r is that of the programmed conductance.
    """

    source: ClassVar[str] = "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as in aihwkit PCMLikeNoiseModel"

    def __str__(self) -> str:
        return write("pcm-read", self)

    def q(self, held: Held) -> Tensor:
        share = (held.value / held.high).clamp_min(1e-7) ** 0.65
        return (0.0088 / share).clamp_max(0.2)
