"""Noise of unknown strength: chips and arms over a whole range, and training over one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from incorruptible.corruptions import Gaussian, Mixture
from incorruptible.errors import UserError
from incorruptible.evaluation import Scores, measure
from incorruptible.evaluation.results import Overall
from incorruptible.files import records
from incorruptible.objectives import RWP
from incorruptible.schedules import Constant
from incorruptible.statistics import crossed, curves, t_interval
from incorruptible.studies.evidence import Arm
from incorruptible.studies.folder import Folder
from incorruptible.studies.ranges import area, best, tabulated, whole
from incorruptible.studies.results import findings, mean
from incorruptible.tasks.scores import accuracy, cross_entropy
from incorruptible.training import Hardener
from incorruptible.weights.arrays import select

STRENGTHS = (0.0, 0.1, 0.2, 0.4)

# chips


def scores(values: Any, strengths: Any = STRENGTHS, **given: Any) -> Scores:
    about = {"corruption": "gaussian-filter-max", "corruption_unit": "std", "name": "accuracy", "unit": "fraction"}
    rest = {"higher_is_better": True, "n_examples": 100, "seed": 0, "purpose": "test", "batchnorm": "as-is"}
    return Scores(np.asarray(values, dtype=float), tuple(strengths), **{**about, **rest, **given})


def over(values: Any, strengths: Any = STRENGTHS, **given: Any) -> Overall:
    found = scores(values, strengths, **given).overall()
    assert found is not None
    return found


CHIPS = np.array([[0.9, 0.9, 0.9], [0.9, 0.88, 0.9], [0.88, 0.86, 0.9], [0.8, 0.7, 0.89]])  # [strength, chip]


def test_each_chip_has_a_curve_of_its_own() -> None:
    found = over(CHIPS)
    assert found.chips["area"] == pytest.approx([0.8675, 0.83, 0.8975])
    assert found.chips["worst"] == pytest.approx([0.8, 0.7, 0.89])
    assert found.chips["tolerance"] == pytest.approx([0.15, 0.05, 0.4])
    assert found.beyond.tolist() == [False, False, True]  # .9 - .89 is .01, but for the last bit
    for name, chips in found.chips.items():
        assert found.interval(name) == t_interval(chips) and found.interval(name, 0.9) == t_interval(chips, 0.9)


def test_chips_are_paired_over_strengths() -> None:
    """Chips that differ in opposite directions at two strengths have equal areas, whatever their spread at each."""
    found = over([[0.9, 0.5, 0.7], [0.5, 0.9, 0.7]], (0, 1))
    assert found.interval("area") == pytest.approx((0.7, 0.7, 0.7))
    assert found.interval("worst").estimate == pytest.approx((0.5 + 0.5 + 0.7) / 3)  # not .7, the worst of the means


def test_strengths_come_in_any_order() -> None:
    order = [2, 0, 3, 1]
    assert over(CHIPS[order], [STRENGTHS[i] for i in order]).plain() == over(CHIPS).plain()


def test_lower_is_better() -> None:
    found = over(1 - CHIPS, higher_is_better=False)
    assert found.chips["worst"] == pytest.approx([0.2, 0.3, 0.11])
    assert found.chips["tolerance"] == pytest.approx(over(CHIPS).chips["tolerance"])


def test_a_chip_that_never_loses_so_much_counts_as_the_largest_strength_and_is_told() -> None:
    found = over([[0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.895, 0.8, 0.9]])
    assert found.beyond.tolist() == [True, False, True]
    assert found.chips["tolerance"] == pytest.approx([0.4, 0.22, 0.4])
    assert found.plain()["chips_beyond"] == 2
    assert "2 of 3 chips never lose it, and count as 0.4" in str(found)
    assert "never lose it" not in str(over([[0.9, 0.9], [0.5, 0.6]], (0, 1)))
    larger = scores(CHIPS).overall(loss=0.5)
    assert larger is not None and larger.beyond.all() and "at most 0.5" in str(larger)
    with pytest.raises(UserError, match="loss is 0"):
        scores(CHIPS).overall(loss=0)


@pytest.mark.parametrize(
    ("values", "given", "there", "why"),
    [
        (CHIPS, {"strengths": (0.1, 0.2, 0.3, 0.4)}, {"area", "worst"}, "strength 0 was not measured"),
        (CHIPS, {"higher_is_better": None}, {"area"}, "no direction: give a Score"),
        (np.where(CHIPS == 0.7, np.inf, CHIPS), {}, set(), "scores are not finite"),
    ],
)
def test_what_is_lacking_says_why(values: Any, given: dict[str, Any], there: set[str], why: str) -> None:
    found = over(values, **given)
    assert set(found.chips) == there and set(found.lacking.values()) == {why}
    assert set(found.lacking) == {"area", "worst", "tolerance"} - there
    assert str(found).count(why) == 3 - len(there)
    kept = records.plain(found.plain())
    assert all((kept[name]["mean"] is None) == (name not in there) for name in ("area", "worst", "tolerance"))
    json.dumps(kept, allow_nan=False)


def test_one_chip_has_no_interval_and_one_strength_no_range() -> None:
    found = over(CHIPS[:, :1])
    low, mean, high = found.interval("area")
    assert mean == pytest.approx(0.8675) and np.isnan([low, high]).all() and "needs 2 chips" in str(found)
    alone = scores(CHIPS[:1], (0.0,))
    assert alone.overall() is None and alone.plain()["over_range"] is None and "tolerance" not in str(alone)


def test_what_is_measured_comes_with_its_range() -> None:
    torch.manual_seed(0)
    model, data = nn.Linear(6, 3), (torch.randn(40, 6), torch.randint(0, 3, (40,)))
    found = measure(model, cross_entropy, data, Gaussian("filter-max"), [0.3, 0, 0.1], chips=5, seed=0)
    overall = found.overall()
    assert overall is not None and (overall.low, overall.high) == (0, 0.3)
    by_hand = (0.1 * (found.values[1] + found.values[2]) / 2 + 0.2 * (found.values[2] + found.values[0]) / 2) / 0.3
    np.testing.assert_allclose(overall.chips["area"], by_hand, rtol=1e-12)
    np.testing.assert_array_equal(overall.chips["worst"], found.values.max(0))
    assert str(overall) in str(found) and found.plain()["over_range"] == overall.plain()


# arms


def arm(name: str, curve: Any, *, spread: float = 0.001, seeds: int = 6, **given: Any) -> Arm:
    """An arm whose mean scores are `curve`; images differ, seeds a little."""
    rng = np.random.default_rng(len(name))
    images, each = rng.normal(0, 0.2, 60), rng.normal(0, spread, (seeds, len(curve), 1))
    test = np.asarray(curve)[None, :, None] + (images - images.mean()) + (each - each.mean(0))
    flat = test.mean(2)
    about = {"kind": "rwp", "schedule": "constant", "peak": 0.1, "test_loss": test, "validation": flat}
    return Arm(name=name, test=test, **{"strengths": STRENGTHS, "chips": flat[..., None], **about, **given})


FALLING = (0.9, 0.9, 0.88, 0.7)


def test_an_arm_over_its_range() -> None:
    one = arm("a", FALLING)
    found = whole(one, "noise")
    assert found is not None and (found.arm, found.noise, found.low, found.high) == ("a", "noise", 0, 0.4)
    assert found.area == crossed(area(one)).interval
    assert found.area.estimate == pytest.approx((0.09 + 0.089 + 0.158) / 0.4)
    each = one.test.mean(2)
    assert found.worst == t_interval(each.min(1)) and found.worst.estimate == pytest.approx(0.7)
    assert found.tolerance == t_interval(curves.tolerance(each, STRENGTHS).strength)
    assert found.tolerance.estimate == pytest.approx(0.15, abs=0.02) and (found.beyond, found.seeds) == (0, 6)
    assert found.area.half > 3 * t_interval(area(one).mean(1)).half  # the luck of the test set is in it


def test_the_area_of_an_arm_is_that_of_each_example() -> None:
    one = arm("a", FALLING)
    found = area(one)
    assert found.shape == (6, 60)
    at = list(STRENGTHS)
    assert found[2, 7] == pytest.approx(np.trapezoid(one.test[2, :, 7], at) / 0.4)
    np.testing.assert_allclose(area(one, (0.2, 0.0)), (one.test[:, 0] + one.test[:, 2]) / 2)
    with pytest.raises(UserError, match="at least 2"):
        area(one, (0.2, 0.2))


def test_an_arm_whose_strengths_do_not_rise() -> None:
    one = arm("a", FALLING)
    order = [3, 1, 0, 2]
    moved = replace(one, test=one.test[:, order], strengths=tuple(STRENGTHS[i] for i in order))
    first, second = whole(one, "noise"), whole(moved, "noise")
    assert first is not None and second is not None
    assert second.plain()["tolerance"] == pytest.approx(first.plain()["tolerance"])
    assert second.area == pytest.approx(first.area) and second.worst == first.worst


def test_an_arm_whose_lower_scores_are_better() -> None:
    found = whole(replace(arm("a", FALLING), test=1 - arm("a", FALLING).test, sign=-1), "noise")
    usual = whole(arm("a", FALLING), "noise")
    assert found is not None and usual is not None and found.tolerance == pytest.approx(usual.tolerance)
    assert found.worst.estimate == pytest.approx(1 - usual.worst.estimate)


@pytest.mark.parametrize(("higher", "reached"), [(True, 4 / 6), (False, 3 / 6), (None, 4 / 6)])
def test_a_row_of_an_arm_by_hand(higher: bool | None, reached: float) -> None:
    """Two seeds of three chips: which of them reach .5 depends on what is better; the spread is that of chips within a seed."""
    chips = np.array([[[0.2, 0.5, 0.8]] * 4, [[0.4, 0.6, 0.8]] * 4])
    one = replace(arm("a", FALLING, seeds=2), chips=chips, sign=-1 if higher is False else 1)
    object.__setattr__(one, "drop", lambda: None)  # it lies in no files
    outcomes: Any = SimpleNamespace(arms=lambda noise: [one])
    plan: dict[str, Any] = {
        "definition": {"test": {"required": 0.5}},
        "score": {"higher_is_better": higher},
        "noises": [{"corruption": "noise"}],
    }
    (found,) = findings(Folder(Path(), Path(), plan), outcomes)
    cell = found.cells[2]
    assert (cell.arm, cell.noise, cell.strength, cell.seeds, cell.chips) == ("a", "noise", 0.2, 2, 3)
    assert cell.reached == pytest.approx(reached)
    assert cell.spread == pytest.approx((0.3 + 0.2) / 2)
    assert cell.validation == pytest.approx(one.validation[:, 2].mean()) and cell.interval == mean(one, 0.2)
    plan["definition"]["test"]["required"] = None
    (found,) = findings(Folder(Path(), Path(), plan), outcomes)
    assert found.cells[2].reached is None and found.whole == whole(one, "noise")


def test_an_arm_without_a_range_or_without_strength_0() -> None:
    one = arm("a", FALLING)
    assert whole(replace(one, test=one.test[:, :1], strengths=(0.0,)), "noise") is None
    found = whole(replace(one, test=one.test[:, 1:], strengths=STRENGTHS[1:]), "noise")
    assert found is not None and found.tolerance is None and found.plain()["tolerance"] is None
    assert (found.low, found.plain()["from"]) == (0.1, 0.1)


def test_the_best_by_area_is_chosen_on_validation() -> None:
    steady, falling = arm("steady", (0.85,) * 4), arm("falling", (0.9, 0.9, 0.8, 0.7))
    assert best([falling, steady]).name == "steady"
    assert best([falling, steady], (0.0, 0.1)).name == "falling"
    tempting = replace(falling, test=falling.test + 1)  # on test images, which must not matter
    assert best([tempting, steady]).name == "steady"
    assert best([replace(one, sign=-1) for one in (falling, steady)]).name == "falling"
    assert best([steady, replace(steady, name="equal")]).name == "steady"


def test_the_table_of_ranges() -> None:
    wholes = [
        whole(one, "noise")
        for one in (
            arm("falls", FALLING, spread=0),
            arm("stays", (0.9,) * 4, spread=0),
            arm("here and there", (0.9, 0.9, 0.9, 0.89), spread=0.001),
        )
    ]
    table = tabulated([one for one in wholes if one is not None], "fraction")
    assert table is not None and table.title == "Over the whole range, 0 to 0.4, under noise"
    assert table.head == ["arm", "area (%)", "worst (%)", "tolerance (1 point)", "seeds"]
    falls, stays, some = table.body
    assert (
        falls[0] == "falls" and falls[1].startswith("84.25 ± ") and falls[2:] == ["70.00 ± 0.00", "0.150 ± 0.000", "6"]
    )
    assert stays[3] == "beyond 0.4"
    assert wholes[2] is not None and 0 < wholes[2].beyond < 6 and f" ({wholes[2].beyond} beyond 0.4)" in some[3]
    other = tabulated([one for one in wholes if one is not None], "nats")
    assert other is not None and other.head[1:4] == ["area (nats)", "worst (nats)", "tolerance (0.01 nats)"]
    assert other.body[0][2] == "0.700 ± 0.000"
    assert tabulated([], "fraction") is None


# training


@pytest.mark.parametrize("low", [0.0, 0.5])
def test_training_over_a_range_draws_a_strength_for_every_step(low: float) -> None:
    """Uniform over the range, the same for all arrays of a step. Kolmogorov-Smirnov, 300 steps, false alarm .001."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    clean = [(array.value.detach().clone(), array.peak()) for array in select(model)]
    robust = Hardener(model, RWP(Mixture(Gaussian("filter-max"), low=low)), Constant(0.4), steps=300, seed=0)
    seen: list[list[float]] = []

    def loss() -> torch.Tensor:
        pairs = zip(model.parameters(), clean, strict=True)
        seen.append([float(((now.detach() - before) / peak).std()) for now, (before, peak) in pairs])
        return model(torch.ones(1, 64)).square().mean()

    for _ in range(300):
        robust.backward(loss)
    strengths = np.array(seen)  # [step, array], each known to 1 / sqrt(2 x 4096), about 1%
    np.testing.assert_allclose(strengths[:, 0], strengths[:, 1], rtol=0.07)
    assert stats.kstest(strengths.mean(1), "uniform", (0.4 * low, 0.4 * (1 - low))).pvalue > 0.001
    assert stats.kstest(strengths.mean(1), "uniform", (0.0, 0.6)).pvalue < 1e-6


def test_a_range_can_be_measured_too() -> None:
    """Chips whose strengths differ, as devices of unknown noise do: their mean is near the area."""
    torch.manual_seed(0)
    x = torch.randn(400, 6)
    model, data = nn.Linear(6, 3), (x, torch.randint(0, 3, (400,)))
    with torch.no_grad():
        data = (x, model(x).argmax(1))
    wide = measure(model, accuracy, data, Mixture(Gaussian("filter-max")), [0.8], chips=400, seed=0)
    swept = measure(model, accuracy, data, Gaussian("filter-max"), np.linspace(0, 0.8, 9).tolist(), chips=400, seed=1)
    overall = swept.overall()
    assert overall is not None
    gap = wide.values[0].mean() - overall.interval("area").estimate
    error = np.hypot(wide.values[0].std(ddof=1), overall.chips["area"].std(ddof=1)) / 20
    assert abs(gap) < 4 * error  # false alarm 1 in 16,000, but for the trapezoids
    assert abs(wide.values[0].mean() - swept.mean()[-1]) > 10 * error
