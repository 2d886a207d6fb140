"""No wrong answer without a word: networks, scores, data and commands that used to be answered with a number that means nothing."""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler, TensorDataset

import incorruptible as inc
from incorruptible.corruptions import parse
from incorruptible.errors import UserError
from incorruptible.evaluation import scoring
from incorruptible.objectives.sam import Ascent, metric_of
from incorruptible.optim import SAMOptimizer
from incorruptible.randomness.streams import Draw
from incorruptible.tasks.scores import (
    binary_accuracy,
    binary_cross_entropy,
    bits_per_byte,
    bounded_loss,
    cross_entropy,
    per_token,
)
from incorruptible.weights.arrays import Array, share_in
from incorruptible.weights.swap import replaced
from two_ranks import PATIENCE, two_ranks
from typing_commands import Type, typing

NOISE = inc.Gaussian("filter-max")
N = 40


def data(positives: float = 0.5) -> tuple[Tensor, Tensor]:
    """Two classes that the first input tells apart."""
    x = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(N) < positives * N).long()
    x[:, 0] = 2.0 * labels - 1 + 0.1 * x[:, 0]
    return x, labels


def network() -> nn.Sequential:
    """A network that is right on all of it; trained once, and a copy each time."""
    return copy.deepcopy(_trained())


@cache
def _trained() -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    x, y = data()
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def measured(model: nn.Module, score: Any = inc.accuracy, given: Any = None, **more: Any) -> inc.Scores:
    options = {"chips": 3, "seed": 0, "strengths": [0.1], **more}
    given = data() if given is None else given
    return inc.measure(model, score, given, options.pop("corruption", NOISE), options.pop("strengths"), **options)


def until(model: nn.Module, score: Any = inc.accuracy, given: Any = None) -> Any:
    return inc.measure_until(
        model, score, data() if given is None else given, NOISE, [0.1], half_width=0.2, seed=0, max_chips=20
    )


def mean(model: nn.Module, score: Any = inc.accuracy, given: Any = None, corruption: Any = NOISE) -> Any:
    return inc.measure_mean(
        model, score, data() if given is None else given, corruption, [0.1], half_width=0.1, seed=0, max_chips=40
    )


def certified(model: nn.Module, score: Any = inc.accuracy, given: Any = None) -> Any:
    return inc.certify(model, score, data() if given is None else given, NOISE, [0.1], accuracy=0.9, seed=0)


def fresh(model: nn.Module, score: Any = inc.accuracy, given: Any = None) -> Any:
    return inc.certify_fresh(model, score, data() if given is None else given, NOISE, [0.01], accuracy=0.5, seed=0)


def mapped(model: nn.Module, score: Any = inc.accuracy, given: Any = None) -> Any:
    return inc.sensitivity(model, score, data() if given is None else given, NOISE, 0.1, chips=3, seed=0)


WAYS: dict[str, Callable[..., Any]] = {
    "measure": measured,
    "measure_until": until,
    "measure_mean": mean,
    "certify": certified,
    "certify_fresh": fresh,
    "sensitivity": mapped,
}
EVERY = pytest.mark.parametrize("way", WAYS)


def spoiled(value: float = math.nan) -> nn.Sequential:
    model = network()
    with torch.no_grad():
        model[2].weight[0, 0] = value
    return model


# --- what is not finite


@EVERY
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_network_with_a_weight_that_is_not_finite_is_refused(way: str, value: float) -> None:
    with pytest.raises(UserError, match=r"parameter 2\.weight holds 1 of 16 numbers that are not finite"):
        WAYS[way](spoiled(value))


@EVERY
def test_a_buffer_that_is_not_finite_is_named(way: str) -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), *network())
    model[0].running_mean[2] = math.nan
    with pytest.raises(UserError, match=r"buffer 0\.running_mean holds 1 of 6 numbers"):
        WAYS[way](model)


class Overflowing(nn.Module):
    """Finite weights, and answers that are not."""

    def __init__(self, where: slice = slice(None)) -> None:
        super().__init__()
        self.inner, self.where = network(), where

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        out[self.where] = out[self.where] * 1e38 * 1e38
        return out


@EVERY
def test_answers_that_are_not_finite_without_errors_are_refused(way: str) -> None:
    with pytest.raises(UserError, match="answers are not finite before any error is put in"):
        WAYS[way](Overflowing())


def test_clean_answers_far_behind_the_first_are_looked_at_too() -> None:
    with pytest.raises(UserError, match="answers to 3 of 40 examples are not finite before any error"):
        measured(Overflowing(slice(37, None)), strengths=[0.0, 0.1])


