"""The evaluation protocol: by a slow twin, by hand, and each promise of `measure`."""

from __future__ import annotations

import copy
import re
from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import incorruptible as inc
from incorruptible.corruptions import Gaussian, parse
from incorruptible.errors import UserError
from incorruptible.evaluation import Sampling, Scores, measure, measure_all
from incorruptible.evaluation.workers import work_items
from incorruptible.randomness.streams import Draw
from incorruptible.tasks.data import Batches
from incorruptible.tasks.scores import accuracy, bounded_loss, cross_entropy
from incorruptible.weights.arrays import select
from incorruptible.weights.batchnorm import fold_batchnorm

FILTER_MAX = Gaussian("filter-max")
ABSOLUTE = Gaussian("absolute")
Kept = list[dict[str, Tensor]]


def made(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def normed() -> nn.Module:
    """Convolution, BatchNorm whose statistics have moved, dropout."""
    model = nn.Sequential(
        nn.Conv1d(2, 5, 2), nn.BatchNorm1d(5), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(10, 3)
    )
    nn.init.uniform_(model[1].weight, 0.5, 2)
    model(3 * torch.randn(50, 2, 3) + 1)
    return model


@pytest.fixture
def data() -> list[tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(1)
    x, y = torch.randn(30, 6, generator=source), torch.randint(0, 3, (30,), generator=source)
    return list(zip(x.split(12), y.split(12), strict=True))


@pytest.fixture
def images(data: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [(x.reshape(-1, 2, 3), y) for x, y in data]


def recorder(kept: Kept) -> Callable[[nn.Module, Any], Tensor]:
    """A score that keeps the weights that it sees."""

    def score(model: nn.Module, batch: Any) -> Tensor:
        kept.append({name: parameter.detach().clone() for name, parameter in model.named_parameters()})
        return torch.zeros(len(batch[0]))

    return score


def chips(model: nn.Module, data: Any, strengths: list[float], **given: Any) -> Kept:
    """The weights of each chip, strength by strength."""
    kept: Kept = []
    settings = {"chips": 3, "seed": 7, **given}
    corruption = settings.pop("corruption", FILTER_MAX)
    measure(model, recorder(kept), data[:1], corruption, strengths, **settings)
    named = {name: settings[name] for name in ("chips", "seed", "purpose", "reads", "read") if name in settings}
    keys = [key for item in work_items(Sampling(corruption, strengths, **named), {}) for key in item]  # chip by chip
    # what comes first is the look at whether the score follows the weights, clean and changed
    return [chip for _, chip in sorted(zip(keys, kept[2:], strict=True), key=lambda one: one[0])]


@pytest.mark.parametrize("score", [accuracy, cross_entropy])
def test_the_slow_obvious_loop_finds_the_same(score: Any, data: Any) -> None:
    model, strengths = made(dense), (0.05, 0.3)
    found = measure(model, score, data, FILTER_MAX, strengths, chips=4, seed=7)
    for i, strength in enumerate(strengths):
        for k in range(4):
            chip = copy.deepcopy(model).eval()
            for name, weight in chip.named_parameters():
                if weight.dim() == 2:
                    z = Draw(7, "test", k).of(name).normal(weight)
                    weight.data += strength * weight.data.abs().amax(1, keepdim=True) * z
            marks = []
            for x, y in data:
                for one, label in zip(chip(x).softmax(1).tolist(), y.tolist(), strict=True):
                    hit = max(range(3), key=one.__getitem__) == label
                    marks.append(hit if score is accuracy else -np.log(one[label]))
            assert found.values[i, k] == pytest.approx(np.mean(marks), rel=1e-5)
            if score is accuracy:  # a share of 30, in double precision
                assert float(found.values[i, k]) == sum(marks) / 30
    largest = [float(row.abs().max()) for weight in model.parameters() if weight.dim() == 2 for row in weight.data]
    assert found.peaks == (min(largest), max(largest))


def test_equal_names_meet_equal_chips_in_every_model(data: Any) -> None:
    scaled = []
    for seed in (0, 1):
        model = made(dense, seed)
        clean = {name: p.detach().clone() for name, p in model.named_parameters()}
        scaled.append(
            [
                {
                    n: (chip[n] - clean[n]) / (0.1 * clean[n].abs().amax(1, keepdim=True))
                    for n in ("0.weight", "2.weight")
                }
                for chip in chips(model, data, [0.1])
            ]
        )
    one, other = scaled
    for k in range(3):
        for name in one[k]:
            torch.testing.assert_close(one[k][name], other[k][name], atol=1e-4, rtol=0)
            assert (one[k][name] - one[(k + 1) % 3][name]).abs().max() > 0.5  # and another draw is another chip


def test_a_draw_is_one_chip_at_every_strength(data: Any) -> None:
    model = made(dense)
    clean = model[0].weight.detach().clone()
    kept = chips(model, data, [0.1, 0.2])
    for k in range(3):
        small, large = kept[k]["0.weight"] - clean, kept[3 + k]["0.weight"] - clean
        torch.testing.assert_close(large, 2 * small, atol=1e-6, rtol=0)


def test_protecting_a_layer_leaves_the_other_layers_chips_alone(data: Any) -> None:
    model = made(dense)
    whole = chips(model, data, [0.2])
    part = chips(model, data, [0.2], arrays=select(model, protect=("0.*",)))
    for one, other in zip(whole, part, strict=True):
        assert torch.equal(one["2.weight"], other["2.weight"])
        assert torch.equal(other["0.weight"], model[0].weight)
        assert not torch.equal(one["0.weight"], other["0.weight"])


def test_chips_of_another_seed_or_purpose_are_others(data: Any) -> None:
    first = [
        chips(made(dense), data, [0.2], **given)[0]["0.weight"] for given in ({}, {"seed": 8}, {"purpose": "train"})
    ]
    assert not any(torch.equal(first[0], other) for other in first[1:])


def test_at_strength_0_all_chips_are_one(data: Any) -> None:
    kept: Kept = []
    found = measure(made(dense), recorder(kept), data, FILTER_MAX, (0, 0.1), chips=5, seed=0)
    assert len(kept) == 2 + len(data) * (1 + 5)  # two looks, one clean chip, five
    model = made(dense)
    found = measure(model, accuracy, data, FILTER_MAX, (0, 0.1), chips=5, seed=0)
    with torch.no_grad():
        clean = np.concatenate([(model(x).argmax(1) == y).numpy() for x, y in data]).mean()
    assert found.values[0] == pytest.approx([clean] * 5)
    assert len(set(found.values[1])) > 1


def first_weight(model: nn.Module, batch: Any) -> Tensor:
    """A score that is one weight, whose errors are known."""
    return model[0].weight[0, 0].expand(len(batch[0]))


def test_reads_add_an_error_of_their_own_to_each_chip(data: Any) -> None:
    """Standard deviations over 400 chips and 1,200 reads of them; 20% off is more than 5 standard errors."""
    found = measure(
        made(dense), first_weight, data[:1], ABSOLUTE, [0.1], chips=400, seed=0, reads=4, read=(ABSOLUTE, 0.02)
    )
    assert found.reads is not None and found.reads.shape == (1, 400, 4)
    np.testing.assert_allclose(found.values, found.reads.mean(2))
    within, between = found.reads.std(2, ddof=1), found.values.std(1, ddof=1)
    assert np.sqrt((within**2).mean()) == pytest.approx(0.02, rel=0.2)
    assert between[0] == pytest.approx(np.sqrt(0.1**2 + 0.02**2 / 4), rel=0.2)


def test_reads_of_a_clean_chip_differ_too_and_are_nobodys_chip(data: Any) -> None:
    model, settings = made(dense), {"chips": 3, "seed": 0}
    reads = measure(model, first_weight, data[:1], ABSOLUTE, [0], reads=2, read=(ABSOLUTE, 1.0), **settings).reads
    chips = measure(model, first_weight, data[:1], ABSOLUTE, [1], **{**settings, "chips": 6}).values
    assert reads is not None
    assert len(np.unique(np.concatenate([reads.ravel(), chips.ravel()]).round(5))) == 12


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("policy", ["as-is", "recalibrated", "folded"])
def test_the_model_comes_back_as_it_was(policy: str, raises: bool, images: Any) -> None:
    model = made(normed)
    model[1].eval()  # a part that its owner froze
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    calls = 0

    def score(model: nn.Module, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if raises and calls == 5:
            raise RuntimeError("no more")
        return accuracy(model, batch)

    calibration = images if policy == "recalibrated" else None
    settings: Any = {"chips": 3, "seed": 0, "batchnorm": policy, "calibration": calibration}
    if raises:
        with pytest.raises(RuntimeError, match="no more"):
            measure(model, score, images, FILTER_MAX, [0.3], **settings)
    else:
        measure(model, score, images, FILTER_MAX, [0.3], **settings)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [module.training for module in model.modules()] == modes


def test_dropout_is_off(images: Any) -> None:
    model = made(normed)
    assert model.training
    runs = [measure(model, cross_entropy, images, FILTER_MAX, [0], chips=1, seed=0).values for _ in range(2)]
    model.eval()
    with torch.no_grad():
        losses = torch.cat([nn.functional.cross_entropy(model(x), y, reduction="none") for x, y in images])
    assert runs[0] == runs[1] == pytest.approx(losses.double().mean().item(), rel=1e-6)


def test_folded_measures_the_folded_model(images: Any) -> None:
    model = made(normed)
    settings: Any = {"chips": 3, "seed": 0}
    folded = measure(model, cross_entropy, images, ABSOLUTE, [0.3], batchnorm="folded", **settings)
    by_hand = measure(fold_batchnorm(model), cross_entropy, images, ABSOLUTE, [0.3], **settings)
    as_is = measure(model, cross_entropy, images, ABSOLUTE, [0.3], **settings)
    np.testing.assert_array_equal(folded.values, by_hand.values)
    assert not np.allclose(folded.values, as_is.values)
    assert folded.batchnorm == "folded" and "folded" in folded.header()


def test_recalibrated_computes_the_statistics_anew_on_every_chip(images: Any) -> None:
    model, others = made(normed), [(2 * x + 1, y) for x, y in images]  # not those that are scored
    found = measure(
        model, cross_entropy, images, FILTER_MAX, [0.3], chips=3, seed=0, batchnorm="recalibrated", calibration=others
    )
    for k in range(3):
        chip = copy.deepcopy(model).eval()
        for name in ("0.weight", "5.weight"):
            weight = chip.get_parameter(name)
            peak = weight.data.abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.dim() - 1))
            weight.data += 0.3 * peak * Draw(0, "test", k).of(name).normal(weight)
        seen = [chip[0](x).detach() for x, _ in others]
        chip[1].running_mean = torch.stack([h.mean((0, 2)) for h in seen]).mean(0)
        chip[1].running_var = torch.stack([h.var((0, 2)) for h in seen]).mean(0)
        losses = torch.cat([nn.functional.cross_entropy(chip(x), y, reduction="none") for x, y in images])
        assert found.values[0, k] == pytest.approx(losses.mean().item(), rel=1e-4)


@pytest.fixture
def scores(data: Any) -> Scores:
    """Five chips of known values."""
    found = measure(made(dense), accuracy, data, FILTER_MAX, [0.1], chips=5, seed=0)
    return replace(found, values=np.array([[3.0, 1, 10, 2, 4]]))


def test_the_statements_about_chips(scores: Scores) -> None:
    (interval,) = scores.interval(0.9)
    assert interval == pytest.approx((*[4 - 2.131846786 * np.sqrt(12.5 / 5), 4, 4 + 2.131846786 * np.sqrt(12.5 / 5)],))
    assert stats.t(4).ppf(0.95) == pytest.approx(2.131846786)
    assert (scores.chips, scores.mean(), scores.spread(), scores.quantile(0.5)) == (5, 4, np.sqrt(12.5), 3)
    assert (scores.quantile(0), scores.quantile(0.25), scores.quantile(1)) == (1, 2, 10)
    assert scores.worst() == 1
    assert replace(scores, higher_is_better=False).worst() == 10
    (row,) = scores.rows()
    assert (row["strength"], row["mean"], row["worst"], row["q05"]) == (0.1, 4, 1, pytest.approx(1.2))


def test_the_table_says_what_was_measured(scores: Scores) -> None:
    text = str(scores)
    for fact in ("5 chips", "30 examples", "fraction", "higher is better", "gaussian-filter-max", "max|W_f|", "seed 0"):
        assert fact in text.splitlines()[0]
    assert "10.0000" not in text and "0.1 " in text.splitlines()[2]  # the best chip is nobody's column


def test_what_is_written_down(data: Any) -> None:
    device = parse("pcm-joshi:time=1h")
    options: dict[str, Any] = {"chips": 3, "seed": 5, "purpose": "validation", "reads": 2, "read": (ABSOLUTE, 0.25)}
    found = measure(made(dense), cross_entropy, data, device, [1, 0], **options)
    plain = found.plain()
    rows, values = plain.pop("rows"), plain.pop("values")
    assert plain.pop("over_range") == found.overall().plain()  # type: ignore[union-attr]
    assert plain == {
        "corruption": "pcm-joshi:time=1h",
        "unit": device.unit,
        "conditions": device.conditions,
        "score": "cross-entropy",
        "score_unit": "nats",
        "higher_is_better": False,
        "draws": 3,
        "reads": 2,
        "read": "gaussian-absolute:0.25",
        "examples": 30,
        "seed": 5,
        "purpose": "validation",
        "batchnorm": "as-is",
        "autocast": None,
        "channels_last": False,
        "max_abs_weight_of_filters": list(found.peaks),
    }
    assert values is found.values and values.shape == (2, 3)
    for place, row in enumerate(rows):
        own, interval = found.values[place], found.interval()[place]
        assert row == {
            "strength": (1, 0)[place],
            "equivalent": found.equivalent[place],
            "mean": own.mean(),
            "low": interval.low,
            "high": interval.high,
            "sd": pytest.approx(own.std(ddof=1)),
            "q05": np.quantile(own, 0.95),
            "median": np.median(own),
            "worst": own.max(),
        }


def test_one_chip_has_no_interval(data: Any) -> None:
    found = measure(made(dense), accuracy, data, FILTER_MAX, [0.1], chips=1, seed=0)
    assert "needs 2 chips" in str(found) and "nan" not in str(found)
    assert np.isnan(found.rows()[0]["low"]) and found.rows()[0]["mean"] == found.values[0, 0]


def test_a_score_that_is_not_finite_is_shown_and_not_hidden(data: Any) -> None:
    found = measure(made(dense), cross_entropy, data, FILTER_MAX, [0.1, 1e38], chips=2, seed=0)
    assert not np.isfinite(found.values[1]).all() and np.isnan(found.interval()[1].low)
    assert "not finite" in str(found) and "needs 2 chips" not in str(found)


def test_each_example_is_kept_on_request(data: Any) -> None:
    found = measure(made(dense), accuracy, data, FILTER_MAX, [0.1, 0.2], chips=3, seed=0, keep_examples=True)
    assert found.examples is not None and found.examples.shape == (2, 3, 30) and found.n_examples == 30
    np.testing.assert_allclose(found.examples.mean(2), found.values, rtol=1e-6)
    assert measure(made(dense), accuracy, data, FILTER_MAX, [0.1], chips=3, seed=0).examples is None


DOORS: dict[str, Callable[[nn.Module, Any, Any], Any]] = {
    "measure": lambda model, score, data: measure(model, score, data, FILTER_MAX, [0.1], chips=2),
    "measure_until": lambda model, score, data: inc.measure_until(
        model, score, data, FILTER_MAX, [0.1], half_width=0.4, max_chips=3
    ),
    "measure_mean": lambda model, score, data: inc.measure_mean(
        model, score, data, FILTER_MAX, [0.1], half_width=0.4, max_chips=16
    ),
    "compare": lambda model, score, data: inc.compare(
        model, copy.deepcopy(model), score, data, FILTER_MAX, [0.1], chips=2
    ),
    "certify": lambda model, score, data: inc.certify(model, score, data, FILTER_MAX, [0.1], accuracy=0.1, chips=30),
    "certify_fresh": lambda model, score, data: inc.certify_fresh(model, score, data, FILTER_MAX, [0.1], accuracy=0.1),
    "sensitivity": lambda model, score, data: inc.sensitivity(model, score, data, FILTER_MAX, 0.1, chips=2),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_score_is_checked_at_the_door(door: str, data: Any) -> None:
    model, call = made(dense), DOORS[door]
    assert str(call(model, "accuracy", data)) == str(call(model, accuracy, data))
    for wrong, said in (
        ("acuracy", "No score 'acuracy' here. Did you mean 'accuracy'"),
        (3, "score=3 cannot be called"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            call(model, wrong, data)


def test_a_task_checks_its_loss_and_its_score(data: Any) -> None:
    task = inc.Task(dense, test=data, loss="bounded_loss", score="cross_entropy")  # type: ignore[arg-type]
    assert task.loss is bounded_loss and task.score is cross_entropy
    for name in ("loss", "score"):
        with pytest.raises(UserError, match=f"{name}=None cannot be called"):
            inc.Task(dense, test=data, **{name: None})  # type: ignore[arg-type]


def test_several_scores_meet_the_same_chips(data: Any) -> None:
    both = measure_all(
        made(dense), {"a": accuracy, "l": cross_entropy}, data, Sampling(FILTER_MAX, [0.2], chips=3, seed=0)
    )
    for name, score in (("a", accuracy), ("l", cross_entropy)):
        alone = measure(made(dense), score, data, FILTER_MAX, [0.2], chips=3, seed=0)
        np.testing.assert_array_equal(both[name].values, alone.values)
    assert both["l"].name == "cross-entropy" and not both["l"].higher_is_better
    # a score that asks the network in a way of its own is not given the answers that were asked for the others
    asked = replace(accuracy, answer=lambda model, batch: (-model(batch[0]), batch[1]))
    found = measure_all(made(dense), {"a": accuracy, "o": asked}, data, Sampling(FILTER_MAX, [0.2], chips=3, seed=0))
    alone = measure(made(dense), asked, data, FILTER_MAX, [0.2], chips=3, seed=0)
    np.testing.assert_array_equal(found["o"].values, alone.values)
    np.testing.assert_array_equal(found["a"].values, both["a"].values)
    assert (alone.values != both["a"].values).all()


def test_progress_reaches_its_total(data: Any) -> None:
    seen: list[tuple[int, int]] = []
    measure(
        made(dense),
        accuracy,
        data,
        FILTER_MAX,
        [0, 0.1],
        chips=3,
        seed=0,
        progress=lambda done, all_: seen.append((done, all_)),
    )
    assert seen == [(i, 4) for i in range(1, 5)]
    seen.clear()
    device = parse("pcm-joshi:time=1h")  # at strength 0 all chips are one, which is read twice, too
    tell = lambda done, all_: seen.append((done, all_))  # noqa: E731
    measure(made(dense), accuracy, data, device, [0, 1], chips=3, seed=0, reads=2, progress=tell)
    assert seen == [(i, 8) for i in range(1, 9)]


class Answering(nn.Module):
    """As of transformers: named inputs, an answer that holds logits."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = dense()

    def forward(self, pixels: Tensor) -> Any:
        return SimpleNamespace(logits=self.inner(pixels))


@pytest.mark.parametrize("kind", [dict, UserDict])  # transformers' BatchEncoding is a UserDict
def test_batches_by_name(kind: Any, data: Any) -> None:
    named = [kind({"pixels": x, "labels": y}) for x, y in data]
    model = made(Answering)
    found = measure(model, accuracy, named, FILTER_MAX, [0.1], chips=2, seed=0)
    plain = measure(model.inner, accuracy, data, FILTER_MAX, [0.1], chips=2, seed=0, arrays=select(model))
    np.testing.assert_array_equal(found.values, plain.values)


class Shrinking:
    """Data that lose an example at every look."""

    def __init__(self) -> None:
        self.left = 10

    def __iter__(self) -> Iterator[Any]:
        self.left -= 1
        yield torch.zeros(self.left, 6), torch.zeros(self.left, dtype=torch.long)


def shaped(*shape: int) -> Callable[[nn.Module, Any], Tensor]:
    return lambda model, batch: torch.zeros(shape)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"score": shaped(12, 3)}, r"the score returned shape \(12, 3\) for a batch of 12"),
        ({"score": shaped()}, r"shape \(\)"),
        ({"score": shaped(11)}, r"shape \(11,\)"),
        ({"score": lambda model, batch: 0.5}, "the score returned float"),
        ({"data": iter([])}, "can be iterated only once"),
        ({"data": (batch for batch in [])}, "data is a generator"),
        ({"calibration": iter([]), "batchnorm": "recalibrated"}, "calibration is a list_iterator"),
        ({"data": []}, "data is empty"),
        ({"data": Shrinking()}, "another number of examples the second time"),
        ({"data": [{"pixels": torch.zeros(2, 6)}]}, "no 'labels'"),
        ({"batchnorm": "freeze"}, "No BatchNorm policy 'freeze'"),
        ({"batchnorm": "recalibrated"}, "calibration"),
        ({"calibration": []}, "batchnorm='recalibrated'"),
        (
            {"batchnorm": "recalibrated", "calibration": iter([])},
            "calibration is a list_iterator, which can be iterated only",
        ),
        ({"batchnorm": "folded"}, "nothing to fold"),
        ({"chips": 0}, "chips=0"),
        ({"reads": 0}, "reads=0"),
        ({"reads": 2}, "say what a read adds"),
        ({"strengths": [-0.1]}, "not negative"),
        ({"strengths": [float("nan")]}, "finite"),
        ({"strengths": []}, "no strength"),
        ({"strengths": [0.1, 0.1]}, "twice"),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one),
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], says: str, data: Any) -> None:
    given: dict[str, Any] = {"score": accuracy, "data": data, "strengths": [0.1], "chips": 2, "seed": 0, **changes}
    first = [given.pop(name) for name in ("score", "data", "strengths")]
    with pytest.raises(UserError, match=says):
        measure(made(dense), first[0], first[1], FILTER_MAX, first[2], **given)


@pytest.mark.parametrize("answer", [lambda x: x.sum(), lambda x: x[:, None, :], lambda x: x[1:], lambda x: (x, x)])
def test_an_answer_that_is_no_logits_is_refused(answer: Any, data: Any) -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Any:
            return answer(self.inner(x))

    with pytest.raises(UserError, match=r"logits \[b, classes\] are needed"):
        measure(Wrong(), accuracy, data, FILTER_MAX, [0.1], chips=1, seed=0)


def test_batches_of_one_size_are_the_batches_of_another(data: Any) -> None:
    x, y = torch.cat([x for x, _ in data]), torch.cat([y for _, y in data])
    found = [
        measure(made(dense), accuracy, Batches((x, y), size), parse("lognormal"), [0.5], chips=3, seed=0).values
        for size in (30, 7)
    ]
    np.testing.assert_array_equal(*found)
