"""What a table of chips and examples says about new chips and new examples together.

An interval over chips alone says how well other chips would do on the *same* examples. Here the
examples count as drawn at random, too. `two_level` is for any values; `share_interval` is for
accuracies and other shares between 0 and 1, for which Student's interval is too short if few
answers are wrong.

Relies on: every chip answers the same examples, and chips and examples are independent draws.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from numpy.typing import ArrayLike

from ..errors import UserError
from .given import array_of, inside
from .intervals import Interval
from .variance import Components, mean_squares

ENOUGH = 5  # the fewest chips for which `share_interval` keeps its promise


class TwoLevel(NamedTuple):
    """The mean for new chips *and* new examples, with the components of its variance.

    `error` is the standard error of the mean, `freedom` the degrees of freedom of its t, and `n` is
    (chips, examples). If the values are shares between 0 and 1, the interval comes from
    `share_interval`, which uses neither `error` nor `freedom`.
    """

    interval: Interval
    components: Components
    error: float
    freedom: float
    n: tuple[int, int]


def two_level(values: ArrayLike, level: float = 0.95, *, share: bool = False) -> TwoLevel:
    """The mean of values [chips, examples] for new chips and new examples, where every chip
    answered the same examples.

    With Y_ij = mu + chip_i + example_j + rest_ij over B chips and n examples,

        Var(mean) = v_chip / B + v_example / n + v_rest / (B n),

    estimated by (MS_chip + max(0, MS_example - MS_rest)) / (B n) as in `crossed`. The degrees of
    freedom are those of Satterthwaite (1946, doi:10.2307/3002019) for this sum of mean squares,

        (MS_chip + MS_example - MS_rest)^2
        / (MS_chip^2 / (B-1) + MS_example^2 / (n-1) + MS_rest^2 / ((B-1)(n-1))),

    and never fewer than the smaller of B - 1 and n - 1. They are B - 1 where
    MS_example is below MS_rest. `crossed` always takes B - 1. This is too wide where examples make
    up most of the error, as they do for a test set of 1,000 examples and chips that agree. The
    interval over chips alone, `t_interval` of the rows' means, leaves v_example out.

    Student's interval with these degrees of freedom suits values that are nearly normal, such as
    losses. Pass `share=True` for values between 0 and 1, such as right and wrong answers. Where few
    answers are wrong Student's interval is far too short for them (it misses 38% of the time for 5
    chips that agree, 50 examples and an accuracy of .98), and `share_interval` takes its place.

    Raises `UserError` for fewer than 2 chips or examples, for values that are not finite, for a
    level outside (0, 1), and for values outside [0, 1] if `share` is true.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> chip, example = rng.normal(0, 0.02, (25, 1)), rng.normal(0, 0.2, (1, 400))
    >>> found = two_level(0.9 + chip + example + rng.normal(0, 0.2, (25, 400)))
    >>> print("{:.3f} {:.3f} {:.3f}".format(*found.interval), f"{found.freedom:.0f}")
    0.873 0.894 0.915 358
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
    """The interval of a share between 0 and 1 for new chips and new examples. It lies in [0, 1],
    and its width is never 0.

    `mean` is the mean of a table of `n` = (chips, examples), and `squares` are its mean squares
    (chip, example, rest). The distance of each limit from the mean q combines two parts, d =
    sqrt(d_example^2 + d_chip^2) (Zou & Donner 2008, doi:10.1002/sim.3095). For the upper limit, and
    for the lower one with 1 - q in place of q:

    - d_example, for the luck of the examples. The variance t^2 max(MS_example, MS_rest) / (B n
      z^2), together with *one more example that is wrong on every chip*, gives a mean and a
      variance, and these give a beta distribution whose quantile is the limit. Without any error it
      is the exact binomial limit 1 - ((1 - level) / 2)^(1/n), about 3.7 / n (Clopper & Pearson
      1934). It is close to theirs where all chips give equal answers. Fay & Feuer add one more
      error of the largest size for clusters of unequal size (1997, Statistics in Medicine
      16:791-801): here an example may be wrong on some chips, and the added one is wrong on all.
    - d_chip, for the luck of the chips. With c^2 = (t_{B-2}^2 MS_chip - t_{n-1}^2 MS_rest) / (B n),
      which is what chips differ by beyond the rest, c is taken on the scale of log-odds, as
      c / (q (1 - q)), because shares of rare errors are skewed. The mean of a skewed law is less
      certain than its logarithm: the variance is (1 + s^2) times as large, with s^2 the variance of
      one chip's log-odds (Cox's term for the lognormal mean: Land 1971,
      doi:10.1214/aoms/1177693235, has 1 + s^2 B / (2 (B - 1))). This costs one of the B - 1 degrees
      of freedom.

    The interval covers where both examples and chips count. It is too wide where neither does: of
    answers that are all independent it misses 1%. docs/how-to/certificates.md has the table, which
    `python scripts/two_level_coverage.py` makes: with 5 chips or more it misses at most 6% at level
    .95 while chips make up a tenth of the variance or less. With fewer chips nothing is promised.
    No interval can see what no chip showed: if B chips agree, up to 3 / B of all chips may differ
    from them.

    Raises `UserError` for a level outside (0, 1). For 50 examples that are right on each of 5
    chips:

    >>> low, mean, high = share_interval(1.0, (0.0, 0.0, 0.0), (5, 50))
    >>> print(f"{low:.4f} {high:.4f}")
    0.9289 1.0000
    """
    inside("level", level, 0.95)
    return Interval(1 - _upper(1 - mean, squares, n, level), mean, _upper(mean, squares, n, level))


