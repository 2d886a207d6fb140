"""Phase-change memory: conductances that are programmed imprecisely, fall with time, and are read
with noise.

The module has two sets of faults, the coefficients that belong to them, and the devices that are
made of them: the cells of IBM's HERMES chip, and the cells of Joshi et al. and Nandakumar et al.
Conductances g are in uS, s is the strength, and z ~ N(0, 1) is drawn for each cell.

Relies on: `Held.value` is the target conductance of each cell, also behind other faults. Every size
of an error is taken at this target. Keeps: `PCMHermes` hands its `pair` to all three faults, so
that coefficients of pairs and of single devices never mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...errors import unknown
from ...specs.grammar import write
from ..faults import Fault
from ..faults.conductance import Drift, Programming, Read, polynomial
from ..storages import Held
from .device import Device

# ---- The phase-change memory of IBM's HERMES chip: programming error, drift, and 1/f read noise

HERMES_SOURCE = (
    "Le Gallo et al., Nature Electronics 2023, doi 10.1038/s41928-023-01010-1, as fitted in "
    "aihwkit HermesNoiseModel"
)


class _HermesBranch(NamedTuple):
    """A coefficient as a function of r = g / g_top: a ln r + b, cut to `low` and `high`, where r is
    below `edge`, and elsewhere a polynomial of r with its coefficients in `above`, lowest power
    first.
    """

    edge: float
    log: tuple[float, float]
    low: float
    high: float
    above: tuple[float, ...]

    def at(self, r: Tensor) -> Tensor:
        """The coefficient at each r."""
        a, b = self.log
        # ln 0 is infinite; at 1e-7 the coefficient is cut to `high` already.
        below = (a * r.clamp_min(1e-7).log() + b).clamp(self.low, self.high)
        return torch.where(r < self.edge, below, polynomial(r, self.above))


class _HermesFits(NamedTuple):
    """The coefficients of one kind of HERMES cell.

    `top` is the largest conductance in uS, at which r is 1; `t_0` the seconds from programming to
    the first read; `programming` the standard deviation of the programming error in uS as a
    polynomial of r, lowest power first; `mu` and `sigma` mean and standard deviation of the drift
    exponent; `q` the relative size of the read noise.
    """

    top: float
    t_0: float
    programming: tuple[float, ...]
    mu: _HermesBranch
    sigma: _HermesBranch
    q: _HermesBranch


_MU = _HermesBranch(0.0945, (-0.0387, -0.0182), 0.0720, 0.13, (0.0736, -0.0126, -0.0436))
# True: a cell is a pair of devices that hold the same conductance. False: it is a single device.
HERMES = {
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
    """Programming error of HERMES cells: g + s sigma(g) z, cut at 0 uS.

    sigma is a cubic polynomial of g / 20.7 uS, or of g / 10.35 uS for single devices (`pair`
    false). Source: Le Gallo et al. 2023, as fitted in aihwkit's HermesNoiseModel.

    At 20.7 uS, by hand: 0.16603 + 4.71806 - 8.48101 + 4.68961 = 1.0927 uS, and 1.0076 uS for a
    single device at 10.35 uS.

    >>> HermesProgramming().sigma(torch.tensor([20.7]))
    tensor([1.0927])
    >>> HermesProgramming(pair=False).sigma(torch.tensor([10.35]))
    tensor([1.0076])
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
        return polynomial(g / HERMES[self.pair].top, HERMES[self.pair].programming).clamp_min(0)


@dataclass(frozen=True)
class HermesDrift(Drift):
    """Drift of HERMES cells: g (t / t_0)^(-s nu) with nu = |mu + sigma z|. Each cell draws z once
    and keeps it.

    t is counted from programming; t_0 is 300 s, or 200 s for single devices (`pair` false). mu and
    sigma depend on r, the target as a share of the largest conductance. Source: Le Gallo et al.
    2023, as fitted in aihwkit's HermesNoiseModel.

    At r = 1, by hand: mu = 0.0736 - 0.0126 - 0.0436 = 0.0174 and sigma = 0.0073 + 0.0093 - 0.0118 =
    0.0048.
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
    """Read noise of HERMES cells: g (1 + s q k z), cut at 0 uS. Each read of a cell draws a new z.

    k is the growth of 1/f noise with time, as in `Read`, here with t_read = 512 ns. q is taken at
    the target conductance; aihwkit takes it at the programmed conductance. At r = 1, by hand: q =
    0.0123 + 0.0211 - 0.0280 + 0.0069 = 0.0123. Source: Le Gallo et al. 2023, as fitted in aihwkit's
    HermesNoiseModel.
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


# ---- The phase-change memory of Joshi et al. and of Nandakumar et al.: programming error, drift,
# and 1/f read noise

