"""The phase-change memory of IBM's HERMES chip: error of programming, drift, and 1/f noise of reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...grammar import write
from ..storages import Held
from .conductance import Drift, Programming, Read

__all__ = ["HERMES", "HermesDrift", "HermesProgramming", "HermesRead"]

SOURCE = (
    "Le Gallo et al., Nature Electronics 2023, doi 10.1038/s41928-023-01010-1, as fitted in aihwkit HermesNoiseModel"
)


class _Branch(NamedTuple):
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


class _Fits(NamedTuple):
    """Of one kind of cell: the largest conductance in uS, which is r = 1; t_0 in s; the error of programming in uS; nu; q."""

    top: float
    t_0: float
    programming: tuple[float, ...]
    mu: _Branch
    sigma: _Branch
    q: _Branch


_MU = _Branch(0.0945, (-0.0387, -0.0182), 0.0720, 0.13, (0.0736, -0.0126, -0.0436))
HERMES = {  # by whether a cell is a pair of devices that hold the same
    True: _Fits(
        20.7,
        300.0,
        (0.16603222, 4.71806468, -8.48101252, 4.68961419),
        _MU,
        _Branch(0.3055, (-0.0117, -0.0057), 0.0091, 0.04, (0.0073, 0.0093, -0.0118)),
        _Branch(0.16, (-0.0117, -0.0069), 0.015, 0.04, (0.0123, 0.0211, -0.0280, 0.0069)),
    ),
    False: _Fits(
        10.35,
        200.0,
        (0.15781817, 2.32443916, -2.16310839, 0.68841818),
        _MU,
        _Branch(0.3039, (-0.0120, -0.0023), 0.0124, 0.04, (0.0104, 0.0116, -0.0165)),
        _Branch(0.1591, (-0.0078, 0.0038), 0.0179, 0.04, (0.0088, 0.0768, -0.1352, 0.0664)),
    ),
}


@dataclass(frozen=True)
class HermesProgramming(Programming):
    """g + s sigma(g) z, cut at 0, sigma a cubic of r = g / 20.7 uS, or for single devices (`pair` false) of g / 10.35 uS.

    By hand, at 20.7 uS: 0.16603 + 4.71806 - 8.48101 + 4.68961 = 1.0927 uS; single, at 10.35 uS: 1.0076 uS.
    """

    pair: bool = True

    source: ClassVar[str] = SOURCE

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
    """g (t / t_0)^(-s nu), nu = |mu + sigma z| with one z for each cell and for ever; t_0 = 300 s, of single devices 200 s.

    By hand, at r = 1: mu = 0.0736 - 0.0126 - 0.0436 = 0.0174 and sigma = 0.0048.
    """

    pair: bool = True

    source: ClassVar[str] = SOURCE

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
    """g (1 + s q k z), cut at 0, with a new z ~ N(0, 1) for each cell in each read; k as for `Read`, t_read = 512 ns.

    q is taken at the target; aihwkit takes it at the programmed conductance. By hand, at r = 1: q = 0.0123.
    """

    pair: bool = True

    source: ClassVar[str] = SOURCE
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