def _upper(
    share: float, squares: tuple[float, float, float], n: tuple[int, int], level: float
) -> float:
    """The upper limit of `share_interval`."""
    share = min(1.0, max(0.0, share))  # the mean of many ones may be 1 + 2e-16
    between_examples = _beta_limit(share, squares, n, level) - share
    between_chips = _log_odds_limit(share, squares, n, level) - share
    return min(1.0, share + math.hypot(between_examples, between_chips))


def _beta_limit(
    share: float, squares: tuple[float, float, float], n: tuple[int, int], level: float
) -> float:
    """The upper limit of the share for the luck of the examples, on chips such as these."""
    from scipy import special

    chips, examples = n
    ratio = float(special.stdtrit(examples - 1, (1 + level) / 2)) / float(
        special.ndtri((1 + level) / 2)
    )
    variance = ratio**2 * max(squares[1:]) / (chips * examples)
    # One more example that counts 1 on every chip moves the mean towards 1 and adds to the
    # variance.
    with_another = (share * examples + 1) / (examples + 1)
    variance = (variance * examples**2 + (1 - share)) / (examples + 1) ** 2
    if variance == 0:  # the share is 1, without any spread
        return 1.0
    # The two parameters of the beta distribution add up to `total`; for n independent answers this
    # is n + 1.
    total = with_another * (1 - with_another) / variance + 1
    quantile = special.betaincinv(with_another * total, (1 - with_another) * total, (1 + level) / 2)
    return max(with_another, float(quantile))


def _log_odds_limit(
    share: float, squares: tuple[float, float, float], n: tuple[int, int], level: float
) -> float:
    """The upper limit of the share for the luck of the chips, on these examples."""
    from scipy import special

    chips, examples = n
    few, many = (
        float(special.stdtrit(freedom, (1 + level) / 2))
        for freedom in (max(1, chips - 2), examples - 1)
    )
    square = (few**2 * squares[0] - many**2 * squares[2]) / (chips * examples)
    # Chips differ by no more than the rest explains, or the log-odds are infinite.
    if square <= 0 or not 0 < share < 1:
        return share
    odds = share * (1 - share)
    # Rare shares are skewed; a share of 1/2 is not, so the term fades towards the middle.
    skewed = chips * square / few**2 * (max(0.0, 1 - 2 * share) / odds) ** 2
    half = math.sqrt(square * (1 + skewed)) / odds
    return float(special.expit(special.logit(share) + half))
