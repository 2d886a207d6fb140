"""Two sets of weights on the same chips: the change of each chip, its interval, and `measure --before`."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import stats
from torch import Tensor, nn

import incorruptible as inc
from alarms import breaks
from incorruptible.errors import UserError
from small_network import Data
from typing_commands import Type, typing

SWEEP = inc.Sampling("gaussian-filter-max:0,.2,.5", chips=12, seed=3)


def shrunk(model: nn.Module) -> nn.Module:
    """The same network after some change: the second layer has lost its smaller weights."""
    other = deepcopy(model)
    with torch.no_grad():
        weight = other[2].weight  # type: ignore[index]
        weight[weight.abs() < 0.2] = 0
    return other


KINDS = {
    "plain": SWEEP,
    "other chips": replace(SWEEP, seed=4, purpose="validation"),
    "reads": replace(SWEEP, reads=2, read=(inc.Gaussian("filter-max"), 0.1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_two_calls_of_measure(model: nn.Module, data: Data, kind: str) -> None:
    after, chips = shrunk(model), KINDS[kind]
    found = inc.compare(model, after, inc.accuracy, data, chips)
    was, is_ = (inc.measure(one, inc.accuracy, data, chips) for one in (model, after))
    assert found.before == was and found.after == is_
    apart = is_.values - was.values
    assert np.array_equal(found.differences(), apart) and len(set(apart[2])) > 2
    for row, each, first, second in zip(found.rows(), apart, was.values, is_.values, strict=True):
        half = stats.t.ppf(0.975, 11) * each.std(ddof=1) / np.sqrt(12)
        assert row["before"] == pytest.approx(first.mean()) and row["after"] == pytest.approx(second.mean())
        assert row["mean"] == pytest.approx(each.mean(), abs=1e-12)
        assert (row["low"], row["high"]) == pytest.approx((each.mean() - half, each.mean() + half), abs=1e-12)
        assert row["sd"] == pytest.approx(each.std(ddof=1)) and row["better"] == sum(each > 0)
    row = found.rows()[0]
    assert kind == "reads" or (row["sd"] == 0 and row["low"] == row["mean"] == row["high"])


def test_lower_is_better_for_a_loss(model: nn.Module, data: Data) -> None:
    found = inc.compare(model, shrunk(model), inc.cross_entropy, data, SWEEP)
    assert found.better() == [int(count) for count in (found.differences() < 0).sum(1)]
    own = inc.compare(model, shrunk(model), lambda net, batch: net(batch[0])[:, 0], data, SWEEP)
    assert own.better() == [None] * 3 and own.rows()[1]["better"] is None and " -\n" in own.table()


def test_it_counts_the_chips_of_both(model: nn.Module, data: Data) -> None:
    told: list[tuple[int, int]] = []
    inc.compare(
        model, shrunk(model), inc.accuracy, data, SWEEP, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(done, 50) for done in range(1, 51)]


def test_given_arrays_are_found_in_both(model: nn.Module, data: Data) -> None:
    after = shrunk(model)
    own = inc.select(model, also=["*.bias"], protect=["0.weight"])
    found = inc.compare(model, after, inc.accuracy, data, replace(SWEEP, arrays=own))
    assert found.before == inc.measure(model, inc.accuracy, data, replace(SWEEP, arrays=own))
    theirs = replace(SWEEP, arrays=inc.select(after, also=["*.bias"], protect=["0.weight"]))
    assert [one.name for one in own] == ["0.bias", "2.weight", "2.bias"]
    assert found.after == inc.measure(after, inc.accuracy, data, theirs)
    assert found == inc.compare(model, after, inc.accuracy, data, theirs)  # the arrays of either network name both


def test_the_weights_are_untouched(model: nn.Module, data: Data) -> None:
    after = shrunk(model)
    kept = [one.clone() for net in (model, after) for one in net.parameters()]
    inc.compare(model, after, inc.accuracy, data, SWEEP)
    now = [one for net in (model, after) for one in net.parameters()]
    assert all(map(torch.equal, kept, now))


class Weight(nn.Module):
    """One weight, whose value is the score: of a chip, weight x (1 + strength x z)."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.layer.weight, value)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layer(inputs)
        return found


def value(model: nn.Module, batch: Data) -> Tensor:
    answers: Tensor = model(batch[0])[:, 0]
    return answers


def test_the_interval_covers_at_its_level() -> None:
    """400 sets of 5 chips, whose changes are normal with a mean of 0.5: exactly 5% should miss. An exact test at .001 for
    too many misses, and one for too few."""
    chips = inc.Sampling("gaussian-filter-max", [0.1], chips=2000, seed=0)
    ones = torch.ones(2, 1), torch.zeros(2, dtype=torch.long)
    whole = inc.compare(Weight(1.0), Weight(1.5), value, ones, chips)
    assert whole.differences().std() == pytest.approx(0.05, rel=0.1)  # the noise of both is the same
    misses = 0
    for start in range(0, 2000, 5):
        was, is_ = (replace(one, values=one.values[:, start : start + 5]) for one in (whole.before, whole.after))
        (interval,) = inc.Comparison(was, is_).interval()
        misses += not interval.low <= 0.5 <= interval.high
    assert not breaks(misses, 400) and stats.binomtest(misses, 400, 0.05, alternative="less").pvalue > 0.001


