"""Confidence intervals for means and differences, and one word for what differences say.

The tables here have *seeds* (training runs) along their first axis and test *images* along the
second. `t_interval` and `paired` speak of new seeds; `crossed` speaks of new seeds and new images
together. `verdict` turns several differences into words, with a correction for their number.

Relies on: seeds are independent of one another, and all of them see the same images in the same
order. Keeps: values that differ only by rounding count as equal (`_interval`), so that no verdict
rests on the order of a sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .given import array_of, inside
from .variance import mean_squares

_EPS = float(np.finfo(np.float64).eps)


class Interval(NamedTuple):
    """An estimate between its confidence limits, all three in the unit of the values."""

    low: float
    estimate: float
    high: float

    @property
    def half(self) -> float:
        """The half-width of the interval."""
        return (self.high - self.low) / 2


class Difference(NamedTuple):
    """How far one arm is ahead of another, and how sure this is.

    - `p`: the two-sided p-value of the hypothesis that the difference is 0.
    - `equivalence`: the p-value of the hypothesis that the difference is as large as the margin or
      larger, in either direction, by two one-sided tests (Schuirmann 1987, doi:10.1007/BF01068419).
      It is at most alpha where the interval at level 1 - 2 alpha lies within the margin, and nan
      where no margin was given.
    - `error`: the standard error of the estimate; `freedom`: the degrees of freedom of its t.
    - `n`: (seeds,) or (seeds, images).
    """

    interval: Interval
    p: float
    equivalence: float
    error: float
    freedom: int
    n: tuple[int, ...]


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval for the mean of independent values [n]: mean +- t_{n-1} s / sqrt(n).

    Exact for normal values. Equal values give a width of 0. Raises `UserError` for fewer than 2
    values, for values that are not finite, and for a level outside (0, 1).

    >>> print("{:.3f} {:.3f} {:.3f}".format(*t_interval(np.random.default_rng(0).normal(size=8))))
    -0.145 0.352 0.849
    """
    array = array_of(values, "values", "n")
    mean = float(np.add.reduce(array) / array.size)
    apart = array - mean
    error = math.sqrt(float(np.add.reduce(apart * apart)) / (array.size - 1) / array.size)
    return _interval(
        mean, error, array.size - 1, level, max(float(array.max()), -float(array.min()))
    )[0]


def paired(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, margin: float | None = None
) -> Difference:
    """The mean of a - b, both [seeds] and paired by seed, with Student's t on seeds - 1 degrees of
    freedom.

    The interval speaks of new seeds on the *same* test images; use `crossed` to speak of new images
    too. A mean difference within the rounding of a and b counts as 0. If the standard error is 0, p
    is 1 for an estimate of 0 and 0 for any other. Raises `UserError` if the lengths differ, for a
    margin that is not positive, and where `t_interval` does.

    >>> rng = np.random.default_rng(0)
    >>> d = paired(rng.normal(1, 1, 8), rng.normal(0, 1, 8), margin=3)
    >>> print(f"{d.interval.estimate:.3f} +- {d.interval.half:.3f}, p {d.p:.4f}")
    2.236 +- 0.648, p 0.0001
    >>> print(f"equivalence {d.equivalence:.4f}")
    equivalence 0.0135
    """
    first, second = array_of(a, "a", "seeds"), array_of(b, "b", "seeds")
    if first.size != second.size:
        raise UserError(
            f"a has {first.size} seeds and b has {second.size}; give both arms the same seeds."
        )
    array = first - second
    error = math.sqrt(array.var(ddof=1) / array.size)
    return _difference(array, error, level, margin, np.abs([first, second]).max())