class Ruin(nn.Module):
    """Answers NaN to the examples behind the first five wherever its weight was touched."""

    def __init__(self, first: int = 5) -> None:
        super().__init__()
        self.inner, self.first = network(), first
        self.register_buffer("clean", self.inner[2].weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        if not torch.equal(self.inner[2].weight, self.clean):
            out[self.first :] = math.nan
        return out


@pytest.mark.parametrize("score", [inc.accuracy, bounded_loss], ids=lambda score: score.name)
def test_answers_that_are_not_finite_are_wrong_and_counted(score: inc.Score) -> None:
    """Class 0 is the argmax of NaN, and these are examples of class 0 mostly."""
    found = measured(Ruin(), score, data(0.1))
    worst = np.asarray(found.values)
    assert found.not_finite is not None and found.not_finite.tolist() == [[35, 35, 35]]
    if score is inc.accuracy:
        assert (worst <= 5 / 40).all()
    else:
        assert (worst >= 35 / 40).all()
    assert found.rows()[0]["not_finite"] == 105 and found.plain()["rows"][0]["not_finite"] == 105
    assert "not finite: so many of 120 answers" in str(found) and str(found).splitlines()[1].endswith("not finite")
    twice = measured(Ruin(), score, data(0.1), reads=2, read=(NOISE, 0.1))
    assert twice.not_finite is not None and twice.not_finite.tolist() == [[70, 70, 70]]
    assert "not finite: so many of 240 answers" in str(twice)


@pytest.mark.parametrize("score", [cross_entropy, bits_per_byte], ids=lambda score: score.name)
def test_a_loss_over_answers_that_are_not_finite_is_no_mean_over_the_others(score: inc.Score) -> None:
    found = measured(Ruin(), score, data(0.1))
    assert not np.isfinite(found.values).any() and found.not_finite is not None and found.not_finite.sum() == 105


def test_where_all_is_finite_nothing_is_said() -> None:
    found = measured(network())
    assert found.not_finite is None and "not_finite" not in found.rows()[0] and "not finite" not in str(found)


def test_counts_stand_in_sequences_means_and_certificates() -> None:
    few = data(0.1)
    one = until(Ruin(), given=few)
    assert one.not_finite[0] == 35 * len(one.values[0]) and "not finite" in str(one)
    assert mean(Ruin(), given=few).averages[0].not_finite > 0 and "were not finite, and are wrong" in str(
        mean(Ruin(), given=few)
    )
    refused = certified(Ruin(), given=few)
    assert not refused.granted and refused.steps[0].not_finite == 35 * refused.steps[0].n
    assert refused.plain()["steps"][0]["not_finite"] == 35 * refused.steps[0].n
    assert "answers that were not finite, and are wrong: " in refused.table()
    assert fresh(Ruin(0), given=few).steps[0].not_finite == 40


def test_flipped_exponents_are_wrong_answers() -> None:
    """At a rate of .01 some exponents flip on every chip, and nearly all logits come out as NaN."""
    found = measured(network(), given=data(0.1), corruption=parse("float-flips"), strengths=[0.05], chips=20)
    assert found.not_finite is not None
    wrong = found.not_finite[0] / N
    assert (found.values[0] <= 1 - wrong + 1e-6).all()


def test_stacked_chips_count_as_those_in_place() -> None:
    """A network that torch can map, under errors that overflow: by few images each."""
    huge = inc.Gaussian("absolute")
    found = inc.measure_mean(
        network(), inc.accuracy, data(), huge, [3e38], half_width=0.2, seed=0, images=20, max_chips=64
    )
    assert found.averages[0].not_finite > 0


def test_training_goes_on_from_no_weights_that_are_not_finite(tmp_path: Path) -> None:
    recipe = inc.Recipe("digits", epochs=1, batch=500)
    run = inc.train(recipe, tmp_path)
    weights = inc.Recipe("digits", epochs=1, start=str(tmp_path / "nan.safetensors"))
    model = run.model()
    with torch.no_grad():
        next(model.parameters())[0, 0] = math.nan
    inc.save_weights(model, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match=r"parameter 1\.weight holds 1 of 8192 numbers that are not finite"):
        inc.train(weights, tmp_path)


# --- scores that do not fit


class Single(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@EVERY
def test_one_logit_is_no_class(way: str) -> None:
    with pytest.raises(UserError, match=r"one logit for each example.*binary_accuracy"):
        WAYS[way](Single(), given=data(0.05))


@pytest.mark.parametrize("score", [inc.accuracy, cross_entropy, bounded_loss], ids=lambda score: score.name)
def test_no_score_takes_one_logit_for_classes(score: inc.Score) -> None:
    with pytest.raises(UserError, match="one logit for each example"):
        measured(Single(), score)


@pytest.mark.parametrize("shape", [(), (1,)], ids=["[b]", "[b, 1]"])
@pytest.mark.parametrize("kind", [torch.long, torch.float32, torch.bool])
def test_one_logit_is_judged_by_its_sign_where_that_is_asked_for(shape: tuple[int, ...], kind: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(6, 1), nn.Flatten(0) if shape == () else nn.Identity())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[5.0, 0, 0, 0, 0, 0]]))
        model[0].bias.zero_()
    x, y = data(0.25)
    found = measured(model, binary_accuracy, (x, y.to(kind)), strengths=[0.0])
    assert found.values.tolist() == [[1.0] * 3] and found.unit == "fraction"
    loss = measured(model, binary_cross_entropy, (x, y.to(kind)), strengths=[0.0]).values[0, 0]
    by_hand = nn.functional.binary_cross_entropy_with_logits(model(x).flatten(), y.float()).item()
    assert loss == pytest.approx(by_hand, rel=1e-5)


LABELS = {
    "shifted by one": (lambda y: y + 1, "labels run from 1 to 2, and the model has 2 classes"),
    "minus one for negative": (lambda y: 2 * y - 1, "labels run from -1 to 1, and the model has 2 classes"),
    "ignored": (lambda y: torch.where(torch.arange(N) == 3, -100, y), "labels run from -100 to 1"),
    "real": (lambda y: y + 0.25, "labels are real numbers.*give a score of your own"),
}


@EVERY
@pytest.mark.parametrize("labels", LABELS)
def test_labels_that_are_no_classes_are_refused(way: str, labels: str) -> None:
    change, line = LABELS[labels]
    x, y = data()
    with pytest.raises(UserError, match=line):
        WAYS[way](network(), given=(x, change(y)))


@pytest.mark.parametrize("score", [cross_entropy, bounded_loss, bits_per_byte], ids=lambda score: score.name)
def test_losses_refuse_them_too(score: inc.Score) -> None:
    x, y = data()
    with pytest.raises(UserError, match="labels run from 1 to 2"):
        measured(network(), score, (x, y + 1))


def test_whole_numbers_as_floats_are_classes() -> None:
    x, y = data()
    assert (
        measured(network(), given=(x, y.float())).values.tolist() == measured(network(), given=(x, y)).values.tolist()
    )


def test_padding_that_is_not_finite_does_not_count() -> None:
    """Of a language model, tokens whose label is -100."""
    score = per_token(inc.accuracy, causal=False)
    logits = torch.zeros(2, 3, 4)
    logits[0, 1] = math.nan
    labels = torch.tensor([[0, -100, 0], [0, 0, 0]])
    assert score.grade(logits, labels).tolist() == [1, 1] and score.finite(logits, labels).tolist() == [True, True]
    labels[0, 1] = 0
    assert score.finite(logits, labels).tolist() == [False, True]
    assert score.grade(logits, labels).tolist() == pytest.approx([2 / 3, 1])


# --- weights that the network does not use


class Listed(nn.Module):
    """Computes from copies of its weights in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.kept = [p.detach().clone() for p in self.inner.parameters()]

    def forward(self, x: Tensor) -> Tensor:
        w1, b1, w2, b2 = self.kept
        return nn.functional.linear(nn.functional.linear(x, w1, b1).relu(), w2, b2)


class Cached(nn.Module):
    """Transposes its weight once, at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.cache: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.cache is None:
            self.cache = self.inner[0].weight.detach().T.contiguous()
        hidden = (x @ self.cache + self.inner[0].bias).relu()
        return (
            nn.functional.linear(hidden, self.inner[2].weight.detach().clone(), self.inner[2].bias) * 0 + hidden[:, :2]
        )


def frozen_graph() -> nn.Module:
    model = network()
    own = {name: p.detach().clone() for name, p in model.named_parameters()}

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return torch.func.functional_call(self.model, own, (x,))

    return Graph()


@EVERY
@pytest.mark.parametrize("make", [Listed, Cached, frozen_graph])
def test_a_network_that_does_not_use_its_weights_is_not_measured(way: str, make: Callable[[], nn.Module]) -> None:
    with pytest.raises(UserError, match=r"no answer of .* changes when all weights in its arrays do"):
        WAYS[way](make())


