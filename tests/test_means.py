"""The mean over chips by few images on each: unbiased, covered, the chips of `measure` where they are whole."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import incorruptible as inc
from alarms import REPETITIONS, breaks
from benchmarks.means import fixed, rows
from incorruptible import tasks
from incorruptible.errors import UserError
from incorruptible.evaluation import Sampling
from incorruptible.evaluation.chips import ProgrammedModel
from incorruptible.evaluation.subsampled.batched import score_parts
from incorruptible.evaluation.subsampled.design import MeanEstimator, costs_of, drawn, gathered
from incorruptible.evaluation.subsampled.results import Average
from incorruptible.statistics import (
    Components,
    Costs,
    Gathered,
    Interval,
    Stratum,
    SubsampleDesign,
    SubsamplePlan,
    mean_interval,
)
from incorruptible.tasks.data import Batches
from incorruptible.weights.arrays import select

DESIGN = "incorruptible.evaluation.subsampled.design"
NOISE, STRENGTH, TOTAL = inc.Gaussian("absolute"), 0.3, 300
Data = tuple[Tensor, Tensor]


@pytest.fixture
def data() -> Data:
    """Examples near and far from where the answer turns."""
    x = torch.rand(TOTAL, 1, generator=torch.Generator().manual_seed(0)) * 2 + 0.4
    return x, torch.zeros(TOTAL, dtype=torch.long)


@pytest.fixture
def model() -> nn.Module:
    """Right where x is above 1 / (1 + e), with e normal of standard deviation sqrt(2) times the strength."""
    network = nn.Linear(1, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0], [0.0]]))
        network.bias.copy_(torch.tensor([-1.0, 0.0]))
    return network


@pytest.fixture
def cheap_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if making a chip cost what two images do; in truth one weight costs more to change than 300 of these to classify."""
    monkeypatch.setattr(f"{DESIGN}.costs_of", lambda *asked: Costs(2.0, 1.0))


def truth(data: Data) -> float:
    """The mean over all chips, exactly."""
    x = data[0].double().numpy()
    return float(stats.norm.cdf((x - 1) / (STRENGTH * 2**0.5 * x)).mean())


def found(model: nn.Module, data: Any, **options: Any) -> inc.Means:
    asked: dict[str, Any] = {"half_width": 0.02, "seed": 0, **options}
    return inc.measure_mean(model, inc.accuracy, data, NOISE, asked.pop("strengths", [STRENGTH]), **asked)


@pytest.mark.parametrize("antithetic", [pytest.param(False, marks=pytest.mark.slow), None, True])
def test_it_is_unbiased_and_covers(antithetic: bool | None, model: nn.Module, data: Data) -> None:
    """Where the number of chips is fixed: fails with chance .001 by the mean (z), and as `alarms` says by the intervals."""
    estimates, misses, exact, times = [], 0, truth(data), 100
    for seed in range(times):
        one = found(model, data, seed=seed, half_width=1e-6, max_chips=20, images=8, antithetic=antithetic).averages[0]
        estimates.append(one.interval.estimate)
        misses += not one.interval.low <= exact <= one.interval.high
        assert one.chips == 20 and one.images == 8 and not one.reached
    error = np.std(estimates, ddof=1) / times**0.5
    assert abs(np.mean(estimates) - exact) < 3.29 * error
    assert not breaks(misses, times)


@pytest.mark.slow
def test_stopping_keeps_the_interval(model: nn.Module, data: Data, cheap_chips: None) -> None:
    exact, misses, chips = truth(data), 0, []
    for seed in range(REPETITIONS):
        one = found(model, data, seed=seed, half_width=0.05).averages[0]
        misses += not one.interval.low <= exact <= one.interval.high
        chips.append(one.chips)
        assert one.reached and one.interval.half <= 0.05 and one.images < TOTAL
    assert not breaks(misses) and min(chips) >= 16


