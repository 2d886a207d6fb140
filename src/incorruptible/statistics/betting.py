"""An interval that may be looked at after every value: what gamblers' wealth says about a mean."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .given import array_of, inside
from .intervals import Interval

__all__ = ["CLOSE", "METHOD", "WIDE", "Bets", "Betting", "confidence_sequence"]

METHOD = (
    "betting-2"  # named in what is written; "betting-1", without a name there, bet by CLOSE alone
)


class Bets(NamedTuple):
    """How a gambler bets: at most the share `cap` of the wealth, and as if the variance had been
    `start` before the first value.
    """

    cap: float
    start: float


CLOSE = Bets(0.95, 0.01)  # for values that lie close together, as accuracies of chips do
WIDE = Bets(0.5, 0.25)  # for values that do not: the numbers of Waudby-Smith & Ramdas


class Betting:
    """A confidence sequence for the mean of independent values in [0, 1]; `add` takes the next
    value.

    Against the hypothesis that the mean is m, one gambler bets on larger values and one on smaller,

        K+(m) = prod_i (1 + min(l_i, c / m) (x_i - m)),   K-(m) = prod_i (1 - min(l_i, c / (1 - m))
    (x_i - m)).

    At the true mean both are martingales that start at 1 and stay positive, so either ever reaches
    2 / alpha with chance at most alpha / 2 (Ville 1939); the interval holds the m that neither has
    ever ruled out. It covers the mean at all times at once, with chance at least `confidence`, for
    any distribution on [0, 1]: stop when you like. K+ falls and K- grows with m, so each end is one
    root, rounded outwards by at most 1e-6.

    The bets l_i = sqrt(2 ln(2 / alpha) / (v_{i-1} i ln(1 + i))) see earlier values only
    (Waudby-Smith & Ramdas, arXiv 2010.09686, section 4.2). Two numbers are free: the cap c, and the
    value with which the running variance v starts. Each gambler has half of the wealth bet by
    `CLOSE` and half by `WIDE`, for which alone K+ and K- would be martingales too; so is their
    average, which loses at most a factor of 2 to the better half. One half alone is dear where it
    does not fit: `CLOSE` stakes nearly everything at first and takes 1,137 values of 0 or 1 with
    mean .5 to a half-width of .1, where `WIDE` takes 306 and the average 378; for values of sd .01
    `WIDE` takes nearly twice as many. docs/results/intervals.md has the table of all three (`python
    scripts/chips_needed.py`).

    Values that never come near 0 or 1 do not make it as short as a normal interval: nothing rules
    out a rare value of 0, so it shrinks with 1 / n; .0025 takes about 1,100 values. Raises
    UserError for values outside [0, 1].

    >>> rng = np.random.default_rng(0)
    >>> betting = Betting()
    >>> for x in rng.normal(0.9, 0.02, 1000).clip(0, 1):
    ...     now = betting.add(float(x))
    >>> print(f"{now.low:.4f} {now.estimate:.4f} {now.high:.4f}")
    0.8950 0.8990 0.9016
    """

    def __init__(self, confidence: float = 0.95, *, bets: tuple[Bets, ...] = (CLOSE, WIDE)) -> None:
        inside("confidence", confidence, 0.95)
        if not bets:
            raise UserError("no bets: give at least one way to bet, for example (CLOSE, WIDE).")
        for cap, start in bets:
            inside("cap", cap, 0.95)
            inside("start", start, 0.01)
        self.confidence, self.bets = confidence, bets
        self.low, self.high = 0.0, 1.0
        self._values = np.empty(64)
        self._stakes = np.empty((len(bets), 64))
        self._caps = np.array([[cap] for cap, _ in bets])
        self._n, self._sum = 0, 0.0
        # Sums of squares around the running mean, as it was when each number came.
        self._squares = np.array([start for _, start in bets])
        self._moved = [0.0, 0.0]  # how far each end moved last: the next root lies about as far on

    @property
    def n(self) -> int:
        """How many values came."""
        return self._n

    def add(self, value: float) -> Interval:
        """The interval after one more value; its ends never widen. The estimate is the plain mean
        of all values.
        """
        if not 0 <= value <= 1:
            raise UserError(
                f"a value is {value:g}; an anytime-valid interval needs values between 0 and 1, "
                "such as accuracies."
            )
        if self._n == len(self._values):
            self._values = np.concatenate([self._values, np.empty(self._n)])
            self._stakes = np.concatenate(
                [self._stakes, np.empty((len(self.bets), self._n))], axis=1
            )
        self._n += 1
        goal = math.log(2 / (1 - self.confidence))
        self._values[self._n - 1] = value
        self._stakes[:, self._n - 1] = np.sqrt(2 * goal / (self._squares * math.log1p(self._n)))
        self._sum += value
        self._squares += (value - (0.5 + self._sum) / (self._n + 1)) ** 2
        values = self._values[: self._n]
        self.low = self._last_ruled_out(values, goal, self.low, 0)
        self.high = 1 - self._last_ruled_out(1 - values, goal, 1 - self.high, 1)
        return Interval(self.low, self._sum / self._n, self.high)

    def _last_ruled_out(
        self, values: NDArray[np.float64], goal: float, before: float, end: int
    ) -> float:
        """The largest m, to 1e-6, that the gambler on larger values rules out now, or `before` if
        it rules out no more.
        """
        stakes = self._stakes[:, : self._n]
        share = math.log(len(self.bets))

        def ruled_out(m: float) -> bool:
            wealth = np.log1p(np.minimum(stakes, self._caps / m) * (values - m)).sum(axis=1) - share
            return float(np.logaddexp.reduce(wealth)) >= goal

        low, step = before + 1e-6, max(1e-6, 2 * self._moved[end])
        if low >= 1 or not ruled_out(low):
            return before
        while (high := min(1.0, low + step)) < 1 and ruled_out(high):
            low, step = high, 2 * step
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (middle, high) if ruled_out(middle) else (low, middle)
        self._moved[end] = low - before
        return low


def confidence_sequence(
    values: ArrayLike, confidence: float = 0.95, *, bets: tuple[Bets, ...] = (CLOSE, WIDE)
) -> NDArray[np.float64]:
    """`Betting` after each of values [n]: lower and upper limits [2, n], which hold for all n at
    once.

    >>> confidence_sequence([1, 1, 1, 1, 1, 1, 1, 1]).round(2).tolist()[0]
    [0.0, 0.12, 0.24, 0.34, 0.42, 0.48, 0.54, 0.58]
    """
    betting = Betting(confidence, bets=bets)
    given = array_of(values, "values", "n", least=1)
    return np.array([betting.add(float(value))[::2] for value in given]).T