def test_a_function_of_ones_own_is_heard_through_the_model() -> None:
    def score(model: nn.Module, batch: Any) -> Tensor:
        return (model(batch[0]).argmax(1) == batch[1]).float()

    with pytest.raises(UserError, match="no answer of Listed changes"):
        measured(Listed(), score)
    assert measured(network(), score).values.shape == (1, 3)


class Aside(nn.Module):
    """Answers with logits, and with something beside them that no weight has a part in."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x), x.mean(1)


def test_one_answer_that_changes_is_enough() -> None:
    def score(model: nn.Module, batch: Any) -> Tensor:
        return (model(batch[0])[0].argmax(1) == batch[1]).float()

    assert measured(Aside(), score).values.shape == (1, 3)


def test_a_function_that_asks_no_network_is_taken_at_its_word() -> None:
    found = measured(network(), lambda model, batch: model[0].weight[0, 0].expand(len(batch[0])))
    assert len(set(found.values[0].tolist())) == 3


class Viewed(nn.Module):
    """Computes from a view of its weight: it sees chips in place, and none that are handed to it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.view = self.inner[0].weight.data.view(-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner[2](nn.functional.linear(x, self.view.view(8, 6), self.inner[0].bias).relu())


def test_stacks_that_do_not_agree_with_chips_in_place_are_not_used() -> None:
    """Of a network that sees the first layer's errors in place alone, by chips that look at 20 images each."""
    options: dict[str, Any] = {"half_width": 0.01, "seed": 0, "images": 20, "max_chips": 400}
    arrays = lambda model: inc.select(model, protect=["inner.2.*"])  # noqa: E731
    viewed, plain = Viewed(), nn.Sequential(*network())
    by_view = inc.measure_mean(viewed, inc.accuracy, data(), NOISE, [0.8], arrays=arrays(viewed), **options)
    whole = inc.measure(viewed, inc.accuracy, data(), NOISE, [0.8], chips=300, seed=0, arrays=arrays(viewed))
    assert abs(by_view.averages[0].interval.estimate - whole.mean()[0]) < 0.03
    assert whole.mean()[0] < 0.97  # and not what it is without errors
    assert isinstance(plain, nn.Module)


# --- the order of examples


def loaders() -> dict[str, DataLoader[Any]]:
    own = TensorDataset(*data())
    return {
        "shuffle": DataLoader(own, 8, shuffle=True),
        "batch sampler": DataLoader(own, batch_sampler=BatchSampler(RandomSampler(own), 8, False)),
        "subset sampler": DataLoader(own, 8, sampler=SubsetRandomSampler(range(N))),
    }


class Disguised:
    """As what a package makes of a loader: no DataLoader, and no sampler to be looked at."""

    def __init__(self) -> None:
        self.inner = loaders()["shuffle"]

    def __iter__(self) -> Any:
        return iter(self.inner)


@pytest.mark.parametrize("name", [*loaders(), "disguised"])
def test_examples_in_another_order_each_time_have_no_scores_of_their_own(name: str) -> None:
    given = Disguised() if name == "disguised" else loaders()[name]
    with pytest.raises(UserError, match="another order each time"):
        measured(network(), given=given, keep_examples=True)
    kept_where_they_can_be = measured(network(), given=given, keep_examples=None)
    assert kept_where_they_can_be.examples is None and kept_where_they_can_be.levels() is None
    assert measured(network(), given=given).values.shape == (1, 3)


@pytest.mark.parametrize("given", ["tensors", "list", "loader", "workers"])
def test_examples_in_one_order_keep_theirs(given: str) -> None:
    loader = DataLoader(TensorDataset(*data()), 8)
    what: Any = {"tensors": data(), "list": [list(b) for b in loader], "loader": loader, "workers": loader}[given]
    more: dict[str, Any] = {"workers": 2} if given == "workers" else {}
    found = measured(network(), given=what, keep_examples=True, **more)
    plain = measured(network(), given=data(), keep_examples=True)
    assert found.examples is not None and np.array_equal(found.examples, plain.examples)


def test_two_examples_in_each_others_places_are_another_order() -> None:
    x, y = data()
    places = torch.arange(N)
    places[[3, 30]] = places[[30, 3]]
    first = scoring.scored(network(), {"": inc.accuracy}, [[x, y]], torch.device("cpu"), ordered=True)
    second = scoring.scored(network(), {"": inc.accuracy}, [[x[places], y[places]]], torch.device("cpu"), ordered=True)
    assert first[scoring.ORDER] != second[scoring.ORDER]


def test_orders_differ_wherever_they_differ() -> None:
    """In the first batch as in the last one, in the inputs as in the labels; 200 orders of 40 examples are 200."""
    x, y = data()

    def order(places: Tensor, *, labels: bool = True) -> float:
        given = [[x[part], y[part] if labels else torch.zeros(len(part))] for part in places.split(8)]
        score = inc.Score("zeros", "fraction", True, lambda logits, labels: torch.zeros(len(labels)))
        return float(scoring.scored(network(), {"": score}, given, torch.device("cpu"), ordered=True)[scoring.ORDER][0])

    plain = torch.arange(N)
    seen = {order(plain)}
    for first in (0, 16, N - 2):  # neighbours within a batch
        places = plain.clone()
        places[[first, first + 1]] = places[[first + 1, first]]
        seen |= {order(places), order(places, labels=False)}
    assert len(seen) == 1 + 3 * 2 and order(plain) == order(plain.clone())
    source = torch.Generator().manual_seed(0)
    assert len({order(torch.randperm(N, generator=source)) for _ in range(200)}) == 200


# --- intervals and tails


def test_intervals_of_fractions_stay_among_them() -> None:
    found = measured(network(), strengths=[0.9], chips=2, seed=3, keep_examples=True)
    low, _, high = found.interval()[0]
    assert 0 <= low <= high <= 1
    levels = found.levels()
    assert levels is not None and 0 <= levels[0].interval.low <= levels[0].interval.high <= 1


def test_the_tail_is_the_bad_one_where_lower_is_better() -> None:
    found = measured(network(), cross_entropy, strengths=[0.5], chips=21)
    row = found.rows()[0]
    assert row["median"] < row["q05"] <= row["worst"] and "95% quantile: lower is better" in str(found)
    right = measured(network(), strengths=[0.5], chips=21).rows()[0]
    assert right["worst"] <= right["q05"] <= right["median"]


DISTANCE = inc.Score("squared error", "V^2", False, lambda outputs, labels: (outputs[:, 0] - labels).square())


def linear(weight: float = 1.0) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A network of one weight, right without errors, whose squared error on a chip is its error's square; and its data."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(weight)
    return model, (torch.ones(8, 1), torch.full((8,), weight))


def test_a_score_of_any_kind_is_certified_at_a_threshold() -> None:
    """The error is normal with std .1, so 95% of chips have a square of at most 1.96^2 of its variance, and 5% of .0039 of it."""
    model, given = linear()
    ask = partial(inc.certify, model, DISTANCE, given, inc.Gaussian("absolute"), [0.1], seed=0, chips=200)
    good = ask(threshold=(1.96 * 0.1) ** 2, min_yield=0.85)
    assert good.granted and 180 <= good.steps[0].hits <= 199 and good.steps[0].bound < 0.95
    assert "have a squared error of 0.038416 V^2 or less" in good.sentence()
    assert good.plain()["threshold"] == pytest.approx(0.038416) and "accuracy" not in good.plain()
    assert good.plain()["ground"]["higher_is_better"] is False and good.plain()["ground"]["score_unit"] == "V^2"
    # what 85% of all chips stay below, by the same chips: between the quantiles .85 and .95 of the law
    assert 0.1**2 * 1.44**2 < good.steps[0].holds < 0.1**2 * 2.1**2
    bad = ask(threshold=0.0001, min_yield=0.85)  # 68% of these chips are worse by far
    assert not bad.granted and bad.steps[0].hits < 100
    assert bad.steps[0].holds == good.steps[0].holds  # the chips are the same


def test_a_threshold_works_upwards_too_and_a_chip_that_is_not_finite_is_not_good() -> None:
    model, given = linear()
    likeness = inc.Score("likeness", "dB", True, lambda outputs, labels: -(outputs[:, 0] - labels).square())
    ask = partial(inc.certify, model, likeness, given, inc.Gaussian("absolute"), [0.1], seed=0, chips=60)
    up = ask(threshold=-0.04)
    down = inc.certify(model, DISTANCE, given, inc.Gaussian("absolute"), [0.1], seed=0, chips=60, threshold=0.04)
    assert up.steps[0][1:5] == down.steps[0][1:5] and up.steps[0].holds == -down.steps[0].holds
    assert "likeness of -0.04 dB or more" in up.sentence()
    ruined = inc.certify(Ruin(), cross_entropy, data(), NOISE, [0.1], seed=0, chips=30, threshold=1e30)
    assert not ruined.granted and ruined.steps[0].hits == 0 and ruined.steps[0].not_finite == 30 * (N - 5)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "either accuracy=0.95"),
        ({"accuracy": 0.9, "threshold": 0.1}, "and not both"),
        ({"threshold": math.nan}, "threshold is nan"),
        ({"threshold": 0.1, "population": True}, "takes accuracy="),
        ({"accuracy": 0.9}, r"of squared error \(in V\^2\) less is better: certify"),
    ],
)
def test_what_a_threshold_does_not_go_with(asked: dict[str, Any], says: str) -> None:
    model, given = linear()
    with pytest.raises(UserError, match=says):
        inc.certify(model, DISTANCE, given, NOISE, [0.1], seed=0, **asked)
    with pytest.raises(UserError, match="more or less of '<lambda>' is better"):
        inc.certify(model, lambda net, batch: net(batch[0])[:, 0], given, NOISE, [0.1], seed=0, threshold=1.0)