def crossed(differences: ArrayLike, level: float = 0.95, margin: float | None = None) -> Difference:
    """The mean of paired differences [seeds, images], averaged over chips beforehand, for new seeds
    *and* new images.

    Every seed sees the same images. With Y_ij = mu + seed_i + image_j + rest_ij over S seeds and n
    images,

        Var(mean) = v_seed / S + v_image / n + v_rest / (S n).

    It is estimated by (MS_seed + max(0, MS_image - MS_rest)) / (S n), where the mean squares have
    the expectations v_rest + n v_seed, v_rest + S v_image and v_rest (two-way random effects:
    Searle, Casella & McCulloch, Variance Components, 1992). Without the maximum the estimate is
    unbiased; the maximum can only make it larger. An interval from seeds alone is too short. Its
    error is MS_seed / (S n), but the luck of the test set, v_image / n, moves all rows together: no
    spread between rows shows it, and no number of seeds removes it.

    *How often the interval misses.* Student's t on S - 1 degrees of freedom is exact only where
    seeds are all that varies. Images bring more degrees of freedom (Satterthwaite 1946), so the
    interval is mostly too wide. Shares of misses at level .95 with 8 seeds and 60 images, normal
    effects, 200,000 simulated experiments (the tests repeat them):

    | sd of (seed, image, rest) | `crossed` | seeds alone |
    |---------------------------|-----------|-------------|
    | (.1, .5, .8)              | .025      | .187        |
    | (0, .5, .8)               | .023      | .282        |
    | (.1, 0, .8)               | .044      | .050        |

    Over 74 mixtures of the three, 3 to 16 seeds and 20 to 997 images, the share is at most .051.
    For ternary answers, 85% of images never differing, 8 x 997 and 4,000 experiments, it is .019
    (seeds alone: .195).

    *What it needs.* More images than seeds: a table of 8 x 4 may miss .10. Images on which answers
    differ: if none do, the width is 0 and the arms count as equivalent. Two networks of accuracy
    .98 and .97 with 5 seeds and 50 images missed .12 (with width 0 in .08 of 600 experiments), .99
    and .985 with 300 images .015, .998 and .996 with 1,000 images .047. Compare good networks on at
    least 300 images.

    Raises `UserError` for fewer than 2 seeds or images, and where `paired` does.

    >>> rng = np.random.default_rng(0)
    >>> seed, image = rng.normal(0, 0.1, (8, 1)), rng.normal(0, 0.5, (1, 60))
    >>> y = 0.2 + seed + image + rng.normal(0, 0.8, (8, 60))
    >>> d = crossed(y)
    >>> print(f"{d.interval.estimate:.3f} +- {d.interval.half:.3f}")
    0.247 +- 0.177
    >>> print(f"seeds alone {t_interval(y.mean(axis=1)).half:.3f}")
    seeds alone 0.089
    """
    array = array_of(differences, "differences", "seeds", "images")
    seed, image, rest = mean_squares(array)
    error = math.sqrt((seed + max(0.0, image - rest)) / array.size)
    return _difference(array, error, level, margin, np.abs(array).max())


def crossed_each(tables: NDArray[Any], level: float = 0.95) -> list[Interval]:
    """The interval of `crossed` for each of several tables [table, seeds, images], equal to the
    last bit.

    Use it for thousands of intervals, as on a report's page. It computes no p-values and works in
    one copy of each table, which takes a third of the time of `[crossed(table).interval for table
    in tables]`. Raises `UserError` where `crossed` does.
    """
    return [_crossed_interval(table, level) for table in tables]


def _crossed_interval(table: NDArray[Any], level: float) -> Interval:
    """The interval of `crossed` for one table, in place in one copy. Its sums are those of
    `mean_squares` in the same order, so that the bits are the same.
    """
    if table.ndim != 2 or min(table.shape) < 2 or table.dtype.kind != "f":
        return crossed(table, level).interval  # raises a UserError, or converts the table
    array = np.array(table, dtype=np.float64, order="C")
    largest = max(float(array.max()), -float(array.min()))
    if not math.isfinite(largest):
        return crossed(table, level).interval
    seeds, images = array.shape
    grand = np.add.reduce(array, axis=None) / array.size
    row, column = np.add.reduce(array, axis=1) / images, np.add.reduce(array, axis=0) / seeds
    # From here on the copy becomes the rest, and then its squares; `row` and `column` likewise.
    array -= row[:, None]
    array -= column
    array += grand
    array *= array
    rest = np.add.reduce(array, axis=None) / ((seeds - 1) * (images - 1))
    row -= grand
    row *= row
    column -= grand
    column *= column
    seed = images * np.add.reduce(row) / (seeds - 1)
    image = seeds * np.add.reduce(column) / (images - 1)
    error = math.sqrt((seed + max(0.0, image - rest)) / array.size)
    return _interval(float(grand), error, seeds - 1, level, largest)[0]


