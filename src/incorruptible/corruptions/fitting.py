"""Mean shift and spread of measured cells, as functions of the conductance that they were
programmed to.

`CellFit` fits one time, with confidence intervals. `Curve` and `Fitted` are what a device keeps of
the fits of all times.

Relies on: cells come sorted by target (`cells.Cells`), and a cell that reads 0 is known only to be
at or below 0.
Keeps: where targets repeat and no cell reads 0, shift and spread are the mean and the standard
deviation (n - 1) of the cells at each target. Spreads stay above 0, so every division by a spread
is finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .cells import Cells

REPEATED = 10  # cells at each target, from which targets are knots
ALIVE = 3  # cells above 0 that a knot needs, so that its cells at 0 say something about its spread
EACH = 40  # cells for each knot where targets do not repeat
_STEPS, _SMALL = 500, 1e-7


@dataclass(frozen=True)
class Curve:
    """The error at one time: N(shift(g), spread(g)^2) in uS at the target g, cut where the
    conductance would be negative.

    `shift` and `spread` hold the values at the `knots`, all in uS; between knots both are linear.
    """

    knots: tuple[float, ...]
    shift: tuple[float, ...]
    spread: tuple[float, ...]


class FitBounds(NamedTuple):
    """Shift and spread [n] in uS, each with the limits of its confidence interval. An interval
    holds for its own place, not for all places together.
    """

    shift: NDArray[np.float64]
    shift_low: NDArray[np.float64]
    shift_high: NDArray[np.float64]
    spread: NDArray[np.float64]
    spread_low: NDArray[np.float64]
    spread_high: NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A curve for each measured time in seconds (None where the file has no times). Between two
    times the error is linear in log time.
    """

    times: tuple[float | None, ...]
    curves: tuple[Curve, ...]

    @property
    def low(self) -> float:
        """The least target that was measured at every time, in uS."""
        return max(curve.knots[0] for curve in self.curves)

    @property
    def high(self) -> float:
        """The largest target that was measured at every time, in uS."""
        return min(curve.knots[-1] for curve in self.curves)

    def parts(self, time: float) -> list[tuple[float, Curve]]:
        """The curves of the neighbouring times, each with its share in the error at `time`.
        `time` lies within the measured times.
        """
        known = [float(one or 0.0) for one in self.times]
        if time in known:
            return [(1.0, self.curves[known.index(time)])]
        after = next(place for place, one in enumerate(known) if one > time)
        share = math.log(time / known[after - 1]) / math.log(known[after] / known[after - 1])
        return [(1 - share, self.curves[after - 1]), (share, self.curves[after])]