def test_a_device_with_read_noise_says_that_each_chip_was_read_once() -> None:
    once = "each chip was read once"
    noisy = inc.certify(network(), inc.accuracy, data(), parse("pcm-joshi"), [1.0], accuracy=0.5, seed=0, chips=30)
    assert once in noisy.sentence() and noisy.plain()["ground"]["read_once"] is True
    still = certified(network())
    assert once not in still.sentence() and "read_once" not in still.plain()["ground"]


def test_chips_that_are_alike_do_not_speak_for_all() -> None:
    assert "up to 0.15 of all chips may be otherwise" in str(measured(network(), strengths=[1e-6], chips=20))
    assert "may be otherwise" not in str(measured(network(), strengths=[0.0], chips=20))
    assert "may be otherwise" not in str(measured(network(), corruption=parse("quantised"), strengths=[1.0], chips=20))


@pytest.mark.parametrize(
    "text",
    [
        "float-flips",
        "int-flips",
        "stuck",
        "dead-rows",
        "dead-columns",
        "mixture(int-flips)",
        "stored(integers|bit-flips)",
    ],
)
def test_few_images_say_nothing_of_chips_that_one_event_may_ruin(text: str) -> None:
    with pytest.raises(UserError, match="may ruin a whole chip"):
        mean(network(), corruption=parse(text))


# --- the ascent of SAM for gradients of every size


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [-38, -30, -23, -19, -12, 0, 12, 19, 30, 37])
@pytest.mark.parametrize("metric", ["euclidean", "filter-max", "filter-norm", "asam"])
def test_the_step_of_sam_has_its_length_for_gradients_of_every_size(kind: torch.dtype, power: int, metric: str) -> None:
    w = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=kind)
    g = torch.tensor([[1.0, -2.0], [0.5, 1.0]], dtype=torch.float64)
    array = Array("w", nn.Parameter(w.clone()))
    shape = (lambda a: a.value.abs() + 0.01) if metric == "asam" else metric_of(metric)
    usual = Ascent({"w": g.to(kind)}, [array], 0.05, shape)(array) - w
    found = Ascent({"w": (g * 10.0**power).to(kind)}, [array], 0.05, shape)(array) - w
    assert torch.allclose(found, usual, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("power", [-300, -100, 100, 300])
def test_so_for_sizes_that_only_doubles_have(power: int) -> None:
    w = torch.ones(3, dtype=torch.float64)
    array = Array("w", nn.Parameter(w.clone()), axis=None)
    moved = Ascent({"w": torch.full((3,), 10.0**power, dtype=torch.float64)}, [array], 3.0, None)(array)
    assert torch.allclose(moved, w + math.sqrt(3), rtol=1e-6)


def test_gradients_of_zero_move_nothing() -> None:
    array = Array("w", nn.Parameter(torch.ones(2, 2)))
    assert torch.equal(Ascent({"w": torch.zeros(2, 2)}, [array], 0.05, None)(array), torch.ones(2, 2))


def test_a_task_that_is_learnt_to_the_end_does_not_explode() -> None:
    """Of separable classes, whose gradient falls below 1e-23 within a few steps of a large rate."""
    torch.manual_seed(0)
    model, (x, y) = nn.Linear(6, 2), data()
    robust = inc.Hardener(model, inc.SAM(), inc.Constant(0.05), steps=60, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), 50.0)
    for _ in range(60):
        optimizer.zero_grad()
        robust.backward(lambda: nn.functional.cross_entropy(model(x), y))
        optimizer.step()
    assert all(parameter.abs().max() < 1e5 for parameter in model.parameters())


def test_the_optimiser_of_ones_own_loop_climbs_as_far() -> None:
    w = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = SAMOptimizer([w], torch.optim.SGD, 5.0, lr=0.1)
    w.grad = torch.tensor([3e-30, 4e-30])
    optimizer.first_step()
    assert w.tolist() == pytest.approx([6.0, 8.0])
    optimizer.restore()


