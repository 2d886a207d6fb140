"""Which strength a bound would like best, from the curvature of the loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["curvature", "preferred_strength"]


def curvature(
    low: ArrayLike, high: ArrayLike, strengths: tuple[float, float]
) -> NDArray[np.float64]:
    """T = tr(D Hessian) of a bounded loss from its noisy means at two strengths: 2 (high - low) /
    (s_high^2 - s_low^2).

    With F(v) the mean loss under N(0, v D), dF/dv = tr(D Hessian F)/2 holds exactly; the difference
    quotient is its mean over the variances between. D is the noise at strength 1, diag(m_f^2).

    >>> float(curvature(0.10, 0.12, (0.0, 0.1)).round(9))
    4.0
    """
    below, above = strengths
    return np.asarray(2 * (np.asarray(high) - np.asarray(low)) / (above**2 - below**2))


def preferred_strength(distance: ArrayLike, n: int, trace: ArrayLike) -> NDArray[np.float64]:
    """sigma* = (A / (n T))^(1/4): where risk + v T/2 + A/(2 n v), a linear form of a PAC-Bayes
    bound in the variance v = sigma^2, is least.

    A = `distance` is ||w - w0||^2 in units of the noise, T = `trace` as of `curvature`, assumed not
    to change with v. nan where T is not above 0: then the linear form has no least value.

    >>> round(float(preferred_strength(16.0, 100, 16.0)), 6)  # (1/100)^(1/4)
    0.316228
    """
    trace = np.asarray(trace, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(trace > 0, (np.asarray(distance) / (n * trace)) ** 0.25, np.nan)
