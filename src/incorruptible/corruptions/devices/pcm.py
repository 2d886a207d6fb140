"""Phase-change memory, whose conductances are imprecise, noisy, and fall with time: what goes
wrong, and the devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...errors import unknown
from ...specs.grammar import write
from ..faults import Fault
from ..faults.conductance import Drift, Programming, Read
from ..storages import Held
from .device import Device

__all__ = [
    "HERMES",
    "HermesDrift",
    "HermesProgramming",
    "HermesRead",
    "PCMDrift",
    "PCMHermes",
    "PCMJoshi",
    "PCMNandakumar",
    "PCMProgramming",
    "PCMRead",
]

# ---- The phase-change memory of IBM's HERMES chip: error of programming, drift, and 1/f noise of
# reading

HERMES_SOURCE = (
    "Le Gallo et al., Nature Electronics 2023, doi 10.1038/s41928-023-01010-1, as fitted in "
    "aihwkit HermesNoiseModel"
)


class _HermesBranch(NamedTuple):
    """a ln r + b within low and high for r < edge, else a polynomial of r, lowest power first."""

    edge: float
    log: tuple[float, float]
    low: float
    high: float
    above: tuple[float, ...]

    def at(self, r: Tensor) -> Tensor:
        a, b = self.log
        below = (a * r.clamp_min(1e-7).log() + b).clamp(self.low, self.high)
        return torch.where(r < self.edge, below, _polynomial(r, self.above))


class _HermesFits(NamedTuple):
    """Of one kind of cell: the largest conductance in uS, which is r = 1; t_0 in s; the error of
    programming in uS; nu; q.
    """

    top: float
    t_0: float
    programming: tuple[float, ...]
    mu: _HermesBranch
    sigma: _HermesBranch
    q: _HermesBranch


_MU = _HermesBranch(0.0945, (-0.0387, -0.0182), 0.0720, 0.13, (0.0736, -0.0126, -0.0436))
HERMES = {  # by whether a cell is a pair of devices that hold the same
    True: _HermesFits(
        20.7,
        300.0,
        (0.16603222, 4.71806468, -8.48101252, 4.68961419),
        _MU,
        _HermesBranch(0.3055, (-0.0117, -0.0057), 0.0091, 0.04, (0.0073, 0.0093, -0.0118)),
        _HermesBranch(0.16, (-0.0117, -0.0069), 0.015, 0.04, (0.0123, 0.0211, -0.0280, 0.0069)),
    ),
    False: _HermesFits(
        10.35,
        200.0,
        (0.15781817, 2.32443916, -2.16310839, 0.68841818),
        _MU,
        _HermesBranch(0.3039, (-0.0120, -0.0023), 0.0124, 0.04, (0.0104, 0.0116, -0.0165)),
        _HermesBranch(0.1591, (-0.0078, 0.0038), 0.0179, 0.04, (0.0088, 0.0768, -0.1352, 0.0664)),
    ),
}


@dataclass(frozen=True)
class HermesProgramming(Programming):
    """g + s sigma(g) z, cut at 0, sigma a cubic of r = g / 20.7 uS, or for single devices (`pair`
    false) of g / 10.35 uS.

    By hand, at 20.7 uS: 0.16603 + 4.71806 - 8.48101 + 4.68961 = 1.0927 uS; single, at 10.35 uS:
    1.0076 uS.
    """

    pair: bool = True

    source: ClassVar[str] = HERMES_SOURCE

    def __str__(self) -> str:
        return write("hermes-programming", self)

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, HERMES[self.pair].top

    @property
    def formula(self) -> str:
        return f"g + s sigma(g) z, cut at 0 uS, sigma a cubic of g / {HERMES[self.pair].top:g} uS"

    def sigma(self, g: Tensor) -> Tensor:
        return _polynomial(g / HERMES[self.pair].top, HERMES[self.pair].programming).clamp_min(0)


@dataclass(frozen=True)
class HermesDrift(Drift):
    """g (t / t_0)^(-s nu), nu = |mu + sigma z| with one z for each cell and for ever; t_0 = 300 s,
    of single devices 200 s.

    By hand, at r = 1: mu = 0.0736 - 0.0126 - 0.0436 = 0.0174 and sigma = 0.0048.
    """

    pair: bool = True

    source: ClassVar[str] = HERMES_SOURCE

    def __str__(self) -> str:
        return write("hermes-drift", self)

    @property
    def t_0(self) -> float:
        return HERMES[self.pair].t_0

    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        fits = HERMES[self.pair]
        return fits.mu.at(held.value / fits.top), fits.sigma.at(held.value / fits.top)


@dataclass(frozen=True)
class HermesRead(Read):
    """g (1 + s q k z), cut at 0, with a new z ~ N(0, 1) for each cell in each read; k as for
    `Read`, t_read = 512 ns.

    q is taken at the target; aihwkit takes it at the programmed conductance. By hand, at r = 1: q =
    0.0123.
    """

    pair: bool = True

    source: ClassVar[str] = HERMES_SOURCE
    t_read: ClassVar[float] = 512e-9

    def __str__(self) -> str:
        return write("hermes-read", self)

    @property
    def t_0(self) -> float:
        return HERMES[self.pair].t_0

    def q(self, held: Held) -> Tensor:
        return HERMES[self.pair].q.at(held.value / HERMES[self.pair].top)


def _polynomial(r: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    value = torch.zeros_like(r)
    for c in reversed(coefficients):
        value = value * r + c
    return value


# ---- Phase-change memory: error of programming, drift, and 1/f noise of reading

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
    """g + s sigma(g) z, cut at 0, with z ~ N(0, 1) for each cell and sigma a polynomial of g in uS,
    fitted up to 25 uS.

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
    """g (t / t_0)^(-s nu) with nu = |mu + sigma z|, one z ~ N(0, 1) for each cell and for ever; t =
    time + t_0, t_0 = 20 s.

    With r = g / G_max: mu = -0.0155 ln r + 0.0244 within 0.049 to 0.1, sigma = -0.0125 ln r -
    0.0059 within 0.008 to 0.045. Source: Joshi et al. 2020, as in aihwkit's PCMLikeNoiseModel.
    """

    source: ClassVar[str] = (
        "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as in aihwkit PCMLikeNoiseModel"
    )

    def __str__(self) -> str:
        return write("pcm-drift", self)

    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        log = (held.value / held.high).clamp_min(1e-7).log()
        return (-0.0155 * log + 0.0244).clamp(0.049, 0.1), (-0.0125 * log - 0.0059).clamp(
            0.008, 0.045
        )


