"""Exact bounds, confidence sequences, two-level intervals: by hand, by twin, and by simulation.

Every simulation fixes its seed and its n below and counts false statements; it fails where an exact one-sided binomial
test at .001 rejects the promised 5%, which a sound bound fails with chance at most .001 over all seeds. A contrast, a method
that is known to break the promise, must be rejected by the same test.
"""

from __future__ import annotations

import json
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from alarms import REPETITIONS, breaks
from incorruptible.errors import UserError
from incorruptible.statistics import (
    CLOSE,
    WIDE,
    Bets,
    Betting,
    components,
    confidence_sequence,
    crossed,
    fewest,
    lower_bound,
    misled,
    quantile_rank,
    share_interval,
    slack_for,
    t_interval,
    two_level,
)
from incorruptible.statistics.variance import mean_squares

SCRIPTS = Path(__file__).parents[1] / "scripts"

# Exact binomial bounds.


@pytest.mark.parametrize(
    ("hits", "n", "bound"),
    [
        (59, 59, 0.9505),
        (100, 100, 0.9705),
        (95, 100, 0.8977),
        (299, 299, 0.9900),
        (7000, 10000, 0.6924),
        (9000, 10000, 0.8949),
        (700, 1000, 0.6752),
        (0, 10, 0.0),
    ],
)
def test_golden_bounds(hits: int, n: int, bound: float) -> None:
    assert lower_bound(hits, n) == pytest.approx(bound, abs=5e-5)


@pytest.mark.parametrize(("hits", "n", "confidence"), [(1, 1, 0.95), (3, 10, 0.9), (60, 61, 0.99), (997, 1000, 0.95)])
def test_the_bound_is_where_so_many_hits_become_unlikely(hits: int, n: int, confidence: float) -> None:
    bound = lower_bound(hits, n, confidence)
    assert stats.binom.sf(hits - 1, n, bound) == pytest.approx(1 - confidence)


def test_the_fewest_by_trying() -> None:
    for share in (0.5, 0.9, 0.95):
        for failures in (0, 1, 2, 5):
            n = failures + 1
            while lower_bound(n - failures, n, 0.9) < share:
                n += 1
            assert fewest(share, 0.9, failures) == n
    assert fewest(0.01, 0.5) == 1 and fewest(0.999) == 2995


def test_ranks_by_trying() -> None:
    assert (quantile_rank(59, 0.05), quantile_rank(58, 0.05), quantile_rank(299, 0.01)) == (1, 0, 1)
    for n in (5, 61, 100):
        for share in (0.05, 0.1, 0.5):
            valid = [k for k in range(n + 1) if stats.binom.sf(k - 1, n, share) >= 0.95]
            assert quantile_rank(n, share) == max(valid)


def test_a_quantile_and_a_yield_are_one_statement() -> None:
    """K of n chips reach an accuracy: the yield is bounded by .9 exactly where the order statistic reaches it too."""
    for n in (29, 61, 200):
        rank = quantile_rank(n, 0.1)
        for hits in range(n + 1):
            assert (lower_bound(hits, n) >= 0.9) == (rank > 0 and n - hits < rank)


@pytest.mark.parametrize(("true", "n"), [(0.9, 61), (0.97, 100), (0.5, 20)])
def test_the_yield_bound_covers(true: float, n: int) -> None:
    hits = np.random.default_rng(1).binomial(n, true, REPETITIONS)
    assert not breaks(sum(lower_bound(int(k), n) > true for k in hits))


@pytest.mark.parametrize(("true", "n"), [(0.1, 61), (0.05, 59), (0.5, 40)])
def test_the_quantile_bound_covers(true: float, n: int) -> None:
    values = np.sort(np.random.default_rng(2).random((REPETITIONS, n)), axis=1)
    assert not breaks(int((values[:, quantile_rank(n, true) - 1] > true).sum()))


