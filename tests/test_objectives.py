"""The promises of every objective, each one test over one table; then by hand, by twin, by simulation.

A new objective is a row of OBJECTIVES.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from incorruptible.corruptions import Gaussian
from incorruptible.corruptions import parse as parse_corruption
from incorruptible.errors import UserError
from incorruptible.objectives import ASAM, CATALOGUE, RWP, RWPSAM, SAM, MixedRWP, Plain, RandBET, parse
from incorruptible.objectives.base import Objective, Point, PointResult, max_strength_of, run_objective
from incorruptible.randomness.streams import Draw
from incorruptible.schedules import Constant
from incorruptible.training import Hardener
from incorruptible.weights.arrays import Array, select

OBJECTIVES = [
    "plain",
    "rwp(gaussian-filter-max)",
    "rwp(mixture(lognormal:unbiased=true):low=0.5)",
    "local-rwp(gaussian-filter-max)",
    "mixed-rwp(gaussian-filter-max)",
    "mixed-rwp(mixture(uniform-layer-max):low=0.5):share=0.25",
    "sam",
    "sam:metric=filter-max",
    "sam:metric=filter-sqrtmax",
    "asam",
    "asam:eta=0",
    "rwp-sam(gaussian-filter-max)",
    "rwp-sam(gaussian-absolute):ratio=0.5:metric=filter-norm",
    "randbet(gaussian-filter-max)",
    "randbet(gaussian-absolute):bound=0.1:threshold=1.75",
]
PERTURBING = OBJECTIVES[1:]
ONE_PASS = [text for text in OBJECTIVES if parse(text).passes == 1]
SWAPPING = [
    text for text in OBJECTIVES if not text.startswith("local")
]  # looking at other weights, not at other outputs
ALARM = 0.001  # how often, over all seeds, a statistical test here would fail for no reason


def net() -> nn.Sequential:
    """4 to 5 to 3, with a -0 and a subnormal among the weights, for these too come back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    with torch.no_grad():
        model[0].weight[0, :2] = torch.tensor([-0.0, 1e-41])
    return model


def batch(n: int = 16) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=source), torch.randint(0, 3, (n,), generator=source)


def closure(model: nn.Module, n: int = 16) -> Callable[[], Tensor]:
    x, y = batch(n)
    return lambda: cross_entropy(model(x), y)


def hardener(model: nn.Module, objective: Objective | str, strength: float = 0.3, **more: Any) -> Hardener:
    objective = parse(objective) if isinstance(objective, str) else objective
    return Hardener(model, objective, Constant(strength), **{"steps": 10, "seed": 0, **more})


def gradient(model: nn.Module, objective: Objective | str, strength: float = 0.3) -> list[Tensor]:
    """A fresh gradient, by a Hardener."""
    model.zero_grad()
    hardener(model, objective, strength).backward(closure(model))
    return grads(model)