@pytest.mark.parametrize(
    ("law", "chips", "mean", "misses"),
    [("exponential", 25, 1.0, 0.0755), ("one in ten", 25, 0.1, 0.074), ("one in ten", 10, 0.1, 0.350)],
)
def test_the_interval_misses_as_often_as_is_said_where_changes_are_skewed(
    law: str, chips: int, mean: float, misses: float, model: nn.Module, data: Data
) -> None:
    """1,000 sets of chips; the rates were measured over 200,000. False alarms at most .001 each."""
    found = inc.compare(model, shrunk(model), inc.accuracy, data, replace(SWEEP, strengths=[0.2], chips=2))
    source, size = np.random.default_rng(0), (1000, 1, chips)
    apart = source.exponential(size=size) if law == "exponential" else (source.random(size) < 0.1) * 1.0
    missed = 0
    for each in apart:
        was, is_ = (replace(one, values=values) for one, values in ((found.before, 0 * each), (found.after, each)))
        (interval,) = inc.Comparison(was, is_).interval()
        missed += not interval.low <= mean <= interval.high
    assert stats.binomtest(missed, 1000, misses).pvalue > 0.001


def test_what_is_refused(model: nn.Module, data: Data) -> None:
    wider = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    deeper = nn.Sequential(*deepcopy(model), nn.Linear(3, 3))
    for other, said in (
        (model, "before and after are the same weights in memory"),
        (wider, r"0\.weight differs: \(8, 4\) before, \(9, 4\) after\.$"),
        (deeper, r"3\.weight differs: no such array before, \(3, 3\) after\.$"),
    ):
        with pytest.raises(UserError, match=said):
            inc.compare(model, other, inc.accuracy, data, SWEEP)
    with pytest.raises(UserError, match=r"3\.weight differs: .* before, no such array after"):
        inc.compare(deeper, model, inc.accuracy, data, SWEEP)
    held = replace(SWEEP, arrays=inc.select(deeper, also=["3.bias"]))
    with pytest.raises(UserError, match=r"3\.weight differs: .* before, no such array after\.$"):
        inc.compare(deeper, model, inc.accuracy, data, held)
    with pytest.raises(UserError, match="chips=1: at least 2 chips"):
        inc.compare(model, shrunk(model), inc.accuracy, data, SWEEP.corruption, [0.1], chips=1)
    infinite = replace(SWEEP, corruption=inc.parse("float-flips"), strengths=[0.2])
    with pytest.raises(UserError, match="cross-entropy before is not finite on some chips"):
        inc.compare(model, shrunk(model), inc.cross_entropy, data, infinite)


def test_chips_that_all_agree_are_told(model: nn.Module, data: Data) -> None:
    found = inc.compare(model, deepcopy(model), inc.accuracy, data, SWEEP)
    assert not found.differences().any() and found.better() == [0, 0, 0]
    assert "up to 0.25 of all chips may be otherwise" in found.table()
    assert found.table().count("all the same") == 4


# on the command line

OWN = """
import torch
from torch import nn
from incorruptible import Task

x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
task = Task(lambda: nn.Linear(6, 3), test=(x, x[:, :3].argmax(1)))
"""
VERB = ["measure", "own.py:task", "--weights", "after.safetensors", "--corruption", "gaussian-filter-max:0,.5"]
BEFORE = [*VERB, "--before", "before.safetensors"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: a task of their own, with weights before and after."""
    (tmp_path / "own.py").write_text(OWN)
    eye, bias = torch.eye(6)[:3].contiguous(), torch.zeros(3)
    save_file({"weight": eye + 0.3, "bias": bias}, tmp_path / "before.safetensors")
    save_file({"weight": eye, "bias": bias}, tmp_path / "after.safetensors")
    save_file({"kernel": eye, "bias": bias}, tmp_path / "other.safetensors")
    save_file({"weight": eye[:2].contiguous(), "bias": bias}, tmp_path / "small.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def type_(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    return typing(monkeypatch, capsys)


def test_measure_compares_with_the_weights_before(type_: Type, here: Path) -> None:
    said = type_(*BEFORE, "--chips", "9", "--figure", "f.png", "--out", "m.json")
    assert (said.code, said.err) == (0, "") and (here / "f.svg").is_file()
    assert "95% interval" in said.out and "of 9" in said.out
    printed = json.loads(type_(*BEFORE, "--chips", "9", "--json").out)
    kept = json.loads((here / "m.json").read_text())
    assert kept["rows"] == printed["rows"] and printed["difference"] == "after - before"
    alone = [
        json.loads(type_(*VERB[:3], f"{name}.safetensors", *VERB[4:], "--chips", "9", "--json").out)["values"]
        for name in ("before", "after")
    ]
    assert [printed[name]["values"] for name in ("before", "after")] == alone
    assert np.allclose(printed["differences"], np.subtract(alone[1], alone[0]), rtol=0, atol=1e-15)
    many = json.loads(type_(*BEFORE, "--corruption", "lognormal:.1", "--chips", "3", "--json").out)
    assert [len(one["rows"]) for one in many["results"]] == [2, 1]


MISTAKES = {
    "no file": ([*VERB, "--before", "none.safetensors"], "none.safetensors: no such file of weights"),
    "other names": ([*VERB, "--before", "other.safetensors"], "other.safetensors lacks weight"),
    "other shapes": ([*VERB, "--before", "small.safetensors"], "has other shapes: weight (2, 6) for (3, 6)"),
    "a half-width": ([*BEFORE, "--half-width", ".05"], "--before compares a number of chips"),
    "one chip": ([*BEFORE, "--chips", "1"], "at least 2 chips"),
    "times": (
        [*BEFORE[:5], "pcm-joshi:1", *BEFORE[6:], "--time", "1s,1d"],
        "--time 1s,1d: --before compares at one time",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_gets_one_line_and_leaves_nothing(case: str, type_: Type, here: Path) -> None:
    words, said = MISTAKES[case]
    answer = type_(*words, "--out", "m.json")
    assert answer.code == 2 and answer.out == "" and said in answer.err
    assert answer.err.count("\n") == 1 and not (here / "m.json").exists()