@dataclass(frozen=True)
class PCMRead(Read):
    """g (1 + s q k z), cut at 0, with a new z ~ N(0, 1) for each cell in each read.

    q = min(0.0088 / r^0.65, 0.2) with r = g_target / G_max, and k = sqrt(ln((time + 20 s + t_read)
    / (2 t_read))) with t_read = 250 ns is the 1/f noise gathered since programming. None at time 0,
    at which the error of programming was measured, reads included. Source: Joshi et al. 2020, as in
    aihwkit's PCMLikeNoiseModel, where r is that of the programmed conductance.
    """

    source: ClassVar[str] = (
        "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as in aihwkit PCMLikeNoiseModel"
    )

    def __str__(self) -> str:
        return write("pcm-read", self)

    def q(self, held: Held) -> Tensor:
        share = (held.value / held.high).clamp_min(1e-7) ** 0.65
        return (0.0088 / share).clamp_max(0.2)


# ---- Phase-change memory, whose conductances are imprecise, noisy, and fall with time


@dataclass(frozen=True)
class PCMJoshi(Device):
    """Doped Ge2Sb2Te5 mushroom cells: programming error, drift and 1/f read noise; no drift at time
    0.

    Joshi et al. 2020, doi 10.1038/s41467-020-16108-9; the programming polynomial as fitted in
    CrossSim 3.2. Fitted up to 25 uS; G_min 0.25 uS unless said otherwise.
    """

    g_max: float = 25.0
    g_min: float = 0.25

    name: ClassVar[str] = "pcm-joshi"
    fit: ClassVar[str] = "joshi"

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, 25.0

    def faults(self) -> tuple[Fault, ...]:
        return PCMProgramming(self.fit), PCMDrift(self.time), PCMRead(self.time)


@dataclass(frozen=True)
class PCMNandakumar(PCMJoshi):
    """As `PCMJoshi`, with the programming polynomial of Nandakumar et al., ICECS 2019 (aihwkit's
    PCMLike), and G_min = 0.
    """

    g_min: float = 0.0

    name: ClassVar[str] = "pcm-nandakumar"
    fit: ClassVar[str] = "nandakumar"


@dataclass(frozen=True)
class PCMHermes(Device):
    """The cells of IBM's HERMES chip, each a pair of devices that hold the same, or single ones
    (`pair` false, up to 10.35 uS).

    Le Gallo et al., Nature Electronics 2023, doi 10.1038/s41928-023-01010-1, as fitted in aihwkit's
    HermesNoiseModel, with the polynomials taken at the absolute conductance. A pair is one cell
    here, whose conductance is that of both.
    """

    g_max: float = 20.7
    pair: bool = True

    name: ClassVar[str] = "pcm-hermes"

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, HERMES[self.pair].top

    def faults(self) -> tuple[Fault, ...]:
        return (
            HermesProgramming(self.pair),
            HermesDrift(self.time, self.pair),
            HermesRead(self.time, self.pair),
        )