def knots_of(target: ArrayLike) -> NDArray[np.float64]:
    """The targets themselves, where each has at least 10 cells; else 3 to 12 quantiles of the
    targets, one for every 40 cells or so.

    >>> knots_of(np.repeat([0.0, 5.0, 10.0, 20.0], 10))
    array([ 0.,  5., 10., 20.])
    """
    found, counts = np.unique(np.asarray(target, dtype=float), return_counts=True)
    if counts.min() >= REPEATED:
        return found
    some = int(np.clip(counts.sum() // EACH, 3, 12))
    return np.unique(np.quantile(np.asarray(target, dtype=float), np.linspace(0, 1, some)))


class CellFit:
    """Mean and spread of the `cells` of one time, with their intervals.

    The model is measured = max(0, g + shift(g) + spread(g) z) with z ~ N(0, 1), fitted by maximum
    likelihood. Shift and spread are linear between knots (`knots_of`). A cell that reads 0 says no
    more than that it is at or below 0 (Tobin 1958, doi 10.2307/1907382). Squared residuals are
    divided by 1 - leverage, which frees the spread of the bias of few cells. Where targets repeat,
    and no cell reads 0, the fit is the mean and the standard deviation (n - 1) of the cells at each
    target.

    The curves are no smoother than that, because an interval covers the noise of a curve and not
    its bias. Tried: polynomials of degrees chosen by cross-validation missed the shift of a
    simulated PCM device at 10 to 22% of 60 samples (400 cells, five targets) where 5% were
    promised.

    Raises `UserError` where cells of one target do not differ at all.
    """

    def __init__(self, cells: Cells) -> None:
        self.target, self.error = cells.target, cells.measured - cells.target
        self.knots = knots_of(cells.target)
        self.basis = hats(self.knots, cells.target)
        alive = (cells.measured > 0).astype(float) @ self.basis >= ALIVE
        # A cell that reads 0 counts as cut near knots with enough cells above 0. Elsewhere its 0 is
        # taken as what the cell holds.
        self.cut = (cells.measured == 0) & (self.basis @ alive > 0.5)
        self._solve()

    @property
    def curve(self) -> Curve:
        """The fitted shift and spread at the knots."""
        return Curve(*(tuple(map(float, part)) for part in (self.knots, self.shift, self.spread)))

    @cached_property
    def kurtosis(self) -> float:
        """E z^4 of the standardised residuals z of cells above 0, freed of the bias of few cells.
        The value is 3 where errors are Gaussian.
        """
        cells = 1 / self.leverage.clip(1e-12, 0.5)
        fourth = self.ratio**2 * (cells + 1) / (cells - 1)
        return float(fourth[~self.cut].mean().clip(1.8))

    @property
    def inside(self) -> float:
        """The share of cells within 1.96 spreads of their fitted mean: 0.95 where errors are
        Gaussian.
        """
        mean, half = self.basis @ self.shift, 1.96 * (self.basis @ self.spread)
        low, high = mean - half, mean + half
        return float(((self.error <= high) & ((self.error >= low) | self.cut)).mean())

    def bounds(self, at: ArrayLike, level: float = 0.95) -> FitBounds:
        """Intervals of confidence `level` at the targets `at` [n]: Student's for the shift, and
        chi-squared for the spread.

        Both need a number of cells that inform about g. The variances of the fit give it: m =
        spread^2 / Var(shift) cells for the shift, and m' = spread^2 / (2 Var(spread)) for the
        spread. The shift has m - 1 degrees of freedom, and the spread 2 (m' - 1) / (kurtosis - 1),
        which is m' - 1 for Gaussian errors (Satterthwaite).
        """
        from scipy import stats

        basis, k = hats(self.knots, np.asarray(at, dtype=float)), len(self.knots)
        shift, spread = basis @ self.shift, basis @ self.spread
        of_shift, of_spread = (
            np.einsum("ni,ij,nj->n", basis, part, basis).clip(1e-300)
            for part in (self.covariance[:k, :k], self.covariance[k:, k:])
        )
        half = stats.t.ppf(0.5 + level / 2, (spread**2 / of_shift - 1).clip(1)) * np.sqrt(of_shift)
        freedom = (2 * (spread**2 / of_spread / 2 - 1) / (self.kurtosis - 1)).clip(1)
        low, high = (
            spread * np.sqrt(freedom / stats.chi2.ppf(0.5 + side * level / 2, freedom))
            for side in (1, -1)
        )
        return FitBounds(shift, shift - half, shift + half, spread, low, high)

    def _solve(self) -> None:
        """Fit shift and spread in turns until neither moves: the shift by weighted least squares,
        the spread by a step of scoring. Before each turn, expectations take the place of the errors
        of cut cells (EM).
        """
        x, y, extra = self.basis, self.error, np.zeros_like(self.error)
        self.shift = np.linalg.lstsq(x, y, rcond=None)[0]
        self.spread = np.full(len(self.knots), np.sqrt(np.mean((y - x @ self.shift) ** 2)))
        least = 1e-4 * float(self.spread[0])
        if self.spread[0] <= 1e-9 * float(self.target.max()):
            raise UserError(
                "cells of one target do not differ: these are no measurements of single cells."
            )
        for _ in range(_STEPS):
            std = x @ self.spread
            if self.cut.any():
                y, extra = self._completed(x @ self.shift, std)
            before = self.shift, self.spread
            gram = np.linalg.inv((x.T / std**2) @ x)
            self.shift = gram @ (x.T @ (y / std**2))
            self.leverage = np.einsum("ni,ij,nj->n", x, gram, x) / std**2
            self.ratio = (
                ((y - x @ self.shift) ** 2 + extra) / std**2 / (1 - self.leverage).clip(0.1)
            )
            step = gram @ (x.T @ ((self.ratio - 1) / std)) / 2
            self.spread = (self.spread + step).clip(self.spread / 2, self.spread * 2).clip(least)
            if max(
                np.abs(now - old).max()
                for now, old in zip((self.shift, self.spread), before, strict=True)
            ) < (_SMALL * float(std.max())):
                break
        self.covariance = np.linalg.inv(self._information(std))

    def _information(self, std: NDArray[np.float64]) -> NDArray[np.float64]:
        """The information matrix [2 knots, 2 knots]: minus the second derivative of the
        log-likelihood by shift and spread at the knots.
        """
        z = (self.error - self.basis @ self.shift) / std
        hazard = _hazard(z)
        slope = hazard * (z.clip(-30) + hazard)  # minus its derivative
        shift = np.where(self.cut, slope, 1.0)
        both = np.where(self.cut, z * slope - hazard, 2 * z)
        spread = np.where(self.cut, z**2 * slope - 2 * z * hazard, 3 * self.ratio - 1)
        a, b, c = ((self.basis.T * (part / std**2)) @ self.basis for part in (shift, both, spread))
        return np.block([[a, b], [b, c]])

    def _completed(
        self, mean: NDArray[np.float64], std: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance of the error of each cell, given the fit. Of a cut cell it is known
        only that the cell is at or below 0; the error of any other cell is known, and its variance
        is 0.
        """
        z = ((self.error - mean) / std).clip(-30)  # where a cut cell's conductance is 0
        hazard = _hazard(z)
        y = np.where(self.cut, mean - std * hazard, self.error)
        return y, np.where(self.cut, std**2 * (1 - hazard * (z + hazard)).clip(0), 0.0)


def _hazard(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """p(z) / P(z), with the density p and the distribution function P of a normal number."""
    from scipy.special import log_ndtr

    z = z.clip(-30)
    found: NDArray[np.float64] = np.exp(-(z**2) / 2 - 0.5 * math.log(2 * math.pi) - log_ndtr(z))
    return found


def hats(knots: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The hat functions of linear interpolation [n, knots]: the share of each knot in the value at
    each place of `at` [n].
    """
    found: NDArray[np.float64] = np.stack(
        [np.interp(at, knots, one) for one in np.eye(len(knots))], axis=1
    )
    return found
