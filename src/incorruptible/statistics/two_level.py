"""What a table of chips and examples says about new chips and new examples together."""

from __future__ import annotations

import math
from typing import NamedTuple

from numpy.typing import ArrayLike

from .given import array_of, inside
from .intervals import Interval
from .variance import Components, mean_squares

__all__ = ["TwoLevel", "two_level"]


class TwoLevel(NamedTuple):
    """The mean for new chips *and* new examples, and the variances that it comes from.

    `error` is the standard error of the mean, `freedom` the degrees of freedom of its t, `n` (chips, examples).
    """

    interval: Interval
    components: Components
    error: float
    freedom: float
    n: tuple[int, int]


def two_level(values: ArrayLike, level: float = 0.95) -> TwoLevel:
    """The mean of values [chips, examples], where every chip answers the same examples, for new chips and new examples.

    With Y_ij = mu + chip_i + example_j + rest_ij over B chips and n examples

        Var(mean) = v_chip / B + v_example / n + v_rest / (B n),

    estimated by (MS_chip + max(0, MS_example - MS_rest)) / (B n), as in `crossed`. The degrees of freedom are those of
    Satterthwaite (1946, doi:10.2307/3002019) for this sum of mean squares,

        (MS_chip + MS_example - MS_rest)^2 / (MS_chip^2 / (B-1) + MS_example^2 / (n-1) + MS_rest^2 / ((B-1)(n-1))),

    and never fewer than the smaller of B - 1 and n - 1; B - 1 where MS_example is below MS_rest. `crossed` always takes
    B - 1, which is wide where examples are most of the error, as they are here: a test set of 1,000 against chips that
    agree. The interval over chips alone, `t_interval` of the rows, leaves v_example out.

    Share of misses at level .95, right or wrong answers whose log-odds are 1.5 + chip + example, 2,000 simulated tables, in
    brackets for chips alone: 25 chips, 500 examples, sd .05 and 2: .056 [.589]; 25, 200, .3, 2: .046 [.379]; 5, 200, .5, 1:
    .059 [.060]; 3, 50, .5, .5: .066 [.064]. With fewer than about ten chips it is somewhat too short.

    Raises UserError for fewer than 2 chips or examples, for values that are not finite, and for a level outside (0, 1).

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
    chips, examples = array.shape
    chip, example, rest = mean_squares(array)
    error = math.sqrt((chip + max(0.0, example - rest)) / array.size)
    freedom = float(min(chips, examples) - 1)
    if example > rest:
        spread = chip**2 / (chips - 1) + example**2 / (examples - 1) + rest**2 / ((chips - 1) * (examples - 1))
        freedom = max(freedom, (chip + example - rest) ** 2 / spread)
    else:
        freedom = max(freedom, float(chips - 1))
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    mean = float(array.mean())
    parts = Components((chip - rest) / examples, (example - rest) / chips, rest)
    return TwoLevel(Interval(mean - half, mean, mean + half), parts, error, freedom, (chips, examples))
