"""Where the variance of a table of chips and examples comes from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .given import array_of

__all__ = ["Components", "components", "mean_squares"]


class Components(NamedTuple):
    """Variances, in the squared unit of the values: between chips, between examples, and of what is
    left in a cell.
    """

    chip: float
    example: float
    interaction: float


def components(values: ArrayLike) -> Components:
    """Where the variance of values [chips, examples] comes from, by the estimators of the analysis
    of variance.

    chip = (MS_chip - MS_rest) / examples, example = (MS_example - MS_rest) / chips, interaction =
    MS_rest, with the mean squares of `crossed`. Each is unbiased, so the first two may come out
    *negative* where the truth is near 0: average over repetitions before you clip. The interaction
    contains the noise of a single cell.

    Raises UserError for fewer than 2 chips or examples, and for values that are not finite.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(0, 1, (50, 1)) + rng.normal(0, 2, (1, 400)) + rng.normal(0, 3, (50, 400))
    >>> print("{:.2f} {:.2f} {:.2f}".format(*components(y)))
    0.86 4.10 8.91
    """
    array = array_of(values, "values", "chips", "examples")
    chips, examples = array.shape
    chip, example, rest = mean_squares(array)
    return Components((chip - rest) / examples, (example - rest) / chips, rest)


def mean_squares(array: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares between rows, between columns, and of what both leave."""
    rows, columns = array.shape
    grand, row, column = array.mean(), array.mean(axis=1), array.mean(axis=0)
    rest = array - row[:, None] - column + grand
    return (
        float(columns * ((row - grand) ** 2).sum() / (rows - 1)),
        float(rows * ((column - grand) ** 2).sum() / (columns - 1)),
        float((rest**2).sum() / ((rows - 1) * (columns - 1))),
    )
