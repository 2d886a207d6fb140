"""What a table of chips and examples says about new chips and new examples together."""

from __future__ import annotations

import math
from typing import NamedTuple

from numpy.typing import ArrayLike

from ..errors import UserError
from .given import array_of, inside
from .intervals import Interval
from .variance import Components, mean_squares

__all__ = ["ENOUGH", "TwoLevel", "share_interval", "two_level"]

ENOUGH = 5  # chips from which on `share_interval` keeps its promise


class TwoLevel(NamedTuple):
    """The mean for new chips *and* new examples, and the variances that it comes from.

    `error` is the standard error of the mean, `freedom` the degrees of freedom of its t, `n`
    (chips, examples). The interval of a share between 0 and 1 comes from `share_interval`, which
    uses neither `error` nor `freedom`.
    """

    interval: Interval
    components: Components
    error: float
    freedom: float
    n: tuple[int, int]


def two_level(values: ArrayLike, level: float = 0.95, *, share: bool = False) -> TwoLevel:
    """The mean of values [chips, examples], where every chip answers the same examples, for new
    chips and new examples.

    With Y_ij = mu + chip_i + example_j + rest_ij over B chips and n examples

        Var(mean) = v_chip / B + v_example / n + v_rest / (B n),

    estimated by (MS_chip + max(0, MS_example - MS_rest)) / (B n), as in `crossed`. The degrees of
    freedom are those of Satterthwaite (1946, doi:10.2307/3002019) for this sum of mean squares,

        (MS_chip + MS_example - MS_rest)^2 / (MS_chip^2 / (B-1) + MS_example^2 / (n-1) + MS_rest^2 /
    ((B-1)(n-1))),

    and never fewer than the smaller of B - 1 and n - 1; B - 1 where MS_example is below MS_rest.
    `crossed` always takes B - 1, which is wide where examples are most of the error, as they are
    here: a test set of 1,000 against chips that agree. The interval over chips alone, `t_interval`
    of the rows, leaves v_example out.

    Student's interval with these suits values that are nearly normal, such as losses. Say
    `share=True` for values between 0 and 1, such as right and wrong answers: where few answers are
    wrong, Student's interval is far too short (it misses 38% of the time for 5 chips that agree, 50
    examples and an accuracy of .98), and `share_interval` takes its place.

    Raises UserError for fewer than 2 chips or examples, for values that are not finite, for a level
    outside (0, 1), and for values outside [0, 1] where `share` is true.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = 0.9 + rng.normal(0, 0.02, (25, 1)) + rng.normal(0, 0.2, (1, 400)) + rng.normal(0, 0.2, (25, 400))
    >>> low, mean, high = two_level(y).interval
    >>> print(f"{low:.3f} {mean:.3f} {high:.3f}, {two_level(y).freedom:.0f} degrees of freedom")
    0.873 0.894 0.915, 358 degrees of freedom
    """
    from scipy import special

    inside("level", level, 0.95)
    array = array_of(values, "values", "chips", "examples")
    if share and not (array.min() >= 0 and array.max() <= 1):
        raise UserError(
            f"values lie from {array.min():g} to {array.max():g}; a share lies between 0 and 1."
        )
    chips, examples = array.shape
    chip, example, rest = squares = mean_squares(array)
    error = math.sqrt((chip + max(0.0, example - rest)) / array.size)
    freedom = float(min(chips, examples) - 1)
    if example > rest:
        spread = (
            chip**2 / (chips - 1)
            + example**2 / (examples - 1)
            + rest**2 / ((chips - 1) * (examples - 1))
        )
        freedom = max(freedom, (chip + example - rest) ** 2 / spread)
    else:
        freedom = max(freedom, float(chips - 1))
    mean = float(array.mean())
    if share:
        interval = share_interval(mean, squares, (chips, examples), level)
    else:
        half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
        interval = Interval(mean - half, mean, mean + half)
    parts = Components((chip - rest) / examples, (example - rest) / chips, rest)
    return TwoLevel(interval, parts, error, freedom, (chips, examples))


