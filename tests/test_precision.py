"""As many chips as a precision needs; and what one table says about new chips and new examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import incorruptible as inc
from alarms import REPETITIONS, breaks
from incorruptible.errors import UserError
from incorruptible.statistics import Betting, t_interval, two_level

NOISE = inc.Gaussian("absolute")
COARSE = {"half_width": 0.1, "seed": 0}


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    x = torch.randn(40, 6, generator=source)
    return x, x[:, :3].argmax(1)


@pytest.fixture
def model() -> nn.Module:
    network = nn.Linear(6, 3)
    with torch.no_grad():
        network.weight.copy_(torch.eye(6)[:3])
        network.bias.zero_()
    return network


def test_the_chips_are_those_of_measure_and_no_more_than_needed(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    found = inc.measure_until(model, inc.accuracy, data, NOISE, [0.0, 0.5, 1.0], **COARSE)
    most = max(map(len, found.values))
    chips = inc.measure(model, inc.accuracy, data, NOISE, [0.0, 0.5, 1.0], chips=most, seed=0)
    assert found.reached == (True, True, True) and found.n_examples == 40
    for place, (values, interval) in enumerate(zip(found.values, found.intervals, strict=True)):
        assert np.array_equal(values, chips.values[place, : len(values)])
        assert interval.estimate == pytest.approx(values.mean())
        if place:
            betting = Betting()
            halves = [betting.add(float(value)).half for value in values]
            assert halves[-1] <= 0.1 < min(halves[:-1])
    assert found.intervals[0] == (1, 1, 1) and len(found.values[0]) == 1  # without noise all chips are the same
    assert found.rows()[1]["chips"] == len(found.values[1]) and found.plain()["interval"] == "anytime-valid"
    for row, values in zip(found.rows()[1:], found.values[1:], strict=True):
        assert row["sd"] == pytest.approx(float(np.std(values, ddof=1))) and row["lowest"] == min(values)
    assert math.isnan(found.rows()[0]["sd"])


def test_what_is_written_down_of_a_sequence(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    options: dict[str, Any] = {
        "half_width": 0.15,
        "max_chips": 60,
        "confidence": 0.9,
        "seed": 3,
        "purpose": "validation",
    }
    found = inc.measure_until(model, inc.accuracy, data, NOISE, [0.7, 0.2], **options)
    plain = found.plain()
    rows, values = plain.pop("rows"), plain.pop("values")
    assert plain == {
        "corruption": "gaussian-absolute",
        "unit": NOISE.unit,
        "conditions": "",
        "score": "accuracy",
        "score_unit": "fraction",
        "precision": 0.15,
        "confidence": 0.9,
        "interval": "anytime-valid",
        "method": "betting-2",
        "most": 60,
        "examples": 40,
        "seed": 3,
        "purpose": "validation",
        "batchnorm": "as-is",
        "autocast": None,
        "channels_last": False,
    }
    assert values == [one.tolist() for one in found.values] and values[0] != values[1]
    for row, strength, interval, one in zip(rows, (0.7, 0.2), found.intervals, found.values, strict=True):
        assert row == {
            "strength": strength,
            "mean": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "half": (interval.high - interval.low) / 2,
            "chips": len(one),
            "sd": one.std(ddof=1),
            "lowest": one.min(),
            "reached": True,
        }


def test_what_is_not_reached_says_so(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    found = inc.measure_until(model, inc.accuracy, data, NOISE, [0.5], half_width=0.001, max_chips=4, seed=0)
    assert found.reached == (False,) and len(found.values[0]) == 4
    lines = str(found).splitlines()
    assert lines[2].endswith("not reached") and "at most 4" in lines[0]
    one = inc.measure_until(model, inc.accuracy, data, NOISE, [0.5], half_width=0.001, max_chips=1, seed=0)
    assert one.intervals[0].half > 0.3 and not one.reached[0]


def test_a_higher_confidence_takes_more_chips(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    numbers = [
        len(inc.measure_until(model, inc.accuracy, data, NOISE, [0.5], confidence=c, **COARSE).values[0])
        for c in (0.8, 0.99)
    ]
    assert numbers[0] < numbers[1]


def test_reads_are_averaged(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    read = {"reads": 3, "read": (NOISE, 0.2)}
    found = inc.measure_until(model, inc.accuracy, data, NOISE, [0.0, 0.5], max_chips=5, **COARSE, **read)  # type: ignore[arg-type]
    chips = inc.measure(model, inc.accuracy, data, NOISE, [0.0, 0.5], chips=5, seed=0, **read)  # type: ignore[arg-type]
    assert np.allclose(found.values, chips.values) and len(found.values[0]) == 5  # reads differ also without noise


def test_stopping_early_keeps_the_promise() -> None:
    """One weight; a chip is right with chance Phi(1 / (s sqrt 2)) = .8, so that its mean is known."""
    network = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0], [0.0]]))
    strength, misses = float(1 / (2**0.5 * stats.norm.ppf(0.8))), 0
    example = torch.ones(1, 1), torch.zeros(1, dtype=torch.long)
    for seed in range(REPETITIONS):
        found = inc.measure_until(network, inc.accuracy, example, NOISE, [strength], half_width=0.25, seed=seed)
        misses += not found.intervals[0].low <= 0.8 <= found.intervals[0].high
    assert not breaks(misses)


def half(model: nn.Module, batch: Any) -> Tensor:
    return torch.full((len(batch[0]),), 1.5)


@pytest.mark.parametrize(
    ("score", "options", "says"),
    [
        (inc.cross_entropy, {}, "cross-entropy is in nats"),
        (half, {}, "1.5 to 1.5"),
        (inc.accuracy, {"half_width": 25}, "as a fraction, for example 0.0025"),
        (inc.accuracy, {"half_width": 0.0}, "half_width is 0"),
        (inc.accuracy, {"confidence": 95}, "for example 0.95"),
        (inc.accuracy, {"max_chips": 0}, "at least 1"),
    ],
)
def test_mistakes(
    score: Callable[..., Tensor], options: dict[str, Any], says: str, model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(UserError, match=says):
        inc.measure_until(model, score, data, NOISE, [0.5], **{**COARSE, **options})


def test_levels_are_those_of_the_kept_examples(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    kept = inc.measure(model, inc.accuracy, data, NOISE, [0.0, 0.7], chips=6, seed=0, keep_examples=True)
    levels = kept.levels(0.9)
    assert kept.examples is not None and levels is not None
    assert levels[1] == two_level(kept.examples[1], 0.9, share=True)
    assert levels[1].interval.half > t_interval(kept.values[1], 0.9).half  # other examples are luck, too
    assert levels[0].components == (0, 0, 0)  # right everywhere, on every chip
    rows = kept.plain()["new_chips_and_examples"]
    assert rows[1]["variances"]["chip"] == pytest.approx(two_level(kept.examples[1]).components.chip)
    assert str(kept).count("between chips") == 1 and "fewer than 5 chips" not in str(kept)


def test_an_interval_for_new_chips_is_never_certain_and_says_where_it_promises_less(
    model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    few = inc.measure(model, inc.accuracy, data, NOISE, [0.0, 1e-3], chips=3, seed=0, keep_examples=True)
    levels = few.levels()
    assert levels is not None and few.values.min() == 1
    assert [(one.interval.low, one.interval.high) for one in levels] == [(pytest.approx(0.025 ** (1 / 40)), 1)] * 2
    assert "fewer than 5 chips: the interval for new chips may miss more" in str(few)
    losses = inc.measure(model, inc.cross_entropy, data, NOISE, [0.7], chips=6, seed=0, keep_examples=True)
    found = losses.levels()
    assert found is not None and losses.examples is not None
    assert found[0] == two_level(
        losses.examples[0]
    )  # a loss is no share: Student's, whose ends are as far from the mean
    assert found[0].interval.high - found[0].interval.estimate == pytest.approx(found[0].interval.half)


@pytest.mark.parametrize("options", [{"chips": 6}, {"chips": 1, "keep_examples": True}])
def test_no_levels_without_a_table(options: dict[str, Any], model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    found = inc.measure(model, inc.accuracy, data, NOISE, [0.7], seed=0, **options)
    assert found.levels() is None and "between chips" not in str(found)
    assert "new_chips_and_examples" not in found.plain()
