"""The instrument for gradients under perturbation: by twin, by hand, by simulation, and without a trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from incorruptible.corruptions import Gaussian
from incorruptible.landscape import Health, along, health, tolerated
from incorruptible.objectives import RWP, SAM, MixedRWP, Plain, parse
from incorruptible.randomness.streams import Draw
from incorruptible.weights.arrays import Array, select
from test_objectives import OBJECTIVES, SWAPPING, batch, bits, net

ALARM = 0.001  # how often, over all seeds, a statistical test here would fail for no reason
BOUNDED = "randbet(gaussian-filter-max)"
NOISY = ["rwp(gaussian-filter-max)", "mixed-rwp(gaussian-filter-max):share=0.25"]


def losses(model: nn.Module, one: Any) -> Tensor:
    return cross_entropy(model(one[0]), one[1], reduction="none")


def probe(model: nn.Module, text: str, strength: float, draws: int = 5, seed: int = 0, **more: Any) -> Health:
    one = batch()
    usual = {"loss": losses, "batch": one, "climbs": [one]}
    return health(model, select(model), parse(text), strength, **{**usual, **more}, draws=draws, seed=seed)


def held(*rows: list[float]) -> nn.Linear:
    """A layer with these filters, for losses that are written on its weight alone."""
    model = nn.Linear(len(rows[0]), len(rows), bias=False)
    model.weight.data.copy_(torch.tensor(rows))
    return model


# By twin: draw after draw, every point spelled out, all gradients flat and in double precision.


def at(weights: dict[str, Tensor], one: tuple[Tensor, Tensor]) -> tuple[float, NDArray[np.float64]]:
    """Loss and flat gradient of a network with these weights."""
    model = net().double()
    model.load_state_dict(weights)
    loss = losses(model, (one[0].double(), one[1])).mean()
    loss.backward()
    return loss.item(), np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])


def points(text: str, strength: float, k: int, climb: tuple[Tensor, Tensor]) -> list[tuple[float, dict[str, Tensor]]]:
    """The points of draw k that count, with their shares."""
    clean = dict(net().state_dict())
    names = ["0.weight", "2.weight"]
    if text == "sam":
        _, flat = at(clean, climb)
        g = {"0.weight": flat[:20].reshape(5, 4), "2.weight": flat[25:40].reshape(3, 5)}
        length = math.sqrt(sum(float((one**2).sum()) for one in g.values()))
        return [(1.0, {**clean, **{n: clean[n] + strength / length * torch.from_numpy(g[n]) for n in names}})]
    draw = Draw(0, "probe", k)
    corrupted = {
        name: clean[name] + strength * clean[name].abs().amax(1, keepdim=True) * draw.of(name).normal(clean[name])
        for name in names
    }
    noisy = {**clean, **corrupted}
    if text.startswith("randbet"):
        return [(0.5, clean), (0.5, noisy)]
    return [(0.25, noisy), (0.75, clean)] if text.startswith("mixed") else [(1.0, noisy)]


@pytest.mark.parametrize("text", [*NOISY, "sam", BOUNDED])
def test_health_against_the_slow_twin(text: str) -> None:
    strength, draws, one = 0.4, 6, batch()
    climbs = [(one[0][:8], one[1][:8]), (one[0][8:], one[1][8:])]
    clean_loss, g0 = at(dict(net().state_dict()), one)
    means, rows = [], []
    for k in range(draws):
        seen = [(share, *at(weights, one)) for share, weights in points(text, strength, k, climbs[k % 2])]
        means.append(sum(share * loss for share, loss, _ in seen))
        if text == BOUNDED:  # the perturbed gradient, which is the second
            assert np.abs(seen[1][2]).max() > 0.05
            seen[1] = (*seen[1][:2], seen[1][2].clip(-0.05, 0.05))
        rows.append(sum(share * g for share, _, g in seen))
    g, loss = np.array(rows), np.array(means)
    noise = g.var(axis=0, ddof=1).sum()
    signal = math.sqrt((g.mean(axis=0) ** 2).sum() - noise / draws)
    norm0 = np.linalg.norm(g0)
    found = probe(net(), text, strength, draws, climbs=climbs, accuracy=lambda m, b: (m(b[0]).argmax(1) == b[1]) * 1.0)
    twin = {
        "strength": strength,
        "clean_loss": clean_loss,
        "clean_accuracy": (net()(one[0]).argmax(1) == one[1]).double().mean().item(),
        "perturbed_loss": loss.mean(),
        "loss_variation": loss.std(ddof=1) / loss.mean(),
        "clean_norm": norm0,
        "norm_ratio": np.linalg.norm(g, axis=1).mean() / norm0,
        "mean_ratio": signal / norm0,
        "signal_to_noise": signal / math.sqrt(noise),
        "cosine": g.mean(axis=0) @ g0 / np.linalg.norm(g.mean(axis=0)) / norm0,
    }
    assert {name: getattr(found, name) for name in twin} == pytest.approx(twin, rel=1e-5)


# By hand.


@pytest.mark.parametrize(("text", "strength"), [("plain", 0.3), *((text, 0.0) for text in OBJECTIVES)])
def test_nothing_perturbed(text: str, strength: float) -> None:
    found = probe(net(), text, strength)
    assert found.perturbed_loss == pytest.approx(found.clean_loss, rel=1e-6)
    assert (found.norm_ratio, found.mean_ratio, found.cosine) == pytest.approx((1, 1, 1), rel=1e-6)
    assert found.loss_variation == pytest.approx(0, abs=1e-6)
    assert found.signal_to_noise > 1e3
    assert math.isnan(found.steepness)


@pytest.mark.parametrize("text", ["plain", "rwp(gaussian-filter-max)"])
@pytest.mark.parametrize("silent", [0, 3, 4])
def test_dead_units_by_hand(text: str, silent: int) -> None:
    """Of four units some have a bias that no image overcomes."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].weight.data.copy_(torch.eye(4))
    model[0].bias.data.copy_(torch.tensor([-100.0] * silent + [0.0] * (4 - silent)))
    assert probe(model, text, 0.01).dead == silent / 4


