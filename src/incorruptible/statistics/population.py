"""From a test set to the population that its examples come from: how much more a chip must reach on
the test set.

A chip that is good on the test set may owe this to the examples that happen to be in it: the test
set *flatters* the chip. The functions here bound how many chips are flattered.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..errors import UserError
from .given import fraction, inside


class Slack(NamedTuple):
    """How much more must be shown on the test set to promise a yield at `accuracy` on the
    population.

    With chance at least 1 - `risk` over test sets, at most the share `cost` of all chips reach
    `threshold` on the test set without reaching `accuracy` on the population. So the yield at
    `threshold` on the test set, minus `cost`, is a lower bound of the yield at `accuracy` on the
    population.
    """

    accuracy: float
    threshold: float
    cost: float
    risk: float


def misled(n: int, accuracy: float, threshold: float) -> float:
    """The largest chance that a chip whose accuracy on the population is below `accuracy` reaches
    `threshold` on n examples.

    It is P(Bin(n, accuracy) >= n threshold), for answers that are right or wrong and examples drawn
    independently. Hoeffding's bound exp(-2 n (threshold - accuracy)^2) is looser (1963,
    doi:10.1080/01621459.1963.10500830).

    >>> print(f"{misled(10000, 0.9, 0.91):.1e} against {math.exp(-2 * 10000 * 0.01**2):.1e}")
    3.9e-04 against 1.4e-01
    """
    from scipy import special

    inside("accuracy", accuracy, 0.9)
    # 1e-9 forgives rounding: 100 examples at .07 make 7.000000000000001 hits, and 7 are enough.
    hits = math.ceil(n * threshold - 1e-9)
    if n < 1 or hits <= 0:
        return 1.0
    return float(special.betainc(hits, n - hits + 1, accuracy)) if hits <= n else 0.0


def slack_for(n: int, accuracy: float, cost: float, risk: float) -> Slack:
    """The smallest threshold on n examples at which `misled` is at most cost x risk.

    Why this is enough: over test sets and chips together, a test set flatters a chip with chance at
    most `misled`. By Markov's inequality the share of flattered chips therefore exceeds `misled` /
    risk with chance at most `risk` over test sets, and yield(accuracy, population) >=
    yield(threshold, test set) - cost otherwise. The threshold does not depend on what the chips do.

    Raises `UserError` for an accuracy, cost or risk outside (0, 1), and where even a chip that
    answers every example right would show too little because n is too small.

    >>> slack_for(10000, 0.9, cost=0.005, risk=0.01).threshold
    0.9116
    """
    fraction("accuracy", accuracy, 0.9)
    inside("accuracy", accuracy, 0.9)
    inside("cost", cost, 0.005)
    inside("risk", risk, 0.01)
    if misled(n, accuracy, 1.0) > cost * risk:
        needed = math.ceil(math.log(cost * risk) / math.log(accuracy))
        raise UserError(
            f"{n} {'example is' if n == 1 else 'examples are'} too few for a population accuracy "
            f"of {accuracy:g}: at least {needed} are needed; ask for a lower --accuracy, or leave "
            "out --population."
        )
    # By bisection over the hits: `misled` falls as the threshold grows.
    low, high = math.floor(n * accuracy), n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if misled(n, accuracy, middle / n) <= cost * risk else (middle, high)
        )
    return Slack(accuracy, high / n, cost, risk)
