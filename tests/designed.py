"""What `measure_mean` would cost on chips and examples of known variances. `python tests/designed.py` prints a table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from incorruptible.statistics import CHIPS, Components, Costs, choose, needed, plan, variance_of, worth_another
from incorruptible.statistics.subsampling import FEWEST, FEWEST_WHOLE

__all__ = ["World", "cost", "fixed", "worlds"]

Table = NDArray[np.float64]
HALF = 0.0025


class World(NamedTuple):
    """Scores of variance `clean` + v_example + v_chip + v_interaction = ... + 1; making a chip costs `making` images.

    `condition` is n v_chip / v_interaction, `chips` how many whole ones the fixed design takes.
    """

    examples: int
    condition: float
    example: float
    making: float
    chips: int
    clean: float = 1.0

    @property
    def parts(self) -> Components:
        """Scaled so that so many whole chips are needed."""
        whole = self.condition / self.examples + 1 / self.examples
        scale = HALF**2 * self.chips / special.stdtrit(self.chips - 1, 0.975) ** 2 / whole
        return Components(scale * self.condition / self.examples, scale * self.example, scale)


def fixed(variance: float) -> int:
    """How many chips the fixed design takes: the smallest N with t_{N - 1} sd / sqrt(N) <= half."""
    chips = np.arange(2, 20_000)
    enough = special.stdtrit(chips - 1, 0.975) * np.sqrt(variance / chips) <= HALF
    return int(chips[np.argmax(enough)])


def cost(world: World, rng: np.random.Generator) -> tuple[float, int]:
    """What one call costs in units of the fixed design's own, by the looks' luck, and the images of a chip that it came to."""
    parts, n, costs = world.parts, world.examples, Costs(world.making, 1.0)
    clean = rng.normal(0, (world.clean * parts.interaction) ** 0.5, n)
    own = rng.normal(0, parts.example**0.5, n)
    chip = rng.normal(0, parts.chip**0.5, 128)
    spent, seen = costs.chip, 0  # one is made in order to count

    def table(chips: int, start: int, stop: int) -> Table:
        rest = rng.normal(0, parts.interaction**0.5, (chips, stop - start))
        return np.asarray((clean + own)[start:stop] + chip[:chips, None] + rest)

    def read(start: int, stop: int) -> tuple[Table, Table]:
        nonlocal spent, seen
        spent += CHIPS * costs.chip + (CHIPS + 1) * (stop - start)
        seen = stop
        return table(CHIPS, start, stop), clean[start:stop]

    found = plan(read, n, costs, HALF, span=0)
    variance, whole = variance_of(parts, n, n), CHIPS if seen == n else 0
    enough = max(FEWEST_WHOLE, needed(variance, HALF))
    for checked in (16, 32, 64, 128):
        if found.design.images < n or checked > enough or not worth_another(found, n, costs):
            break
        spent, seen, whole = spent + (n - seen) + (checked - whole) * (costs.chip + n), n, checked
        found = choose(table(checked, 0, n), clean, n, costs, HALF, span=0)
    m = found.design.images
    if m == n:
        return (spent + max(0, enough - whole) * (costs.chip + n)) / (fixed(variance) * (costs.chip + n)), m
    before = whole if whole > CHIPS else 0
    beta = found.design.beta
    left = parts._replace(example=parts.example + (1 - beta) ** 2 * world.clean * parts.interaction)
    more = _more(before, variance, variance_of(left, m, n))
    spent += (n - seen if beta else 0) + max(FEWEST, more) * (costs.chip + m)
    return spent / (fixed(variance) * (costs.chip + n)), m


def _more(before: int, whole: float, few: float) -> float:
    """How many chips with few images do beside those that were whole."""
    chips = np.arange(1.0, 2e5)
    total = before + chips
    enough = total >= needed(1.0, HALF / ((before * whole + chips * few) / total) ** 0.5)
    return float(chips[np.argmax(enough)])


def worlds(examples: tuple[int, ...], chips: tuple[int, ...], makings: tuple[float, ...]) -> Iterator[World]:
    """A grid of them; a chip's making as shares of reading all examples."""
    for n, needs, share, condition, own in product(examples, chips, makings, (0, 0.3, 1, 3, 10, 30, 100), (0.1, 0.5)):
        yield World(n, condition, own, share * n, needs)


if __name__ == "__main__":
    print("ratio of costs: median, highest of a grid (means of 8), the share above 1.1;  medians where n v_chip >= 10")  # noqa: T201
    print("v_interaction and a chip's making costs .0001, .001, .01, .1 or 1 times the reading of all examples")  # noqa: T201
    rng = np.random.default_rng(0)
    for needs in (5, 10, 20, 40, 80, 160, 320, 640, 1280):
        rows = []
        for world in worlds((300, 1000, 10_000), (needs,), (0.0001, 0.001, 0.01, 0.1, 1.0)):
            rows.append((world, float(np.mean([cost(world, rng)[0] for _ in range(8)]))))
        all_ = np.array([ratio for _, ratio in rows])
        gains = [
            np.median([r for w, r in rows if w.condition >= 10 and np.isclose(w.making / w.examples, share)])
            for share in (0.0001, 0.001, 0.01, 0.1, 1.0)
        ]
        print(  # noqa: T201
            f"{needs:>5} chips: {np.median(all_):.2f} {all_.max():.2f} {(all_ > 1.1).mean():.2f}; ",
            " ".join(f"{gain:.2f}" for gain in gains),
            max(rows, key=lambda row: row[1])[0],
            flush=True,
        )