@pytest.mark.parametrize("text", ["plain", "rwp(gaussian-filter-max)"])
def test_a_channel_is_one_unit(text: str) -> None:
    """Alive where any of its places is; a constant one is as dead as a silent one."""
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[0].weight.data.copy_(torch.tensor([1.0, 1, 0, -1]).view(4, 1, 1, 1))
    model[0].bias.data.copy_(torch.tensor([0.0, -100, 7, 0]))
    images = torch.zeros(2, 1, 3, 3)
    images[0, 0, 1, 1] = 1  # one place of one image; the last channel would need a negative one
    one = (images, torch.tensor([0, 1]))
    assert probe(model, text, 0.01, batch=one, climbs=[one]).dead == 3 / 4


def test_units_dead_under_perturbation_alone() -> None:
    """SAM climbs from a = 1 to a = -1, where the unit is silent: what counts is the point where one looks."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    model[0].weight.data.fill_(1.0)
    one = torch.tensor([[1.0], [2.0]])
    arrays, loss = select(model), lambda model, x: -model(x).flatten()
    found = [health(model, arrays, SAM(), rho, loss, one, [one], draws=2, seed=0).dead for rho in (0.5, 2.0)]
    assert found == [0, 1]


class Negative:
    """Every weight with the other sign, at any strength above 0."""

    unit = formula = source = "none"

    def __call__(self, array: Array, strength: float, noise: object) -> Tensor:
        return -array.value if strength else array.value.clone()


def test_clean_points_that_count_hide_no_dead_unit() -> None:
    """Mixed noise looks at the clean weights too, where the unit is alive: it is dead where one perturbs all the same."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    model[0].weight.data.fill_(1.0)
    one = torch.tensor([[1.0], [2.0]])
    options: dict[str, Any] = {"loss": lambda model, x: model(x).flatten(), "batch": one, "climbs": [one], "draws": 2}
    for objective, dead in ((RWP(Negative()), 1), (MixedRWP(Negative()), 1), (Plain(), 0)):
        assert health(model, select(model), objective, 0.5, seed=0, **options).dead == dead