# --- state that a forward pass moves


class Counting(nn.Module):
    """A norm of one's own whose statistics move in every pass, whatever the mode, and a counter that is assigned anew."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
            self.passes = self.passes + 1
        return self.inner(x - self.mean)


def observed() -> nn.Module:
    """A network whose activations go through a fake quantiser that watches their range."""
    from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver

    torch.manual_seed(0)
    watch = FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)
    return nn.Sequential(watch, *network()).eval()


MOVING = {"own norm": Counting, "observer": observed}


@pytest.mark.parametrize("way", ["measure", "measure_until", "certify", "certify_fresh", "sensitivity"])
@pytest.mark.parametrize("name", MOVING)
def test_measuring_leaves_all_state_as_it_was(name: str, way: str) -> None:
    model = MOVING[name]()
    model(data()[0])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    WAYS[way](model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", MOVING)
def test_chips_do_not_depend_on_those_before(name: str) -> None:
    """Nor, then, on how many processes share them."""
    model = MOVING[name]()
    model(data()[0])
    alone = measured(model, cross_entropy, chips=4, workers=2).values
    assert np.array_equal(measured(model, cross_entropy, chips=4).values, alone)
    assert np.array_equal(measured(model, cross_entropy, chips=2).values, alone[:, :2])


@pytest.mark.parametrize("objective", [inc.SAM(), inc.RWP(NOISE), inc.MixedRWP(NOISE)], ids=str)
def test_state_moves_once_for_each_step(objective: inc.Objective) -> None:
    model, (x, y) = Counting(), data()
    robust = inc.Hardener(model, objective, inc.Constant(0.1), steps=5, seed=0)
    for step in range(3):
        robust.backward(lambda: cross_entropy(model, (x, y)).mean())
        assert model.passes == step + 1
    mean = torch.zeros(6)
    for _ in range(3):
        mean = 0.9 * mean + 0.1 * x.mean(0)
    assert torch.allclose(model.mean, mean)


@pytest.mark.parametrize("objective", [inc.SAM(), inc.RWP(NOISE), inc.Plain()], ids=str)
def test_checkpointed_activations_move_statistics_once(objective: inc.Objective) -> None:
    """The backward pass repeats the forward pass, in training mode."""

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False))

    model, (x, y) = Checkpointed(), data()
    robust = inc.Hardener(model, objective, inc.Constant(0.1), steps=5, seed=0)
    for step in range(3):
        robust.backward(lambda: cross_entropy(model, (x, y)).mean())
        assert model.inner[1].num_batches_tracked == step + 1


def test_layers_behind_a_fake_quantiser_are_refused_and_can_be_set_aside() -> None:
    from torch.ao.nn.qat import Linear
    from torch.ao.quantization import default_qat_qconfig

    layer = Linear(6, 8, qconfig=default_qat_qconfig)
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(UserError, match=r"0\.weight goes through a fake quantiser"):
        inc.select(model)
    assert [array.name for array in inc.select(model, protect=["0.weight"])] == ["2.weight"]


def test_parametrised_weights_can_be_set_aside() -> None:
    model = network()
    nn.utils.parametrizations.spectral_norm(model[0])
    with pytest.raises(UserError, match=r"is computed from other parameters.*protect=\('0\.weight',\)"):
        inc.select(model)
    for pattern in ("0.weight", "0.*"):
        assert [array.name for array in inc.select(model, protect=[pattern])] == ["2.weight"]


# --- training that does not happen


def robust_for(model: nn.Module, objective: Any = None, **more: Any) -> inc.Hardener:
    objective = inc.RWP(NOISE) if objective is None else objective
    return inc.Hardener(model, objective, more.pop("strength", inc.Constant(0.1)), **{"steps": 9, "seed": 0, **more})


def test_a_step_inside_the_closure_is_an_error() -> None:
    model, (x, y) = network(), data()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def closure() -> Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward(retain_graph=True)
        optimizer.step()
        return loss

    with pytest.raises((UserError, RuntimeError), match=r"while the perturbed ones stood|modified by an inplace"):
        robust_for(model).backward(closure)
    assert all(map(torch.equal, before[::2], [p.detach() for p in model.parameters()][::2]))


@pytest.mark.parametrize("objective", [inc.RWP(NOISE), inc.SAM()], ids=str)
def test_an_optimiser_that_steps_in_the_backward_pass_is_an_error(objective: inc.Objective) -> None:
    model, (x, y) = network(), data()
    steps = {p: torch.optim.SGD([p], 0.1) for p in model.parameters()}
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda q: steps[q].step())
    with pytest.raises(UserError, match=r"behind robust\.backward"):
        robust_for(model, objective).backward(lambda: nn.functional.cross_entropy(model(x), y))


def test_a_loss_of_another_model_is_an_error() -> None:
    model, other, (x, y) = network(), network(), data()
    with pytest.raises(UserError, match="does not come from this model"):
        robust_for(model).backward(lambda: nn.functional.cross_entropy(other(x), y))


def test_calls_beyond_the_steps_are_warned_of_once() -> None:
    model, (x, y) = network(), data()
    robust = robust_for(model, steps=2)
    loss = lambda: nn.functional.cross_entropy(model(x), y)  # noqa: E731
    robust.backward(loss), robust.backward(loss)
    with pytest.warns(UserWarning, match=r"step 3, and the Hardener was made for steps=2.*len\(loader\) \* epochs"):
        robust.backward(loss)
    robust.backward(loss)  # warnings are errors here


FIRST_TOUCH: dict[str, tuple[Callable[[], Any], str]] = {
    "half a step": (lambda: robust_for(network(), steps=2.5), "steps=2.5: a whole number is needed"),
    "a loss for a function": (
        lambda: robust_for(network()).backward(torch.zeros(())),
        "takes a function that computes the loss, because",
    ),
    "rho as a field": (lambda: inc.SAM(0.05), "rho is the strength, and no field"),
    "a strength as a scale": (lambda: inc.Gaussian(0.1), "0.1 is no scale"),
    "a class for an objective": (lambda: robust_for(network(), inc.RWP), "objective=RWP is not an objective"),
    "a class for a corruption": (lambda: inc.RWP(inc.Gaussian), "Gaussian is a class"),
    "a number for a corruption": (lambda: inc.RWP(0.1), "corruption=0.1 is no corruption"),
    "logits for a model": (lambda: inc.accuracy(torch.zeros(2, 2), torch.zeros(2)), r"score\.grade\(logits, labels\)"),
    "a number for a schedule": (lambda: robust_for(network(), strength=0.1), r"Constant\(0\.1\) makes a schedule"),
}


@pytest.mark.parametrize("name", FIRST_TOUCH)
def test_a_first_mistake_is_answered(name: str) -> None:
    call, line = FIRST_TOUCH[name]
    with pytest.raises(UserError, match=line):
        call()


def test_a_closure_that_calls_backward_is_answered() -> None:
    model, (x, y) = network(), data()

    def closure() -> Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with pytest.raises(UserError, match="the closure called backward by itself"):
        robust_for(model).backward(closure)


def test_texts_stand_for_what_they_write_down() -> None:
    assert inc.RWP("gaussian-filter-max") == inc.RWP(NOISE)
    model, twin, (x, y) = network(), network(), data()
    by_text = robust_for(model, "rwp(gaussian-filter-max)", strength="linear:0:0.3")
    by_hand = robust_for(twin, strength=inc.Linear(0.0, 0.3))
    for robust, own in ((by_text, model), (by_hand, twin)):
        robust.backward(lambda own=own: nn.functional.cross_entropy(own(x), y))
    assert all(map(torch.equal, *([p.grad for p in one.parameters()] for one in (model, twin))))
    assert measured(network(), corruption="gaussian-filter-max").corruption == "gaussian-filter-max"


# --- the command line


TASK = """
import torch
from torch import nn
from incorruptible import Task

