"""Checks of what a statistical function is given: finite numbers of the right shape, or a
`UserError`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError


def array_of(values: ArrayLike, name: str, *axes: str, least: int = 2) -> NDArray[np.float64]:
    """`values` as float64 with one axis for each of the names `axes`, and at least `least` values
    along each.

    `name` is what the message calls the values. Raises `UserError` for rows of unequal length, for
    values that are not real numbers, for another shape, and for values that are not finite.

    >>> array_of([[1, 2], [3, 4]], "scores", "chips", "examples").shape
    (2, 2)
    """
    wanted = f"[{', '.join(axes)}]"
    try:
        raw = np.asarray(values)
    except ValueError as error:
        raise UserError(f"{name}: rows of unequal length, where {wanted} is needed.") from error
    if raw.dtype.kind not in "biuf":
        raise UserError(f"{name}: {raw.dtype} values, where real numbers {wanted} are needed.")
    if raw.ndim != len(axes):
        raise UserError(f"{name}: shape {raw.shape}, where {wanted} is needed.")
    for size, axis in zip(raw.shape, axes, strict=True):
        if size < least:
            raise UserError(
                f"{name}: shape {raw.shape}, where {wanted} with at least {least} along {axis} is "
                "needed."
            )
    array = raw.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        wrong = np.argwhere(~finite)
        place = tuple(wrong[0].tolist())
        count = f"{len(wrong)} of {array.size} values are not finite"
        raise UserError(
            f"{name} holds {array[place]} at {list(place)}: {count}; give finite numbers."
        )
    return array


def inside(name: str, value: float, example: float) -> None:
    """Raise `UserError` unless 0 < value < 1. The message shows a value that would do: `example`,
    or the fraction if `value` looks like a percentage.
    """
    if not 0 < value < 1:
        raise UserError(
            f"{name} is {value!r}; it must lie between 0 and 1, for example "
            f"{_instead(value, example):g}."
        )


def fraction(name: str, value: float, example: float) -> None:
    """Raise `UserError` unless 0 < value <= 1. The message shows a value that would do, as in
    `inside`.
    """
    if not 0 < value <= 1:
        shown = _instead(value, example)
        raise UserError(
            f"{name} is {value!r}; it must be a fraction above 0 and at most 1, for example "
            f"{shown:g}."
        )


def _instead(value: float, example: float) -> float:
    return value / 100 if 1 < value < 100 else example
