"""From a risk that was seen to one that holds on new data: PAC-Bayes bounds for losses in [0,
1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .kl import kl_inverse

__all__ = ["complexity", "mcallester", "monte_carlo", "pac_bayes_kl", "quadratic"]


def complexity(divergence: ArrayLike, n: int, delta: float) -> NDArray[np.float64]:
    """(KL(Q||P) + ln(2 sqrt(n) / delta)) / n in nats per example: what all bounds here are
    functions of.

    The 2 sqrt(n) is Maurer's (2004, arXiv cs/0411099). Raises `UserError` for n below 1 and delta
    outside (0, 1).
    """
    if n < 1 or not 0 < delta < 1:
        raise UserError(
            f"n={n} and delta={delta!r}: at least one example and a delta between 0 and 1 are "
            "needed."
        )
    return np.asarray(
        (np.asarray(divergence, dtype=np.float64) + np.log(2 * np.sqrt(n) / delta)) / n
    )


def pac_bayes_kl(
    risk: ArrayLike, divergence: ArrayLike, n: int, delta: float
) -> NDArray[np.float64]:
    """kl^-1(risk, complexity): with probability 1 - delta over n independent examples, for all Q at
    once, the risk of Q on new examples is at most this (Seeger 2002; Maurer 2004). P must not
    depend on the n examples.

    `risk` is the mean loss of Q on the n examples, in [0, 1]; `divergence` KL(Q||P) in nats.

    By hand: no error on n = 100 examples, Q = P and delta = .05 give 1 - exp(-ln(20/.05)/100) = 1 -
    400^-.01.

    >>> round(float(pac_bayes_kl(0, 0, 100, 0.05)), 6), round(1 - 400**-0.01, 6)
    (0.058155, 0.058155)
    """
    return kl_inverse(risk, complexity(divergence, n, delta))


def mcallester(risk: ArrayLike, divergence: ArrayLike, n: int, delta: float) -> NDArray[np.float64]:
    """risk + sqrt(complexity / 2), by Pinsker's inequality; never below `pac_bayes_kl` (McAllester
    1999), and not capped at 1.
    """
    return np.asarray(np.asarray(risk) + np.sqrt(complexity(divergence, n, delta) / 2))


def quadratic(risk: ArrayLike, divergence: ArrayLike, n: int, delta: float) -> NDArray[np.float64]:
    """(sqrt(risk + c/2) + sqrt(c/2))^2, c the complexity: sharper than `mcallester` where risk and
    complexity are small, smooth enough to train on (Rivasplata et al. 2019, arXiv 1908.07380); not
    capped at 1.
    """
    half = complexity(divergence, n, delta) / 2
    return np.asarray((np.sqrt(np.asarray(risk) + half) + np.sqrt(half)) ** 2)


def monte_carlo(risk: ArrayLike, draws: int, delta: float) -> NDArray[np.float64]:
    """kl^-1(risk, ln(2/delta)/draws): with probability 1 - delta the mean loss of Q itself is at
    most this, where `risk` is the mean over `draws` independent networks from Q (Langford and
    Caruana 2001).

    >>> monte_carlo(0.3, 150_000, 0.01).round(3).tolist(), monte_carlo(0.3, 100, 0.01).round(3).tolist()
    (0.304, 0.459)
    """
    if draws < 1 or not 0 < delta < 1:
        raise UserError(
            f"draws={draws} and delta={delta!r}: at least one draw and a delta between 0 and 1 are "
            "needed."
        )
    return kl_inverse(risk, np.log(2 / delta) / draws)
