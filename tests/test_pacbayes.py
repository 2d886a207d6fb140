"""Bounds against high-precision arithmetic, against torch's own divergence, and by hand."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from incorruptible.errors import UserError
from incorruptible.pacbayes import (
    Displacement,
    complexity,
    curvature,
    divergence,
    kl,
    kl_inverse,
    mcallester,
    monte_carlo,
    pac_bayes_kl,
    paid_divergence,
    preferred_strength,
    quadratic,
)
from incorruptible.pacbayes.weights import displacement

# ---- the relative entropy and its inverse

POINTS = [
    (q, c)
    for q in (0.0, 1e-300, 1e-12, 1e-3, 0.05, 0.3, 0.5, 0.9, 1 - 1e-9, 1.0)
    for c in (0.0, 1e-16, 1e-9, 1e-3, 0.1, 1.0, 10.0, 40.0)
]


def precise(q: float, p: Any) -> Any:
    """kl(q||p) with 60 digits."""
    q, p = mpmath.mpf(q), mpmath.mpf(p)
    first = q * mpmath.log(q / p) if q else mpmath.mpf(0)
    return first + ((1 - q) * mpmath.log((1 - q) / (1 - p)) if q < 1 else 0)


def precise_inverse(q: float, c: float) -> Any:
    """By 400 halvings with 60 digits."""
    low, high = mpmath.mpf(q), mpmath.mpf(1)
    for _ in range(400):
        middle = (low + high) / 2
        if middle < 1 and precise(q, middle) <= c:
            low = middle
        else:
            high = middle
    return high


@pytest.mark.parametrize(("q", "c"), POINTS)
def test_the_inverse_agrees_with_high_precision(q: float, c: float) -> None:
    with mpmath.workdps(60):
        true = precise_inverse(q, c)
        assert abs(mpmath.mpf(float(kl_inverse(q, c))) - true) < 1e-12


@pytest.mark.parametrize("q", [0.0, 1e-3, 0.3, 0.999, 1.0])
def test_the_divergence_agrees_with_high_precision(q: float) -> None:
    for p in (1e-9, 0.3, 0.3 + 1e-9, 0.7, 1 - 1e-9):
        with mpmath.workdps(60):
            true = float(precise(q, p))
        assert abs(float(kl(q, p)) - true) <= 1e-12 * max(1.0, true)


def test_the_inverse_errs_to_the_safe_side() -> None:
    q, c = np.meshgrid(np.linspace(0, 0.99, 34), [1e-6, 1e-3, 0.1, 1.0])
    found = kl_inverse(q, c)
    inside = found < 1
    assert (found >= q).all() and (kl(q, found)[inside] >= c[inside] * (1 - 1e-9)).all()
    assert (np.diff(found, axis=0) > 0).all() and (np.diff(found, axis=1) > 0).all()  # in the bound, and in the risk


def test_what_lies_at_the_ends() -> None:
    assert kl(0, 0) == kl(1, 1) == 0 and np.isinf(kl(0.5, [0.0, 1.0])).all()
    assert kl_inverse([0.2, 1.0], np.inf).tolist() == [1.0, 1.0] and 0 <= kl_inverse(0.2, 0) - 0.2 < 1e-15
    assert kl_inverse(np.full((2, 3), 0.1), 0.1).shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kl(1.2, 0.5), "q holds 1.2"),
        (lambda: kl(0.5, float("nan")), "p holds nan"),
        (lambda: kl_inverse(0.5, -1), "the bound is -1;"),
        (lambda: kl_inverse(0.5, float("nan")), "the bound is nan;"),
        (lambda: complexity(1, 0, 0.05), "n=0"),
        (lambda: complexity(1, 9, 1.0), "delta=1.0"),
        (lambda: monte_carlo(0.1, 0, 0.05), "draws=0"),
        (lambda: paid_divergence(one_layer(), 0.1, "filter"), "'layer', 'all' or 'either'"),
        (lambda: Displacement(*(np.zeros(k) for k in (2, 2, 2, 2, 3))), "one layer, count"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_told(call: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call()


# ---- bounds


def test_the_bound_by_hand() -> None:
    """Q = P, n = 64, delta = .05: c = ln(16/.05)/64 = ln(320)/64 = .0901300. Without errors the bound is 1 - e^-c = 1 - 320^(-1/64)
    = .0861876. McAllester: 0 + sqrt(c/2) = .2122852. The quadratic form: (2 sqrt(c/2))^2 = 2c = .1802600."""
    assert complexity(0, 64, 0.05) == pytest.approx(0.0901300, abs=1e-7)
    assert pac_bayes_kl(0, 0, 64, 0.05) == pytest.approx(0.0861876, abs=1e-7) == 1 - 320 ** (-1 / 64)
    assert mcallester(0, 0, 64, 0.05) == pytest.approx(0.2122852, abs=1e-7)
    assert quadratic(0, 0, 64, 0.05) == pytest.approx(0.1802600, abs=1e-7)


def test_the_bounds_stand_in_their_order() -> None:
    risk, nats = np.meshgrid(np.linspace(0, 0.9, 10), [0.0, 1.0, 30.0, 300.0])
    tight, loose, smooth = (bound(risk, nats, 500, 0.025) for bound in (pac_bayes_kl, mcallester, quadratic))
    assert (risk < tight).all() and (tight <= np.minimum(1, loose) + 1e-12).all()
    assert (tight <= np.minimum(1, smooth) + 1e-12).all() and (smooth < loose)[(risk == 0) & (nats < 50)].all()
    assert (np.diff(tight, axis=0) > 0).all()


@pytest.mark.parametrize(("draws", "limit"), [(100, 0.459), (1000, 0.348), (10_000, 0.315), (150_000, 0.304)])
def test_the_price_of_few_draws(draws: int, limit: float) -> None:
    assert round(float(monte_carlo(0.3, draws, 0.01)), 3) == limit


def test_the_bound_holds_on_data_that_can_be_counted() -> None:
    """One fixed predictor of risk .1 (Q = P): over 4,000 samples of 64 examples it is exceeded with probability at most delta = .1;
    more than 480 of 4,000 has probability under 1e-4 even at .1. Not trivial: a plain mean misses about half the time."""
    hits = np.random.default_rng(0).binomial(64, 0.1, 4000) / 64
    assert (pac_bayes_kl(hits, 0, 64, 0.1) < 0.1).sum() <= 480
    assert (hits < 0.1).mean() > 0.4


# ---- Gaussians


def one_layer(scale: float = 1.0, count: int = 50) -> Displacement:
    ones = np.ones(1)
    return Displacement(np.zeros(1, int), np.array([count]), scale * ones, ones, np.zeros(1))


@pytest.fixture
def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)) for _ in range(2)]
    with torch.no_grad():
        for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            a.copy_(b + 0.1 * torch.randn_like(b) if a.dim() > 1 else b)
    return nets[0], nets[1]


@pytest.mark.parametrize("prior", [0.1, 0.25, [0.2, 0.4]])
def test_the_divergence_is_that_of_torch(pair: tuple[nn.Module, nn.Module], prior: Any) -> None:
    model, start = pair
    expected = 0.0
    for layer, number in enumerate((0, 2)):
        w, w0 = (net[number].weight.detach().double() for net in (model, start))  # type: ignore[index]
        peaks = [one.abs().amax(1, keepdim=True).expand_as(one) for one in (w, w0)]
        scale = prior[layer] if isinstance(prior, list) else prior
        expected += float(kl_divergence(Normal(w, 0.2 * peaks[0]), Normal(w0, scale * peaks[1])).sum())
    assert divergence(displacement(model, start), 0.2, prior) == pytest.approx(expected, rel=1e-10)


def test_the_divergence_by_hand() -> None:
    """One filter of two weights, m = 2 after and 1 before, moved by 3 in square; posterior .1, prior .2: r = (.2/.2)^2 = 1, so
    that only 3 / (2 * .04) = 37.5 is left. At prior .1: r = 4: (2/2)(4 - 1 - ln 4) + 150."""
    moved = Displacement(np.zeros(1, int), np.array([2]), np.array([2.0]), np.array([1.0]), np.array([3.0]))
    assert divergence(moved, 0.1, 0.2) == pytest.approx(37.5)
    assert divergence(moved, 0.1, 0.1) == pytest.approx(3 - np.log(4) + 150)
    assert moved.distance() == 0.75


def test_no_move_costs_nothing_and_a_move_of_what_has_no_noise_everything() -> None:
    assert divergence(one_layer(), 0.1, 0.1) == 0
    still = Displacement(*(np.zeros(1, int), np.array([4])), *(np.zeros(1) for _ in range(3)))
    assert divergence(still, 0.1, 0.3) == 0 and still.distance() == 0
    for bad in (
        Displacement(np.zeros(1, int), np.array([4]), np.ones(1), np.ones(1), np.zeros(1), elsewhere=1e-9),
        Displacement(np.zeros(1, int), np.array([4]), np.ones(1), np.zeros(1), np.ones(1)),
        Displacement(np.zeros(1, int), np.array([4]), np.zeros(1), np.ones(1), np.ones(1)),
    ):
        assert divergence(bad, 0.1, 0.1) == paid_divergence(bad, 0.1)[0] == np.inf
    assert divergence(one_layer(), 0.0, 0.1) == paid_divergence(one_layer(), 0.0)[0] == np.inf


# ---- the grid over the prior's scale


def test_the_first_scale_costs_the_least_that_a_choice_can() -> None:
    """Nothing moved: the centre of the grid fits, at ln(pi^2/6) = .4977 nats for each group; the prices' weights sum to 1."""
    total, scales = paid_divergence(one_layer(), 0.3, "layer")
    assert total == pytest.approx(np.log(np.pi**2 / 6)) and scales.tolist() == [0.3]
    assert sum(6 / (np.pi**2 * j**2) for j in range(1, 200_000)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.0, 1.1, 3.0])
