"""Which strength of training noise a bound prefers, from the curvature of the loss.

More noise lets the network be further from its prior at the same price, but raises the loss where
the loss is curved. The strength that balances the two is `preferred_strength`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def curvature(
    low: ArrayLike, high: ArrayLike, strengths: tuple[float, float]
) -> NDArray[np.float64]:
    """T = tr(D Hessian) of a bounded loss, from its noisy means `low` and `high` at the two
    `strengths`: 2 (high - low) / (s_high^2 - s_low^2).

    D is the variance of the noise at strength 1, diag(m_f^2) with m_f = max|W_f| of each weight's
    filter. With F(v) the mean loss under N(0, v D), dF/dv = tr(D Hessian F)/2 holds exactly, and
    the difference quotient is its mean over the variances between the two.

    >>> float(curvature(0.10, 0.12, (0.0, 0.1)).round(9))
    4.0
    """
    below, above = strengths
    return np.asarray(2 * (np.asarray(high) - np.asarray(low)) / (above**2 - below**2))


def preferred_strength(distance: ArrayLike, n: int, trace: ArrayLike) -> NDArray[np.float64]:
    """sigma* = (A / (n T))^(1/4), the strength at which risk + v T/2 + A/(2 n v) is least. This is
    a linear form of a PAC-Bayes bound in the variance v = sigma^2.

    A = `distance` is ||w - w0||^2 in units of the noise (`Displacement.distance`), n the number of
    training examples, and T = `trace` the curvature (`curvature`), assumed not to change with v.
    nan where T is not above 0, because then the linear form has no least value.

    >>> round(float(preferred_strength(16.0, 100, 16.0)), 6)  # (1/100)^(1/4)
    0.316228
    """
    trace = np.asarray(trace, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(trace > 0, (np.asarray(distance) / (n * trace)) ** 0.25, np.nan)