def grads(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def bits(tensors: Iterable[Tensor]) -> list[bytes]:
    return [tensor.detach().contiguous().numpy().tobytes() for tensor in tensors]


# The promises.


def test_table_is_complete() -> None:
    assert {text.split("(")[0].split(":")[0] for text in OBJECTIVES} == set(CATALOGUE)


@pytest.mark.parametrize("text", OBJECTIVES)
def test_what_is_written_is_read(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize("make", [lambda x: ASAM(x), lambda x: MixedRWP(Gaussian("absolute"), x)])
def test_numbers_of_numpy_are_written_as_numbers(make: Callable[[float], Objective]) -> None:
    assert parse(str(make(np.float64(0.3)))) == make(0.3)


@pytest.mark.parametrize(
    "text",
    [
        "sam:metric=filtermax",
        "asam:eta=-1",
        "mixed-rwp(gaussian-absolute):share=1",
        "mixed-rwp(gaussian-absolute):share=0",
        "rwp-sam(gaussian-absolute):ratio=-1",
        "rwp",
        "sam(gaussian-absolute)",
        "randbet",
        "randbet(gaussian-absolute):population=0",
        "randbet(gaussian-absolute):population=1.5",
        "randbet(gaussian-absolute):bound=0",
        "randbet(gaussian-absolute):threshold=-1",
        "swp(gaussian-absolute)",
        "local-rwp",
        "local-rwp(lognormal)",
        "local-rwp(mixture(gaussian-absolute))",
    ],
)
def test_mistakes(text: str) -> None:
    with pytest.raises(UserError):
        parse(text)


@pytest.mark.parametrize("text", OBJECTIVES)
def test_points(text: str) -> None:
    """`passes` counts them, `clean` tells of one where nothing goes wrong, and the shares that count make 1."""
    model = net()
    arrays, points = select(model), []

    def look(point: Point) -> PointResult:
        points.append(point)
        grads = {} if point.counts else {array.name: torch.ones_like(array.value) for array in arrays}
        return PointResult(torch.tensor(1.0), grads)

    objective = parse(text)
    added = run_objective(objective(arrays, 0.3, Draw(0, "train", 0)), look)
    assert (added is not None) == any(point.keep for point in points)
    assert len(points) == objective.passes
    assert any(point.clean for point in points) == objective.clean
    assert sum(point.share for point in points) == 1


@pytest.mark.parametrize("text", OBJECTIVES)
def test_passes_are_calls_of_the_closure(text: str) -> None:
    model, seen = net(), []
    loss = closure(model)
    before = float(loss().detach())

    def look() -> Tensor:
        value = loss()
        seen.append(float(value.detach()))
        return value

    hardener(model, text).backward(look)
    assert len(seen) == parse(text).passes
    assert (before in seen) == parse(text).clean
    assert any(value != before for value in seen) == (text != "plain")


@pytest.mark.parametrize("text", OBJECTIVES)
def test_strength_0_is_the_plain_gradient(text: str) -> None:
    model = net()
    closure(model)().backward()
    plain, own = grads(model), gradient(model, text, strength=0.0)
    if parse(text).passes == 1:
        assert bits(own) == bits(plain)
    torch.testing.assert_close(own, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("text", PERTURBING)
def test_strength_counts(text: str) -> None:
    model = net()
    assert bits(gradient(model, text, 0.3)) == bits(gradient(model, text, 0.3))
    assert bits(gradient(model, text, 0.3)) != bits(gradient(model, text, 0.2))


@pytest.mark.parametrize("text", OBJECTIVES)
def test_weights_return(text: str) -> None:
    """Bit for bit, into the same storage."""
    model = net()
    before, places = bits(model.parameters()), [p.data_ptr() for p in model.parameters()]
    hardener(model, text).backward(closure(model))
    assert bits(model.parameters()) == before
    assert [p.data_ptr() for p in model.parameters()] == places


@pytest.mark.parametrize(
    ("error", "where", "guard"),
    [(RuntimeError, "closure", True), (KeyboardInterrupt, "closure", False), (RuntimeError, "backward", False)],
)
@pytest.mark.parametrize(("text", "at"), [(text, at) for text in OBJECTIVES for at in range(parse(text).passes)])
def test_an_error_leaves_no_trace(text: str, at: int, error: type[BaseException], where: str, guard: bool) -> None:
    """Raised in pass `at`: weights, gradients and counters are those before the call."""
    model = net()
    parameters = list(model.parameters())
    parameters[0].grad = old = torch.full_like(parameters[0], 0.1)  # one gradient to add to, and none elsewhere
    before, places = bits(parameters), [p.data_ptr() for p in parameters]
    loss, passes, robust = closure(model), iter(range(2)), hardener(model, text, guard=guard)

    def strike(_: Tensor) -> None:
        raise error

    def look() -> Tensor:
        one = next(passes)
        if one == at and where == "closure":
            raise error
        value = loss()
        if one == at:
            value.register_hook(strike)
        return value

    with pytest.raises(error):
        robust.backward(look)
    assert bits(parameters) == before
    assert [p.data_ptr() for p in parameters] == places
    assert parameters[0].grad is old
    assert torch.equal(old, torch.full_like(old, 0.1))
    assert all(p.grad is None for p in parameters[1:])
    assert robust.calls == robust.skipped == 0


@pytest.mark.parametrize("strength", [0.1, 10.0])
@pytest.mark.parametrize("text", OBJECTIVES)
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-44])
def test_vanishing_gradient(text: str, strength: float, size: float) -> None:
    """Normal, subnormal or nothing: no step of an ascent is infinite, and 0 times infinity is nan."""
    model, seen = nn.Linear(2, 2, bias=False), []

    def look() -> Tensor:
        seen.append(model.weight.detach().clone())
        return (model(torch.eye(2)) * size).sum()

    hardener(model, text, min(strength, max_strength_of(parse(text)))).backward(look)
    assert all(bool(weight.isfinite().all()) for weight in seen)
    torch.testing.assert_close(model.weight.grad, torch.full((2, 2), size), rtol=1e-6, atol=1e-44)


# By hand.


def found(
    weight: list[list[float]], loss: Callable[[Tensor], Tensor], objective: Objective, rho: float
) -> tuple[Tensor, Tensor]:
    """The gradient, and e: how far from `weight` the last look at `loss` was."""
    model = nn.Linear(len(weight[0]), len(weight), bias=False)
    model.weight.data.copy_(torch.tensor(weight))
    seen: list[Tensor] = []
    hardener(model, objective, rho).backward(lambda: seen.append(model.weight.detach().clone()) or loss(model.weight))
    assert model.weight.grad is not None
    return model.weight.grad, seen[-1] - torch.tensor(weight)


def test_sam_by_hand() -> None:
    # L = (a^2 + 4 b^2) / 2 at (1, 1): g = (1, 4), rho = sqrt(17) = ||g||, e = (1, 4), and at (2, 5) the gradient (2, 20).
    g, e = found([[1, 1]], lambda w: (w**2 * torch.tensor([1.0, 4.0])).sum() / 2, SAM(), 17**0.5)
    torch.testing.assert_close(e, torch.tensor([[1.0, 4.0]]))
    torch.testing.assert_close(g, torch.tensor([[2.0, 20.0]]))


METRICS = [
    # weight, slope g of a linear loss, T; T g and its norm stand beside: e = rho T^2 g / ||T g||, rho = 5
    (SAM("filter-max"), [[2, -1], [0.5, 0.25]], [[1, 2], [8, 16]], [[2.0], [0.5]], [[2, 4], [1, 2]]),  # 2 4 4 8: 10
    (SAM("filter-sqrtmax"), [[4, -1], [0.25, 0]], [[1, 2], [8, 16]], [[2.0], [0.5]], [[2, 4], [1, 2]]),  # the same
    (SAM("layer-max"), [[2, -1]], [[3, 4]], [[2.0]], [[6, 8]]),  # 6 8: 10
    (SAM("filter-norm"), [[3, -4]], [[3, 4]], [[5.0]], [[15, 20]]),  # 15 20: 25
    (ASAM(eta=0), [[1, -2]], [[3, 2]], [[1.0, 2.0]], [[3, 8]]),  # 3 4: 5
    (ASAM(eta=1), [[-1, 2]], [[1.5, 4 / 3]], [[2.0, 3.0]], [[6, 12]]),  # 3 4: 5
]


@pytest.mark.parametrize(
    ("objective", "weight", "slope", "scale", "by_hand"), METRICS, ids=[str(row[0]) for row in METRICS]
)
def test_metrics_by_hand(objective: Objective, weight: list, slope: list, scale: list, by_hand: list) -> None:
    _, e = found(weight, lambda w: (w * torch.tensor(slope)).sum(), objective, 5.0)
    torch.testing.assert_close(e, torch.tensor(by_hand).float())
    assert float((e / torch.tensor(scale)).norm()) == pytest.approx(5)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_mixed_is_the_weighted_mean(share: float) -> None:
    model, corruption = net(), Gaussian("filter-max")
    noisy, clean = gradient(model, RWP(corruption)), gradient(model, Plain())
    mixed = gradient(model, MixedRWP(corruption, share))
    expected = [share * one + (1 - share) * other for one, other in zip(noisy, clean, strict=True)]
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-7)