def crossed_sum(parts: Sequence[ArrayLike], level: float = 0.95) -> Difference:
    """The sum of the means of several tables [seeds, images], all over the same seeds and each over
    images of its own.

    Use it for a difference of differences, for example how the gap between test loss and training
    loss moves. Seeds move all tables together, so their part of the error comes from the sum over
    tables. The luck of each set of images is added as in `crossed`, which `crossed_sum` equals for
    one table. `n` is (seeds, images of the first table). Raises `UserError` where `crossed` does,
    and if the tables differ in their number of seeds.

    >>> rng = np.random.default_rng(0)
    >>> d = crossed_sum([rng.normal(0.3, 1, (8, 60)), rng.normal(-0.1, 1, (8, 90))])
    >>> print(f"{d.interval.estimate:.3f} +- {d.interval.half:.3f}")
    0.139 +- 0.134
    """
    arrays = [array_of(part, "parts", "seeds", "images") for part in parts]
    if not arrays or len({len(array) for array in arrays}) > 1:
        raise UserError(
            f"parts have {[len(array) for array in arrays]} seeds; give all parts the same seeds."
        )
    total = np.sum([array.mean(axis=1) for array in arrays], axis=0)
    luck = 0.0  # the part of the variance that comes from the images
    for array in arrays:
        _, image, rest = mean_squares(array)
        luck += max(0.0, image - rest) / array.size
    error = math.sqrt(total.var(ddof=1) / total.size + luck)
    found = _difference(total, error, level, None, max(np.abs(array).max() for array in arrays))
    return found._replace(n=arrays[0].shape)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjustment of the p-values `p` [rows] of several hypotheses. If all rows whose
    adjusted p is at most alpha are called findings, then the chance that any of them is a false
    alarm is at most alpha.

    The k-th smallest of m p-values is multiplied by m - k + 1, raised to the largest before it, and
    capped at 1. The hypotheses need not be independent (Holm 1979, Scandinavian Journal of
    Statistics 6:65-70). Raises `UserError` for nan and for values outside [0, 1].

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    array = array_of(p, "p", "rows", least=0)
    if np.any((array < 0) | (array > 1)):
        raise UserError(
            f"p holds values from {array.min():g} to {array.max():g}; a p-value lies between 0 and "
            "1."
        )
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(
        1.0, np.maximum.accumulate(array[order] * np.arange(array.size, 0, -1))
    )
    return adjusted


def verdict(differences: Sequence[Difference], alpha: float = 0.05) -> list[str]:
    """One word for each row: supported, contradicted, equivalent or undecided.

    A row whose Holm-adjusted p (over all rows given) is at most alpha is supported if its estimate
    is positive and contradicted if it is negative. Any other row is equivalent if its own
    equivalence p, unadjusted, is at most alpha; a row without a margin never is. The rest are
    undecided. A difference that lies inside the margin and is yet not 0 is therefore supported or
    contradicted. Raises `UserError` for an alpha outside (0, 1).

    >>> verdict([paired([3, 4, 5], [1, 2, 3.1]), paired([1, 2], [2, 1])])
    ['supported', 'undecided']
    """
    inside("alpha", alpha, 0.05)
    words = []
    for row, p in zip(differences, holm([row.p for row in differences]), strict=True):
        if p <= alpha:
            words.append("supported" if row.interval.estimate > 0 else "contradicted")
        else:
            words.append("equivalent" if row.equivalence <= alpha else "undecided")
    return words


def agree(words: Sequence[str]) -> str:
    """One word for several: the word itself if all are the same, else "conditional"; "undecided" if
    there are none.

    Raises `UserError` for a single text in place of a list.

    >>> agree(["supported", "supported"]), agree(["supported", "undecided"])
    ('supported', 'conditional')
    """
    if isinstance(words, str):
        raise UserError(
            f"words is the single word {words!r}; give a list of words, one for each row."
        )
    found = set(words)
    return found.pop() if len(found) == 1 else "conditional" if found else "undecided"


def _difference(
    array: NDArray[np.float64], error: float, level: float, margin: float | None, largest: float
) -> Difference:
    """Student's statements about the mean of `array`, whose first axis is the seeds, with the given
    standard error. `largest` is the largest value in magnitude that went into the array.
    """
    from scipy import special  # takes .13 s to import; scipy.stats takes .6 s

    freedom = len(array) - 1
    interval, error = _interval(float(array.mean()), error, freedom, level, largest)
    if margin is not None and not 0 < margin < math.inf:
        raise UserError(
            f"margin is {margin!r}; give the largest difference that does not matter, for example "
            "0.003."
        )

    def above(excess: float) -> float:
        """The chance of an excess as large as this or larger if the true excess is 0."""
        if error == 0:
            return 0.0 if excess > 0 else 1.0
        return float(special.stdtr(freedom, -excess / error))

    return Difference(
        interval,
        min(1.0, 2 * above(abs(interval.estimate))),
        math.nan if margin is None else above(margin - abs(interval.estimate)),
        error,
        freedom,
        array.shape,
    )


def _interval(
    estimate: float, error: float, freedom: int, level: float, largest: float
) -> tuple[Interval, float]:
    """Student's interval and the standard error. An estimate or an error that could be mere
    rounding of values up to `largest` becomes 0.
    """
    from scipy import special

    inside("level", level, 0.95)
    # Two equal arms that were summed in another order would else be "supported" by 1e-17.
    rounding = 8 * _EPS * largest
    estimate = 0.0 if abs(estimate) <= rounding else estimate
    error = 0.0 if error <= rounding else error
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    return Interval(estimate - half, estimate, estimate + half), error