def shared(m: int, n: int = 10_000, accuracy: float = 0.9, spread: float = 0.02) -> int:
    """How often the bound is above the truth where m examples share a chip."""
    rng, misses = np.random.default_rng(3), 0
    for _ in range(REPETITIONS):
        chips = rng.normal(accuracy, spread, n // m).clip(0, 1)
        misses += lower_bound(int(rng.binomial(m, chips).sum()), n) > accuracy
    return misses


def test_fresh_noise_for_each_example_covers_and_shared_noise_does_not() -> None:
    assert not breaks(shared(1))
    assert breaks(shared(1000))


# From a test set to the population.


def test_misled_by_twin_and_under_hoeffding() -> None:
    assert misled(100, 0.8, 0.9) == pytest.approx(stats.binom.sf(89, 100, 0.8))
    assert misled(1000, 0.9, 0.9) == pytest.approx(stats.binom.sf(899, 1000, 0.9))  # .9 x 1000 is no 901
    # Hoeffding's cost at n = 10,000, a slack of .025 and a risk of .01 is 3.7e-4; the exact one is less
    assert math.exp(-2 * 10_000 * 0.025**2) / 0.01 == pytest.approx(3.7e-4, rel=0.01)
    assert misled(10_000, 0.9, 0.925) / 0.01 < 3.7e-4
    for accuracy in (0.5, 0.7, 0.9, 0.97):
        for slack in (0.01, 0.02, 0.03):
            assert misled(2000, accuracy, accuracy + slack) <= math.exp(-2 * 2000 * slack**2)


def test_the_slack_is_the_smallest_that_does() -> None:
    for n in (200, 997, 10_000):
        threshold = slack_for(n, 0.9, cost=0.005, risk=0.01).threshold
        hits = round(threshold * n)
        assert misled(n, 0.9, hits / n) <= 0.005 * 0.01 < misled(n, 0.9, (hits - 1) / n)
    with pytest.raises(UserError, match="20 examples are too few"):
        slack_for(20, 0.9, cost=0.005, risk=0.01)


def test_the_slack_by_hand() -> None:
    """.9^n <= cost x risk = 5e-5 from n = 94 on, and there every example must be right."""
    assert slack_for(94, 0.9, cost=0.005, risk=0.01) == (0.9, 1.0, 0.005, 0.01)
    with pytest.raises(UserError, match=r"93 examples are too few .* at least 94 are needed"):
        slack_for(93, 0.9, cost=0.005, risk=0.01)
    hits = next(k for k in range(9001, 10_001) if stats.binom.sf(k - 1, 10_000, 0.9) <= 5e-5)
    assert slack_for(10_000, 0.9, cost=0.005, risk=0.01).threshold == hits / 10_000 == 0.9116
    assert misled(100, 0.05, 0.07) == pytest.approx(stats.binom.sf(6, 100, 0.05))  # 100 x .07 is 7.000000000000001
    assert misled(100, 0.9, 0.0) == 1 and misled(100, 0.9, 1.01) == 0


def flattered(slack: bool) -> int:
    """How often a yield of .5 at accuracy .9 on the population is promised and false; chips agree, test sets do not."""
    rng, misses = np.random.default_rng(4), 0
    n, spread, private = 400, 0.01, 0.5
    # right where level + chip + example + private > 0: accuracy on the population Phi((level + chip) / sd)
    sd = math.hypot(1, private)
    level = sd * stats.norm.ppf(0.9) - 0.02 * sd  # a median chip is below .9, so that a yield of .5 is false
    threshold, cost, sure = 0.9, 0.0, 0.95
    if slack:
        cost, sure = 0.025, 0.96
        threshold = slack_for(n, 0.9, cost, 0.01).threshold
    for _ in range(REPETITIONS):
        chips, examples = rng.normal(0, spread, (40, 1)), rng.normal(0, 1, (1, n))
        right = level + chips + examples + rng.normal(0, private, (40, n)) > 0
        hits = int((right.mean(axis=1) >= threshold - 1e-9).sum())
        misses += lower_bound(hits, 40, sure) - cost >= 0.5
    return misses


def test_a_promise_about_the_population_needs_the_slack() -> None:
    assert not breaks(flattered(slack=True))
    assert breaks(flattered(slack=False))


# Confidence sequences.


def slow_bets(values: NDArray[np.float64], confidence: float, start: float) -> list[float]:
    """The bets, one by one as the definition has them, each from earlier values only."""
    bets = []
    for i in range(1, len(values) + 1):
        earlier = values[: i - 1]
        means = [(0.5 + earlier[: j + 1].sum()) / (j + 2) for j in range(i - 1)]
        variance = (start + sum((x - mean) ** 2 for x, mean in zip(earlier, means, strict=True))) / i
        bets.append(math.sqrt(2 * math.log(2 / (1 - confidence)) / (variance * i * math.log(1 + i))))
    return bets


@pytest.mark.parametrize("bets", [(CLOSE,), (WIDE,), (CLOSE, WIDE)], ids=["close", "wide", "average"])
def test_betting_against_the_slow_twin(bets: tuple[Bets, ...]) -> None:
    """All gamblers against every mean of a grid: what the mean of their wealth ever rules out is outside, and nothing else is."""
    values = np.random.default_rng(5).beta(9, 1, 30)
    grid = np.linspace(0.0025, 0.9975, 200)
    each = [(cap, slow_bets(values, 0.9, start)) for cap, start in bets]
    up, down, out = np.ones((len(bets), 200)), np.ones((len(bets), 200)), np.zeros(200, bool)
    betting = Betting(0.9, bets=bets)
    for i, x in enumerate(values):
        for k, (cap, stakes) in enumerate(each):
            up[k] *= 1 + np.minimum(stakes[i], cap / grid) * (x - grid)
            down[k] *= 1 - np.minimum(stakes[i], cap / (1 - grid)) * (x - grid)
        out |= (up.mean(0) >= 20) | (down.mean(0) >= 20)
        low, _, high = betting.add(float(x))
        assert ((grid < low - 1e-5) | (grid > high + 1e-5) <= out).all()  # outside: ruled out
        assert (out <= (grid <= low + 1e-5) | (grid >= high - 1e-5)).all()  # ruled out: outside
    assert 0 < out.sum() < 200 and out[0] and out[-1]


@pytest.mark.parametrize("draw", [lambda rng: rng.random(80) < 0.5, lambda rng: rng.beta(900, 100, 80)])
def test_the_average_is_valid_because_it_is_no_better_than_both(draw: Callable[[np.random.Generator], Any]) -> None:
    """An interval that held what either way alone holds would be too short; the average is a part of neither."""
    values = np.asarray(draw(np.random.default_rng(1)), dtype=float)
    close, wide, average = (
        confidence_sequence(values, bets=bets)[:, -1] for bets in ((CLOSE,), (WIDE,), (CLOSE, WIDE))
    )
    best = max(close[0], wide[0]), min(close[1], wide[1])
    worst = min(close[0], wide[0]), max(close[1], wide[1])
    assert worst[0] <= average[0] <= best[0] and best[1] <= average[1] <= worst[1]


@pytest.mark.parametrize(
    ("law", "half", "dear"),
    [
        ("Bernoulli(.5)", 0.2, "close"),
        ("Bernoulli(.9)", 0.1, "close"),
        pytest.param("beta(900, 100), sd .0095", 0.03, "wide", marks=pytest.mark.slow),
    ],
)
def test_the_average_needs_little_more_than_the_better_way(law: str, half: float, dear: str) -> None:
    """Means over seeds 0 to 9. `python scripts/chips_needed.py` has the whole grid, where the ratio is 1.3 at most."""
    needed = runpy.run_path(str(SCRIPTS / "chips_needed.py"))["needed"]
    close, wide, average = (
        np.mean([needed(law, half, way, seed) for seed in range(10)]) for way in ("close", "wide", "average")
    )
    assert average <= 1.4 * min(close, wide)
    assert {"close": close, "wide": wide}[dear] > 1.4 * min(close, wide)


@pytest.mark.parametrize(
    ("mean", "sd", "n", "gap"), [(0.70, 0.02, 100, 0.0275), (0.70, 0.02, 500, 0.0057), (0.47, 0.08, 100, 0.0235)]
)
def test_gaps_below_the_mean(mean: float, sd: float, n: int, gap: float) -> None:
    """Reference figures of the one-sided bound at .05 with c = .75, which is one end of a two-sided one at .9."""
    gaps = []
    for seed in range(10):
        betting = Betting(0.9, bets=(Bets(0.75, 0.25),))
        for x in np.random.default_rng(seed).normal(mean, sd, n).clip(0, 1):
            low = betting.add(float(x)).low
        gaps.append(mean - low)
    error = np.std(gaps, ddof=1) / math.sqrt(len(gaps))
    assert abs(np.mean(gaps) - gap) < 4 * error + 0.05 * gap


def ever_missed(draw: Callable[[np.random.Generator], NDArray[np.float64]], mean: float) -> int:
    """How often somebody who stops where the truth is outside would have been able to stop."""
    misses = 0
    for seed in range(REPETITIONS):
        low, high = confidence_sequence(draw(np.random.default_rng(seed)))
        misses += not ((low <= mean) & (mean <= high)).all()
    return misses


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        pytest.param(lambda rng: rng.beta(9, 1, 60), 0.9, marks=pytest.mark.slow),
        (lambda rng: (rng.random(60) < 0.3).astype(float), 0.3),
        pytest.param(lambda rng: (rng.random(60) < 0.98).astype(float), 0.98, marks=pytest.mark.slow),
        pytest.param(lambda rng: rng.beta(900, 100, 60), 0.9, marks=pytest.mark.slow),
    ],
    ids=["wide", "zero or one", "one bad chip in fifty", "close together"],
)
def test_stopping_when_one_likes_costs_nothing(
    draw: Callable[[np.random.Generator], NDArray[np.float64]], mean: float
) -> None:
    assert not breaks(ever_missed(draw, mean))