def test_brute_force_agrees(model: nn.Module, data: Data) -> None:
    """The formula that the tests above go by is what whole chips do: fails with chance .001."""
    whole = inc.measure(model, inc.accuracy, data, NOISE, [STRENGTH], chips=1500, seed=1).values[0]
    assert abs(whole.mean() - truth(data)) < 3.29 * whole.std(ddof=1) / 1500**0.5


@pytest.mark.parametrize("score", [inc.accuracy, inc.cross_entropy])
def test_whole_chips_are_those_of_measure(score: inc.Score, model: nn.Module, data: Data) -> None:
    for options in ({"images": TOTAL}, {}):  # asked for, and chosen, since chips are dear here
        one = inc.measure_mean(model, score, data, NOISE, [STRENGTH], half_width=0.05, seed=3, **options)  # type: ignore[arg-type]
        average = one.averages[0]
        chips = inc.measure(model, score, data, NOISE, [STRENGTH], chips=average.chips, seed=3)
        assert np.array_equal(average.values, chips.values[0])
        assert average.whole == average.chips and average.beta == 0 and average.images == TOTAL
        assert average.sd == pytest.approx(chips.spread()[0]) and average.sd_from == "whole chips"
        assert average.interval.estimate == pytest.approx(chips.mean()[0])
        assert one.rows()[0]["lowest"] == average.values.min()


def test_the_same_call_gives_the_same(model: nn.Module, data: Data, cheap_chips: None) -> None:
    first, again = (found(model, data).plain() for _ in range(2))
    assert str(first) == str(again)
    beside = found(model, data, strengths=[0.0, 0.1, STRENGTH])
    assert beside.plain()["values"][2] == first["values"][0]  # whatever else is measured
    other = found(model, data, seed=1).plain()
    assert other["values"] != first["values"]


def test_a_pinned_design_gives_the_same_chips(model: nn.Module, data: Data, cheap_chips: None) -> None:
    chosen = found(model, data).averages[0]
    pinned = found(model, data, images=chosen.images).averages[0]
    assert chosen.images in {8, 16, 32, 64, 128, 256}
    assert np.array_equal(chosen.values, pinned.values) and chosen.interval == pinned.interval
    assert chosen.chips < found(model, data, half_width=0.01).averages[0].chips


def test_the_spread_is_told_from_the_components(model: nn.Module, data: Data, cheap_chips: None) -> None:
    """Beside that of 1,000 whole chips, known to 2.3% as the estimate to some 4%: within 15%."""
    few = found(model, data, half_width=0.01, antithetic=False).averages[0]
    whole = inc.measure(model, inc.accuracy, data, NOISE, [STRENGTH], chips=1000, seed=9).values[0]
    assert few.sd_from == "components" and few.chips > 600
    assert few.sd == pytest.approx(whole.std(ddof=1), rel=0.12)
    assert few.sd < few.values.std(ddof=1)
    assert "components" in str(found(model, data))


def test_at_strength_0_all_chips_are_the_same(model: nn.Module, data: Data) -> None:
    one = found(model, data, strengths=[0.0]).averages[0]
    clean = inc.accuracy(model, data).mean().item()
    assert one.chips == 1 and one.reached and one.interval == pytest.approx((clean, clean, clean))
    assert "all the same" in str(found(model, data, strengths=[0.0]))


def test_chips_look_at_the_same_images_everywhere(model: nn.Module, data: Data) -> None:
    seen: list[set[float]] = []

    def spy(network: nn.Module, batch: Any) -> Tensor:
        seen.append(set(batch[0].flatten().tolist()))
        return inc.accuracy(network, batch)

    looks = []
    for images in (8, 16):
        seen.clear()
        inc.measure_mean(model, spy, data, NOISE, [STRENGTH], half_width=1e-6, max_chips=16, images=images, seed=0)
        looks.append([one for one in seen if len(one) == images][-16:])
    assert all(few < more for few, more in zip(*looks, strict=True))
    assert len(set.union(*looks[1])) > 100  # and different chips at different ones
    assert torch.equal(drawn(TOTAL, 0, "test", "examples", 8)[:8], drawn(TOTAL, 0, "test", "examples", 8)[:16][:8])


