"""The binary relative entropy kl(q||p), and its inverse: how large a true risk p remains possible.

Keeps: results err to the safe side. `kl_inverse` never returns less than the exact value, up to the
rounding of kl itself, and `kl` keeps its digits where p is close to q.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError


def kl(q: ArrayLike, p: ArrayLike) -> NDArray[np.float64]:
    """kl(q||p) = q ln(q/p) + (1 - q) ln((1 - q)/(1 - p)) in nats, for two numbers in [0, 1] or
    arrays that broadcast.

    0 ln 0 counts as 0. The result is infinite where p is 0 or 1 and q is not. Raises `UserError`
    for values outside [0, 1]. By hand: 0.1 ln 0.5 + 0.9 ln 1.125 = 0.03669.

    >>> round(float(kl(0.1, 0.2)), 6)
    0.03669
    """
    q, p = _share("q", q), _share("p", p)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(q > 0, q * np.log(q / p), 0.0)
        second = np.where(q < 1, (1 - q) * np.log((1 - q) / (1 - p)), 0.0)
    # Where p is close to q the two terms nearly cancel, and `_excess` is more accurate.
    close = np.abs(p - q) < 0.5 * np.minimum(q, 1 - q)
    return np.where(close, _excess(q, p - q), np.maximum(0.0, first + second))


def kl_inverse(q: ArrayLike, bound: ArrayLike) -> NDArray[np.float64]:
    """The largest p >= q with kl(q||p) <= bound: an upper limit of the true risk if the risk q was
    observed.

    q lies in [0, 1]; `bound` >= 0 is in nats, and an infinite bound gives 1. For q = 0 the result
    is 1 - exp(-bound). It is found by bisection down to neighbouring floats, of which the upper one
    is returned, so that rounding errs to the safe side. Raises `UserError` for other q and bounds.

    >>> kl_inverse([0.0, 0.3], 0.1).round(6).tolist()
    [0.095163, 0.521028]
    """
    q = _share("q", q)
    limit = np.asarray(bound, dtype=np.float64)
    if not np.all(limit >= 0):
        raise UserError(
            f"kl_inverse: the bound is {limit[~(limit >= 0)].flat[0]:g}; it must be at least 0."
        )
    q, limit = np.broadcast_arrays(q, limit)
    # The search is for the distance d = p - q, whose digits `_excess` needs where p is close to q.
    low, high = np.zeros(q.shape), 1.0 - q
    while True:
        middle = (low + high) / 2
        # No float lies between the two ends any more.
        if np.all((middle == low) | (middle == high)):
            return np.asarray(np.minimum(1.0, q + high))
        over = _excess(q, middle) > limit
        low, high = np.where(over, low, middle), np.where(over, middle, high)


def _excess(q: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.float64]:
    """kl(q||q + d), computed from the distance d by log1p, which keeps its digits where d is
    small.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(q > 0, -q * np.log1p(d / np.where(q > 0, q, 1.0)), 0.0)
        second = np.where(q < 1, -(1 - q) * np.log1p(-d / np.where(q < 1, 1 - q, 1.0)), 0.0)
    return np.asarray(np.maximum(0.0, first + second))


def _share(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """`value` as float64. Raises `UserError` unless all numbers lie in [0, 1]."""
    array = np.asarray(value, dtype=np.float64)
    if not np.all((array >= 0) & (array <= 1)):
        raise UserError(
            f"{name} holds {array[~((array >= 0) & (array <= 1))].flat[0]:g}; a risk lies between "
            "0 and 1."
        )
    return array
