"""The binary relative entropy, and how large a risk it leaves possible."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError

__all__ = ["kl", "kl_inverse"]


def kl(q: ArrayLike, p: ArrayLike) -> NDArray[np.float64]:
    """kl(q||p) = q ln(q/p) + (1 - q) ln((1 - q)/(1 - p)) in nats, of two numbers in [0, 1] or of
    arrays that broadcast.

    0 ln 0 is 0; infinite where p is 0 or 1 and q is not. Raises `UserError` outside [0, 1].

    >>> round(float(kl(0.1, 0.2)), 6)
    0.03669
    """
    q, p = _share("q", q), _share("p", p)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(q > 0, q * np.log(q / p), 0.0)
        second = np.where(q < 1, (1 - q) * np.log((1 - q) / (1 - p)), 0.0)
    close = np.abs(p - q) < 0.5 * np.minimum(q, 1 - q)  # there the two nearly cancel
    return np.where(close, _excess(q, p - q), np.maximum(0.0, first + second))


def kl_inverse(q: ArrayLike, bound: ArrayLike) -> NDArray[np.float64]:
    """The largest p >= q with kl(q||p) <= bound: an upper limit for a risk of which q was seen.

    By bisection down to neighbouring floats, returning the upper end, so that rounding errs to the
    safe side. q in [0, 1]; `bound` >= 0 in nats, and infinity gives 1. Raises `UserError` for
    anything else. For q = 0 it is 1 - exp(-bound).

    >>> kl_inverse([0.0, 0.3], 0.1).round(6).tolist()
    [0.095163, 0.521028]
    """
    q = _share("q", q)
    limit = np.asarray(bound, dtype=np.float64)
    if not np.all(limit >= 0):
        raise UserError(
            f"kl_inverse: a bound of {limit[~(limit >= 0)].flat[0]:g} came; it is at least 0."
        )
    q, limit = np.broadcast_arrays(q, limit)
    low, high = np.zeros(q.shape), 1.0 - q
    while True:
        middle = (low + high) / 2
        if np.all((middle == low) | (middle == high)):
            return np.asarray(np.minimum(1.0, q + high))
        over = _excess(q, middle) > limit
        low, high = np.where(over, low, middle), np.where(over, middle, high)


def _excess(q: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.float64]:
    """kl(q||q + d) from the distance d, which keeps its digits where p is close to q."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(q > 0, -q * np.log1p(d / np.where(q > 0, q, 1.0)), 0.0)
        second = np.where(q < 1, -(1 - q) * np.log1p(-d / np.where(q < 1, 1 - q, 1.0)), 0.0)
    return np.asarray(np.maximum(0.0, first + second))


def _share(name: str, value: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if not np.all((array >= 0) & (array <= 1)):
        raise UserError(
            f"{name} holds {array[~((array >= 0) & (array <= 1))].flat[0]:g}; a risk lies between "
            "0 and 1."
        )
    return array
