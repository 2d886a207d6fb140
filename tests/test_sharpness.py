"""Curvature: by hand, by the dense Hessian, by a peer, by simulation, and without a trace."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from incorruptible.corruptions import Gaussian
from incorruptible.corruptions.gaussian import SCALES, scale_of
from incorruptible.errors import UserError
from incorruptible.landscape import sharpness
from incorruptible.randomness.streams import Draw
from incorruptible.weights.arrays import select
from incorruptible.weights.swap import replaced
from test_landscape import ALARM, held, losses, untouched
from test_objectives import batch, net


def dense(model: nn.Module, parameters: list[Tensor], one: Any) -> Tensor:
    """The Hessian of the mean loss, column after column, in double precision."""
    slopes = torch.autograd.grad(losses(model, one).mean(), parameters, create_graph=True)
    flat = torch.cat([slope.flatten() for slope in slopes])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True) for entry in flat]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def double() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    one = batch()
    return net().double(), (one[0].double(), one[1])


# By hand: L = (a^2 + 4 b^2 - c^2) / 2 has the Hessian diag(1, 4, -1), wherever one stands.


def saddle(model: nn.Module, _: Any) -> Tensor:
    return (model.weight**2 * torch.tensor([1.0, 4.0, -1.0])).sum().view(1) / 2


def test_a_quadratic_by_hand() -> None:
    found = sharpness(held([1.0, 2.0, 3.0]), None, saddle, None, draws=3)
    assert (found.top, found.trace, found.error) == pytest.approx((4, 4, 0), abs=1e-5)  # a diagonal has no variance
    assert found.size == 3 and found.products <= 3 + 3


def test_the_metric_of_a_scale_by_hand() -> None:
    # max|W_f| is 2 for the row (1, -2, 0.5): M H M is diag(4, 16, -4)
    model = held([1.0, -2.0, 0.5])
    found = sharpness(model, select(model), saddle, None, scale="filter-max", draws=3)
    assert (found.top, found.trace) == pytest.approx((16, 16), abs=1e-4)


def test_the_largest_eigenvalue_is_not_the_largest_in_size() -> None:
    model = held([1.0, 2.0])
    loss = lambda model, _: (model.weight**2 * torch.tensor([1.0, -9.0])).sum().view(1) / 2  # noqa: E731
    assert sharpness(model, None, loss, None).top == pytest.approx(1, abs=1e-4)


def test_a_plane_has_no_curvature() -> None:
    found = sharpness(held([1.0, 2.0]), None, lambda model, _: model.weight.sum().view(1), None)
    assert (found.top, found.residual, found.trace, found.error) == (0, 0, 0, 0)


# By the dense matrix.


@pytest.mark.parametrize("scale", [None, *SCALES])
def test_arrays_against_the_dense_hessian(scale: str | None) -> None:
    model, one = double()
    arrays = select(model)
    h = dense(model, [array.parameter for array in arrays], one)
    if scale is not None:
        m = torch.cat([scale_of(scale)(array).expand_as(array.value).flatten() for array in arrays])
        h = m[:, None] * h * m
    found = sharpness(model, arrays, losses, one, scale=scale, draws=300, tolerance=1e-8)
    values = torch.linalg.eigvalsh(h)
    assert found.size == len(h) == 35
    assert found.top == pytest.approx(float(values[-1]), rel=1e-6)
    # The seed is fixed, so this is no game of chance; over seeds, 3.3 standard errors fail in about ALARM of them
    assert abs(found.trace - float(values.sum())) < 3.3 * found.error


def test_all_parameters_against_the_dense_hessian() -> None:
    model, one = double()
    h = dense(model, list(model.parameters()), one)
    found = sharpness(model, None, losses, one, draws=300, tolerance=1e-8)
    assert found.size == len(h) == 43
    assert found.top == pytest.approx(float(torch.linalg.eigvalsh(h)[-1]), rel=1e-6)
    assert abs(found.trace - float(h.trace())) < 3.3 * found.error


def test_the_residual_bounds_the_error() -> None:
    model, one = double()
    truth = torch.linalg.eigvalsh(dense(model, list(model.parameters()), one))
    for iterations in range(1, 12):
        found = sharpness(model, None, losses, one, iterations=iterations, tolerance=0.0)
        assert float((truth - found.top).abs().min()) <= found.residual + 1e-12
        assert found.top <= float(truth[-1]) + 1e-12
        assert found.products == iterations + 16


def test_curvature_is_what_noise_sees() -> None:
    """To second order, noise of that scale at strength s raises the loss by s^2 tr(M H M) / 2.

    Pairs of opposite draws cancel the slope. At s = .01 the fourth order is about s^2 of the second. n = 400 pairs, seed
    fixed; a t-test with false alarm ALARM over seeds.
    """
    model, one = double()
    arrays, s = select(model), 0.01
    clean = losses(model, one).mean().item()
    rises = []
    for k in range(400):
        noise = {a.name: Gaussian("filter-max")(a, s, Draw(0, "rise", k).of(a.name)).double() - a.value for a in arrays}
        both = []
        for sign in (1, -1):
            for a in arrays:
                a.value.add_(noise[a.name], alpha=sign)
            both.append(losses(model, one).mean().item())
            for a in arrays:
                a.value.sub_(noise[a.name], alpha=sign)
        rises.append(sum(both) / 2 - clean)
    h = dense(model, [array.parameter for array in arrays], one)
    m = torch.cat([array.peak().expand_as(array.value).flatten() for array in arrays])
    truth = float((m**2 * h.diagonal()).sum()) * s**2 / 2
    assert stats.ttest_1samp(rises, truth).pvalue > ALARM
    assert stats.ttest_1samp(rises, truth * 1.5).pvalue < ALARM


# By a peer.


@pytest.mark.filterwarnings("ignore")  # what a peer warns of is its own affair
def test_against_curvlinops() -> None:
    curvlinops = pytest.importorskip(
        "curvlinops", reason="curvlinops-for-pytorch is not installed (scripts/bootstrap.py)"
    )
    model, one = double()
    parameters = list(model.parameters())
    peer = curvlinops.HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, [one])
    matrix = peer @ torch.eye(peer.shape[1], dtype=torch.float64)
    found = sharpness(model, None, losses, one, draws=300, tolerance=1e-8)
    assert found.top == pytest.approx(float(torch.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]), rel=1e-6)
    assert abs(found.trace - float(matrix.trace())) < 3.3 * found.error


# By simulation.


def test_the_standard_error_of_the_trace_covers() -> None:
    """120 seeds of 12 draws: Student's interval at 95% misses the truth in .05 of seeds, give or take normality.

    The count of misses is binomial; ALARM on either side allows 0 to 15.
    """
    model, one = double()
    truth = float(dense(model, list(model.parameters()), one).trace())
    misses, t = 0, float(stats.t.ppf(0.975, 11))
    for seed in range(120):
        found = sharpness(model, None, losses, one, draws=12, seed=seed, iterations=1)
        misses += abs(found.trace - truth) > t * found.error
    low, high = stats.binom.ppf([ALARM / 2, 1 - ALARM / 2], 120, 0.05)
    assert low <= misses <= high


# Networks that are harder to differentiate twice.


def test_attention_and_batchnorm() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mix, self.out = (
                nn.BatchNorm1d(8),
                nn.MultiheadAttention(8, 2, batch_first=True),
                nn.Linear(8, 3),
            )

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x.flatten(0, 1)).view_as(x)
            return self.out(self.mix(x, x, x, need_weights=False)[0].mean(1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, one = Attends().double(), (torch.randn(6, 4, 8).double(), torch.arange(6) % 3)
    arrays = select(model)
    h = dense_math(model, [array.parameter for array in arrays], one)
    found = sharpness(model, arrays, losses, one, draws=2, tolerance=1e-8)
    assert found.top == pytest.approx(float(torch.linalg.eigvalsh(h)[-1]), rel=1e-5)


def dense_math(model: nn.Module, parameters: list[Tensor], one: Any) -> Tensor:
    """`dense`, with attention spelled out: the fused one cannot be differentiated twice."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return dense(model, parameters, one)


