"""Local reparameterisation: in distribution the same outputs, in the mean the same gradient, and a mistake where it would not be."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from incorruptible.corruptions import SCALES, Gaussian
from incorruptible.errors import UserError
from incorruptible.landscape import along, health
from incorruptible.objectives import RWP, LocalRWP
from incorruptible.objectives.base import Objective
from incorruptible.randomness.streams import Draw
from incorruptible.weights.arrays import Array, select
from test_objectives import batch, bits, closure, grads, hardener, net

ALARM = 0.001  # how often, over all seeds, a statistical test here would fail for no reason
LOCAL = LocalRWP(Gaussian("filter-max"))


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def looked(model: nn.Module, objective: Objective, x: Tensor, n: int, strength: float = 0.3, **more: Any) -> Tensor:
    """[n, b, out] What `model` puts out in n calls."""
    robust, seen = hardener(model, objective, strength, **{"steps": n, **more}), []
    for _ in range(n):
        with robust.perturbed() as look:
            seen.append(model(x))
            look(seen[-1].sum())
    return torch.stack(seen).detach()


def noise(name: str, like: Tensor, index: int = 0) -> Tensor:
    """The numbers that call `index` of a Hardener draws for the layer."""
    return Draw(0, "train", index, native=True).of(name).normal(like, tag="output")


# By hand, and by twin.


@pytest.mark.parametrize(("x", "length"), [((2.0, 0.0), 2.0), ((3.0, -4.0), 5.0), ((0.0, 0.0), 0.0)])
def test_by_hand(x: tuple[float, float], length: float) -> None:
    """W = (3, 4) at s = 0.1: y = W x + 0.4 |x| z, dy/dW = x with m held fixed, dy/dx = W + 0.4 z x / |x|, and W at x = 0."""
    model, vector = nn.Linear(2, 1, bias=False), torch.tensor([x], requires_grad=True)
    model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    z = float(noise("weight", torch.empty(1, 1)))
    found = hardener(model, LOCAL, 0.1).backward(lambda: model(vector).sum())
    assert float(found) == pytest.approx(3 * x[0] + 4 * x[1] + 0.4 * length * z)
    assert model.weight.grad.tolist() == [list(x)]
    slope = [w + (0.4 * z * one / length if length else 0) for w, one in zip((3, 4), x, strict=True)]
    assert vector.grad.tolist()[0] == pytest.approx(slope)


def spelled(w: Tensor, v: Tensor, x: Tensor, y: Tensor, z: Tensor, u: Tensor, s: float, through: bool = True) -> Tensor:
    """The loss of a network of two layers without biases, as the equations say; `through` |x| or not."""

    def layer(w: Tensor, x: Tensor, z: Tensor) -> Tensor:
        length = x.square().sum(1, keepdim=True).sqrt()
        m = w.detach().abs().amax(1)
        return x @ w.T + s * m * (length if through else length.detach()) * z

    return cross_entropy(layer(v, layer(w, x, z).tanh(), u), y)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_against_the_slow_twin(accumulate: int) -> None:
    """Of each micro-batch with a draw of its own."""
    model, (x, y) = net(), batch()
    for layer in (model[0], model[2]):
        layer.bias = None
    w, v = (model[i].weight.detach().clone().requires_grad_() for i in (0, 2))
    robust, total = hardener(model, LOCAL, accumulate=accumulate), torch.zeros(())
    for k in range(accumulate):
        robust.backward(lambda: cross_entropy(model(x), y) / accumulate)
        z, u = noise("0.weight", torch.empty(16, 5), k), noise("2.weight", torch.empty(16, 3), k)
        total = total + spelled(w, v, x, y, z, u, 0.3) / accumulate
    torch.testing.assert_close(grads(model), list(torch.autograd.grad(total, (w, v))), rtol=1e-5, atol=1e-7)


def test_banked_noise_serves_as_well() -> None:
    """Other numbers than the exact ones, the same again, and others in the next call."""
    x, _ = batch()
    exact, banked = (looked(net(), LOCAL, x, 2, noise=noise) for noise in ("exact", "banked"))
    again = looked(net(), LOCAL, x, 2, noise="banked")
    assert torch.equal(banked, again) and not torch.equal(banked[0], banked[1]) and not torch.equal(banked, exact)


@pytest.mark.parametrize("scale", sorted(SCALES))
def test_every_scale(scale: str) -> None:
    model, (x, _) = nn.Linear(4, 5), batch()
    (array,) = select(model)
    std = 0.3 * Gaussian(scale).std(array).flatten()
    expected = model(x) + std * x.norm(dim=1, keepdim=True) * noise("weight", torch.empty(16, 5))
    torch.testing.assert_close(looked(model, LocalRWP(Gaussian(scale)), x, 1)[0], expected.detach())


# By simulation.


def standardised(objective: Objective, x: Tensor, n: int) -> Tensor:
    """[n, b, out] (y - W x) / (s m |x|) in n draws of a Linear layer."""
    model = nn.Linear(4, 3)
    model.weight.data.copy_(torch.tensor([[1.0, -2.0, 0.5, 0.1], [0.1, 0.3, -0.2, 0.0], [3.0, 1.0, 1.0, -3.0]]))
    std = 0.3 * torch.tensor([2.0, 0.3, 3.0]) * x.norm(dim=1, keepdim=True)
    return ((looked(model, objective, x, n, seed=7) - model(x).detach()) / std).double()


def likely(statistic: float, freedom: int) -> bool:
    """Whether chi2 takes such a value, two-sided, with false alarm ALARM."""
    return bool(stats.chi2.ppf(ALARM / 2, freedom) < statistic < stats.chi2.isf(ALARM / 2, freedom))


def test_outputs_are_those_of_noisy_weights() -> None:
    """400 draws: mean and variance of one example's outputs are those of W x + s m |x| z for both ways, and they look alike.

    For each way a chi2 test of the mean and one of the variance; a Kolmogorov-Smirnov test between the two.
    """
    x, n, seen = batch()[0][:1], 400, []
    for objective in (RWP(Gaussian("filter-max")), LOCAL):
        z = standardised(objective, x, n)
        assert likely(float(n * z.mean(0).square().sum()), 3)
        assert likely(float(z.square().sum()), 3 * n)
        seen.append(z.flatten().numpy())
    assert stats.ks_2samp(*seen).pvalue > ALARM


def test_examples_meet_noise_of_their_own() -> None:
    """For 3 examples and 3 outputs the 36 correlations of 400 draws are 0, their squares times n together chi2 (to leading
    order); with shared errors, as of RWP, those of two examples are the cosine between them."""
    x, n = batch()[0][:3], 400

    def correlations(objective: Objective) -> float:
        z = standardised(objective, x, n).flatten(1)
        return float((torch.triu(z.T @ z, diagonal=1) / math.sqrt(n)).square().sum())

    assert likely(correlations(LOCAL), 36)
    assert not likely(correlations(RWP(Gaussian("filter-max"))), 36)


def ways(b: int, n: int, s: float = 0.4) -> dict[str, Tensor]:
    """[n, parameters] Gradients in n draws of a network 4 to 5 to 3 on b examples, by three ways; the first is RWP."""
    w, v = (net()[i].weight.detach() for i in (0, 2))
    x, y = batch(b)
    source = torch.Generator().manual_seed(4)
    normal = lambda *shape: torch.randn(n, *shape, generator=source)  # noqa: E731

    def shared(w: Tensor, v: Tensor, e: Tensor, f: Tensor) -> Tensor:
        noisy = [a + s * a.detach().abs().amax(1, keepdim=True) * z for a, z in ((w, e), (v, f))]
        return cross_entropy((x @ noisy[0].T).tanh() @ noisy[1].T, y)

    def apart(through: bool) -> Callable[..., Tensor]:
        return lambda w, v, z, u: spelled(w, v, x, y, z, u, s, through)

    def each(loss: Callable[..., Tensor], *noises: Tensor) -> Tensor:
        found = torch.func.vmap(torch.func.grad(loss, (0, 1)), (None, None, 0, 0))(w, v, *noises)
        return torch.cat([g.flatten(1) for g in found], dim=1).double()

    return {
        "shared": each(shared, normal(5, 4), normal(3, 5)),
        "local": each(apart(True), normal(b, 5), normal(b, 3)),
        "not through |x|": each(apart(False), normal(b, 5), normal(b, 3)),
    }


def hotelling(one: Tensor, other: Tensor) -> float:
    """The p-value of equal means, of two samples with covariances of their own (chi2, for many draws)."""
    off = one.mean(0) - other.mean(0)
    covariance = sum(torch.cov(g.T) / len(g) for g in (one, other))
    return float(stats.chi2.sf(float(off @ torch.linalg.solve(covariance, off)), len(off)))


def test_the_mean_gradient_is_that_of_rwp() -> None:
    """4,000 draws by each way (the equations' own, which the twin above holds to the objective): unbiased, and biased without
    the slope of |x|: the same test finds that."""
    found = ways(b=2, n=4000)
    assert hotelling(found["shared"], found["local"]) > ALARM
    assert hotelling(found["shared"], found["not through |x|"]) < ALARM


def test_the_variance_of_the_gradient_is_another() -> None:
    """The trace of its covariance over that of RWP's, here: 0.55 for one example, since what an error does to other inputs plays
    no part, and 0.26 for 64, since examples do not share errors. Numbers of this seed; 1000 draws know them to a tenth or so."""
    shares = {}
    for b in (1, 64):
        found = ways(b, n=1000)
        shares[b] = float(found["local"].var(0).sum() / found["shared"].var(0).sum())
    assert shares == pytest.approx({1: 0.55, 64: 0.26}, rel=0.2)


# What is in place, and what is left behind.


def images() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def test_convolutions_share_one_draw() -> None:
    model, x = images(), torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    conv, linear = select(model)
    expected = Gaussian("filter-max")(conv, 0.3, Draw(0, "train", 0, native=True).of("0.weight"))
    before, seen = bits(model.state_dict().values()), []

    def loss() -> Tensor:
        seen.extend([conv.value.clone(), linear.value.clone(), model(x)])
        return seen[-1].sum()

    hardener(model, LOCAL, batchnorm="frozen").backward(loss)
    assert torch.equal(seen[0], expected) and torch.equal(seen[1], linear.value)
    assert bits(model.state_dict().values()) == before and hooks(model) == 0
    conv.value.copy_(expected)
    inner = model[:4](x)
    std = 0.3 * linear.peak().flatten()
    noisy = model[4](inner) + std * inner.norm(dim=1, keepdim=True) * noise("4.weight", torch.empty(5, 3))
    torch.testing.assert_close(seen[2], noisy)


def test_running_statistics_see_the_noise_once() -> None:
    x, _ = batch()
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
    seen = looked(model[:1], LOCAL, x, 1)[0]
    looked(model, LOCAL, x, 1)
    assert int(model[1].num_batches_tracked) == 1
    torch.testing.assert_close(model[1].running_mean, 0.1 * seen.mean(0))


@pytest.mark.parametrize("where", ["closure", "backward"])
def test_an_error_takes_the_hooks_away(where: str) -> None:
    model, x = images(), torch.ones(2, 1, 3, 3)
    before = bits(model.state_dict().values())

    def strike(_: Tensor) -> None:
        raise RuntimeError

    def loss() -> Tensor:
        value = model(x).sum()
        assert hooks(model) == 1
        if where == "closure":
            raise RuntimeError
        value.register_hook(strike)
        return value

    with pytest.raises(RuntimeError):
        hardener(model, LOCAL).backward(loss)
    assert hooks(model) == 0 and bits(model.state_dict().values()) == before
    assert all(p.grad is None for p in model.parameters())


def test_hooks_of_others_see_the_noisy_outputs() -> None:
    model, (x, _), seen = nn.Linear(4, 3), batch(), []
    with model.register_forward_hook(lambda module, args, output: seen.append(output.detach())):
        noisy = looked(model, LOCAL, x, 1)[0]
    assert torch.equal(seen[0], noisy) and not torch.equal(noisy, model(x))


def test_a_copy_is_at_rest_after_the_pass() -> None:
    model, copies = net(), []
    x, y = batch()
    hardener(model, LOCAL).backward(lambda: copies.append(copy.deepcopy(model)) or cross_entropy(model(x), y))
    assert torch.equal(copies[0](x), model(x))


# In other arithmetic, in pieces, and by other eyes.


def test_autocast_adds_noise_of_fp32_in_16_bits() -> None:
    model, (x, _) = nn.Linear(4, 3), batch()
    with torch.autocast("cpu", torch.bfloat16):
        plain = model(x).detach()
        noisy = looked(model, LOCAL, x, 1)[0]
    (array,) = select(model)
    z = noise("weight", torch.empty(16, 3)) * (array.peak().flatten() * 0.3)
    assert noisy.dtype == torch.bfloat16
    assert torch.equal(noisy, plain + (x.norm(dim=1, keepdim=True) * z).bfloat16())


def test_double_precision_stays() -> None:
    x, _ = batch()
    assert looked(nn.Linear(4, 3).double(), LOCAL, x.double(), 1).dtype == torch.float64


@pytest.mark.parametrize("reentrant", [False, True])
def test_pieces_that_are_computed_again_meet_the_same_noise(reentrant: bool) -> None:
    model, (x, y) = net(), batch()

    def loss() -> Tensor:
        found = x
        for part in model:
            found = checkpoint(part, found, use_reentrant=reentrant)
        return cross_entropy(found, y)

    x.requires_grad_()
    hardener(model, LOCAL).backward(loss)
    whole = net()
    hardener(whole, LOCAL).backward(closure(whole))
    assert bits(grads(model)) == bits(grads(whole))


def test_the_instrument_looks_inside_too() -> None:
    """health and along go by points: their loss is that of noisy outputs."""
    model, one = net(), batch()
    (first, second), (x, y) = select(model), one

    def spelled_out(purpose: str) -> float:
        draw, inner = Draw(0, purpose, 0), x
        for array, layer in ((first, model[0]), (second, model[2])):
            z = draw.of(array.name).normal(torch.empty(16, len(array.value)), tag="output")
            outer = layer(inner) + 0.3 * array.peak().flatten() * inner.norm(dim=1, keepdim=True) * z
            inner = outer.tanh()
        return float(cross_entropy(outer.detach(), y))

    loss = lambda model, one: cross_entropy(model(one[0]), one[1], reduction="none")  # noqa: E731
    found = health(model, [first, second], LOCAL, 0.3, loss, one, [], draws=1, seed=0)
    assert found.perturbed_loss == pytest.approx(spelled_out("probe"), rel=1e-5)
    assert found.perturbed_loss != pytest.approx(found.clean_loss, rel=1e-3)
    sliced = along(model, [first, second], LOCAL, [0.3], loss, one, draws=1, seed=0)
    assert sliced.losses == pytest.approx(np.array([[spelled_out("slice")]]), rel=1e-5)


# UserErrors.


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.first(x), self.layer.weight)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.view(-1, 2, 4)
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))


MISTAKES: dict[str, tuple[nn.Module, str]] = {
    "tokens": (nn.Sequential(nn.Unflatten(0, (-1, 2)), nn.Linear(4, 4)), r"1\.weight: its layer got \[8, 2, 4\]"),
    "some tokens": (
        nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2)), nn.Flatten(0, 1), nn.Linear(2, 2)),
        "32 rows",
    ),
    "one vector": (nn.Sequential(nn.Flatten(0), nn.Linear(64, 4)), r"1\.weight: its layer got \[64\]"),
    "tied": (Tied(), "a.weight: 2 layers share it"),
    "twice": (Twice(), "layer.weight: its layer was called twice"),
    "functional": (Functional(), "layer.weight: its layer was not called"),
    "attention": (Attention(), "attention.out_proj.weight: its layer was not called"),
    "no Linear": (nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 1, 2)), r"use rwp\(gaussian-filter-max\)"),
}


@pytest.mark.parametrize("strength", [0.0, 0.3])  # where a schedule begins, too
@pytest.mark.parametrize("what", MISTAKES)
def test_where_it_is_not_exact_is_a_mistake(what: str, strength: float) -> None:
    model, says = copy.deepcopy(MISTAKES[what][0]), MISTAKES[what][1]
    before, (x, _) = bits(model.parameters()), batch()
    with pytest.raises(UserError, match=says) as told:
        hardener(model, LOCAL, strength).backward(lambda: model(x).sum())
    assert "rwp(gaussian-filter-max)" in str(told.value) and "\n" not in str(told.value)
    assert bits(model.parameters()) == before and hooks(model) == 0
    assert all(p.grad is None for p in model.parameters())


def test_a_second_call_is_seen_through_checkpointing() -> None:
    model, (x, _) = Twice(), batch()
    with pytest.raises(UserError, match="called twice"):
        hardener(model, LOCAL).backward(lambda: checkpoint(model, x, use_reentrant=False).sum())


@pytest.mark.parametrize("model", [Functional(), Attention()], ids=["functional", "attention"])
def test_protecting_it_is_the_way_out(model: nn.Module) -> None:
    x, _ = batch()
    arrays = select(model, protect=("layer.*",) if isinstance(model, Functional) else ("*out_proj*",))
    clean = model(x).sum()
    found = hardener(model, LOCAL, arrays=arrays).backward(lambda: model(x).sum())
    assert not torch.equal(found, clean)


def test_layers_of_ones_own_share_one_draw() -> None:
    """What a subclass computes is its own affair; its weight is perturbed as by RWP."""

    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model, (x, _) = nn.Sequential(Doubled(4, 4), nn.Linear(4, 3)), batch()
    first, _ = select(model)
    expected = Gaussian("filter-max")(first, 0.3, Draw(0, "train", 0, native=True).of("0.weight"))
    seen: list[Tensor] = []
    hardener(model, LOCAL).backward(lambda: seen.append(first.value.clone()) or model(x).sum())
    assert torch.equal(seen[0], expected)


def test_an_array_of_columns_shares_one_draw() -> None:
    """One of a user's own, whose filters are the columns of W."""
    model, (x, _) = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), batch()
    arrays = [Array("0.weight", model[0].weight, axis=1), Array("1.weight", model[1].weight)]
    seen: list[Tensor] = []
    before = model[0].weight.detach().clone()
    robust = hardener(model, LOCAL, arrays=arrays)
    robust.backward(lambda: seen.append(model[0].weight.detach().clone()) or model(x).sum())
    assert not torch.equal(seen[0], before)


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # the compiler looks at inputs so
@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_compiled_graphs_are_refused(warm: bool, whole: bool) -> None:
    """Compiled before there were hooks the graph skips them; afterwards it would hold one draw for good."""
    model, (x, _) = net(), batch()
    torch._dynamo.reset()
    if whole:
        called: Any = torch.compile(model, backend="eager")
    else:
        model[2].compile(backend="eager")
        called = model
    if warm:
        called(x)
    for _ in range(2):
        with pytest.raises(
            UserError,
            match="a compiled graph skips hooks" if warm and whole else r"leave out torch.compile \(--compile\)",
        ):
            hardener(called, LOCAL).backward(lambda: called(x).sum())
    assert hooks(model) == 0 and not grads(model)


def test_a_wrapped_model_is_looked_at_inside() -> None:
    model, (x, y) = net(), batch()
    called = nn.DataParallel(model)  # without a GPU it calls the module itself
    hardener(called, LOCAL).backward(lambda: cross_entropy(called(x), y))
    whole = net()
    hardener(whole, LOCAL).backward(closure(whole))
    assert bits(grads(model)) == bits(grads(whole))