x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > x[:, 1]).long()


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def seeded(make):
    def made():
        torch.manual_seed(0)
        return make()

    return made


def untrained():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def head_at_random():
    state = torch.random.get_rng_state()
    made = model()
    torch.random.set_rng_state(state)
    nn.init.normal_(made[2].weight)
    return made


def broken():
    bad = model()
    nn.init.constant_(bad[0].weight, float("nan"))
    return bad


class Crashing(nn.Linear):
    def forward(self, x):
        return 1 / 0


task = Task(model, test=(x, y), train=(x, y))
nans = Task(broken, test=(x, (torch.arange(60) > 56).long()))
single = Task(seeded(lambda: nn.Linear(6, 1)), test=(x, (torch.arange(60) > 56).long()), train=(x, y))
crash = Task(seeded(lambda: Crashing(6, 2)), test=(x, y))
fresh = Task(untrained, test=(x, y), train=(x, y))
headed = Task(head_at_random, test=(x, y), train=(x, y))
"""
NOISY = ("--corruption", "gaussian-filter-max:.05")


@pytest.fixture
def type_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    (tmp_path / "mine.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    return typing(monkeypatch, capsys)


@pytest.mark.parametrize("task", ["nans", "single"])
@pytest.mark.parametrize("verb", ["measure", "certify", "sensitivity"])
def test_no_command_signs_for_a_network_that_means_nothing(verb: str, task: str, type_: Type) -> None:
    more = {"certify": ("--accuracy", ".9"), "sensitivity": ("--part", "test"), "measure": ()}[verb]
    said = type_(verb, f"mine.py:{task}", *NOISY, *more)
    lines = [line for line in said.err.splitlines() if "--weights" not in line]
    assert said.code == 2 and said.out == "" and len(lines) == 1
    assert ("not finite" if task == "nans" else "one logit") in lines[0]


RANDOM = "--weights is missing, and model() makes its weights at random"


@pytest.mark.parametrize(
    "words",
    [
        ("measure", "mine.py:fresh", *NOISY),
        ("certify", "mine.py:fresh", *NOISY, "--accuracy", ".9"),
        ("sensitivity", "mine.py:fresh", *NOISY, "--part", "train"),
        ("device", "pcm-joshi", "--for", "mine.py:fresh"),
    ],
)
def test_a_network_that_nobody_trained_is_refused(words: tuple[str, ...], type_: Type, tmp_path: Path) -> None:
    said = type_(*words)
    assert (said.code, said.out) == (2, "") and said.err.count("\n") == 1
    assert f"mine.py:fresh: {RANDOM}" in said.err and "give --weights FILE, or load" in said.err
    inc.save_weights(network(), tmp_path / "w.safetensors")
    assert type_(*words, "--weights", "w.safetensors").code in (0, 1)


def test_weights_that_the_task_loads_are_measured_with_a_note(type_: Type) -> None:
    said = type_("measure", "mine.py:task", *NOISY, "--chips", "2")
    assert said.code == 0 and "--weights is missing; these are the weights that model() makes.\n" in said.err
    said = type_("measure", "mine.py:headed", *NOISY, "--chips", "2")  # 16 of 74 numbers
    assert said.code == 0 and "these are the weights that model() makes, 22% of them at random." in said.err


def test_an_audit_needs_no_trained_network(type_: Type) -> None:
    assert type_("audit", "mine.py:fresh").code == 0


def test_a_large_network_is_not_made_twice(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incorruptible.cli.targets.LARGE", 73)
    said = type_("measure", "mine.py:fresh", *NOISY, "--chips", "2")
    assert said.code == 0 and "these are the weights that model() makes.\n" in said.err


def test_looking_for_random_weights_leaves_the_random_state(type_: Type) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert type_("measure", "mine.py:fresh", *NOISY).code == 2
    assert torch.equal(torch.rand(3), expected)


def test_a_crash_is_no_refusal(type_: Type) -> None:
    """A certificate that is refused ends with 1: a gate must be able to tell it from a crash."""
    refused = type_("certify", "mine.py:task", "--corruption", "gaussian-filter-max:3", "--accuracy", ".99")
    assert refused.code == 1 and "Refused" in refused.out
    crashed = type_("certify", "mine.py:crash", *NOISY, "--accuracy", ".9")
    assert crashed.code == 70 and "ZeroDivisionError" in crashed.err


def test_every_corruption_is_measured(type_: Type) -> None:
    words = ("measure", "mine.py:task", *NOISY, "--corruption", "multiplicative:.1,.2", "--chips", "3")
    said = type_(*words)
    assert said.code == 0 and "under gaussian-filter-max" in said.out and "under multiplicative" in said.out
    found = json.loads(type_(*words, "--json").out)
    assert [one["corruption"] for one in found["results"]] == ["gaussian-filter-max", "multiplicative"]
    alone = json.loads(type_("measure", "mine.py:task", *NOISY, "--chips", "3", "--json").out)
    assert found["results"][0]["values"] == alone["values"]
    assert "is given twice" in type_("measure", "mine.py:task", *NOISY, *NOISY).err
    assert "--figure draws one" in type_(*words, "--figure", "f.png").err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("certify", "mine.py:task", *NOISY, *NOISY, "--accuracy", ".9"), "--corruption"),
        (("sensitivity", "mine.py:task", *NOISY, "--corruption", "multiplicative:.1"), "--corruption"),
        (("measure", "mine.py:task", *NOISY, "--seed", "1", "--seed", "2"), "--seed"),
        (("train", "mine.py:task", "--epochs", "1", "--lr", ".1", "--lr", ".2"), "--lr"),
        (("audit", "mine.py:task", *NOISY, *NOISY), "--corruption"),
    ],
)
def test_an_option_that_comes_twice_is_no_riddle(words: tuple[str, ...], option: str, type_: Type) -> None:
    said = type_(*words)
    assert (said.code, said.out) == (2, "") and f"{option} is given 2 times; give it once" in said.err


def test_the_trainings_that_are_proposed_go_on_from_the_weights(type_: Type, tmp_path: Path) -> None:
    inc.save_weights(network(), tmp_path / "w.safetensors")
    said = type_("device", "pcm-joshi", "--for", "mine.py:task", "--weights", "w.safetensors", "--json")
    assert all("--from w.safetensors" in line for line in json.loads(said.out)["next"])


# ---- Weights under other names, texts for paths, weights that are not there


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_under_a_prefix_are_found(prefix: str, suffix: str, tmp_path: Path) -> None:
    one, other, file = network(), network(), tmp_path / f"w.{suffix}"
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(1)
    state = {prefix + name: tensor for name, tensor in one.state_dict().items()}
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    with pytest.warns(inc.errors.Remark, match=rf"begins with '{prefix}'.*loaded without it"):
        inc.load_weights(other, str(file))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_another_networks_weights_stay_another_networks(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({f"module.{name}": torch.zeros(2) for name in network().state_dict()}, file)
    with pytest.raises(UserError, match="these are the weights of another model"):
        inc.load_weights(network(), file)
    mixed = {
        ("module." if index else "") + name: value for index, (name, value) in enumerate(network().state_dict().items())
    }
    save_file(mixed, file)
    with pytest.raises(UserError, match="lacks"):
        inc.load_weights(network(), file)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_wrapped_networks_are_saved_and_loaded_without_their_prefix(tmp_path: Path) -> None:
    plain = network()
    for wrapped in (torch.compile(plain), nn.DataParallel(plain)):
        inc.save_weights(wrapped, str(tmp_path / "w.safetensors"))
        assert set(load_file(tmp_path / "w.safetensors")) == set(plain.state_dict())
        inc.load_weights(wrapped, tmp_path / "w.safetensors")


def test_the_command_line_says_that_a_prefix_went(type_: Type, tmp_path: Path) -> None:
    save_file({f"module.{name}": tensor for name, tensor in network().state_dict().items()}, tmp_path / "w.safetensors")
    said = type_("measure", "mine.py:task", "--weights", "w.safetensors", *NOISY, "--chips", "2")
    assert said.code == 0, said.err
    assert "begins with 'module.'" in said.err


def test_weights_that_are_elsewhere_are_named() -> None:
    model = network().to("meta")
    for ask in (inc.select, lambda model: inc.audit(model, NOISE, 0.1)):
        with pytest.raises(UserError, match="weight is on the meta device and has no values"):
            ask(model)


def test_texts_do_for_paths(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        inc.open_run(str(tmp_path / "nothing"))


# ---- Weights that are not listed: experts, packed weights, tensors that stand for others


class Experts(nn.Module):
    """Three experts of 6 inputs and 4 outputs, [E, out, in], and back again, [E, in, out]; all see every example."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        scale = torch.tensor([1.0, 10.0, 100.0]).reshape(3, 1, 1)
        self.up = nn.Parameter(scale * torch.randn(3, 4, 6, generator=generator))
        self.down = nn.Parameter(scale * torch.randn(3, 4, 2, generator=generator))
        self.gate = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("eoi,bi->beo", self.up, x).relu()
        return torch.einsum("eio,bei,be->bo", self.down, hidden, self.gate(x).softmax(-1))


