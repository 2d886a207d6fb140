"""Where the variance of a table of chips and examples comes from: from chips, from examples, or
from single cells of the table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .given import array_of


class Components(NamedTuple):
    """Variances in the squared unit of the values: between chips, between examples, and the
    interaction, which is what remains in a single cell of the table.
    """

    chip: float
    example: float
    interaction: float


def components(values: ArrayLike) -> Components:
    """The components of the variance of values [chips, examples], by the estimators of the analysis
    of variance.

    chip = (MS_chip - MS_rest) / examples, example = (MS_example - MS_rest) / chips, and interaction
    = MS_rest, with the mean squares MS of `mean_squares` (Searle, Casella & McCulloch, Variance
    Components, 1992). Each is unbiased, so the first two may come out *negative* where the truth is
    near 0: average over repetitions before you clip. The interaction contains the noise of a single
    cell.

    Raises `UserError` for fewer than 2 chips or examples, and for values that are not finite. The
    truth in this example is 1, 4 and 9:

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
    """The mean squares of a table [rows, columns]: between rows, between columns, and of the rest
    that row means and column means leave.

    With R rows, C columns and y_ij = grand mean + row_i + column_j + rest_ij: C sum row_i^2 / (R -
    1), R sum column_j^2 / (C - 1), and sum rest_ij^2 / ((R - 1) (C - 1)).

    >>> mean_squares(np.array([[1.0, 2.0], [3.0, 8.0]]))
    (16.0, 9.0, 4.0)
    """
    rows, columns = array.shape
    grand, row, column = array.mean(), array.mean(axis=1), array.mean(axis=0)
    rest = array - row[:, None] - column + grand
    return (
        float(columns * ((row - grand) ** 2).sum() / (rows - 1)),
        float(rows * ((column - grand) ** 2).sum() / (columns - 1)),
        float((rest**2).sum() / ((rows - 1) * (columns - 1))),
    )
