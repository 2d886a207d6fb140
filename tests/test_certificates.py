"""Promises about chips: where the truth is known, they are false no more often than they say.

The network is one Linear layer with weights 1 and 0 and no bias; its answer to x = 1 is right where the first output is
above the second. Under gaussian-absolute noise of strength s a chip is therefore right with chance Phi(1 / (s sqrt 2)).
Simulations fix their seeds and their n; a one-sided exact binomial test at .001 must not reject 5% of false promises.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import incorruptible as inc
from alarms import REPETITIONS, breaks
from incorruptible.certificates import StrengthVerdict, certify, certify_fresh, chips_for, fixed_sequence
from incorruptible.certificates.assumptions import assumptions_of
from incorruptible.errors import UserError
from incorruptible.evaluation import Sampling
from incorruptible.statistics import fewest, lower_bound, quantile_rank

NOISE = inc.Gaussian("absolute")


def scale() -> nn.Module:
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0], [0.0]]))
    return model


def ones(n: int) -> tuple[Tensor, Tensor]:
    """n times the example 1, with the label 0."""
    return torch.ones(n, 1), torch.zeros(n, dtype=torch.long)


def strength_for(chance: float) -> float:
    """The strength at which a chip is right with that chance."""
    return float(1 / (2**0.5 * stats.norm.ppf(chance)))


def promised(**asked: Any) -> Any:
    return certify(scale(), inc.accuracy, ones(1), NOISE, **{"accuracy": 1.0, "seed": 0, **asked})


def test_false_yields_are_rare() -> None:
    true = 0.9
    strengths = [strength_for(true)]
    granted = sum(
        promised(strengths=strengths, min_yield=true + 1e-6, chips=29, seed=s).granted for s in range(REPETITIONS)
    )
    assert granted > 0 and not breaks(granted)


def test_true_yields_are_promised() -> None:
    strengths = [strength_for(0.995)]
    granted = sum(promised(strengths=strengths, min_yield=0.9, seed=seed).granted for seed in range(50))
    assert granted >= 45  # at most 2 of 61 fail with chance .997


@pytest.mark.slow
def test_false_fresh_accuracies_are_rare() -> None:
    true = 0.8
    granted = 0
    for seed in range(REPETITIONS):
        found = certify_fresh(
            scale(), inc.accuracy, ones(30), NOISE, [strength_for(true)], accuracy=true + 1e-6, seed=seed
        )
        granted += found.granted
    assert granted > 0 and not breaks(granted)


def test_one_chip_for_all_examples_would_promise_falsely() -> None:
    """The same count by the same bound, from the examples of a single chip."""
    true, false = 0.8, 0
    for seed in range(REPETITIONS):
        scores = inc.measure(scale(), inc.accuracy, ones(30), NOISE, [strength_for(true)], chips=1, seed=seed)
        false += lower_bound(round(30 * float(scores.values[0, 0])), 30) > true
    assert breaks(false)


@pytest.mark.slow
def test_false_certified_strengths_are_rare() -> None:
    """Three strengths with the same chips; the promise is true for the first only."""
    strengths = [strength_for(chance) for chance in (0.999, 0.899, 0.85)]
    false = 0
    for seed in range(REPETITIONS):
        found = promised(strengths=strengths, min_yield=0.9, chips=29, seed=seed)
        assert found.strength is None or found.strength in strengths
        false += found.strength is not None and found.strength >= strengths[1]
    assert false > 0 and not breaks(false)


def test_testing_stops_at_the_first_failure_and_in_order() -> None:
    tested = []

    def test(strength: float) -> StrengthVerdict:
        tested.append(strength)
        return StrengthVerdict(strength, 1, 1, 0.5, strength != 0.2)

    steps = fixed_sequence([0.3, 0.1, 0.2], test)
    assert tested == [0.1, 0.2] == [step.strength for step in steps]


def test_what_is_counted() -> None:
    """Hits and bound of the certificate are those of the same chips, measured."""
    strengths = [0.3, 0.5]
    found = promised(strengths=strengths, min_yield=0.5, seed=3)
    scores = inc.measure(
        scale(), inc.accuracy, ones(1), NOISE, strengths, chips=chips_for(0.5, 0.95), seed=3, purpose="certify"
    )
    for step, values in zip(found.steps, scores.values, strict=False):
        assert (step.hits, step.n) == (int(values.sum()), len(values))
        assert step.bound == lower_bound(step.hits, step.n) and step.granted == (step.bound >= 0.5)
        assert step.holds == np.sort(values)[quantile_rank(step.n, 0.5) - 1]


def test_the_population_takes_its_part_of_yield_and_confidence() -> None:
    """A twentieth of what may be missing from the yield, and a fifth of the chance of error: .905 at .96."""
    assert chips_for(0.9, 0.95) == fewest(0.9, 0.95, 2) == 61
    assert chips_for(0.9, 0.95, population=True) == fewest(0.905, 0.96, 2)
    assert len({fewest(0.9, 0.95, 2), fewest(0.905, 0.95, 2), fewest(0.9, 0.96, 2), fewest(0.905, 0.96, 2)}) == 4
    assert chips_for(0.8, 0.9, True, failures=0) == fewest(0.81, 0.92)


def test_chips_of_measuring_are_never_certified_with() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, data = nn.Linear(4, 3), (torch.randn(50, 4), torch.zeros(50, dtype=torch.long))
    certified = certify(model, inc.accuracy, data, NOISE, [1.0], accuracy=0.3, min_yield=0.5, seed=0)
    chips = inc.measure(model, inc.accuracy, data, NOISE, [1.0], chips=certified.steps[0].n, seed=0)
    theirs = inc.measure(model, inc.accuracy, data, NOISE, [1.0], chips=certified.steps[0].n, seed=0, purpose="certify")
    assert (theirs.values >= 0.3).sum() == certified.steps[0].hits
    assert not np.array_equal(theirs.values, chips.values)


def test_every_example_has_a_chip_of_its_own() -> None:
    seen: list[float] = []

    def grade(logits: Tensor, labels: Tensor) -> Tensor:
        if len(logits) == 1:  # and not the look at whether the score fits
            seen.append(float(logits[0, 0]))
        return torch.ones(len(logits))

    inc.certify_fresh(
        scale(), inc.Score("first", "fraction", True, grade), ones(40), NOISE, [0.1, 0.2], accuracy=0.9, seed=0
    )
    assert len(seen) == 80 and len(set(seen)) == 80
    # the same chip at both strengths: twice as far away
    assert np.allclose(2 * (np.array(seen[:40]) - 1), np.array(seen[40:]) - 1, atol=1e-6)


def test_accuracy_is_reached_and_not_passed() -> None:
    """Chips at exactly the accuracy count; .7 of 10 examples is no 0.7000000001."""
    x = torch.tensor([[1.0]] * 7 + [[-1.0]] * 3)
    model = scale()
    found = certify(model, inc.accuracy, (x, torch.zeros(10, dtype=torch.long)), NOISE, [0.0], accuracy=0.7, seed=0)
    assert (
        found.granted and found.steps[0].hits == found.steps[0].n == 61 and found.steps[0].holds == pytest.approx(0.7)
    )


def test_the_model_is_as_before() -> None:
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    certify(
        model,
        inc.accuracy,
        ones(3),
        NOISE,
        [0.5],
        accuracy=0.5,
        seed=0,
        batchnorm="recalibrated",
        calibration=[ones(8)],
    )
    certify_fresh(model, inc.accuracy, ones(30), NOISE, [0.5], accuracy=0.5, seed=0)
    certify_fresh(model, inc.accuracy, ones(30), NOISE, [0.5], accuracy=0.5, seed=0, batchnorm="folded")
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


# Sentences.


def test_a_sentence_says_everything() -> None:
    found = promised(strengths=[0.1, 0.2, 50.0], min_yield=0.9)
    text = found.sentence()
    for part in (
        "With confidence 0.95, at least 0.9 of all chips",
        "accuracy of 1 or more on this test set (1 example)",
        "gaussian-absolute errors of strength 0.2 (std of the error in 1)",
        "61 of 61 chips",
        f"{0.05 ** (1 / 61):.4f}",
        "0.2 is the certified strength",
        "0.1, 0.2 passed and 50 failed",
        "not other examples",
        "drawn independently from gaussian-absolute",
        "seed 0, 'certify'",
        "BatchNorm as-is",
    ):
        assert part in text, part
    assert found.strength == 0.2 and found.plain()["certified_strength"] == 0.2
    assert "%" not in text


def test_what_is_written_down_of_a_certificate() -> None:
    found = promised(strengths=[0.2, 0.1], min_yield=0.8, confidence=0.9, seed=4, purpose="other")
    plain = found.plain()
    ground, steps = plain.pop("ground"), plain.pop("steps")
    assert plain == {
        "kind": "chip yield",
        "granted": True,
        "certified_strength": 0.2,
        "sentence": found.sentence(),
        "accuracy": 1.0,
        "confidence": 0.9,
        "yield": 0.8,
        "population": None,
    }
    network = ground.pop("network")
    assert len(network) == 12 and network in found.sentence()
    assert ground == {
        "corruption": "gaussian-absolute",
        "unit": NOISE.unit,
        "strengths": (0.1, 0.2),
        "arrays": ("weight",),
        "weights": 2,
        "score": "accuracy",
        "examples": 1,
        "batchnorm": "as-is",
        "seed": 4,
        "purpose": "other",
        "conditions": "",
    }
    n = chips_for(0.8, 0.9)
    for step, strength in zip(steps, (0.1, 0.2), strict=True):
        assert (step["strength"], step["hits"], step["n"], step["granted"]) == (strength, n, n, True)
        assert step["bound"] == lower_bound(n, n, 0.9) and step["holds"] == 1.0


def test_a_device_says_when_and_how_it_is_held() -> None:
    data = ones(10)
    found = certify(scale(), inc.accuracy, data, inc.parse("pcm-joshi"), [1.0], accuracy=0.9, seed=0)
    assert "0s after programming; drift compensation: none" in found.sentence()
    assert found.plain()["ground"]["conditions"] in found.sentence()


def test_a_refusal_says_what_does_hold() -> None:
    data = (torch.tensor([[1.0]] * 9 + [[-1.0]]), torch.zeros(10, dtype=torch.long))
    found = certify(scale(), inc.accuracy, data, NOISE, [0.01, 0.02], accuracy=0.95, seed=0)
    assert not found.granted and found.strength is None
    assert found.sentence().startswith("Refused: it was not shown") and "reach 0.9000" in found.sentence()
    assert "not tested, after a failure: 0.02" in found.table()
    again = certify(scale(), inc.accuracy, data, NOISE, [0.01, 0.02], accuracy=0.9, seed=0)
    assert again.granted


def test_the_slack_is_printed_and_paid() -> None:
    data = ones(500)
    found = certify(scale(), inc.accuracy, data, NOISE, [0.01], accuracy=0.9, population=True, seed=0)
    assert found.slack is not None and found.slack.threshold > 0.9 and found.granted
    assert found.steps[0].bound == pytest.approx(lower_bound(68, 68, 0.96) - 0.005)
    assert f"a slack of {found.slack.threshold - 0.9:.4f}" in found.sentence()
    assert "independent draws from the population" in found.sentence() and "other examples" in found.sentence()
    # a test set at exactly the accuracy proves nothing about the population
    x = torch.tensor([[1.0]] * 450 + [[-1.0]] * 50)
    at = certify(scale(), inc.accuracy, (x, data[1]), NOISE, [0.01], accuracy=0.9, population=True, seed=0)
    assert not at.granted
    assert certify(scale(), inc.accuracy, (x, data[1]), NOISE, [0.01], accuracy=0.9, seed=0).granted


def test_the_network_has_a_name_of_its_own() -> None:
    one, other = scale(), scale()
    with torch.no_grad():
        other.weight[0, 0] = 1 + 1e-6
    names = [
        certify(model, inc.accuracy, ones(1), NOISE, [0.1], accuracy=1.0, seed=0).assumptions.network
        for model in (one, one, other)
    ]
    assert names[0] == names[1] != names[2] and re.fullmatch("[0-9a-f]{12}", names[0])


def normed(**changes: float) -> nn.Module:
    """One layer and a BatchNorm, some of whose buffers are other than at first."""
    model = nn.Sequential(OrderedDict(layer=nn.Linear(2, 2), norm=nn.BatchNorm1d(2))).eval()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    for name, value in changes.items():
        model.norm.get_buffer(name).fill_(value)
    return model


def named(name: str) -> nn.Module:
    return nn.Sequential(OrderedDict({name: scale()}))


def counting(kind: torch.dtype) -> nn.Module:
    """A network with two zeros as its buffer, of four bytes each."""
    model = scale()
    model.register_buffer("count", torch.zeros(2, dtype=kind))
    return model


def shaped(rows: int, columns: int) -> nn.Module:
    """Four ones, in a matrix of that many rows and columns."""
    model = nn.Linear(columns, rows, bias=False)
    nn.init.ones_(model.weight)
    return model


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (normed(), normed(running_mean=1)),
        (normed(), normed(running_var=2)),
        (normed(), normed(num_batches_tracked=1)),
        (named("first"), named("second")),
        (shaped(2, 2), shaped(1, 4)),
        (shaped(4, 1), shaped(1, 4)),
        (counting(torch.int32), counting(torch.float32)),
    ],
    ids=["a mean", "a variance", "a counter", "a name", "a shape", "a transpose", "a dtype"],
)
def test_networks_that_compute_different_things_have_different_names(one: nn.Module, other: nn.Module) -> None:
    """Its buffers, its names and its shapes are the network, as its numbers are."""
    sampling = Sampling(NOISE, (0.1,), chips=1, seed=0)
    names = [
        assumptions_of(model, sampling, inc.select(model), inc.accuracy, 1).network
        for model in (one, deepcopy(one), other)
    ]
    assert names[0] == names[1] != names[2]


def test_bfloat16_networks_can_be_certified() -> None:
    data = ones(1)[0].bfloat16(), ones(1)[1]
    found = certify(scale().bfloat16(), inc.accuracy, data, NOISE, [0.1], accuracy=1.0, seed=0)
    assert found.granted


def shades(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.full((len(logits),), 0.5)


def once() -> Iterator[Any]:
    yield ones(3)


HALF = inc.Score("half", "fraction", True, shades)
WRONG = inc.Score(
    "share of wrong answers", "fraction", False, lambda logits, labels: 1 - inc.accuracy.grade(logits, labels)
)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: promised(strengths=[0.1], accuracy=95), "for example 0.95"),
        (lambda: promised(strengths=[0.1], min_yield=90), "for example 0.9"),
        (lambda: promised(strengths=[0.1], confidence=95), "for example 0.95"),
        (
            lambda: promised(strengths=[0.1], chips=28),
            "28 chips cannot show .* at least 29 are needed, 61 where 2 may fail",
        ),
        (lambda: promised(strengths=[0.1], accuracy=0.9, population=True), "1 example is too few"),
        (lambda: promised(strengths=[-0.1]), "-0.1"),
        (lambda: certify(scale(), inc.cross_entropy, ones(1), NOISE, [0.1], accuracy=0.9, seed=0), "in nats"),
        (
            lambda: certify(scale(), lambda model, batch: batch[0], ones(1), NOISE, [0.1], accuracy=0.9, seed=0),
            "inc.Score",
        ),
        (
            lambda: certify(scale(), WRONG, ones(1), NOISE, [0.1], accuracy=0.9, seed=0),
            "of share of wrong answers .* less is better",
        ),
        (
            lambda: certify_fresh(scale(), WRONG, ones(99), NOISE, [0.1], accuracy=0.9, seed=0),
            "of share of wrong answers .* less is better",
        ),
        (
            lambda: certify_fresh(
                scale(),
                inc.accuracy,
                DataLoader(TensorDataset(*ones(99)), 9, shuffle=True),
                NOISE,
                [0.1],
                accuracy=0.9,
                seed=0,
            ),
            "shuffle=False",
        ),
        (
            lambda: certify(scale(), HALF, ones(99), NOISE, [0.1], accuracy=0.5, population=True, seed=0),
            "right or wrong",
        ),
        (lambda: certify(scale(), inc.accuracy, once(), NOISE, [0.1], accuracy=0.5, seed=0), "only once"),
        (lambda: certify(scale(), inc.accuracy, [], NOISE, [0.1], accuracy=0.5, seed=0), "data is empty"),
        (lambda: certify_fresh(scale(), HALF, ones(99), NOISE, [0.1], accuracy=0.5, seed=0), "right or wrong"),
        (lambda: certify_fresh(scale(), inc.accuracy, ones(58), NOISE, [0.1], accuracy=0.95, seed=0), "at least 59"),
        (lambda: certify_fresh(scale(), inc.accuracy, ones(58), NOISE, [0.1], accuracy=1.0, seed=0), "between 0 and 1"),
        (lambda: certify_fresh(scale(), inc.accuracy, once(), NOISE, [0.1], accuracy=0.5, seed=0), "only once"),
    ],
)
def test_mistakes(call: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        call()


def test_fresh_chips_are_neither_those_of_certify_nor_those_of_measuring() -> None:
    """What failed on one certificate's chips may be tried on the other's; what was tuned on `measure`'s on both."""
    seen: list[float] = []

    def grade(logits: Tensor, labels: Tensor) -> Tensor:
        if len(logits) == 1:
            seen.append(float(logits[0, 0]))
        return torch.ones(len(logits))

    score, drawn = inc.Score("first", "fraction", True, grade), list[set[float]]()
    for ask in (
        lambda: certify_fresh(scale(), score, ones(40), NOISE, [0.1], accuracy=0.9, seed=0),
        lambda: certify(scale(), score, ones(1), NOISE, [0.1], accuracy=0.9, seed=0),
        lambda: inc.measure(scale(), score, ones(1), NOISE, [0.1], chips=40, seed=0),
    ):
        seen.clear()
        ask()
        drawn.append({one for one in seen if one != 1})  # 1: the network as it is
    assert all(len(one) >= 40 for one in drawn)
    assert not drawn[0] & drawn[1] and not drawn[0] & drawn[2] and not drawn[1] & drawn[2]