def test_experts_have_filters_of_their_own() -> None:
    model = Experts()
    up, down = inc.select(model, also=("up:expert-out-in", "down:expert-in-out"), protect=("gate.*",))
    assert (up.filters, down.filters) == (12, 6)
    assert torch.equal(up.peak().expand(3, 4, 1), model.up.detach().abs().amax(2, keepdim=True))
    assert torch.equal(down.peak().expand(3, 1, 2), model.down.detach().abs().amax(1, keepdim=True))
    assert [array.pattern for array in (up, down)] == ["up:expert-out-in", "down:expert-in-out"]
    # the noise of an expert is set by its own filters: with weights 10 times as large it is 10 times as large
    found = inc.measure(model, inc.accuracy, data(), NOISE, [0.1], chips=2, seed=0, arrays=[up, down])
    assert found.chips == 2
    rows = torch.stack([NOISE(up, 0.1, Draw(0, "expert", chip).of("up")) - up.value for chip in range(200)])
    sizes = rows.std(0) / up.peak()
    assert torch.allclose(sizes, torch.full_like(sizes, 0.1), rtol=0.25)


def test_sensitivity_keeps_experts_digital() -> None:
    model = Experts()
    arrays = inc.select(model, also=("up:expert-out-in", "down:expert-in-out"))
    x, y = data()
    found = inc.sensitivity(
        model, inc.accuracy, (x, y), NOISE, 0.1, chips=2, seed=0, arrays=arrays, what_if_digital=["up,gate.*"]
    )
    assert [len(group.arrays) for group in found.patterns] == [2]


@pytest.mark.parametrize(
    ("also", "says"),
    [
        (
            "*.up",
            "holds experts, and its shape does not tell which dimension holds their outputs: "
            "name it with its layout, experts.up:expert",
        ),
        ("*.up:expert-in", "expert-out-in"),
        ("*.gate.bias:expert-in-out", "a layout needs three dimensions, but the shape of experts.gate.bias is 3"),
    ],
)
def test_experts_without_a_layout(also: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        inc.select(nn.ModuleDict({"experts": Experts()}), also=(also,))


def quantised() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Sequential(nn.Linear(50, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {"0": torch.ao.quantization.default_dynamic_qconfig})


def test_the_audit_knows_packed_weights_and_experts() -> None:
    found = inc.audit(quantised(), NOISE, 0.1)
    assert [row.shape for row in found.skipped if "packed" in row.reason] == [(50, 6)]
    assert found.share() == 100 / (100 + 2 + 300) and "0.weight" in str(found) and "packed" in str(found)
    rows = {row.name: row for row in inc.audit(Experts(), NOISE, 0.1).rows}
    assert rows["up"].reason.endswith("a tensor of experts with its layout, as in 'NAME:expert-out-in'")


def test_an_audit_gives_every_array_the_same_errors_as_all_at_once() -> None:
    model = network()
    rows = inc.audit(model, NOISE, 0.1, seed=5).touched
    before = [parameter.detach().clone() for parameter in model.parameters()]
    draw = Draw(5, "audit", 0)
    with replaced(inc.select(model), lambda array: NOISE(array, 0.1, draw.of(array.name))):
        for row in rows:
            weight = model.get_parameter(row.name).detach().double()
            error = (
                (weight - dict(zip(dict(model.named_parameters()), before, strict=True))[row.name])
                .square()
                .mean()
                .sqrt()
            )
            assert row.relative_to_max == pytest.approx(float(error) / row.max, rel=1e-9)


class Wrapped(Tensor):
    """A tensor that stands for another one, as torchao's quantised ones do."""

    @staticmethod
    def __new__(cls, held: Tensor) -> Wrapped:
        return Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.detach.default:
            return Wrapped(args[0].held)
        raise NotImplementedError(function)


def test_a_tensor_that_stands_for_others_is_named() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))
    model[0].weight = nn.Parameter(Wrapped(torch.ones(4, 6)), requires_grad=False)
    with pytest.raises(UserError, match=r"0.weight is a Wrapped, which keeps its weights in other tensors"):
        inc.select(model)
    assert [array.name for array in inc.select(model, protect=("0.weight",))] == ["1.weight"]