# For each fit: sigma in uS as a polynomial of g in uS, lowest power first, and its source.
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
    """Programming error: g + s sigma(g) z, cut at 0 uS.

    sigma is a polynomial of g in uS, fitted up to 25 uS; `fit` is "joshi" or "nandakumar". Raises
    `UserError` for another fit. With fit joshi at 25 uS, by hand: 0.28639 + 1.89643 - 1.11729 =
    1.0655 uS.

    >>> PCMProgramming().sigma(torch.tensor([25.0]))
    tensor([1.0655])
    """

    fit: str = "joshi"

    valid: ClassVar[tuple[float, float]] = (0.0, 25.0)

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

    def sigma(self, g: Tensor) -> Tensor:
        c0, c1, c2 = FITS[self.fit][0]
        size: Tensor = c0 + c1 * g + c2 * g**2
        return size.clamp_min(0)


@dataclass(frozen=True)
class PCMDrift(Drift):
    """Drift: g (t / t_0)^(-s nu) with nu = |mu + sigma z|. Each cell draws z once and keeps it.

    t = time + t_0 with t_0 = 20 s. With r = g / G_max: mu = -0.0155 ln r + 0.0244, cut to 0.049 to
    0.1, and sigma = -0.0125 ln r - 0.0059, cut to 0.008 to 0.045. Source: Joshi et al. 2020, as in
    aihwkit's PCMLikeNoiseModel.
    """

    source: ClassVar[str] = (
        "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as in aihwkit PCMLikeNoiseModel"
    )

    def __str__(self) -> str:
        return write("pcm-drift", self)

    def nu(self, held: Held) -> tuple[Tensor, Tensor]:
        # ln 0 is infinite; at 1e-7 both coefficients are cut to their largest value already.
        log = (held.value / held.high).clamp_min(1e-7).log()
        return (-0.0155 * log + 0.0244).clamp(0.049, 0.1), (-0.0125 * log - 0.0059).clamp(
            0.008, 0.045
        )


@dataclass(frozen=True)
class PCMRead(Read):
    """Read noise: g (1 + s q k z), cut at 0 uS. Each read of a cell draws a new z.

    q = min(0.0088 / r^0.65, 0.2) with r = g_target / G_max. k = sqrt(ln((time + 20 s + t_read) / (2
    t_read))) with t_read = 250 ns is the 1/f noise that gathers from programming on. There is no
    read noise at time 0: the programming error was measured by reading the cells, so it contains
    the noise of these reads. Source: Joshi et al. 2020, as in aihwkit's PCMLikeNoiseModel, which
    takes r of the programmed conductance.
    """

    source: ClassVar[str] = (
        "Joshi et al. 2020, doi 10.1038/s41467-020-16108-9, as in aihwkit PCMLikeNoiseModel"
    )

    def __str__(self) -> str:
        return write("pcm-read", self)

    def q(self, held: Held) -> Tensor:
        # At 1e-7, q is cut to 0.2 already; without this a cell that is off would divide by 0.
        share = (held.value / held.high).clamp_min(1e-7) ** 0.65
        return (0.0088 / share).clamp_max(0.2)


# ---- The devices


@dataclass(frozen=True)
class PCMJoshi(Device):
    """Phase-change memory, doped Ge2Sb2Te5 mushroom cells: programming error, drift and 1/f read
    noise; at time 0 only the programming error.

    Joshi et al. 2020, doi 10.1038/s41467-020-16108-9; the polynomial of the programming error is
    the fit in CrossSim 3.2, up to 25 uS. G_min is 0.25 uS unless given.
    """

    g_max: float = 25.0
    g_min: float = 0.25

    name: ClassVar[str] = "pcm-joshi"
    fit: ClassVar[str] = "joshi"
    valid: ClassVar[tuple[float, float]] = (0.0, 25.0)

    def faults(self) -> tuple[Fault, ...]:
        return PCMProgramming(self.fit), PCMDrift(self.time), PCMRead(self.time)


@dataclass(frozen=True)
class PCMNandakumar(PCMJoshi):
    """`PCMJoshi` with the programming error of Nandakumar et al., ICECS 2019 (aihwkit's PCMLike),
    and with G_min = 0 uS unless given.
    """

    g_min: float = 0.0

    name: ClassVar[str] = "pcm-nandakumar"
    fit: ClassVar[str] = "nandakumar"


@dataclass(frozen=True)
class PCMHermes(Device):
    """Phase-change memory of IBM's HERMES chip: programming error, drift and 1/f read noise.

    A cell is a pair of devices that hold the same conductance, or a single device (`pair` false, up
    to 10.35 uS). A pair counts as one cell here, and its conductance is the sum of both. Le Gallo
    et al., Nature Electronics 2023, doi 10.1038/s41928-023-01010-1, as fitted in aihwkit's
    HermesNoiseModel; the polynomials are taken at the absolute conductance.
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
