"""How many images each chip looks at: variances, the first look, and what the choice costs where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from designed import World, cost, fixed
from incorruptible.statistics import Components, Costs, choose, needed, plan, variance_of

Table = NDArray[np.float64]
DEAR, CHEAP = Costs(1e6, 1.0), Costs(1.0, 1.0)


def two_way(rng: np.random.Generator, chip: float, example: float, rest: float, shape: tuple[int, int]) -> Table:
    rows, columns = rng.normal(0, chip**0.5, (shape[0], 1)), rng.normal(0, example**0.5, shape[1])
    return np.asarray(rows + columns + rng.normal(0, rest**0.5, shape))


def test_the_variance_of_a_chips_mean_over_few_examples() -> None:
    """20,000 chips on 50 examples that are always the same: within 5%, five standard errors."""
    rng = np.random.default_rng(0)
    example, n, m = rng.normal(0, 2, 50), 50, 10
    parts = Components(0.3, float(example.var(ddof=1)), 4.0)
    chips = rng.normal(0, 0.3**0.5, 20_000)
    values = [chip + rng.permutation(example + rng.normal(0, 2, n))[:m].mean() for chip in chips]
    assert np.var(values, ddof=1) == pytest.approx(variance_of(parts, m, n), rel=0.05)
    assert variance_of(parts, n, n) == pytest.approx(0.3 + 4 / 50)


def test_needed_is_about_what_the_fixed_design_takes_and_the_correction() -> None:
    for chips in (20, 100, 1000):
        sd = (
            World(1000, 3, 0.5, 10, chips).parts.chip + World(1000, 3, 0.5, 10, chips).parts.interaction / 1000
        ) ** 0.5
        assert fixed(sd**2) in (chips, chips + 1)
        assert needed(sd**2, 0.0025) == pytest.approx(chips + 4, abs=1)


def looks(chip: float, rest: float, total: int, costs: Costs, half: float) -> tuple[list[tuple[int, int]], int, int]:
    rng, asked = np.random.default_rng(1), list[tuple[int, int]]()
    rows = rng.normal(0, chip**0.5, (8, 1))

    def read(start: int, stop: int) -> tuple[Table, Table]:
        asked.append((start, stop))
        clean = rng.normal(0, 1, stop - start)
        return clean + rng.normal(0, 0.7, stop - start) + rows + rng.normal(0, rest**0.5, (8, stop - start)), clean

    found = plan(read, total, costs, half, span=0)
    return asked, found.seen, found.design.images


def test_the_look_climbs_while_that_is_worth_it() -> None:
    assert looks(1.0, 1.0, 10_000, CHEAP, 0.01)[:2] == ([(0, 64)], 64)  # chips differ plainly
    asked, seen, _ = looks(0.001, 1.0, 10_000, CHEAP, 0.002)  # and hardly
    assert asked[:3] == [(0, 64), (64, 256), (256, 1024)] and seen == asked[-1][1] >= 1024
    assert looks(0.001, 1.0, 10_000, CHEAP, 0.05)[1] == 64  # a half-width that is cheap either way
    assert looks(0.001, 1.0, 10_000, DEAR, 0.05)[:2] == ([(0, 10_000)], 10_000)  # the chip costs more than its images
    assert looks(0.001, 1.0, 100, CHEAP, 0.01)[0] == [(0, 100)]
    assert looks(0.001, 1.0, 10_000, Costs(300, 1), 0.05)[0][0] == (0, 256)  # as many as cost what making the chip does


def test_what_is_chosen() -> None:
    assert looks(1.0, 1.0, 10_000, CHEAP, 0.02)[2] == 8
    assert looks(1.0, 1.0, 10_000, Costs(300, 1), 0.02)[2] in (16, 32)
    assert looks(0.0, 1.0, 10_000, CHEAP, 0.002)[2] == 10_000  # chips do not differ: every image of one tells as much


@pytest.mark.parametrize("costs", [Costs(1.0, 0.0), Costs(0.0, 0.0)])
def test_images_that_cost_nothing_are_all_looked_at(costs: Costs) -> None:
    assert looks(1.0, 1.0, 10_000, costs, 0.02)[:2] == ([(0, 10_000)], 10_000)


def test_beta_follows_the_scores() -> None:
    rng = np.random.default_rng(2)
    clean = (rng.random(500) < 0.9).astype(float)
    noise = two_way(rng, 0.01, 0.0, 0.01, (8, 500))
    for true, expected in ((1.0, 1.0), (0.3, 0.3), (0.0, 0.0)):
        found = choose(true * clean + noise, clean, 2000, CHEAP, 0.001, span=0)
        assert found.design.beta == pytest.approx(expected, abs=0.03)
    assert choose(noise, np.ones(500), 100_000, CHEAP, 0.001, span=0).design.beta == 0  # no clean score differs
    asked = choose(clean + noise, clean, 100_000, CHEAP, 0.001, images=123)
    assert asked.design.images == 123


def test_where_hardly_an_answer_differs_chips_look_at_more() -> None:
    """Of ten images none, or now and then one: no law for Student's interval."""
    rng = np.random.default_rng(3)
    scores = 1.0 - (rng.random((8, 256)) < 0.01) - 0.2 * rng.normal(0, 1, (8, 1))
    within = float(scores.var(axis=1, ddof=1).mean())
    found = choose(scores, np.ones(256), 10_000, CHEAP, 0.001)
    assert found.design.images * within >= 1
    assert choose(scores, np.ones(256), 10_000, CHEAP, 0.001, span=0).design.images == 8


@pytest.mark.parametrize(
    ("world", "most"),
    [
        (World(1000, 0, 0.5, 1, 160), 1.1),
        (World(1000, 1, 0.5, 100, 160), 1.1),
        (World(1000, 3, 0.5, 1000, 160), 1.1),
        (World(10_000, 0.3, 0.5, 100, 320), 1.1),
        (World(300, 3, 0.1, 30, 640), 1.1),
        (World(1000, 10, 0.5, 1, 160), 0.25),
        (World(1000, 30, 0.5, 1, 320), 0.2),
        (World(10_000, 10, 0.5, 10, 320), 0.2),
        (World(10_000, 100, 0.5, 100, 160), 0.2),
        (World(10_000, 10, 0.5, 100, 640), 0.25),  # .21 with the best design, known beforehand
    ],
    ids=str,
)
def test_the_choice_costs(world: World, most: float) -> None:
    """The mean over 12 looks, in units of the fixed design: never above 1.1, and about a fifth where chips differ most."""
    rng = np.random.default_rng(4)
    assert np.mean([cost(world, rng)[0] for _ in range(12)]) <= most
