"""Enough values for a half-width, and no more: stopping, its interval, and antithetic pairs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from incorruptible.errors import UserError
from incorruptible.statistics import Stratum, gather, mean_interval, needed, t_interval
from incorruptible.statistics.stopping import pairs_help
from stopped import LAWS, simulated

Values = NDArray[np.float64]


def given(values: Values) -> tuple[list[tuple[int, int, bool]], object]:
    asked: list[tuple[int, int, bool]] = []

    def read(start: int, stop: int, pairs: bool) -> Values:
        asked.append((start, stop, pairs))
        return values[start:stop]

    return asked, read


def test_one_stratum_is_students_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 20)
    found = mean_interval([Stratum(values)], 0.9, correction=0)
    assert found == pytest.approx(tuple(t_interval(values, 0.9)))
    wider = mean_interval([Stratum(values)], 0.9)
    assert wider.half == pytest.approx(found.half * (1 + 4 / 20) ** 0.5)


def test_strata_count_by_chips_and_freedom_is_welchs() -> None:
    rng = np.random.default_rng(1)
    pairs, singles = rng.normal(0, 1, 9), rng.normal(0.5, 3, 12)
    found = mean_interval([Stratum(pairs, 2), Stratum(singles)], correction=0)
    share = 18 / 30
    parts = share**2 * pairs.var(ddof=1) / 9, (1 - share) ** 2 * singles.var(ddof=1) / 12
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 8 + parts[1] ** 2 / 11)
    assert found.estimate == pytest.approx(share * pairs.mean() + (1 - share) * singles.mean())
    assert found.half == pytest.approx(stats.t.ppf(0.975, freedom) * sum(parts) ** 0.5)


def test_values_that_happen_to_agree_do_not_end_it() -> None:
    """Eight chips whose eight answers each are all right say little: one answer of 64 may well go wrong."""
    agree = mean_interval([Stratum(np.ones(8), 1, grain=1 / 8)])
    assert agree.half == pytest.approx(stats.t.ppf(0.975, 7) / 64)
    asked, read = given(np.ones(1000))
    found = gather(read, 0.0025, max_chips=1000, first=16, step=8, grain=1 / 8)  # type: ignore[arg-type]
    assert 90 <= len(found.values) <= 130 and found.interval.half <= 0.0025
    assert asked[0] == (0, 16, False)


def test_it_stops_at_the_first_look_that_does() -> None:
    values = np.random.default_rng(2).normal(0, 1, 2000)
    asked, read = given(values)
    found = gather(read, 0.2, max_chips=2000)  # type: ignore[arg-type]
    ends = [stop for _, stop, _ in asked]
    halves = [mean_interval([Stratum(values[:end])]).half for end in ends]
    assert halves[-1] <= 0.2 < min(halves[:-1]) and found.interval.half == halves[-1]
    assert ends[0] == 5 and ends[-1] == len(found.values) < needed(1, 0.2) * 1.6
    assert np.array_equal(found.values, values[: ends[-1]]) and found.paired == 0


def test_most_ends_it() -> None:
    values = np.random.default_rng(3).normal(0, 1, 50)
    _, read = given(values)
    found = gather(read, 0.001, max_chips=41)  # type: ignore[arg-type]
    assert len(found.values) == 41 and found.interval.half > 0.001
    in_pairs = gather(read, 0.001, max_chips=41, pilot=16, always=True)  # type: ignore[arg-type]
    assert len(in_pairs.values) == in_pairs.paired == 40
    with_others = gather(read, 0.001, max_chips=41, before=[Stratum(values[:20])])  # type: ignore[arg-type]
    assert len(with_others.values) == 21
    assert with_others.interval.estimate == pytest.approx((values[:20].sum() + values[:21].sum()) / 41)


@pytest.mark.parametrize("most", [40, 41, 43])
@pytest.mark.parametrize("pilot", [0, 16])
def test_few_that_are_left_say_nothing(most: int, pilot: int) -> None:
    values = np.random.default_rng(3).normal(0, 1, 60)
    asked, read = given(values)
    found = gather(read, 0.001, max_chips=most, pilot=pilot, before=[Stratum(values[:40])])  # type: ignore[arg-type]
    assert not asked and not len(found.values) and found.paired == 0
    assert found.interval == mean_interval([Stratum(values[:40])])


@pytest.mark.parametrize("correlation", [-0.8, 0.8])
def test_pairs_go_on_where_they_help(correlation: float) -> None:
    rng = np.random.default_rng(4)
    shared = rng.normal(0, 1, (1000, 1)) * np.array([1, np.sign(correlation)])
    values = (abs(correlation) ** 0.5 * shared + (1 - abs(correlation)) ** 0.5 * rng.normal(0, 1, (1000, 2))).reshape(
        -1
    )
    asked, read = given(values)
    found = gather(read, 0.1, max_chips=2000, first=16, step=8, pilot=100)  # type: ignore[arg-type]
    assert asked[0] == (0, 100, True)
    if correlation < 0:
        assert found.paired == len(found.values) < 0.6 * needed(1, 0.1)
    else:
        assert found.paired == 100 and {pairs for _, _, pairs in asked[1:]} == {False}
    assert not mean_interval([Stratum(values)]).low > 0.2  # the truth is 0


def test_whether_pairs_help_is_an_f_test_by_hand() -> None:
    """Pairs (1, 4), (2, 2), (3, 1): twice the variance of their means over that of members within them, with 2 and 3 degrees."""
    singles = np.array([1.0, 4.0, 2.0, 2.0, 3.0, 1.0])
    means = singles.reshape(-1, 2).mean(1)
    between, within = 2 * np.var([2.5, 2.0, 2.0], ddof=1), (9 + 0 + 4) / 2 / 3
    p = float(stats.f.cdf(between / within, 2, 3))
    assert abs(p - stats.f.cdf(between / within, 3, 2)) > 0.01
    assert pairs_help(means, singles, alarm=p * 1.001) and not pairs_help(means, singles, alarm=p * 0.999)


def test_pairs_that_do_nothing_pass_for_a_help_as_often_as_is_said() -> None:
    """An alarm of 10%: of 500 tables 32 to 70, and outside with chance .005 where all is right (binomial)."""
    rng = np.random.default_rng(5)
    tables = rng.normal(0, 1, (500, 30, 2))
    count = sum(pairs_help(table.mean(1), table) for table in tables)
    assert 32 <= count <= 70


def test_the_simulation_stops_where_gather_does() -> None:
    """What the table was made by is the fast twin of `gather`."""
    law = LAWS["binomial, 8 x 1/8"]
    half = law.sd * stats.t.ppf(0.975, 39) / 40**0.5
    _, taken = simulated(law, 40, 30, seed=7)
    values = law.draw(np.random.default_rng(7), (30, 260))
    for row, count in zip(values, taken, strict=True):
        _, read = given(row)
        found = gather(read, half, max_chips=260, first=law.first, step=law.step, grain=law.grain)  # type: ignore[arg-type]
        assert len(found.values) == count


@pytest.mark.parametrize("name", list(LAWS)[:4])
def test_coverage(name: str) -> None:
    """Nominal 95%: fails where an exact one-sided test at .0001 rejects .945 (seed and number fixed beforehand)."""
    for needed_, times in ((5, 4000), (20, 4000), (100, 3000)):
        held, taken = simulated(LAWS[name], needed_, times, seed=11)
        test = stats.binomtest(round(held * times), times, 0.945, alternative="less")
        assert test.pvalue > 0.0001, (needed_, held)
        assert taken.mean() < max(LAWS[name].first + 1, needed_ + 8)


def test_without_the_correction_it_would_not_hold() -> None:
    held, _ = simulated(LAWS["normal, whole chips"], 20, 4000, seed=11, correction=0)
    assert held < 0.935


@pytest.mark.parametrize("confidence", [0.0, 95])
def test_mistakes(confidence: float) -> None:
    with pytest.raises(UserError, match="confidence"):
        mean_interval([Stratum(np.ones(3))], confidence)
    with pytest.raises(UserError, match="at least 2"):
        mean_interval([Stratum(np.ones(1))])


def test_a_pair_that_agrees_moves_by_half_of_what_a_chip_does() -> None:
    """One answer of one chip moves the mean of its pair by half the grain: t_7 (g / 2) / 8 for eight pairs."""
    pairs = mean_interval([Stratum(np.ones(8), 2, grain=1 / 8)])
    assert pairs.half == pytest.approx(stats.t.ppf(0.975, 7) / 16 / 8)