@pytest.mark.parametrize("images", [8, 1500])
def test_the_estimate_is_what_the_formula_says(images: int, model: nn.Module) -> None:
    """By hand: beta mean(C) + mean of D_c, chip by chip, also where a chip's images come in several batches."""
    x = torch.rand(3000, 1, generator=torch.Generator().manual_seed(3)) * 2 + 0.4
    data = x, torch.zeros(3000, dtype=torch.long)
    one = found(model, data, images=images, max_chips=16, half_width=1e-6, antithetic=False).averages[0]
    clean = inc.accuracy(model, data).double().numpy()
    chips = inc.measure(model, inc.accuracy, data, NOISE, [STRENGTH], chips=24, seed=0, keep_examples=True)
    assert chips.examples is not None and one.chips == 16
    by_hand = []
    for chip in range(8, 24):  # chips 0 to 7 are the first look's
        some = drawn(3000, 0, "test", "examples", chip)[:images].numpy()
        by_hand.append(one.beta * clean.mean() + (chips.examples[0, chip, some] - one.beta * clean[some]).mean())
    assert np.allclose(one.values, by_hand)
    assert one.interval.estimate == pytest.approx(np.mean(by_hand))


def test_pairs_are_mirrored(model: nn.Module, data: Data) -> None:
    arrays, clean = select(model), model.weight.detach().clone()  # type: ignore[operator]
    chips = Sampling(NOISE, [STRENGTH], 4, 0, pairs=True)
    weights = []
    with ProgrammedModel(model, arrays, chips) as programmed:
        for chip in range(4):
            programmed.put(STRENGTH, chip)
            weights.append(model.weight.detach().clone() - clean)  # type: ignore[operator]
    assert torch.allclose(weights[0], -weights[1]) and torch.allclose(weights[2], -weights[3])
    assert not torch.allclose(weights[0], weights[2]) and torch.equal(model.weight, clean)  # type: ignore[arg-type]
    each = score_parts(model, inc.accuracy, [data] * 4, chips, arrays, STRENGTH, range(4))
    plain = score_parts(model, inc.accuracy, [data] * 4, Sampling(NOISE, [STRENGTH], 4, 0), arrays, STRENGTH, range(4))
    assert np.array_equal(each[::2], plain[::2]) and not np.array_equal(each[1::2], plain[1::2])


def test_pairs_help_where_errors_are_odd(model: nn.Module, data: Data, cheap_chips: None) -> None:
    """One weight: what goes up on one chip goes down on its twin."""
    kept, never = (found(model, data, half_width=0.01, antithetic=how).averages[0] for how in (None, False))
    assert kept.paired == kept.chips and never.paired == 0
    assert kept.chips < 0.8 * never.chips
    whole = found(model, data, half_width=0.02, antithetic=True, images=TOTAL).averages[0]
    assert whole.paired == whole.chips == whole.whole


