"""When a simulation speaks against a promised rate of false statements."""

from __future__ import annotations

from scipy import stats

__all__ = ["REPETITIONS", "breaks"]

REPETITIONS = 200


def breaks(misses: int, n: int = REPETITIONS, rate: float = 0.05) -> bool:
    """Whether an exact one-sided binomial test at .001 rejects a miss rate of at most `rate`."""
    return bool(stats.binomtest(misses, n, rate, alternative="greater").pvalue <= 0.001)
