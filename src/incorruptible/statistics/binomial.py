"""Exact statements from counts: how large a share is at least, and how many it takes to say so."""

from __future__ import annotations

from ..errors import UserError
from .given import inside

__all__ = ["fewest", "lower_bound", "quantile_rank"]


def lower_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """The exact lower bound of Clopper and Pearson for a chance of which n independent trials gave
    so many hits.

    The chance p at which P(Bin(n, p) >= hits) = 1 - confidence: the quantile 1 - confidence of
    Beta(hits, n - hits + 1), and 0 for no hit (Clopper & Pearson 1934,
    doi:10.1093/biomet/26.4.404). It is above the truth with chance at most 1 - confidence whatever
    the truth is. The trials must be independent: of examples that share a chip's noise it misses
    more often than it says. Raises UserError for hits outside 0 to n, n below 1, and a confidence
    outside (0, 1).

    >>> print(f"{lower_bound(59, 59):.4f} {lower_bound(95, 100):.4f} {lower_bound(9000, 10000):.4f}")
    0.9505 0.8977 0.8949
    """
    from scipy import special

    inside("confidence", confidence, 0.95)
    if not 0 <= hits <= n or n < 1:
        raise UserError(f"{hits} hits of {n}: hits lie between 0 and n, and n is at least 1.")
    return float(special.betaincinv(hits, n - hits + 1, 1 - confidence)) if hits else 0.0


def fewest(share: float, confidence: float = 0.95, failures: int = 0) -> int:
    """The fewest trials of which all but `failures` must be hits for `lower_bound` to reach
    `share`.

    Without failures the smallest n with share^n <= 1 - confidence. Raises UserError for a share or
    confidence outside (0, 1) and for negative failures.

    >>> fewest(0.95), fewest(0.99), fewest(0.9, failures=2)
    (59, 299, 61)
    """
    inside("share", share, 0.9)
    if failures < 0:
        raise UserError(f"failures is {failures}; it is not negative.")

    def reached(n: int) -> bool:
        return lower_bound(n - failures, n, confidence) >= share

    high = failures + 1
    while not reached(high):
        high *= 2
    low = high // 2  # doubling: half of it did not do, or holds nothing but failures
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle > failures and reached(middle) else (middle, high)
    return high


def quantile_rank(n: int, share: float, confidence: float = 0.95) -> int:
    """The largest k such that the k-th smallest of n independent values is a lower bound of the
    quantile `share`.

    It bounds where P(Bin(n, share) >= k) >= confidence: a value is at most the quantile with chance
    `share` or more. 0: none does, n is too small (order statistics: David & Nagaraja, Order
    Statistics, 2003, section 7.1). The smallest of 59 chips bounds what all but 5% of chips exceed.
    Raises UserError for n below 1 and for what lies outside (0, 1).

    >>> quantile_rank(59, 0.05), quantile_rank(58, 0.05), quantile_rank(299, 0.01), quantile_rank(100, 0.1)
    (1, 0, 1, 5)
    """
    from scipy import special

    inside("share", share, 0.1)
    inside("confidence", confidence, 0.95)
    if n < 1:
        raise UserError(f"n is {n}; at least one value is needed.")
    low, high = 0, n + 1  # P(Bin >= 0) = 1, P(Bin >= n + 1) = 0
    while high - low > 1:
        middle = (low + high) // 2
        # P(Bin(n, share) >= middle).
        enough = special.betainc(middle, n - middle + 1, share) >= confidence
        low, high = (middle, high) if enough else (low, middle)
    return low