@pytest.mark.parametrize("groups", ["layer", "all"])
def test_the_choice_is_the_best_of_the_whole_grid(scale: float, groups: str) -> None:
    """Against the slow way: every scale of the grid from i = -300 to 300, each with its price."""
    moved = Displacement(
        np.array([0, 0, 1]),
        np.array([30, 30, 8]),
        np.array([1.0, 2.0, 0.5]) * scale,
        np.array([1.1, 2.0, 0.5]),
        np.array([0.01, 0.1, 0.02]),
    )
    own = [moved] if groups == "all" else [_only(moved, layer) for layer in (0, 1)]
    expected = 0.0
    for one in own:
        costs = []
        for i in range(-300, 301):
            j = 2 * i if i > 0 else 1 - 2 * i
            prior = 0.2 * np.exp(i / 200)
            costs.append(divergence(one, 0.2, prior) + np.log(np.pi**2 * j**2 / 6))
        expected += min(costs)
    total, scales = paid_divergence(moved, 0.2, groups)
    assert total == pytest.approx(expected, rel=1e-9) and len(scales) == len(own)
    free = min(divergence(moved, 0.2, prior) for prior in np.linspace(0.05, 1, 2000))
    assert total > free - 1e-6 or groups == "layer"
    cheaper = min(paid_divergence(moved, 0.2, one)[0] for one in ("layer", "all"))
    assert paid_divergence(moved, 0.2)[0] == pytest.approx(cheaper + np.log(2))