def test_whole_chips_hand_over_to_few_images(
    model: nn.Module, data: Data, cheap_chips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first look saw chips that happen to agree; the whole ones count on."""
    wrong = SubsampleDesign(TOTAL, 0.0, 100.0, 1e9)
    monkeypatch.setattr(f"{DESIGN}.plan", lambda *asked: SubsamplePlan(wrong, (wrong,), Components(0, 0, 0), 64, 1.0))
    exact, misses, handed = truth(data), 0, 0
    for seed in range(80):
        one = found(model, data, seed=seed, half_width=0.04).averages[0]
        assert one.reached and (one.whole in {16, 32, 64, 128} or one.images == TOTAL)
        handed += one.whole < one.chips
        misses += not one.interval.low <= exact <= one.interval.high
    assert not breaks(misses, 80) and handed > 60


def whole_until(monkeypatch: pytest.MonkeyPatch, enough: int) -> None:
    """A first look and whole chips that speak for whole chips, up to so many; then for 8 images."""
    wrong, right = SubsampleDesign(TOTAL, 0.0, 100.0, 1e9), SubsampleDesign(8, 1.0, 100.0, 1e8)

    def chosen(scores: Any, *asked: Any) -> SubsamplePlan:
        best = right if len(scores) >= enough else wrong
        return SubsamplePlan(best, (wrong, right), Components(0, 0, 0), TOTAL, 1.0, len(scores))

    monkeypatch.setattr(f"{DESIGN}.plan", lambda *asked: SubsamplePlan(wrong, (wrong,), Components(0, 0, 0), 64, 1.0))
    monkeypatch.setattr(f"{DESIGN}.choose", chosen)


@pytest.mark.parametrize("enough", [16, 128])
def test_what_was_measured_before_few_images_took_over(
    enough: int, model: nn.Module, data: Data, cheap_chips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the last time that whole chips are asked; they count, and the result shows them."""
    whole_until(monkeypatch, enough)
    told: list[int] = []
    asked: dict[str, Any] = {
        "half_width": 1e-6,
        "max_chips": enough + 24,
        "progress": lambda done, _: told.append(done),
    }
    means = found(model, data, **asked)
    (one,) = means.averages
    assert (one.whole, one.chips, one.images) == (enough, enough + 24, 8) and one.sd_from == "components"
    chips = inc.measure(model, inc.accuracy, data, NOISE, [STRENGTH], chips=enough, seed=0)
    assert np.array_equal(one.values[:enough], chips.values[0]) and len(one.values) == one.chips
    assert one.values.mean() == pytest.approx(one.interval.estimate)
    assert one.values[enough:].mean() == pytest.approx(truth(data), abs=0.15)  # they, too, are estimates of the mean
    (row,) = means.rows()
    assert (row["first_look"], row["first_look_chips"]) == (TOTAL, enough)
    assert told == sorted(told) and told[-1] == one.chips


@pytest.mark.parametrize("enough", [16, 32])
def test_no_chip_counts_twice_after_few_images_took_over(
    enough: int, model: nn.Module, data: Data, cheap_chips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that look at few images are other chips than the whole ones, and the interval is that of both kinds together."""
    whole_until(monkeypatch, enough)
    numbers, before = list[int](), MeanEstimator._parts

    def parts(self: MeanEstimator, strength: float, images: int, asked: Any, pairs: bool) -> Any:
        numbers.extend(asked)
        return before(self, strength, images, asked, pairs)

    monkeypatch.setattr(MeanEstimator, "_parts", parts)
    one = found(model, data, half_width=1e-6, max_chips=enough + 24, antithetic=False).averages[0]
    assert (one.whole, one.chips) == (enough, enough + 24)
    assert numbers == list(range(enough, enough + 24))
    strata = [Stratum(one.values[:enough], 1, 1 / TOTAL), Stratum(one.values[enough:], 1, 1 / 8)]
    assert one.interval == pytest.approx(tuple(mean_interval(strata)))


def test_the_spread_leaves_out_what_few_images_add_and_no_more(
    model: nn.Module, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn without replacement, m of n images add the variance within a chip times 1 / m - 1 / n: nothing where m is nearly n."""
    within, before = list[float](), MeanEstimator._parts

    def parts(self: MeanEstimator, *asked: Any) -> Any:
        each, places = before(self, *asked)
        within.extend(np.asarray(each - design_beta * clean[places]).var(1, ddof=1))
        return each, places

    clean = (data[0].numpy()[:, 0] > 1).astype(float)
    design_beta = found(model, data, half_width=1e-6, max_chips=60, images=200, antithetic=False).averages[0].beta
    monkeypatch.setattr(MeanEstimator, "_parts", parts)
    one = found(model, data, half_width=1e-6, max_chips=60, images=200, antithetic=False).averages[0]
    assert one.beta == design_beta and len(within) == one.chips == 60
    variance = one.values.var(ddof=1) - np.mean(within) * (1 / 200 - 1 / TOTAL)
    assert one.sd == pytest.approx(variance**0.5)


@pytest.mark.parametrize("most", [16, 17, 18, 31, 32])
def test_few_images_take_over_only_where_chips_are_left(
    most: int, model: nn.Module, data: Data, cheap_chips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_until(monkeypatch, 16)
    one = found(model, data, half_width=1e-6, max_chips=most).averages[0]
    assert one.chips == len(one.values) == most and not one.reached
    assert (one.whole, one.images) == ((16, 8) if most == 32 else (most, TOTAL))


@pytest.mark.parametrize("antithetic", [pytest.param(False, marks=pytest.mark.slow), None])
def test_it_is_unbiased_after_few_images_took_over(
    antithetic: bool | None, model: nn.Module, data: Data, cheap_chips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 whole chips and 24 that look at 8 images: fails as `test_it_is_unbiased_and_covers` does, without and with pairs."""
    whole_until(monkeypatch, 16)
    estimates, misses, exact, times = [], 0, truth(data), 100
    for seed in range(times):
        one = found(model, data, seed=seed, half_width=1e-6, max_chips=40, antithetic=antithetic).averages[0]
        estimates.append(one.interval.estimate)
        misses += not one.interval.low <= exact <= one.interval.high
        assert (one.whole, one.chips, one.paired > 0) == (16, 40, antithetic is None)
    assert abs(np.mean(estimates) - exact) < 3.29 * np.std(estimates, ddof=1) / times**0.5
    assert not breaks(misses, times)


def test_whole_chips_in_pairs_are_mirrored_all(model: nn.Module, data: Data) -> None:
    """Also those that a look at all images saw unmirrored."""
    told: list[int] = []
    one = found(model, data, antithetic=True, progress=lambda done, _: told.append(done)).averages[0]
    assert one.seen == TOTAL and one.paired == one.chips == one.whole
    chips = Sampling(NOISE, [STRENGTH], one.chips, 0, pairs=True)
    twins = inc.measure_all(model, {"": inc.accuracy}, data, chips)[""]
    assert np.array_equal(one.values, twins.values[0]) and told == sorted(told)


@pytest.mark.slow
def test_whole_chips_in_pairs_cover(model: nn.Module, data: Data) -> None:
    """Skewed ones (-.75), of which some 12 pairs do: stopping does not begin after a few that happen to agree."""
    exact, misses, chips = truth(data), 0, []
    for seed in range(REPETITIONS):
        one = found(model, data, seed=seed, half_width=0.06, images=TOTAL, antithetic=True).averages[0]
        misses += not one.interval.low <= exact <= one.interval.high
        chips.append(one.chips)
        assert one.paired == one.chips and one.reached
    assert not breaks(misses) and min(chips) == 16


@pytest.mark.parametrize("score", [inc.accuracy, inc.cross_entropy])
def test_an_order_of_the_data_changes_nothing(score: inc.Score, model: nn.Module, data: Data) -> None:
    """Chips' scores are held against clean ones of the same examples."""
    asked: dict[str, Any] = {"half_width": 0.05, "seed": 0}
    plain, ordered = (
        inc.measure_mean(model, score, Batches(data, 64, order), NOISE, [STRENGTH], **asked).plain()
        for order in (None, ("some", 1))
    )
    assert plain["rows"][0]["first_look"] == TOTAL and str(plain) == str(ordered)


@pytest.mark.parametrize("total", [1, 2, 8])
def test_few_examples_are_all_looked_at(total: int, model: nn.Module, data: Data, cheap_chips: None) -> None:
    few = data[0][:total], data[1][:total]
    one = found(model, few, half_width=0.2).averages[0]
    assert (one.images, one.whole) == (total, one.chips) and one.reached
    chips = inc.measure(model, inc.accuracy, few, NOISE, [STRENGTH], chips=one.chips, seed=0)
    assert np.array_equal(one.values, chips.values[0])


def test_a_tiny_half_width_ends_with_the_most_chips(model: nn.Module, data: Data, cheap_chips: None) -> None:
    for half in (1e-9, 1e-12):
        means = found(model, data, half_width=half, max_chips=40)
        assert means.averages[0].chips == 40 and not means.averages[0].reached and "not reached" in str(means)


@pytest.mark.parametrize(("half", "reached"), [(0.0199, False), (0.0201, True)])
def test_reached_is_a_half_width_of_no_more(half: float, reached: bool) -> None:
    come = Gathered(np.array([0.5, 0.6]), 0, Interval(0.53, 0.55, 0.57))
    one = Average.of(0.1, half, SubsampleDesign(8, 0.0, 2, 1.0), come, 0.1, None, 0)
    assert one.reached is reached and one.row()["half"] == pytest.approx(0.02) and one.row()["mean"] == 0.55
    assert (one.chips, one.images, one.row()["lowest"]) == (2, 8, None)
    whole = Average.of(0.1, half, SubsampleDesign(8, 0.0, 2, 1.0), come, 0.1, None, 2, "asked for")
    assert whole.row()["lowest"] == 0.5 and whole.sd_from == "whole chips"


def test_what_is_written_down_of_means(model: nn.Module, data: Data) -> None:
    options: dict[str, Any] = {
        "half_width": 0.05,
        "confidence": 0.9,
        "max_chips": 50,
        "seed": 2,
        "purpose": "validation",
    }
    means = found(model, data, read=(NOISE, 0.25), strengths=[STRENGTH], **options)
    (one,) = means.averages
    plain = means.plain()
    (row,), values = plain.pop("rows"), plain.pop("values")
    assert plain == {
        "corruption": "gaussian-absolute",
        "unit": NOISE.unit,
        "conditions": "",
        "score": "accuracy",
        "score_unit": "fraction",
        "half_width": 0.05,
        "confidence": 0.9,
        "most": 50,
        "examples": TOTAL,
        "seed": 2,
        "interval": "Student's, corrected for stopping",
        "purpose": "validation",
        "batchnorm": "as-is",
        "read": "gaussian-absolute:0.25",
        "autocast": None,
        "channels_last": False,
    }
    assert values == [one.values.tolist()] and one.components is not None
    assert row.pop("components") == one.components._asdict() and len(row.pop("designs")) == len(one.designs) > 0
    assert row == {
        "strength": STRENGTH,
        "mean": one.interval.estimate,
        "low": one.interval.low,
        "high": one.interval.high,
        "half": (one.interval.high - one.interval.low) / 2,
        "images": one.images,
        "chips": len(one.values),
        "whole": one.whole,
        "paired": one.paired,
        "beta": one.beta,
        "sd": one.sd,
        "sd_from": one.sd_from,
        "lowest": one.values.min() if one.sd_from == "whole chips" else None,
        "why": one.why,
        "reached": one.reached,
        "first_look": one.seen,
        "first_look_chips": one.looked,
    }


def test_a_score_that_costs_nothing(model: nn.Module, data: Data) -> None:
    """No number is computed for an image: all images, since they are free."""
    one = inc.measure_mean(model, lambda _, batch: batch[0][:, 0], data, NOISE, [STRENGTH], half_width=0.1, seed=0)
    assert one.averages[0].images == TOTAL and one.averages[0].interval.half == 0


@pytest.mark.parametrize("policy", ["as-is", "folded", "recalibrated"])
def test_batchnorm(policy: str) -> None:
    task = tasks.load("digits:network=conv")
    torch.manual_seed(0)
    model, calibration = task.model(), (task.train[0][:64],) if policy == "recalibrated" else None  # type: ignore[index]
    options: dict[str, Any] = {"batchnorm": policy, "calibration": None if calibration is None else [calibration[0]]}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    asked = model, inc.accuracy, tuple(part[:200] for part in task.test), inc.Gaussian("filter-max"), [0.1]  # type: ignore[union-attr]
    whole = inc.measure_mean(*asked, half_width=0.5, seed=0, images=200, **options).averages[0]  # type: ignore[arg-type]
    assert np.array_equal(whole.values, inc.measure(*asked, chips=whole.chips, seed=0, **options).values[0])  # type: ignore[arg-type]
    few = inc.measure_mean(*asked, half_width=0.5, seed=0, images=8, **options).averages[0]  # type: ignore[arg-type]
    assert few.images == 8 and few.chips == 16 and abs(few.interval.estimate - whole.interval.estimate) < 0.3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_costs_are_counted() -> None:
    """The MLP of the digits: 2 x 25,856 operations and 525 numbers for an image, and one random number for a weight."""
    task = tasks.load("digits")
    model, arrays = task.model(), None
    arrays = select(model)
    chips = Sampling(inc.Gaussian("filter-max"), [0.1], 2, 0)
    batch = [part[:64] for part in task.test]  # type: ignore[union-attr]
    one, other = (costs_of(model.eval(), inc.accuracy, batch, 64, chips, arrays, 0.1) for _ in range(2))
    assert one == other
    assert one.image == pytest.approx(2 * 25_856 / 50 + 0.3 * 525)
    assert 25_856 * 3 < one.chip < 25_856 * 6 + 60 * 2500 + 100_000
    recalibrated = Sampling(
        inc.Gaussian("filter-max"), [0.1], 2, 0, batchnorm="recalibrated", calibration=[torch.zeros(50, 1, 8, 8)]
    )
    dear = costs_of(model, inc.accuracy, batch, 64, recalibrated, arrays, 0.1)
    assert dear.chip == pytest.approx(one.chip + 50 * one.image)


def loader(data: Data, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*data), batch_size=64, **options)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (lambda data: [(data[0][:200], data[1][:200]), (data[0][200:], data[1][200:])], ""),
        (loader, ""),
        (lambda data: loader(data, shuffle=True), "does not go through all its data in order"),
        (lambda data: [{"inputs": data[0], "labels": data[1]}], "no pairs of tensors"),
        (lambda data: [(data[0][:200], data[1])], "no pairs of tensors"),
    ],
)
def test_data_that_can_be_indexed(how: Callable[[Data], Any], why: str, data: Data) -> None:
    rows, says = gathered(how(data))
    if why:
        assert rows is None and why in says
    else:
        assert rows is not None and torch.equal(rows.tensors[0], data[0]) and torch.equal(rows.tensors[1], data[1])


def test_other_data_take_whole_chips(model: nn.Module, data: Data, cheap_chips: None) -> None:
    listed = found(model, [(data[0][:200], data[1][:200]), (data[0][200:], data[1][200:])])
    assert np.array_equal(listed.values[0], found(model, data).values[0])
    shuffled = found(model, loader(data, shuffle=True), half_width=0.1)
    assert shuffled.averages[0].whole == shuffled.averages[0].chips and "in order" in str(shuffled)


def test_weights_return_after_an_error(model: nn.Module, data: Data) -> None:
    before, calls = model.weight.detach().clone(), 0  # type: ignore[operator]

    def fails(network: nn.Module, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise RuntimeError("the score fails")
        return inc.accuracy(network, batch)

    model.train()
    with pytest.raises(RuntimeError, match="the score fails"):
        inc.measure_mean(model, fails, data, NOISE, [STRENGTH], half_width=0.01, seed=0, images=8)
    assert torch.equal(model.weight, before) and model.training  # type: ignore[arg-type]


def test_it_tells_how_far_it_is(model: nn.Module, data: Data, cheap_chips: None) -> None:
    told: list[tuple[int, int]] = []
    one = found(
        model, data, strengths=[0.0, STRENGTH], max_chips=900, progress=lambda done, all_: told.append((done, all_))
    )
    assert {total for _, total in told} == {1800} and told[-1][0] == 900 + one.averages[1].chips


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"half_width": 0.0}, "half_width is 0; it is positive"),
        ({"half_width": 1e-200}, "half_width is 1e-200; it is positive, 1e-12 or more"),
        ({"half_width": float("nan")}, "half_width is nan; it is positive"),
        ({"confidence": 95.0}, "for example 0.95"),
        ({"max_chips": 8}, "at least 16"),
        ({"images": 500}, "a chip looks at 1 to 300 images; images=300 are whole chips"),
        ({"images": 0}, "1 to 300"),
        ({"strengths": [-1.0]}, "negative"),
    ],
)
def test_mistakes(options: dict[str, Any], says: str, model: nn.Module, data: Data) -> None:
    with pytest.raises(UserError, match=says):
        found(model, data, **options)


