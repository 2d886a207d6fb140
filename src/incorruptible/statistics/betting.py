"""A confidence interval for a mean that may be looked at after every value.

An ordinary interval is valid at one number of values that was fixed beforehand. Whoever looks after
every value and stops when the interval is short enough is wrong more often than it says. The
interval here stays valid: it is made from the wealth of gamblers who bet against each possible
mean. Use it to measure chips until the answer is clear enough.

Relies on: values in [0, 1] whose bets were fixed by earlier values. Keeps: the ends of the interval
never move outwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .given import array_of, inside
from .intervals import Interval

# Results name the method. Results of "betting-1", which bet by CLOSE alone, name none.
METHOD = "betting-2"


class Bets(NamedTuple):
    """How a gambler bets: at most the share `cap` of the wealth, and as if the variance of the
    values were `start` before the first value.
    """

    cap: float
    start: float


CLOSE = Bets(0.95, 0.01)  # good for values that lie close together, as accuracies of chips do
WIDE = Bets(0.5, 0.25)  # good for values far apart: the numbers of Waudby-Smith & Ramdas


class Betting:
    """A confidence sequence for the mean of independent values in [0, 1]. `add` takes the next
    value and returns the interval, which holds at all times at once: stop when you like.

    Against the hypothesis that the mean is m, one gambler bets on larger values and one on smaller
    values. Their wealth after the values x_i, with bets l_i and a cap c, is

        K+(m) = prod_i (1 + min(l_i, c / m) (x_i - m)),
        K-(m) = prod_i (1 - min(l_i, c / (1 - m)) (x_i - m)).

    At the true mean both are martingales that start at 1 and stay positive. Each of them therefore
    ever reaches 2 / alpha with chance at most alpha / 2 (Ville 1939). The interval holds the m that
    neither gambler has ever ruled out in this way. It covers the mean at all times at once with
    chance at least `confidence`, for any distribution on [0, 1]. K+ falls with m and K- grows, so
    each end of the interval is one root. It is rounded outwards by at most 1e-6.

    The bets l_i = sqrt(2 ln(2 / alpha) / (v_{i-1} i ln(1 + i))) depend on earlier values only
    (Waudby-Smith & Ramdas, arXiv 2010.09686, section 4.2). Two numbers are free: the cap c, and the
    value with which the running variance v starts. Each gambler bets half of the wealth by `CLOSE`
    and half by `WIDE`. With either alone K+ and K- would be martingales, and so is their average,
    which loses at most a factor of 2 to the better half. One half alone is expensive where it does
    not fit. For values of 0 or 1 with mean .5, a half-width of .1 takes 1,137 values by `CLOSE`,
    which stakes nearly everything at first, 306 by `WIDE`, and 378 by the average. For values of sd
    .01 `WIDE` takes nearly twice as many as `CLOSE`. docs/how-to/certificates.md has the table of
    all three (`python scripts/chips_needed.py`).

    The interval is longer than a normal interval even for values that never come near 0 or 1:
    nothing rules out a rare value of 0, so its length shrinks with 1 / n. A half-width of .0025
    takes about 1,100 values.

    Raises `UserError` for a value outside [0, 1], for a confidence, cap or start outside (0, 1),
    and for no bets.

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
        # For each bet: `start`, and the sum of squares around the running mean just after each
        # value.
        self._squares = np.array([start for _, start in bets])
        # How far each end moved last. The search for the next root begins with steps of this size.
        self._moved = [0.0, 0.0]

    @property
    def n(self) -> int:
        """The number of values so far."""
        return self._n

    def add(self, value: float) -> Interval:
        """The interval after one more value. Its estimate is the plain mean of all values.

        Costs one pass over all values for each step of the search for the two ends. Raises
        `UserError` for a value outside [0, 1].
        """
        if not 0 <= value <= 1:
            raise UserError(
                f"a value is {value:g}; an anytime-valid interval needs values between 0 and 1, "
                "such as accuracies."
            )
        if self._n == len(self._values):  # the buffers are full: double them
            self._values = np.concatenate([self._values, np.empty(self._n)])
            self._stakes = np.concatenate(
                [self._stakes, np.empty((len(self.bets), self._n))], axis=1
            )
        self._n += 1
        goal = math.log(2 / (1 - self.confidence))
        self._values[self._n - 1] = value
        self._stakes[:, self._n - 1] = np.sqrt(2 * goal / (self._squares * math.log1p(self._n)))
        self._sum += value
        # The bet was set before `value` entered the variance: it may depend on earlier values only.
        # The running mean counts one value of 0.5 that was there before the first.
        self._squares += (value - (0.5 + self._sum) / (self._n + 1)) ** 2
        values = self._values[: self._n]
        self.low = self._last_ruled_out(values, goal, self.low, 0)
        self.high = 1 - self._last_ruled_out(1 - values, goal, 1 - self.high, 1)
        return Interval(self.low, self._sum / self._n, self.high)

    def _last_ruled_out(
        self, values: NDArray[np.float64], goal: float, before: float, end: int
    ) -> float:
        """The largest m, to 1e-6, that the gambler on larger values rules out now, or `before` if
        it rules out no more than before. The gambler on smaller values calls this with 1 - x in
        place of each value x.
        """
        stakes = self._stakes[:, : self._n]
        share = math.log(len(self.bets))

        def ruled_out(m: float) -> bool:
            # In logarithms: products of thousands of factors leave the range of floats.
            wealth = np.log1p(np.minimum(stakes, self._caps / m) * (values - m)).sum(axis=1) - share
            return float(np.logaddexp.reduce(wealth)) >= goal

        low, step = before + 1e-6, max(1e-6, 2 * self._moved[end])
        if low >= 1 or not ruled_out(low):
            return before
        # Double the steps until a mean that is not ruled out is found, then halve the gap.
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
    """The interval of `Betting` after each of the values [n]: lower and upper limits [2, n], which
    hold for all n at once.

    >>> confidence_sequence([1, 1, 1, 1, 1, 1, 1, 1]).round(2).tolist()[0]
    [0.0, 0.12, 0.24, 0.34, 0.42, 0.48, 0.54, 0.58]
    """
    betting = Betting(confidence, bets=bets)
    given = array_of(values, "values", "n", least=1)
    return np.array([betting.add(float(value))[::2] for value in given]).T