def test_the_share_of_the_weights_is_said(type_: Type) -> None:
    assert "% of the network's weights" not in type_("measure", "mine.py:task", *NOISY, "--chips", "2").err
    said = type_("measure", "mine.py:task", *NOISY, "--chips", "2", "--protect", "0.weight")
    assert "of the network's weights are in arrays; incorruptible audit lists the others." in said.err


def test_the_share_counts_packed_weights_and_tied_ones_once() -> None:
    """By hand: 100 weights in an array beside 300 packed ones; biases do not count, and a tied weight counts once."""
    model = quantised()
    assert share_in(inc.select(model), model) == 100 / (100 + 300)
    tied = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5), nn.Linear(5, 3))
    tied[1].weight = tied[0].weight
    assert share_in(inc.select(tied, protect=("2.*",)), tied) == 20 / (20 + 15)


def under_a_static_graph(rank: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'ranks'}", rank=rank, world_size=2, timeout=PATIENCE
    )
    static = nn.parallel.DistributedDataParallel(network(), static_graph=True)
    with pytest.raises(UserError, match=r"makes 2 passes a step, and DistributedDataParallel\(static_graph=True\)"):
        inc.Hardener(static, inc.SAM(), inc.Constant(0.1), steps=4, seed=0)
    robust = inc.Hardener(static, inc.RWP(NOISE), inc.Constant(0.1), steps=4, seed=0)
    x, y = data()
    assert bool(robust.backward(lambda: nn.functional.cross_entropy(static(x), y)).isfinite())
    (folder / f"{rank} is done").touch()


@pytest.mark.slow
def test_a_static_graph_takes_one_pass(tmp_path: Path) -> None:
    # not in this process: gloo's threads may hang where a model outlives its group
    two_ranks(under_a_static_graph, tmp_path)
    assert (tmp_path / "0 is done").exists() and (tmp_path / "1 is done").exists()


# What is said before and beside an answer.


@pytest.mark.parametrize("verb", ["measure", "certify", "sensitivity"])
def test_what_very_many_chips_cost_is_said_before_they_begin(verb: str, type_: Type) -> None:
    more = {"certify": ("--accuracy", ".5"), "sensitivity": ("--part", "train"), "measure": ()}[verb]
    said = type_(verb, "mine.py:task", *NOISY, *more, "--chips", "100000000000")
    assert said.code == 2 and said.out == "" and said.err.count("\n") == 1
    assert "100,000,000,000 chips take about" in said.err or verb == "sensitivity"
    assert "of memory, and this machine has" in said.err and "--half-width" in said.err


def test_what_many_chips_cost_is_said_and_done(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incorruptible.cli.advice.MANY", 5)
    plain = type_("measure", "mine.py:task", *NOISY, "--chips", "4")
    assert plain.code == 0 and "take about" not in plain.err
    said = type_("measure", "mine.py:task", *NOISY, "--chips", "5")
    assert said.code == 0 and "5 chips take about" in said.err and "Ctrl-C stops" in said.err
    # the chips that were drawn for the estimate are not those of the answer
    monkeypatch.setattr("incorruptible.cli.advice.MANY", 20_000)
    assert type_("measure", "mine.py:task", *NOISY, "--chips", "5").out == said.out


@pytest.mark.parametrize("verb", ["measure", "certify"])
@pytest.mark.parametrize(
    ("text", "tip"),
    [
        ("pcm-joshi:1:time=1d", True),
        ("pcm-joshi:1", False),
        ("pcm-joshi:1:time=1d:compensation=global", False),
        ("gaussian-filter-max:.05", False),
    ],
)
def test_drift_without_compensation_gets_a_tip_that_works(verb: str, text: str, tip: bool, type_: Type) -> None:
    more = ("--accuracy", ".1", "--chips", "30") if verb == "certify" else ("--chips", "2")
    said = type_(verb, "mine.py:task", "--corruption", text, *more)
    assert said.code in (0, 1) and ("tip: pcm-joshi has drifted for 1d" in said.err) == tip
    if tip:
        advice = said.err.split("what is read does: ")[1].split(",")[0]
        assert advice == "pcm-joshi:1:time=1d:compensation=global"
        assert "tip" not in type_(verb, "mine.py:task", "--corruption", advice, *more).err


TIMED = {
    "measure": ("--chips", "2"),
    "certify": ("--accuracy", ".1", "--chips", "30"),
    "sensitivity": ("--part", "train"),
}


@pytest.mark.parametrize("verb", TIMED)
def test_a_time_means_the_same_in_every_verb(verb: str, type_: Type) -> None:
    start = (verb, "mine.py:task", *TIMED[verb], "--corruption")
    said = type_(*start, "pcm-joshi:1", "--time", "1h")
    assert said.code in (0, 1) and said.out == type_(*start, "pcm-joshi:1:time=1h").out != ""
    said = type_(*start, "gaussian-filter-max:.05", "--time", "1h")
    assert (said.code, said.out) == (2, "")
    assert said.err == "incorruptible: gaussian-filter-max has no time: its error is the same at 1h as at once.\n"
    said = type_(*start, "pcm-joshi:1:time=1h", "--time", "1d")
    assert said.code == 2 and "has a time, and --time 1d is given too; give one of them" in said.err
    if verb != "measure":
        assert "--time 1h,1d: one time is needed" in type_(*start, "pcm-joshi:1", "--time", "1h,1d").err


@pytest.mark.parametrize("target", ["bert-base-uncased", "google/vit-base-patch16-224"])
def test_a_network_of_somewhere_else_is_answered_with_what_to_write(target: str, type_: Type) -> None:
    said = type_("measure", target, *NOISY)
    assert said.code == 2 and said.err.count("\n") == 1 and "FILE.py:NAME" in said.err


def test_a_training_that_is_refused_leaves_nothing_behind(type_: Type, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__")
    said = type_(
        "train", "mine.py:single", "--objective", "rwp(gaussian-filter-max)", "--strength", ".1", "--epochs", "1"
    )
    assert said.code == 2 and "one logit" in said.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == before
