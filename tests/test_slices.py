"""Slices and surfaces: by hand, by twin, and without a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from incorruptible.corruptions import Gaussian
from incorruptible.landscape import along, line, surface
from incorruptible.objectives import RWP, SAM, parse
from incorruptible.randomness.streams import Draw
from incorruptible.weights.arrays import select
from test_landscape import held, losses, untouched
from test_objectives import batch, net


def bowl(model: nn.Module, _: Any) -> Tensor:
    return model.weight.square().sum().view(1) / 2


def test_along_noise_by_twin() -> None:
    model, one, strengths = net(), batch(), [0.0, 0.1, 0.4]
    arrays = select(model)
    found = along(model, arrays, RWP(Gaussian("filter-max")), strengths, losses, one, draws=3, seed=5)
    assert found.losses.shape == (3, 3) and list(found.places) == strengths
    for k in range(3):
        for row, s in enumerate(strengths):
            other = net()
            for a in select(other):
                noise = Draw(5, "slice", k).of(a.name).normal(a.value)
                a.value.copy_(a.value + s * a.value.abs().amax(1, keepdim=True) * noise)
            assert found.losses[row, k] == pytest.approx(losses(other, one).mean().item(), rel=1e-5)


def test_along_the_steepest_ascent_by_hand() -> None:
    # |w| = 5 and L = |w|^2 / 2: a step of length rho along g leads to (5 + rho)^2 / 2
    model = held([3.0, 4.0])
    found = along(model, select(model), SAM(), [0.0, 1.0, 5.0], bowl, None, draws=2, seed=0)
    assert found.losses == pytest.approx(np.array([[12.5] * 2, [18.0] * 2, [50.0] * 2]))


def test_a_line_is_filter_normalised() -> None:
    """Each filter moves by its own norm at t = 1: seen where the loss is the squared distance, filter by filter."""
    model = held([3.0, 4.0], [0.3, 0.4], [0.0, 0.0])
    clean = model.weight.detach().clone()

    def row(k: int) -> Any:
        return lambda model, _: (model.weight[k] - clean[k]).square().sum().view(1)

    for k, norm in enumerate((5.0, 0.5, 0.0)):
        found = line(model, select(model), row(k), None, points=5, draws=2)
        expected = (found.places * norm) ** 2
        assert found.losses == pytest.approx(np.stack([expected] * 2, axis=1), rel=1e-5, abs=1e-12)
    assert list(found.places) == [-1, -0.5, 0, 0.5, 1]


def test_a_surface_meets_the_weights_in_its_middle() -> None:
    model, one = net(), batch()
    found = surface(model, select(model), losses, one, points=5, reach=0.5)
    assert found.losses.shape == (5, 5)
    assert found.losses[2, 2] == pytest.approx(losses(model, one).mean().item(), rel=1e-6)
    assert len(np.unique(found.losses)) == 25


def test_a_surface_is_spanned_by_two_directions() -> None:
    """Of a bowl it is exactly quadratic in a and b: L = |w|^2/2 + a w'd + b w'e + ab d'e + (a^2 |d|^2 + b^2 |e|^2)/2."""
    model = held([3.0, 4.0], [1.0, -2.0])
    found = surface(model, select(model), bowl, None, points=7, reach=2.0)
    a, b = np.meshgrid(found.places, found.places, indexing="ij")
    terms = np.stack([np.ones_like(a), a, b, a * b, a**2, b**2], axis=-1).reshape(-1, 6)
    fit, *_ = np.linalg.lstsq(terms, found.losses.ravel(), rcond=None)
    assert terms @ fit == pytest.approx(found.losses.ravel(), rel=1e-4)
    assert fit[[0, 4, 5]] == pytest.approx([15, 15, 15], rel=1e-3)  # |d| = |e| = |w|, filter by filter
    assert (
        abs(fit[3]) < 0.99 * 30 and abs(fit[1] - fit[2]) > 0.1
    )  # d'e, which is |w|^2 = 30 where both are one direction


def test_biases_and_norms_stay() -> None:
    model, one = net(), batch()
    seen = []

    def loss(model: nn.Module, one: Any) -> Tensor:
        seen.append((model[0].weight.detach().clone(), model[0].bias.detach().clone()))
        return losses(model, one)

    line(model, select(model), loss, one, points=3)
    assert all(torch.equal(bias, model[0].bias) for _, bias in seen)
    assert sum(torch.equal(weight, model[0].weight) for weight, _ in seen) == 1


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("what", ["rwp(gaussian-filter-max)", "sam", "line", "surface"])
def test_slices_leave_no_trace(what: str, fails: bool) -> None:
    def call(model: nn.Module, loss: Any) -> object:
        arrays = select(model)
        if what == "line":
            return line(model, arrays, loss, batch(), points=3)
        if what == "surface":
            return surface(model, arrays, loss, batch(), points=3)
        return along(model, arrays, parse(what), [0.0, 0.3], loss, batch(), draws=2, seed=0)

    untouched(call, fails)