# Rules.


def test_one_draw_knows_no_error() -> None:
    model, one = double()
    assert math.isnan(sharpness(model, None, losses, one, draws=1).error)


def test_the_standard_error_is_that_of_the_draws() -> None:
    """Each draw's z'Hz, from the means over the first 1, 2, ... of them: their standard deviation over the root of their number."""
    model, one = double()
    found = [sharpness(model, None, losses, one, draws=n, iterations=1) for n in range(1, 6)]
    sums = np.array([n * each.trace for n, each in enumerate(found, 1)])
    draws = np.diff(sums, prepend=0.0)
    for n in range(2, 6):
        assert found[n - 1].error == pytest.approx(float(np.std(draws[:n], ddof=1)) / math.sqrt(n))


def test_same_seed_same_numbers() -> None:
    first, second, other = (sharpness(net(), None, losses, batch(), seed=seed) for seed in (0, 0, 1))
    assert first == second and first.trace != other.trace
    assert first.top == pytest.approx(other.top, rel=5e-3)


def test_frozen_weights_are_left_out() -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    assert sharpness(model, select(model), losses, batch()).size == 15


@pytest.mark.parametrize("fails", [False, True])
def test_sharpness_leaves_no_trace(fails: bool) -> None:
    def call(model: nn.Module, loss: Any) -> object:
        arrays = select(model)
        with replaced(arrays, lambda array: array.value + 1):  # `untouched` wants to see other weights once
            return sharpness(model, arrays, loss, batch())

    untouched(call, fails)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda model: sharpness(model, None, losses, batch(), scale="filter-max"), "give arrays=select"),
        (
            lambda model: sharpness(model, select(model), losses, batch(), scale="filter-mx"),
            "Did you mean 'filter-max'",
        ),
        (lambda model: sharpness(model, [], losses, batch()), "no trainable weight"),
        (
            lambda model: sharpness(model, None, lambda m, b: cross_entropy(m(b[0]) * math.inf, b[1]).view(1), batch()),
            "finite",
        ),
    ],
)
def test_mistakes(what: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        what(net())


def test_lanczos_at_the_size_of_a_network() -> None:
    """On the digits MLP it ends before its 60 products are used up, with the residual that was asked for, and the truth is near."""
    from incorruptible import tasks

    task = tasks.load("digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = task.model()
    x, y = task.train
    call = partial(sharpness, model, select(model), task.loss, (x[:200], y[:200]), draws=4)
    found, closer = call(), call(tolerance=1e-5, iterations=200)
    assert found.products < 60 + 4 and 0 < found.residual <= 1e-3 * found.top
    assert found.products < closer.products < 200 + 4 and closer.residual <= 1e-5 * closer.top
    assert found.top <= closer.top <= found.top + found.residual
    assert found.size == sum(array.value.numel() for array in select(model)) > 20_000
    few = call(iterations=5)
    assert few.products == 5 + 4 and few.residual > 1e-3 * few.top and few.top < found.top