def test_an_objective_that_ends_early_has_the_loss_that_it_saw() -> None:
    """RandBET above its threshold looks at the clean weights alone, which count a half there: the loss is theirs, whole."""
    model, one = net(), batch()
    clean = losses(model, one).mean().item()
    found = along(model, select(model), parse(f"{BOUNDED}:threshold=1e-6"), [0.5], losses, one, draws=2, seed=0)
    assert found.losses.tolist() == [[pytest.approx(clean), pytest.approx(clean)]]
    seen = probe(model, f"{BOUNDED}:threshold=1e-6", 0.5)
    assert seen.perturbed_loss == pytest.approx(clean) and seen.clean_loss == pytest.approx(clean)


LINEAR = torch.tensor([[1.0, -2.0, 3.0]])


@pytest.mark.parametrize("text", SWAPPING)
def test_steepness_of_a_plane_is_1(text: str) -> None:
    model = held([0.3, 0.2, 0.1])
    found = probe(model, text, 0.5, loss=lambda model, _: (model.weight * LINEAR).sum().view(1) + 1)
    assert found.steepness == pytest.approx(1 if "sam" in text else math.nan, rel=1e-5, nan_ok=True)


def test_steepness_by_hand() -> None:
    # L = (a^2 + 4 b^2) / 2 at (1, 1): L = 2.5, g = (1, 4); rho = sqrt(17): at (2, 5) L = 52, <g, e> = 17.
    loss = lambda model, _: (model.weight**2 * torch.tensor([1.0, 4.0])).sum().view(1) / 2  # noqa: E731
    found = probe(held([1.0, 1.0]), "sam", 17**0.5, loss=loss)
    assert (found.clean_loss, found.perturbed_loss) == pytest.approx((2.5, 52))
    assert found.steepness == pytest.approx(49.5 / 17)
    assert found.norm_ratio == pytest.approx(math.hypot(2, 20) / math.hypot(1, 4))


def test_one_draw_knows_no_spread() -> None:
    found = probe(net(), NOISY[0], 0.4, draws=1)
    assert math.isnan(found.signal_to_noise)
    assert math.isnan(found.loss_variation)
    assert found.mean_ratio == pytest.approx(found.norm_ratio)


# By simulation.


def test_bias_correction() -> None:
    """L = w'Aw / 2 - b'w under absolute noise s: g = A(w + e) - b, so ||E g||^2 = ||A w - b||^2 and tr(S) = s^2 ||A||^2.

    400 seeds of 4 draws; both are held against their truth by a t-test with false alarm ALARM. The estimate without
    correction is too large by tr(S) / 4, about 11 standard errors, and the same test finds it.
    """
    n, draws, s = 400, 4, 0.5
    source = torch.Generator().manual_seed(2)
    root = torch.randn(6, 6, generator=source)
    a, b = root @ root.T / 6 + torch.eye(6), torch.randn(6, generator=source)
    model = held([1.0, -2.0, 0.5, 1.5, 2.0, -1.0])
    w = model.weight.detach().flatten().clone()

    def loss(model: nn.Module, _: Any) -> Tensor:
        v = model.weight.flatten()
        return (v @ a @ v / 2 - b @ v).view(1)

    squares, traces = np.zeros(n), np.zeros(n)
    for seed in range(n):
        found = health(model, select(model), RWP(Gaussian("absolute")), s, loss, None, [], draws=draws, seed=seed)
        squares[seed] = (found.mean_ratio * found.clean_norm) ** 2
        traces[seed] = squares[seed] / found.signal_to_noise**2
    truth, noise = float((a @ w - b).square().sum()), s**2 * float(a.square().sum())
    assert stats.ttest_1samp(squares, truth).pvalue > ALARM
    assert stats.ttest_1samp(traces, noise).pvalue > ALARM
    assert stats.ttest_1samp(squares + traces / draws, truth).pvalue < ALARM


