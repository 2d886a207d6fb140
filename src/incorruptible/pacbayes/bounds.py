"""From a risk that was observed to a risk that holds on new data: PAC-Bayes bounds for losses in
[0, 1].

`pac_bayes_kl`, `mcallester` and `quadratic` hold with probability 1 - delta over n independent
examples, for all noise distributions Q at once. P, the prior, must not depend on these examples.
`pac_bayes_kl` is the sharpest of the three; the other two are simpler forms of it, which are easier
to read and to train on. They need the mean loss of Q on the examples, and `monte_carlo` bounds this
mean loss from a number of draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .kl import kl_inverse


def complexity(divergence: ArrayLike, n: int, delta: float) -> NDArray[np.float64]:
    """(KL(Q||P) + ln(2 sqrt(n) / delta)) / n in nats per example, which all bounds here are
    functions of.

    The 2 sqrt(n) is Maurer's (2004, arXiv cs/0411099). Raises `UserError` for n below 1 and for a
    delta outside (0, 1). By hand, with Q = P: ln(2 * 10 / 0.05) / 100 = ln(400) / 100 = 0.059915.

    >>> round(float(complexity(0.0, 100, 0.05)), 6)
    0.059915
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

    `risk` is the mean loss of Q on the n examples, in [0, 1]; `divergence` is KL(Q||P) in nats; the
    two broadcast. Raises `UserError` as `complexity` and `kl_inverse` do. By hand: no error on n =
    100 examples, Q = P and delta = .05 give 1 - exp(-ln(20/.05)/100) = 1 - 400^-.01.

    >>> round(float(pac_bayes_kl(0, 0, 100, 0.05)), 6), round(1 - 400**-0.01, 6)
    (0.058155, 0.058155)
    """
    return kl_inverse(risk, complexity(divergence, n, delta))


def mcallester(risk: ArrayLike, divergence: ArrayLike, n: int, delta: float) -> NDArray[np.float64]:
    """risk + sqrt(complexity / 2), which follows from `pac_bayes_kl` by Pinsker's inequality
    (McAllester 1999). It is never below `pac_bayes_kl`, and not capped at 1.

    >>> round(float(mcallester(0, 0, 100, 0.05)), 6)  # sqrt(0.059915 / 2)
    0.173082
    """
    return np.asarray(np.asarray(risk) + np.sqrt(complexity(divergence, n, delta) / 2))


def quadratic(risk: ArrayLike, divergence: ArrayLike, n: int, delta: float) -> NDArray[np.float64]:
    """(sqrt(risk + c/2) + sqrt(c/2))^2 with c the complexity (Rivasplata et al. 2019, arXiv
    1908.07380).

    Sharper than `mcallester` where risk and complexity are small, and smooth enough to train on.
    Not capped at 1.

    >>> round(float(quadratic(0, 0, 100, 0.05)), 6)  # (2 sqrt(c/2))^2 = 2 c
    0.119829
    """
    half = complexity(divergence, n, delta) / 2
    return np.asarray((np.sqrt(np.asarray(risk) + half) + np.sqrt(half)) ** 2)


def monte_carlo(risk: ArrayLike, draws: int, delta: float) -> NDArray[np.float64]:
    """An upper limit of the mean loss of Q, from the mean loss `risk` of `draws` independent
    networks drawn from Q: kl^-1(risk, ln(2/delta)/draws), which holds with probability 1 - delta
    (Langford and Caruana 2001).

    Bounds for Q need its mean loss on the examples; this pays for knowing it from draws only.
    Raises `UserError` for fewer than 1 draw, for a delta outside (0, 1), and for a risk outside [0,
    1].

    >>> [monte_carlo(0.3, draws, 0.01).round(3).tolist() for draws in (150_000, 100)]
    [0.304, 0.459]
    """
    if draws < 1 or not 0 < delta < 1:
        raise UserError(
            f"draws={draws} and delta={delta!r}: at least one draw and a delta between 0 and 1 are "
            "needed."
        )
    return kl_inverse(risk, np.log(2 / delta) / draws)