def test_rwp_goes_straight_through() -> None:
    # L = |w - 1|^2 / 2 held in pairs of 3 levels: w / max|w| is rounded to steps of 1/2, no slope of which is used.
    corruption = parse_corruption("stored(crossbar:levels=3)")
    weight = [[1.0, 0.3, -0.6, 0.1]]
    g, e = found(weight, lambda w: (w - 1).square().sum() / 2, RWP(corruption), 0.0)
    torch.testing.assert_close(e + torch.tensor(weight), torch.tensor([[1.0, 0.5, -0.5, 0.0]]))
    torch.testing.assert_close(g, torch.tensor([[0.0, -0.5, -1.5, -1.0]]))


@dataclass(frozen=True)
class Shifted:
    """w + s in all arrays, w + 2 s on every odd chip."""

    unit: ClassVar[str] = "the shift"
    formula: ClassVar[str] = "w + s"
    source: ClassVar[str] = "here"

    def __call__(self, array: Array, strength: float, noise: Any) -> Tensor:
        return array.value + strength * (1 + noise.name[-1] % 2)


class Slope(nn.Module):
    """L = (w^2 + 2 b^2) / 2 + w b with an array w and a bias b, digital; dL/dw = w + b, dL/db = 2 b + w."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.constant_(self.layer.weight, 2.0)
        nn.init.constant_(self.layer.bias, -1.0)

    def forward(self) -> Tensor:
        w, b = self.layer.weight.sum(), self.layer.bias.sum()
        return (w**2 + 2 * b**2) / 2 + w * b


@pytest.mark.parametrize(
    ("population", "bound", "threshold", "strength", "dw", "db", "loss"),
    [
        # at rest (2, -1): g = (1, 0), L = 1. Chip 0 at s = 3 is (5, -1): g = (4, 3), L = 8.5; chip 1 is (8, -1): (7, 6), 25.
        (1, 10, math.inf, 3, (1 + 4) / 2, (0 + 3) / 2, (1 + 8.5) / 2),
        (1, 3.5, math.inf, 3, (1 + 3.5) / 2, (0 + 3) / 2, (1 + 8.5) / 2),  # of each element, the bias's too
        (1, 0.05, math.inf, 3, (1 + 0.05) / 2, (0 + 0.05) / 2, (1 + 8.5) / 2),
        (2, 5, math.inf, 3, (1 + 4 + 5) / 3, (0 + 3 + 5) / 3, (1 + 8.5 + 25) / 3),
        (1, 5, 1.1, 3, (1 + 4) / 2, (0 + 3) / 2, (1 + 8.5) / 2),
        (1, 5, 1.0, 3, 1, 0, 1),  # the clean loss is not below it: the clean gradient, whole
        (2, 0.05, math.inf, 0, 1, 0, 1),
    ],
)
def test_randbet_by_hand(
    population: int, bound: float, threshold: float, strength: float, dw: float, db: float, loss: float
) -> None:
    model = Slope()
    returned = hardener(model, RandBET(Shifted(), population, bound, threshold), strength).backward(model)
    assert [float(p.grad) for p in model.parameters()] == pytest.approx([dw, db])
    assert float(returned) == pytest.approx(loss)


def test_randbet_leaves_frozen_parameters() -> None:
    """They sit on the chip, and get no gradient."""
    model = Slope()
    model.layer.weight.requires_grad_(False)
    hardener(model, RandBET(Shifted(), bound=10), 3).backward(model)
    assert model.layer.weight.grad is None
    assert float(model.layer.bias.grad) == pytest.approx((0 + 3) / 2)


@pytest.mark.parametrize("losses", [(0.5, 1.0), (1.0, 0.5)])
def test_micro_batches_are_bounded_and_judged_whole(losses: tuple[float, float]) -> None:
    """Two of half the loss: each is averaged as if it were whole, so that bound and threshold mean what they say."""
    model = Slope()
    robust = hardener(model, RandBET(Shifted(), bound=3.5, threshold=0.9), 3, accumulate=2)
    for factor in losses:  # L = factor at rest: one micro-batch is below the threshold, and the other is not
        robust.backward(lambda factor=factor: factor * model() / 2)
    chip = losses.index(0.5) + 1  # the first micro-batch has chip 0, w + s, and the second chip 1, w + 2 s
    below = (0.5 * 1 + min(3.5, 0.5 * (1 + 3 * chip))) / 2
    assert float(model.layer.weight.grad) == pytest.approx((below + 1.0 * 1) / 2)


def test_a_running_gradient_is_added_to() -> None:
    model = Slope()
    model.layer.weight.grad = own = torch.full((1, 1), 7.0)
    hardener(model, RandBET(Shifted(), bound=10), 3).backward(model)
    assert model.layer.weight.grad is own
    assert float(own) == pytest.approx(7 + 2.5)


# By twin: the published loop, spelled out.


@pytest.mark.parametrize(("population", "bound"), [(1, 0.05), (3, 0.02)])
def test_randbet_against_the_slow_twin(population: int, bound: float) -> None:
    """At rest the weights are rounded to what the crossbar holds; errors are met anew by each of the population."""
    corruption = parse_corruption("stored(crossbar:levels=16:per=filter|drop)")
    rate, twin, cut = 0.2, net(), 0
    clean = {array.name: array.value.clone() for array in select(twin)}

    def at(s: float, chip: int) -> list[Tensor]:
        draw = Draw(0, "train", chip, native=True)
        for array in select(twin):
            array.value.copy_(clean[array.name])
        for array, value in [(a, corruption(a, s, draw.of(a.name))) for a in select(twin)]:
            array.value.copy_(value)
        twin.zero_grad()
        closure(twin)().backward()
        return grads(twin)

    robust, model = hardener(net(), RandBET(corruption, population, bound), rate), None
    model = robust.model
    for step in range(2):
        total = at(0.0, 0)
        assert bits([twin[0].weight]) != bits([clean["0.weight"]])
        for one in range(population):
            found = at(rate, step * population + one)
            cut += sum(int((g.abs() > bound).sum()) for g in found)
            total = [t + g.clamp(-bound, bound) for t, g in zip(total, found, strict=True)]
        model.zero_grad()
        robust.backward(closure(model))
        expected = [t / (population + 1) for t in total]
        torch.testing.assert_close(grads(model), expected, rtol=0, atol=1e-7)
    assert cut > 0  # the bound is met


TWINS: list[tuple[Objective, Callable[[Tensor], Tensor]]] = [
    (SAM(), torch.ones_like),
    (SAM("absolute"), torch.ones_like),
    (SAM("filter-max"), lambda w: w.abs().max(dim=1, keepdim=True).values.expand_as(w)),
    (SAM("filter-sqrtmax"), lambda w: w.abs().max(dim=1, keepdim=True).values.sqrt().expand_as(w)),
    (SAM("layer-max"), lambda w: w.abs().max().expand_as(w)),
    (ASAM(), lambda w: w.abs() + 0.01),
    (RWPSAM(Gaussian("absolute"), ratio=0.2), torch.ones_like),
]


@pytest.mark.parametrize(("objective", "scale"), TWINS, ids=[str(objective) for objective, _ in TWINS])
def test_climbing_against_the_slow_twin(objective: Objective, scale: Callable[[Tensor], Tensor]) -> None:
    rho, twin = 0.3, net()
    weights = [twin[0].weight, twin[2].weight]
    clean = [w.detach().clone() for w in weights]
    sizes = [scale(w) for w in clean]
    if isinstance(objective, RWPSAM):
        draw = Draw(0, "train", 0, native=True)
        for name, w in (("0.weight", weights[0]), ("2.weight", weights[1])):
            w.data.add_(draw.of(name).normal(w.data), alpha=rho * 0.2)
    loss = closure(twin)
    loss().backward()
    length = sum(float((t * w.grad).square().sum()) for t, w in zip(sizes, weights, strict=True)) ** 0.5
    for t, w in zip(sizes, weights, strict=True):
        w.data.add_(rho * t**2 * w.grad / length)
    twin.zero_grad()
    loss().backward()
    torch.testing.assert_close(gradient(net(), objective, rho), grads(twin), rtol=0, atol=1e-6)


# By simulation.


@pytest.mark.parametrize("scale", ["absolute", "filter-max"])
def test_rwp_is_unbiased_on_a_quadratic(scale: str) -> None:
    """L = w'Aw / 2 - b'w, so g = A(w + e) - b with Cov e = D^2: n d' C^-1 d is chi2 for d = mean g - (A w - b), C = A D^2 A."""
    n, d, s = 600, 6, 0.5
    source = torch.Generator().manual_seed(2)
    root, b = torch.randn(d, d, generator=source), torch.randn(d, generator=source)
    a = root @ root.T + torch.eye(d)
    model = nn.Linear(3, 2, bias=False)
    model.weight.data.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.3, -0.2]]))
    robust = hardener(model, RWP(Gaussian(scale)), s, seed=3, steps=n)
    w = model.weight.detach().flatten().clone()

    def loss() -> Tensor:
        v = model.weight.flatten()
        return v @ a @ v / 2 - b @ v

    for _ in range(n):
        robust.backward(loss)
    assert model.weight.grad is not None
    off = (model.weight.grad.flatten() / n - (a @ w - b)).double()
    std = s * (torch.ones(d) if scale == "absolute" else torch.tensor([2.0, 2, 2, 0.3, 0.3, 0.3])).double()
    covariance = a.double() @ (std**2).diag() @ a.double()
    statistic = float(n * off @ torch.linalg.solve(covariance, off))
    # two-sided: without noise the statistic would be 0, with shared draws n times too large
    assert stats.chi2.ppf(ALARM / 2, d) < statistic < stats.chi2.isf(ALARM / 2, d)


def test_ascent_sees_arrays_alone() -> None:
    """An array without a gradient stays, and the others share the whole radius."""
    arrays = [Array("a", torch.zeros(1, 2)), Array("b", torch.zeros(1, 2))]
    path = SAM()(arrays, 5.0, Draw(0, "train", 0))
    next(path)
    values = path.send(PointResult(torch.tensor(0.0), {"b": torch.tensor([[3.0, 4.0]])})).values
    assert values is not None
    assert torch.equal(values(arrays[0]), torch.zeros(1, 2))
    torch.testing.assert_close(values(arrays[1]), torch.tensor([[3.0, 4.0]]))