@pytest.mark.parametrize("images", [None, 8])
def test_no_data_are_a_mistake(images: int | None, model: nn.Module, data: Data) -> None:
    with pytest.raises(UserError, match="data is empty: it holds no example"):
        found(model, (data[0][:0], data[1][:0]), images=images)


@pytest.mark.parametrize("images", [None, 8, TOTAL])
def test_a_score_that_is_not_finite_is_a_mistake(images: int | None, model: nn.Module, data: Data) -> None:
    def fails(network: nn.Module, batch: Any) -> Tensor:
        return inc.accuracy(network, batch) / (network.weight[1, 0] == 0)  # on chips it is nan or infinite

    with pytest.raises(UserError, match="not finite"), np.errstate(invalid="ignore"):
        inc.measure_mean(model, fails, data, NOISE, [STRENGTH], half_width=0.1, seed=0, images=images)


def test_what_is_measured_of_it() -> None:
    """The rows that the benchmarks show."""
    (row,) = rows(["digits MLP"], strengths=(0.1,), seeds=2)
    assert row["n"] == 997 and row["workload"] == "digits MLP" and len(row["spent_s"]) == len(row["chips"]) == 2
    assert row["condition"] == pytest.approx(997 * row["v_chip"] / row["v_interaction"])
    assert row["fixed_chips"] == fixed(row["sd"]) and 0 < row["low"] < row["ratio"] < row["high"]
    assert row["ratio"] == pytest.approx(np.mean(row["spent_s"]) / row["draw_s"] / row["fixed_chips"])
    half = stats.t.ppf(0.975, row["fixed_chips"] - 1) * row["sd"] / row["fixed_chips"] ** 0.5
    assert half <= 0.0025 < stats.t.ppf(0.975, row["fixed_chips"] - 2) * row["sd"] / (row["fixed_chips"] - 1) ** 0.5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "digits"], "No workload 'digits' here. Did you mean 'digits MLP'?"),
        (["--only", "CIFAR-10 ResNet-8"], "needs train.parquet"),
        (["--only", "digits MLP", "--out", "nowhere/rows.json"], "there is no folder nowhere"),
    ],
)
def test_mistakes_of_the_script(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(__file__).parents[1] / "scripts" / "mean_over_chips.py"
    monkeypatch.setattr("benchmarks.means.CIFAR", tmp_path)
    monkeypatch.setattr("sys.argv", [str(script), *words])
    monkeypatch.setattr("sys.path", list(sys.path))
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert (left.value.code, said.out) == (2, "") and says in line


def test_few_images_of_shuffled_data_are_a_mistake(model: nn.Module, data: Data) -> None:
    with pytest.raises(UserError, match="in order; images=300 are whole chips"):
        found(model, loader(data, shuffle=True), images=8)