def test_students_interval_breaks_under_optional_stopping() -> None:
    misses = 0
    for seed in range(REPETITIONS):
        values = np.random.default_rng(seed).beta(900, 100, 100)
        misses += any(not low <= 0.9 <= high for low, _, high in (t_interval(values[:n]) for n in range(5, 101)))
    assert breaks(misses)


def test_a_sequence_only_narrows() -> None:
    low, high = confidence_sequence(np.random.default_rng(6).random(60))
    assert (np.diff(low) >= 0).all() and (np.diff(high) <= 0).all() and (low < high).all()


@pytest.mark.parametrize("value", [1.01, -0.1, math.nan])
def test_values_outside(value: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        Betting().add(value)


# Two levels.


def test_two_level_by_hand() -> None:
    # The table of `crossed`: MS 6, 14, 2, so the variance of the mean is (6 + 14 - 2) / 6 = 3, and the degrees of freedom
    # (6 + 14 - 2)^2 / (6^2 / 1 + 14^2 / 2 + 2^2 / 2) = 324 / 136.
    found = two_level([[0, 2, 4], [2, 2, 8]])
    assert found.error == pytest.approx(3**0.5)
    assert found.freedom == pytest.approx(324 / 136)
    assert found.components == components([[0, 2, 4], [2, 2, 8]])
    assert found.interval.half == pytest.approx(stats.t.ppf(0.975, 324 / 136) * 3**0.5)


def answers(rng: np.random.Generator, chips: int, examples: int, chip: float, example: float) -> NDArray[np.float64]:
    """Right or wrong: right with chance Phi(1 + chip_i + example_j), so that the mean is Phi(1 / sqrt(1 + var))."""
    odds = 1 + rng.normal(0, chip, (chips, 1)) + rng.normal(0, example, (1, examples))
    return (rng.normal(size=(chips, examples)) < odds).astype(float)


@pytest.mark.parametrize(
    ("chips", "examples", "chip", "example"), [(25, 300, 0.2, 1.5), (25, 300, 0.0, 1.5), (10, 200, 0.6, 0.3)]
)
def test_two_level_covers_new_chips_and_new_examples(chips: int, examples: int, chip: float, example: float) -> None:
    rng, misses, narrow, wider = np.random.default_rng(7), 0, 0, 0
    mean = stats.norm.cdf(1 / math.sqrt(1 + chip**2 + example**2))
    for _ in range(REPETITIONS):
        table = answers(rng, chips, examples, chip, example)
        low, _, high = two_level(table).interval
        misses += not low <= mean <= high
        alone = t_interval(table.mean(axis=1))
        narrow += not alone.low <= mean <= alone.high
        wider += crossed(table).interval.half >= (high - low) / 2
    assert not breaks(misses)
    assert wider == REPETITIONS
    assert example < 1 or breaks(narrow)  # chips alone leave the luck of the test set out


def test_two_levels_without_any_variance() -> None:
    found = two_level(np.ones((3, 4)))
    assert found.interval == (1, 1, 1) and found.components == (0, 0, 0)


def test_the_freedom_of_two_levels_is_never_below_its_rule() -> None:
    """B - 1 where examples do not show (MS_example below MS_rest), however few examples; the smaller of B - 1 and n - 1 else."""
    table = np.array([[2, 3], [2, 2], [3, 2], [2, 2], [2, 3]], dtype=float)
    _, example, rest = mean_squares(table)
    assert example < rest and two_level(table).freedom == 4 and two_level(table.T).freedom == 1
    rng = np.random.default_rng(2)
    few = [two_level(rng.random((4, 6)) < 0.5) for _ in range(200)]
    shown = [one for one in few if one.components.example > 0]
    assert all(one.freedom >= 3 for one in few) and any(one.freedom == 3 for one in shown)


# Shares: two levels where few answers are wrong.


def test_a_share_without_errors_has_the_exact_limit_of_the_examples() -> None:
    low, mean, high = two_level(np.ones((5, 50)), share=True).interval
    assert (mean, high) == (1, 1) and low == pytest.approx(0.025 ** (1 / 50))  # Clopper and Pearson: 50 hits of 50
    low, mean, high = two_level(np.zeros((5, 50)), 0.9, share=True).interval
    assert (low, mean) == (0, 0) and high == pytest.approx(1 - 0.05 ** (1 / 50))


@pytest.mark.parametrize(("wrong", "examples"), [(1, 50), (3, 300), (20, 1000), (500, 1000)])
def test_a_share_on_chips_that_agree_is_close_to_the_exact_binomial_interval(wrong: int, examples: int) -> None:
    table = np.ones((7, examples))
    table[:, :wrong] = 0
    low, _, high = two_level(table, share=True).interval
    exact = stats.binomtest(examples - wrong, examples).proportion_ci(0.95, method="exact")
    assert exact.low - 0.2 * (exact.high - exact.low) < low <= exact.low + 1e-3
    assert exact.high - 1e-3 <= high < exact.high + 0.2 * (exact.high - exact.low)


def test_a_share_stays_between_0_and_1_and_is_never_certain() -> None:
    rng = np.random.default_rng(8)
    for shape in ((2, 2), (2, 40), (5, 3), (5, 50), (30, 30)):
        for accuracy in (0.0, 0.02, 0.5, 0.98, 1.0):
            table = (rng.random(shape) < accuracy).astype(float)
            for one in (table, 0.7 * table, np.full(shape, 0.7)):
                low, mean, high = two_level(one, share=True).interval
                assert 0 <= low <= mean <= high <= 1 and high > low
                low_wrong, _, high_wrong = two_level(1 - one, share=True).interval
                assert (low_wrong, high_wrong) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_a_share_is_less_sure_where_chips_differ_and_the_rarer_the_more_so() -> None:
    """By hand: q = .1, B = 6, n = 100, mean squares (4, 0, 0): c = t_4 sqrt(4 / 600), s^2 = 6 c^2 / t_4^2 (.8 / .09)^2."""
    t = stats.t.ppf(0.975, 4)
    c, skewed = t * math.sqrt(4 / 600), 6 * 4 / 600 * (0.8 / 0.09) ** 2
    odds = math.log(0.1 / 0.9) + c * math.sqrt(1 + skewed) / 0.09
    chips = 1 / (1 + math.exp(-odds)) - 0.1
    with_another = (0.1 * 100 + 1) / 101
    total = with_another * (1 - with_another) / (0.9 / 101**2) + 1
    examples = stats.beta.ppf(0.975, with_another * total, (1 - with_another) * total) - 0.1
    assert share_interval(0.1, (4, 0, 0), (6, 100)).high == pytest.approx(0.1 + math.hypot(chips, examples))
    # and for the lower limit 1 - q = .9 is common, not rare: without the skewness
    odds = math.log(0.1 / 0.9) - c / 0.09
    chips = 0.1 - 1 / (1 + math.exp(-odds))
    with_another = (0.9 * 100 + 1) / 101
    total = with_another * (1 - with_another) / (0.1 / 101**2) + 1
    examples = stats.beta.ppf(0.975, with_another * total, (1 - with_another) * total) - 0.9
    assert share_interval(0.1, (4, 0, 0), (6, 100)).low == pytest.approx(max(0, 0.1 - math.hypot(chips, examples)))


@pytest.mark.parametrize(
    ("accuracy", "chips", "examples", "split", "students"),
    [
        (0.98, 5, 50, (0.0, 1.0, 0.0), True),
        (0.98, 5, 50, (0.01, 0.89, 0.1), True),
        (0.99, 5, 300, (0.01, 0.89, 0.1), True),
        (0.999, 25, 1000, (0.0, 0.7, 0.3), True),
        (0.98, 5, 1000, (0.1, 0.6, 0.3), False),
        (0.9, 5, 300, (0.1, 0.1, 0.8), False),
        (0.5, 10, 300, (0.1, 0.6, 0.3), False),
    ],
)
def test_a_share_covers_new_chips_and_new_examples(
    accuracy: float, chips: int, examples: int, split: tuple[float, float, float], students: bool
) -> None:
    """400 tables each, seed 1: fails where an exact one-sided test at .001 rejects 6%; `students`: Student's interval does."""
    row = runpy.run_path(str(SCRIPTS / "two_level_coverage.py"))["row"]
    found = row(accuracy, chips, examples, split, 400, 1)
    assert not breaks(round(400 * (found["above"] + found["below"])), 400, 0.06)
    assert found["width_0"] == 0
    assert breaks(round(400 * found["student_missed"]), 400, 0.06) == students


def test_the_simulation_makes_the_tables_of_the_package() -> None:
    script = runpy.run_path(str(SCRIPTS / "two_level_coverage.py"))
    right = np.random.default_rng(9).random((3, 4, 30)) < 0.8
    for table, mean, squares in zip(right, *script["_mean_squares"](right), strict=True):
        assert mean == pytest.approx(table.mean()) and squares == pytest.approx(mean_squares(table.astype(float)))
        found = two_level(table).interval
        assert script["_students"](mean, squares, 4, 30) == pytest.approx((found.low, found.high))
    drawn = list(script["tables"](np.random.default_rng(1), (4, 500), 0.8, (0.1, 0.6, 0.3), 300))
    means = np.array([mean for mean, _ in drawn])
    assert len(drawn) == 300 and abs(means.mean() - 0.8) < 4 * means.std() / 300**0.5


def test_the_simulation_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, out = runpy.run_path(str(SCRIPTS / "two_level_coverage.py"))["main"], tmp_path / "rows.jsonl"
    words = ["--out", str(out), "--tables", "4", "--chips", "5", "--examples", "20", "--accuracies", ".9"]
    monkeypatch.setattr(sys, "argv", ["two_level_coverage.py", *words])
    main()
    then, said = out.read_text().splitlines(), capsys.readouterr().out
    assert len(then) == 8 and said.count("\n") == 10 and json.loads(then[0])["chips"] == 5
    out.write_text("\n".join(then[:5]) + "\n")
    main()
    assert out.read_text().splitlines() == then and capsys.readouterr().out == said
    monkeypatch.setattr(sys, "argv", ["two_level_coverage.py", *words[:3], "2"])
    with pytest.raises(SystemExit, match="2"):
        main()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lower_bound(5, 4), "5 hits of 4"),
        (lambda: lower_bound(1, 2, 95), "for example 0.95"),
        (lambda: fewest(1.0), "share is 1.0"),
        (lambda: fewest(0.9, failures=-1), "failures is -1"),
        (lambda: quantile_rank(0, 0.1), "at least one value"),
        (lambda: slack_for(100, 90, 0.01, 0.01), "for example 0.9"),
        (lambda: two_level([[1, 2, 3]]), "at least 2 along chips"),
        (lambda: two_level([[0, 1], [1, 1.5]], share=True), "from 0 to 1.5; a share lies between 0 and 1"),
        (lambda: share_interval(0.5, (0, 0, 0), (5, 5), 95), "for example 0.95"),
        (lambda: Betting(bets=()), "at least one way"),
        (lambda: Betting(bets=(Bets(95, 0.25),)), "for example 0.95"),
        (lambda: Betting(95), "for example 0.95"),
    ],
)
def test_mistakes(call: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        call()
