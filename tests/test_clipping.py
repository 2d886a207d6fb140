"""Weights kept within a bound: by hand, what stays, and in a training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from incorruptible.errors import UserError
from incorruptible.files import records
from incorruptible.runs import identity
from incorruptible.tasks import load
from incorruptible.training import Trainer, clip_weights
from incorruptible.training.recipe import Probe, Recipe, parse
from incorruptible.weights.arrays import Array, select

QUICK = Recipe("digits:train=250", epochs=2, lr=0.1, probe=Probe(draws=0))


def array(values: list[float], **more: Any) -> Array:
    return Array("w", nn.Parameter(torch.tensor([values], dtype=torch.float32), **more))


def test_by_hand() -> None:
    # mean 1, squares 4 + 1 + 1 + 0 + 16 = 22, std sqrt(22 / 4) = 2.3452; twice that is 4.6904
    one = array([-1, 0, 0, 1, 5])
    place = one.value.data_ptr()
    clip_weights([one], 2.0)
    torch.testing.assert_close(one.value, torch.tensor([[-1, 0, 0, 1, 2 * 5.5**0.5]]))
    assert one.value.data_ptr() == place


def test_the_bound_falls_with_the_outliers() -> None:
    """It is of the weights as they are: a second call finds a smaller spread."""
    one = array([-1, 0, 0, 1, 5])
    clip_weights([one], 1.5)
    first = float(one.value.max())
    clip_weights([one], 1.5)
    assert float(one.value.max()) == pytest.approx(1.5 * torch.tensor([-1.0, 0, 0, 1, first]).std().item())
    assert float(one.value.max()) < first


def test_each_array_has_its_own_bound_and_both_sides() -> None:
    small, large = array([0.1, -0.1] * 20 + [-9]), array([10, -10] * 20 + [900])
    clip_weights([small, large], 2.5)
    assert -4.0 < float(small.value.min()) < -3.0  # std 1.41
    assert 300 < float(large.value.max()) < 400  # std 142


def test_absolute() -> None:
    one = array([-1, 0.05, 0.2])
    clip_weights([one], at=0.1)
    torch.testing.assert_close(one.value, torch.tensor([[-0.1, 0.05, 0.1]]))


@pytest.mark.parametrize(
    "one", [array([3, 3, 3]), array([7]), array([0, 0]), array([1, 1, 1, 99], requires_grad=False)], ids=str
)
def test_what_stays(one: Array) -> None:
    before = one.value.clone()
    clip_weights([one], 1.0)
    assert torch.equal(one.value, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    one = Array("w", nn.Parameter(torch.tensor([[0.0, 0, 0, 0, 300]], dtype=dtype)))  # whose squares overflow 16 bits
    clip_weights([one], 1.0)
    assert float(one.value.max()) == pytest.approx(300 / 5**0.5, rel=0.01)


@pytest.mark.parametrize("given", [{}, {"alpha": 2.5, "at": 0.1}, {"alpha": 0.9}, {"alpha": float("nan")}, {"at": 0}])
def test_mistakes(given: dict[str, float]) -> None:
    with pytest.raises(UserError, match="clip_weights"):
        clip_weights([array([1.0, 2.0])], **given)


def trained(**more: Any) -> Trainer:
    fit = Trainer(load(QUICK.task), parse({**QUICK.plain(), **more}))
    for _ in range(QUICK.epochs):
        fit.epoch()
    return fit


def reach(model: nn.Module) -> list[float]:
    """max|W| / std of each array."""
    return [float(one.value.abs().max() / one.value.std()) for one in select(model)]


def test_a_training_ends_within_the_bound() -> None:
    plain, clipped = trained(), trained(clip_weights=1.5)
    assert min(reach(plain.model)) > 1.7  # a uniform distribution, as weights begin, has 1.73
    # std is taken before the cut, which makes it smaller: a fixed point only where nothing is cut any more
    assert all(1.5 <= one < 1.6 for one in reach(clipped.model))
    biases = [p for name, p in clipped.model.named_parameters() if "bias" in name]
    assert any(float(p.detach().abs().max()) > 1e-3 for p in biases)
    assert clipped.metrics[-1]["loss"] < clipped.metrics[0]["loss"]


def test_a_loop_of_ones_own_is_the_same() -> None:
    """`clip_weights` after each step, bit for bit what the recipe's entry does."""
    by_recipe, own = trained(clip_weights=2.0), Trainer(load(QUICK.task), QUICK.resolved())
    step = own.step

    def clipping(batch: Any) -> Tensor:
        loss = step(batch)
        clip_weights(select(own.model), 2.0)
        return loss

    own.step = clipping  # type: ignore[method-assign]
    for _ in range(QUICK.epochs):
        own.epoch()
    pairs = zip(own.model.parameters(), by_recipe.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_runs_without_it_keep_their_names() -> None:
    task = load("digits")
    recipe = Recipe("digits")
    named = identity(recipe.resolved(), task)
    assert "clip_weights" not in named["recipe"]
    clipped = identity(parse({"task": "digits", "clip_weights": 2.5}), task)
    assert clipped["recipe"]["clip_weights"] == 2.5
    assert records.identity(clipped) != records.identity(named)