def share_interval(
    mean: float, squares: tuple[float, float, float], n: tuple[int, int], level: float = 0.95
) -> Interval:
    """The interval of a share between 0 and 1 for new chips and new examples; it lies in [0, 1] and
    its width is never 0.

    `mean` is the mean of a table of n = (chips, examples), `squares` are its mean squares (chip,
    example, rest). Each limit lies as far from the mean q as two parts do together, d =
    sqrt(d_example^2 + d_chip^2) (Zou & Donner 2008, doi:10.1002/sim.3095). For the upper limit, and
    for the lower one with 1 - q in place of q:

    - d_example: the examples' variance, t^2 max(MS_example, MS_rest) / (B n z^2), together with
      *one more example that is wrong on every chip*, gives a mean and a variance, and these a beta
      distribution, whose quantile is the limit. Without any error it is the exact binomial limit 1
      - ((1 - level) / 2)^(1/n), about 3.7 / n (Clopper & Pearson 1934), and close to theirs where
      all chips give equal answers. One more error of the largest size is what Fay & Feuer add for
      clusters of unequal size (1997, Statistics in Medicine 16:791-801): here an example is wrong
      on some chips, there on all.
    - d_chip: what chips differ by beyond the rest, c^2 = (t_{B-2}^2 MS_chip - t_{n-1}^2 MS_rest) /
      (B n), taken on the scale of log-odds, c / (q (1 - q)), for shares of rare errors are skewed.
      There the mean of a skewed law is less sure than its logarithm: the variance is (1 + s^2)
      times as large, with s^2 that of one chip's log-odds (Cox's term for the lognormal mean: Land
      1971, doi:10.1214/aoms/1177693235, has 1 + s^2 B / (2 (B - 1))). This costs one of the B - 1
      degrees of freedom.

    It covers where examples and chips both count, and is too wide where neither does: of answers
    that are independent of one another it misses 1%. docs/results/intervals.md has the table, which
    `python scripts/two_level_coverage.py` makes: from 5 chips on it misses at most 6% at level .95
    while chips make up a tenth of the variance or less. With fewer chips that is not promised. It
    cannot see what no chip showed: of B chips that agree, up to 3 / B of all chips may be
    otherwise.

    >>> low, mean, high = share_interval(1.0, (0.0, 0.0, 0.0), (5, 50))  # 50 examples, right on 5 chips each
    >>> print(f"{low:.4f} {high:.4f}")
    0.9289 1.0000
    """
    inside("level", level, 0.95)
    return Interval(1 - _upper(1 - mean, squares, n, level), mean, _upper(mean, squares, n, level))


def _upper(
    share: float, squares: tuple[float, float, float], n: tuple[int, int], level: float
) -> float:
    """The upper limit of `share_interval`."""
    share = min(1.0, max(0.0, share))  # a mean of ones may be 1 + 2e-16
    between_examples = _beta_limit(share, squares, n, level) - share
    between_chips = _log_odds_limit(share, squares, n, level) - share
    return min(1.0, share + math.hypot(between_examples, between_chips))


def _beta_limit(
    share: float, squares: tuple[float, float, float], n: tuple[int, int], level: float
) -> float:
    """How large the share may be for the luck of the examples, on chips such as these."""
    from scipy import special

    chips, examples = n
    ratio = float(special.stdtrit(examples - 1, (1 + level) / 2)) / float(
        special.ndtri((1 + level) / 2)
    )
    variance = ratio**2 * max(squares[1:]) / (chips * examples)
    with_another = (share * examples + 1) / (examples + 1)
    variance = (variance * examples**2 + (1 - share)) / (examples + 1) ** 2
    if variance == 0:  # a share of 1 without any spread
        return 1.0
    # This is n + 1 for n answers that are independent.
    total = with_another * (1 - with_another) / variance + 1
    quantile = special.betaincinv(with_another * total, (1 - with_another) * total, (1 + level) / 2)
    return max(with_another, float(quantile))


def _log_odds_limit(
    share: float, squares: tuple[float, float, float], n: tuple[int, int], level: float
) -> float:
    """How large the share may be for the luck of the chips, on these examples."""
    from scipy import special

    chips, examples = n
    few, many = (
        float(special.stdtrit(freedom, (1 + level) / 2))
        for freedom in (max(1, chips - 2), examples - 1)
    )
    square = (few**2 * squares[0] - many**2 * squares[2]) / (chips * examples)
    if square <= 0 or not 0 < share < 1:
        return share
    odds = share * (1 - share)
    # towards the middle a share is skewed only as far as it is rare
    skewed = chips * square / few**2 * (max(0.0, 1 - 2 * share) / odds) ** 2
    half = math.sqrt(square * (1 + skewed)) / odds
    return float(special.expit(special.logit(share) + half))