# Without a trace.


def untouched(call: Callable[[nn.Module, Callable[[nn.Module, Any], Tensor]], object], fails: bool) -> None:
    """`call` leaves weights, gradients, buffers, modes, hooks and generators, also when the loss raises at other weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.ReLU(), nn.Linear(5, 3))
    model[1].eval()
    model[0].weight.grad = own = torch.full((5, 4), 0.1)
    before, modes = bits(model.state_dict().values()), [module.training for module in model.modules()]
    generator, clean, moved = torch.random.get_rng_state(), bits(model.parameters()), []

    def loss(model: nn.Module, one: Any) -> Tensor:
        moved.append(bits(model.parameters()) != clean or bool(model[0]._forward_hooks))
        if fails and moved[-1]:
            raise RuntimeError
        model[1].train()
        value = losses(model, one)  # moves running statistics, and draws for dropout
        model[1].eval()
        return value

    if fails:
        with pytest.raises(RuntimeError):
            call(model, loss)
    else:
        call(model, loss)
    assert any(moved)
    assert bits(model.state_dict().values()) == before
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert model[0].weight.grad is own
    assert torch.equal(own, torch.full((5, 4), 0.1))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "0.weight")
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("text", OBJECTIVES[1:])
def test_health_leaves_no_trace(text: str, fails: bool) -> None:
    untouched(lambda model, loss: probe(model, text, 0.3, loss=loss), fails)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("text", OBJECTIVES[1:])
def test_tolerated_leaves_no_trace(text: str, fails: bool) -> None:
    def call(model: nn.Module, loss: Callable[[nn.Module, Any], Tensor]) -> float:
        return tolerated(model, select(model), parse(text), loss, batch(), 9.0, draws=2, seed=0, top=0.5)

    untouched(call, fails)


# What is tolerated.


def bowl(model: nn.Module, _: Any) -> Tensor:
    return model.weight.square().mean().view(1) / 2


@pytest.mark.parametrize("halvings", [3, 7, 10])
def test_tolerated_noise(halvings: int) -> None:
    """At w = 0 the mean loss over draws is s^2 m / 2, with m the mean square of 16,384 normal numbers.

    Bisection ends less than top / 2^halvings below the solution. m has mean 1 and, to a good approximation, standard
    deviation sqrt(2 / 16384), which makes 3.3 of it a false alarm in ALARM of all seeds.
    """
    model, budget, draws, top = held(*[[0.0] * 64] * 64), 0.02, 4, 0.5
    arrays = select(model)
    normal = [Draw(3, "tolerated", k).of("weight").normal(model.weight.detach()).double() for k in range(draws)]
    m = float(torch.stack(normal).square().mean())
    assert abs(m - 1) < 3.3 * math.sqrt(2 / 16384)
    found = tolerated(
        model, arrays, RWP(Gaussian("absolute")), bowl, None, budget, draws=draws, seed=3, top=top, halvings=halvings
    )
    assert 0 <= math.sqrt(2 * budget / m) - found < top / 2**halvings
    assert abs(found - 0.2) < top / 2**halvings + 0.2 * 3.3 * math.sqrt(2 / 16384)


@pytest.mark.parametrize(
    ("budget", "solution"),
    [
        (18.1, math.sqrt(36.2) - 5),  # (5 + rho)^2 / 2 at w = (3, 4)
        (12.6, math.sqrt(25.2) - 5),
        (12.4, 0.0),  # even the clean loss, 12.5, is beyond
        (40.6, 4.0),  # not even the top, 40.5, is
        (math.nan, 0.0),
    ],
)
def test_tolerated_radius(budget: float, solution: float) -> None:
    model = held([3.0, 4.0])
    loss = lambda model, _: model.weight.square().sum().view(1) / 2  # noqa: E731
    found = tolerated(model, select(model), SAM(), loss, None, budget, draws=1, seed=0, top=4.0)
    assert 0 <= solution - found < 4 / 2**7
    if solution in (0.0, 4.0):
        assert found == solution
