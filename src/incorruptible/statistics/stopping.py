"""How many values to draw until Student's interval of their mean is short enough, and when to stop.

`gather` draws values (scores of chips) until the interval is as short as asked for. An interval
that is watched like this would be too short too often; `CORRECTION` mends that. Chips may come in
*antithetic pairs*: the noise of the second is that of the first with its sign flipped, so that the
mean of the two often varies less than the mean of two independent chips.

Relies on: the values of different chips are independent, and so are those of different pairs.
Keeps: chips are asked for in order, each once, and pairs stand first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .given import array_of, inside
from .intervals import Interval

CORRECTION = 4.0  # chosen by the table in the docstring of `gather`


class Stratum(NamedTuple):
    """Independent values of equal law and weight: those of single chips (`each` = 1), or the means
    of antithetic pairs of chips (`each` = 2).

    `grain` is by how much the value of one chip changes if one of its answers does.
    """

    values: NDArray[np.float64]
    each: int = 1
    grain: float = 0.0


class Gathered(NamedTuple):
    """The value of every chip [chips] in order, how many of the first chips stand in pairs, and the
    interval of the mean.
    """

    values: NDArray[np.float64]
    paired: int
    interval: Interval


def needed(variance: float, half: float, confidence: float = 0.95) -> float:
    """About how many values `gather` takes until the half-width is `half`: z^2 variance / half^2,
    plus (z^2 + 1) / 2 for Student's t, plus the correction.

    >>> round(needed(0.01**2, 0.0025), 1)
    67.9
    """
    from scipy import special

    z = float(special.ndtri((1 + confidence) / 2))
    return z**2 * variance / half**2 + (z**2 + 1) / 2 + CORRECTION


def mean_interval(
    strata: Sequence[Stratum], confidence: float = 0.95, correction: float = CORRECTION
) -> Interval:
    """Student's interval of a mean over several strata, each weighted by its number of chips, a
    little longer because somebody watched it while the values came.

    Let stratum j hold n_j values of variance s_j^2 and the share w_j of the chips. The variance of
    the mean is sum_j w_j^2 (s_j^2 (1 + correction / n_j) + g_j^2 / n_j) / n_j, with the degrees of
    freedom of Welch and Satterthwaite. g_j is the grain: the interval is as if one more answer had
    flipped, so that values that happen to agree do not make an interval of length 0. Raises
    `UserError` for a stratum of fewer than 2 values and for a confidence outside (0, 1).

    >>> values = np.random.default_rng(0).normal(0.9, 0.02, 20)
    >>> interval = mean_interval([Stratum(values)])
    >>> print(f"{interval.estimate:.4f} +- {interval.half:.4f}")
    0.8963 +- 0.0090
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
    """Whether the means of pairs [k] vary clearly less than half as much as their members do;
    `singles` [2 k] are the members, pair by pair.

    If they vary half as much, a pair is worth no more than two independent chips. The ratio of the
    mean squares between and within pairs is (1 + r) / (1 - r) for members of correlation r. If r is
    0 it follows the F distribution with k - 1 and k degrees of freedom; the answer is yes if the
    ratio lies below the `alarm` quantile of that distribution.

    >>> one = np.random.default_rng(0).normal(size=(8, 1))
    >>> mirrored, independent = np.hstack([one, 0.1 - 0.5 * one]), one[:4].repeat(2).reshape(4, 2)
    >>> pairs_help(mirrored.mean(1), mirrored)
    True
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
    """Draw values until the interval of their mean is at most 2 `half` long, or until there are
    `max_chips` chips.

    `values_of(start, stop, pairs)` gives the values [chip] of chips start to stop - 1, in
    antithetic pairs if `pairs`. The interval is looked at after `first` values, and then after
    max(step, 5%) more, or after half of what seems to be lacking if that is more. The first `pilot`
    chips come in pairs. Later ones do if `pairs_help` says so after the pilot, or if `always`.

    `known` are the values of the first chips, if they were measured already. `before` are strata of
    the same mean that were gathered in another way. `max_chips` counts their chips too; if it
    leaves fewer than 4 others, which would say nothing, none are drawn.

    Student's interval is too short too often if it is stopped as soon as it is short. At n values
    its variance is therefore multiplied by 1 + CORRECTION / n. The table has the coverage at a
    nominal 95%. A column stands for the number of values that would do if their standard deviation
    were known. Each entry comes from 20,000 simulations up to 100 values and from 5,000 beyond,
    with standard errors of .0016 and .003 (seed 1; `python tests/stopped.py`). The binomial values
    are shares of 64 or 8 answers that differ with chance 1/40 or 1/8, both of skewness .8; beta(4,
    1) has skewness -1.05; "few images" means first = 16 and step = 8.

    | values that would do    |    5 |    8 |   12 |   20 |   40 |  100 |  300 | 1000 |
    |-------------------------|------|------|------|------|------|------|------|------|
    | normal, whole chips     | .976 | .965 | .957 | .949 | .951 | .951 | .947 | .950 |
    | values taken, mean      |    7 |   10 |   14 |   22 |   43 |  105 |  310 | 1027 |
    | normal, few images      | .970 | .971 | .967 | .958 | .955 | .951 | .947 | .949 |
    | binomial, 64 x 1/40     | .966 | .966 | .965 | .956 | .947 | .950 | .949 | .949 |
    | binomial, 8 x 1/8       | .971 | .972 | .972 | .956 | .953 | .949 | .949 | .952 |
    | values taken, mean      |   16 |   16 |   19 |   27 |   47 |  107 |  310 | 1029 |
    | beta(4, 1), whole chips | .949 | .937 | .918 | .908 | .916 | .943 | .947 | .953 |

    The last row falls short because Student's interval itself is too short for few values that are
    so skewed: it covers .930 at a fixed number of 12 values and .941 at 20.
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
        # A single chip beside the pairs would be a stratum of one value, whose spread is unknown:
        # leave the last chip out.
        last = max_chips - 1 if len(values) == paired else max_chips
        if interval.half <= half or len(values) >= last:
            return Gathered(values, paired, interval)
        if pairs and not always:
            always = pairs = pairs_help(values.reshape(-1, 2).mean(1), values)
        chips = earlier + len(values)
        lacking = ceil(chips * (interval.half / half) ** 2) - chips
        more = max(step, len(values) // 20, min(len(values), lacking // 2))
        if not pairs and len(values) == paired:
            more = max(more, 8)  # single chips after pairs begin a stratum, which needs some values
        chips = len(values) + (more + more % 2 if pairs else more)


def _strata(values: NDArray[np.float64], paired: int, grain: float) -> list[Stratum]:
    """The values of chips as strata: the means of pairs of the first `paired` values, and the
    others one by one.
    """
    strata = [Stratum(values[:paired].reshape(-1, 2).mean(1), 2, grain)] if paired else []
    return [*strata, Stratum(values[paired:], 1, grain)] if len(values) > paired else strata
