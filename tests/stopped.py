"""`gather`, many times at once on values of a known law: how often its interval holds. `python tests/stopped.py` prints a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from incorruptible.statistics.stopping import CORRECTION

__all__ = ["LAWS", "NEEDED", "Law", "simulated"]

NEEDED = (5, 8, 12, 20, 40, 100, 300, 1000)


class Law(NamedTuple):
    draw: Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]
    mean: float
    sd: float
    grain: float  # of one answer
    first: int
    step: int


def binomial(answers: int, chance: float) -> Law:
    """Shares of answers that differ, on chips that look at so many images."""
    sd = np.sqrt(chance * (1 - chance) / answers)
    return Law(lambda rng, shape: rng.binomial(answers, chance, shape) / answers, chance, sd, 1 / answers, 16, 8)


LAWS = {
    "normal, whole chips": Law(lambda rng, shape: rng.standard_normal(shape), 0, 1, 0, 5, 1),
    "normal, few images": Law(lambda rng, shape: rng.standard_normal(shape), 0, 1, 0, 16, 8),
    "binomial, 64 x 1/40": binomial(64, 1 / 40),
    "binomial, 8 x 1/8": binomial(8, 1 / 8),
    "beta(4, 1), whole chips": Law(lambda rng, shape: rng.beta(4, 1, shape), 0.8, np.sqrt(4 / 150), 0, 5, 1),
}


def simulated(
    law: Law, needed: int, times: int, seed: int, correction: float = CORRECTION
) -> tuple[float, NDArray[np.int64]]:
    """The share of intervals that held, and how many values each took, where `needed` do if the standard deviation is known."""
    rng, half = np.random.default_rng(seed), law.sd * special.stdtrit(needed - 1, 0.975) / np.sqrt(needed)
    most, taken, held = 4 * needed + 100, list[NDArray[np.int64]](), 0
    for block in np.array_split(np.arange(times), max(1, times * most // 4_000_000)):
        values = law.draw(rng, (len(block), most))
        sums, squares = values.cumsum(1), (values**2).cumsum(1)
        n, rows = np.full(len(block), law.first), np.arange(len(block))
        going = rows
        while len(going):
            width = _half(sums, squares, n, going, law.grain, correction)
            stays = (width > half) & (n[going] < most)
            going, width = going[stays], width[stays]
            here = n[going]
            lacking = np.ceil(here * (width / half) ** 2).astype(int) - here
            more = np.maximum(np.maximum(law.step, here // 20), np.minimum(here, lacking // 2))
            n[going] = np.minimum(most, here + more)
        off = np.abs(sums[rows, n - 1] / n - law.mean)
        held += int((off <= _half(sums, squares, n, rows, law.grain, correction)).sum())
        taken.append(n)
    return held / times, np.concatenate(taken)


def _half(
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    n: NDArray[np.int64],
    rows: NDArray[np.int64],
    grain: float,
    correction: float,
) -> NDArray[np.float64]:
    here = n[rows]
    variance = np.maximum(0, squares[rows, here - 1] - sums[rows, here - 1] ** 2 / here) / (here - 1)
    spread = variance * (1 + correction / here) + grain**2 / here
    return np.asarray(special.stdtrit(here - 1, 0.975) * np.sqrt(spread / here))


if __name__ == "__main__":
    print("needed".ljust(24), *(f"{needed:>5}" for needed in NEEDED))  # noqa: T201
    for name, law in LAWS.items():
        found = [simulated(law, needed, 20_000 if needed <= 100 else 5_000, seed=1) for needed in NEEDED]
        print(name.ljust(24), *(f"{share:5.3f}" for share, _ in found))  # noqa: T201
        print("  values taken".ljust(24), *(f"{taken.mean():5.0f}" for _, taken in found))  # noqa: T201
