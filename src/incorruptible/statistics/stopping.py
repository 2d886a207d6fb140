"""How many values to draw before Student's interval of their mean is short enough, and when to
stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .given import array_of, inside
from .intervals import Interval

__all__ = ["CORRECTION", "Gathered", "Stratum", "gather", "mean_interval", "needed", "pairs_help"]

CORRECTION = 4.0  # see `gather`, whose table it was chosen by


class Stratum(NamedTuple):
    """Independent values of equal law and weight: those of single chips, or the means of pairs
    (`each` = 2).

    `grain` is by how much the value of one chip changes when one of its answers does.
    """

    values: NDArray[np.float64]
    each: int = 1
    grain: float = 0.0


class Gathered(NamedTuple):
    """What came: the value of every chip in its order, how many of the first stand in pairs, and
    the interval of the mean.
    """

    values: NDArray[np.float64]
    paired: int
    interval: Interval


def needed(variance: float, half: float, confidence: float = 0.95) -> float:
    """About how many values `gather` takes: z^2 variance / half^2, and (z^2 + 1) / 2 for Student's
    t, and the correction.

    >>> round(needed(0.01**2, 0.0025), 1)
    67.9
    """
    from scipy import special

    z = float(special.ndtri((1 + confidence) / 2))
    return z**2 * variance / half**2 + (z**2 + 1) / 2 + CORRECTION


def mean_interval(
    strata: Sequence[Stratum], confidence: float = 0.95, correction: float = CORRECTION
) -> Interval:
    """Student's interval of a mean whose strata count by their chips, made a little longer for
    having been watched.

    With n_j values of variance s_j^2 that stand for a share w_j of the chips, the variance of the
    mean is sum_j w_j^2 (s_j^2 (1 + correction / n_j) + g_j^2 / n_j) / n_j, and the degrees of
    freedom are those of Welch and Satterthwaite. g_j is the grain: as if one answer had flipped
    beyond those that did, so that values that happen to agree do not make an interval of no length.
    Raises `UserError` for a stratum of fewer than 2 values.
    """
    from scipy import special

    inside("confidence", confidence, 0.95)
    chips = sum(len(stratum.values) * stratum.each for stratum in strata)
    mean, variance, squares = 0.0, 0.0, 0.0
    for stratum in strata:
        values = array_of(stratum.values, "values", "chips")
        n, share = len(values), len(values) * stratum.each / chips
        spread = (
            float(values.var(ddof=1)) * (1 + correction / n)
            + (stratum.grain / stratum.each) ** 2 / n
        )
        mean += share * float(values.mean())
        variance += share**2 * spread / n
        squares += (share**2 * spread / n) ** 2 / (n - 1)
    freedom = variance**2 / squares if squares else 1.0
    half = float(special.stdtrit(freedom, (1 + confidence) / 2)) * sqrt(variance)
    return Interval(mean - half, mean, mean + half)


def pairs_help(means: ArrayLike, singles: ArrayLike, alarm: float = 0.1) -> bool:
    """Whether means of pairs [k] vary clearly less than half as much as their 2 k members do.

    The ratio of the mean squares between and within pairs is (1 + r) / (1 - r) for members of
    correlation r; it follows F with k - 1 and k degrees of freedom where r is 0, and has to lie
    below that law's `alarm` quantile.
    """
    from scipy import special

    pairs, members = (
        np.asarray(means, dtype=np.float64),
        np.asarray(singles, dtype=np.float64).reshape(-1, 2),
    )
    within = float(((members[:, 0] - members[:, 1]) ** 2).mean() / 2)
    between = 2 * float(pairs.var(ddof=1))
    return within > 0 and float(special.fdtr(len(pairs) - 1, len(pairs), between / within)) < alarm


def gather(
    values_of: Callable[[int, int, bool], NDArray[np.float64]],
    half: float,
    *,
    max_chips: int,
    confidence: float = 0.95,
    first: int = 5,
    step: int = 1,
    grain: float = 0.0,
    pilot: int = 0,
    always: bool = False,
    known: NDArray[np.float64] | None = None,
    before: Sequence[Stratum] = (),
    correction: float = CORRECTION,
) -> Gathered:
    """Values until the interval of their mean is at most 2 `half` long, or `max_chips` came.

    `values_of(start, stop, pairs)` gives the values of chips start to stop - 1 [chip]. The interval
    is looked at after `first` values and then after max(step, 5%) more, or after half of what seems
    to lack where that is more. The first `pilot` chips come in antithetic pairs, and so do the
    others where `pairs_help` or where `always`. `known` are the first values, where they are there
    already, and `before` strata of the same mean that were gathered otherwise; `max_chips` counts
    theirs, and where it leaves fewer than 4 others, which would say nothing, none are drawn.

    Student's interval, stopped as soon as it is short, covers too seldom; at n values its variance
    is therefore taken (1 + CORRECTION / n) times. Coverage of nominal 95% where so many values
    would do if their standard deviation were known (20,000 simulations for each entry up to 100 and
    5,000 beyond, standard errors .0016 and .003, seed 1; `python tests/stopped.py`; shares of 64 or
    8 answers that differ with chance 1/40 or 1/8 have a skewness of .8 or .8, beta(4, 1) of -1.05;
    few images: first = 16, step = 8):

    | values that would do    |    5 |    8 |   12 |   20 |   40 |  100 |  300 | 1000 |
    |-------------------------|------|------|------|------|------|------|------|------|
    | normal, whole chips     | .976 | .965 | .957 | .949 | .951 | .951 | .947 | .950 |
    | values taken, mean      |    7 |   10 |   14 |   22 |   43 |  105 |  310 | 1027 |
    | normal, few images      | .970 | .971 | .967 | .958 | .955 | .951 | .947 | .949 |
    | binomial, 64 x 1/40     | .966 | .966 | .965 | .956 | .947 | .950 | .949 | .949 |
    | binomial, 8 x 1/8       | .971 | .972 | .972 | .956 | .953 | .949 | .949 | .952 |
    | values taken, mean      |   16 |   16 |   19 |   27 |   47 |  107 |  310 | 1029 |
    | beta(4, 1), whole chips | .949 | .937 | .918 | .908 | .916 | .943 | .947 | .953 |

    So few chips that are as skewed as the last ones make Student's interval too short by itself:
    .930 for 12 and .941 for 20 values whose number is fixed.
    """
    values = np.zeros(0) if known is None else known
    earlier = sum(len(stratum.values) * stratum.each for stratum in before)
    max_chips -= earlier
    if before and max_chips < 4:
        return Gathered(values[:0], 0, mean_interval(before, confidence, correction))
    chips = max(pilot or first, len(values), 2)
    pairs, paired = pilot > 0, 0
    while True:
        chips = min(chips, max_chips - max_chips % 2 if pairs else max_chips)
        if chips > len(values):
            values = np.concatenate([values, values_of(len(values), chips, pairs)])
        paired = len(values) if pairs else paired
        strata = [*before, *_strata(values, paired, grain)]
        interval = mean_interval(strata, confidence, correction)
        # A single chip beside the pairs would be a stratum that says nothing about its spread.
        last = max_chips - 1 if len(values) == paired else max_chips
        if interval.half <= half or len(values) >= last:
            return Gathered(values, paired, interval)
        if pairs and not always:
            always = pairs = pairs_help(values.reshape(-1, 2).mean(1), values)
        chips = earlier + len(values)
        lacking = ceil(chips * (interval.half / half) ** 2) - chips
        more = max(step, len(values) // 20, min(len(values), lacking // 2))
        if not pairs and len(values) == paired:
            more = max(more, 8)  # a stratum of its own needs some
        chips = len(values) + (more + more % 2 if pairs else more)


def _strata(values: NDArray[np.float64], paired: int, grain: float) -> list[Stratum]:
    strata = [Stratum(values[:paired].reshape(-1, 2).mean(1), 2, grain)] if paired else []
    return [*strata, Stratum(values[paired:], 1, grain)] if len(values) > paired else strata
