"""Exact statements from counts: how large a share is at least, and how many trials are needed to
say so.

All three functions rest on the binomial distribution and on nothing else: they hold at every n, not
only for large n.
"""

from __future__ import annotations

from ..errors import UserError
from .given import inside


def lower_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """The exact lower bound of Clopper and Pearson for a chance of which `n` independent trials
    gave `hits` hits.

    It is the chance p at which P(Bin(n, p) >= hits) = 1 - confidence, which is the quantile 1 -
    confidence of Beta(hits, n - hits + 1), and 0 for no hit (Clopper & Pearson 1934,
    doi:10.1093/biomet/26.4.404). The bound exceeds the true chance with probability at most 1 -
    confidence, whatever the true chance is. The trials must be independent. Examples that share one
    chip's noise are not: for them the bound is wrong more often than it says.

    Raises `UserError` for hits outside 0 to n, for n below 1, and for a confidence outside (0, 1).

    >>> [round(lower_bound(hits, n), 4) for hits, n in [(59, 59), (95, 100), (9000, 10000)]]
    [0.9505, 0.8977, 0.8949]
    """
    from scipy import special

    inside("confidence", confidence, 0.95)
    if not 0 <= hits <= n or n < 1:
        raise UserError(f"{hits} hits of {n}: hits lie between 0 and n, and n is at least 1.")
    return float(special.betaincinv(hits, n - hits + 1, 1 - confidence)) if hits else 0.0


def fewest(share: float, confidence: float = 0.95, failures: int = 0) -> int:
    """The fewest trials with which `lower_bound` reaches `share` if all but `failures` of them are
    hits.

    Without failures this is the smallest n with share^n <= 1 - confidence. Raises `UserError` for a
    share or confidence outside (0, 1) and for negative failures.

    >>> fewest(0.95), fewest(0.99), fewest(0.9, failures=2)
    (59, 299, 61)
    """
    inside("share", share, 0.9)
    if failures < 0:
        raise UserError(f"failures is {failures}; give a count, 0 or more.")

    def reached(n: int) -> bool:
        return lower_bound(n - failures, n, confidence) >= share

    high = failures + 1
    while not reached(high):
        high *= 2
    # Doubling leaves half of `high` as an n that does not do, or that holds nothing but failures.
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle > failures and reached(middle) else (middle, high)
    return high


def quantile_rank(n: int, share: float, confidence: float = 0.95) -> int:
    """The largest k such that the k-th smallest of n independent values is a lower bound of their
    quantile `share`. 0 says that n is too small for any bound.

    The k-th smallest value is a lower bound where P(Bin(n, share) >= k) >= confidence, because a
    value is at most the quantile with chance `share` or more (order statistics: David & Nagaraja,
    Order Statistics, 2003, section 7.1). For example, the smallest of 59 chips is a bound that 95%
    of all chips exceed. Raises `UserError` for n below 1 and for a share or confidence outside (0,
    1).

    >>> quantile_rank(59, 0.05), quantile_rank(58, 0.05), quantile_rank(299, 0.01)
    (1, 0, 1)
    >>> quantile_rank(100, 0.1)
    5
    """
    from scipy import special

    inside("share", share, 0.1)
    inside("confidence", confidence, 0.95)
    if n < 1:
        raise UserError(f"n is {n}; at least one value is needed.")
    low, high = 0, n + 1  # P(Bin >= 0) = 1, P(Bin >= n + 1) = 0
    while high - low > 1:
        middle = (low + high) // 2
        # P(Bin(n, share) >= middle) as an incomplete beta function.
        enough = special.betainc(middle, n - middle + 1, share) >= confidence
        low, high = (middle, high) if enough else (low, middle)
    return low