def _only(moved: Displacement, layer: int) -> Displacement:
    keep = moved.layer == layer
    return Displacement(
        moved.layer[keep], moved.count[keep], moved.peak[keep], moved.start[keep], moved.square[keep], moved.elsewhere
    )


def test_a_wider_posterior_is_cheaper() -> None:
    moved = Displacement(np.zeros(1, int), np.array([100]), np.ones(1), np.ones(1), np.array([2.0]))
    paid = [paid_divergence(moved, s)[0] for s in (0.05, 0.1, 0.2, 0.4)]
    assert paid == sorted(paid, reverse=True)


# ---- from networks


def test_displacement_sees_every_kind_of_filter() -> None:
    torch.manual_seed(1)

    def made() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 6, 2, groups=2), nn.Flatten(), nn.Linear(6, 2)
        )

    model, start = made(), made()
    start.load_state_dict(model.state_dict())
    assert displacement(model, start).distance() == displacement(model, start).elsewhere == 0
    with torch.no_grad():
        model[2].weight[1, 2] += 10  # type: ignore[index]  # group 0, its third filter
    moved = displacement(model, start)
    assert moved.layer.tolist() == [0] * 4 + [1] * 6 + [2] * 2
    assert moved.count.tolist() == [27] * 4 + [8] * 6 + [6] * 2
    assert np.flatnonzero(moved.square).tolist() == [6] and moved.square[6] == pytest.approx(400, rel=1e-5)
    assert moved.elsewhere == 0 and (moved.start[moved.layer == 0] > 0).all()
    with torch.no_grad():
        model[1].running_mean += 0.5  # type: ignore[index]
    assert displacement(model, start).elsewhere == pytest.approx(0.5)
    with pytest.raises(UserError, match="not the same network"):
        displacement(model, nn.Linear(2, 2))


# ---- curvature


def test_curvature_and_the_preferred_strength_on_a_quadratic() -> None:
    """L(w) = w'Hw/2 has F(v) = L + v tr(DH)/2 exactly, so T is tr(DH); v T/2 + A/(2 n v) is least at v = sqrt(A/(n T))."""
    trace, distance, n = 3.0, 5.0, 200
    risk = [0.1 + s**2 * trace / 2 for s in (0.1, 0.3)]
    assert curvature(*risk, (0.1, 0.3)) == pytest.approx(trace)
    best = float(preferred_strength(distance, n, trace))
    values = np.linspace(0.01, 1, 100_000)
    form = values**2 * trace / 2 + distance / (2 * n * values**2)
    assert best == pytest.approx(values[form.argmin()], abs=1e-4)
    assert preferred_strength(distance, 16 * n, trace) == pytest.approx(best / 2)
    assert np.isnan(preferred_strength(distance, n, [0.0, -1.0])).all()
