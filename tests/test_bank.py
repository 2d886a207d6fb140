"""Noise from a bank: white to the last digit over draws, and the same numbers however they are asked for."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from incorruptible import RWP, SAM, Constant, Draw, Gaussian, Hardener, MixedRWP, Recipe, UserError, select, train
from incorruptible.corruptions import Corrupted, parse
from incorruptible.objectives import CATALOGUE
from incorruptible.objectives import parse as objective_of
from incorruptible.randomness.bank import Bank, BankedDraw, bank_for
from incorruptible.randomness.streams import Exact, Native, add_normal, cuts, each_part
from incorruptible.training import NOISES
from incorruptible.weights.arrays import Array
from incorruptible.weights.swap import replaced

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [8, 9216, 1 << 13])
def test_the_circular_autocorrelation_is_that_of_white_noise(size: int) -> None:
    b = Bank(size, seed=3).on(CPU)[0][:size].double().numpy()
    spectrum = np.abs(np.fft.rfft(b)) ** 2 / size
    assert np.allclose(spectrum, 1, atol=1e-4)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(b)) ** 2, size)
    assert abs(correlation[0] - size) < 1e-4 * size and np.abs(correlation[1:]).max() < 1e-4 * size
    assert torch.equal(Bank(size, 3).on(CPU)[0][:size], Bank(size, 3).on(CPU)[0][size:])
    assert not torch.equal(Bank(size, 3).on(CPU)[0], Bank(size, 4).on(CPU)[0])


def test_over_all_windows_mean_and_covariance_are_those_of_independent_numbers() -> None:
    """All 2 x size windows, not a sample of them: no false alarm."""
    size, n = 64, 40
    b = Bank(size, seed=0).on(CPU)[0].double()
    windows = torch.stack([sign * b[start : start + n] for start in range(size) for sign in (1, -1)])
    assert windows.mean(0).abs().max() < 1e-12
    assert torch.allclose(windows.T @ windows / len(windows), torch.eye(n, dtype=torch.float64), atol=1e-5)


def test_numbers_of_a_bank_are_normal() -> None:
    """Kolmogorov's distance at 1%, and the fourth moment within 5 standard errors; the seed is fixed."""
    from scipy import stats

    b = Bank(1 << 15, seed=1).on(CPU)[0][: 1 << 15].double().numpy()
    assert stats.kstest(b, "norm").pvalue > 0.01
    assert abs((b**4).mean() - 3) < 5 * math.sqrt(96 / len(b))
    assert abs((b**3).mean()) < 5 * math.sqrt(15 / len(b))


@pytest.mark.slow
def test_many_draws_over_several_arrays_are_white() -> None:
    """Second moments of 20,000 draws within 5 standard errors (33 x 33 of them: a false alarm in 1,600 runs); fixed seed."""
    bank, n = Bank(64, seed=0), 20_000
    first, second = (
        torch.empty(5, 4),
        torch.empty(13),
    )  # blocks of 16 rows would hold all: cut by a bank of 64, rows of 4
    tall = torch.empty(40, 4)  # three windows
    numbers = torch.empty(n, 20 + 13)
    far = torch.empty(n, 160)
    for k in range(n):
        draw = BankedDraw(0, "train", k, bank=bank)
        numbers[k] = torch.cat([draw.of("a").normal(first).flatten(), draw.of("b").normal(second)])
        far[k] = draw.of("c").normal(tall).flatten()
    for some in (numbers, far[:, [0, 1, 63, 64, 65, 127, 128, 159]]):
        moments = some.double().T @ some.double() / n
        assert (moments - torch.eye(len(moments), dtype=torch.float64)).abs().max() < 5 * math.sqrt(2 / n)
        assert some.mean(0).abs().max() < 5 / math.sqrt(n)


@pytest.mark.parametrize(
    "shape",
    [(3, 100), pytest.param((2, 5, 50), marks=pytest.mark.slow), pytest.param((1, 2, 130), marks=pytest.mark.slow)],
)
def test_rows_longer_than_the_bank_are_white_too(shape: tuple[int, ...]) -> None:
    """20,000 draws, fixed seed: 300 means and variances within 5 standard errors, covariances 7; a false alarm in 2,900 runs."""
    bank, n, like = Bank(64, seed=0), 20_000, torch.empty(shape)
    numbers = torch.stack([BankedDraw(0, "train", k, bank=bank).of("w").normal(like).flatten() for k in range(n)])
    moments = (numbers.T @ numbers / n).double()
    assert (moments - torch.eye(len(moments), dtype=torch.float64)).abs().max() < 5 * math.sqrt(2 / n)
    assert numbers.mean(0).abs().max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("text", ["rwp(pcm-joshi)", "rwp(rram-wan)", "local-rwp(gaussian-filter-max)"])
def test_what_draws_more_numbers_than_an_array_has_trains_under_a_bank(text: str) -> None:
    """Conductance pairs are drawn as one tensor, whose first dimension is 2."""
    model, x = nn.Linear(300, 200), torch.randn(4, 300)
    robust = Hardener(model, objective_of(text), Constant(0.5), steps=3, seed=0, noise="banked")
    assert robust.backward(lambda: model(x).square().mean()).isfinite() and robust.skipped == 0


def test_a_mirrored_draw_is_the_twin() -> None:
    draw = BankedDraw(0, "train", 5, bank=Bank(256, seed=0))
    one, twin, like = draw.of("w"), replace(draw, mirrored=True).of("w"), torch.empty(7, 30)
    assert torch.equal(twin.normal(like), -one.normal(like))
    assert torch.equal(twin.uniform(like), 1 - 2**-24 - one.uniform(like))
    fast, std = torch.zeros(7, 30), torch.ones(7, 1)
    add_normal(twin, fast, std, fast)
    assert torch.equal(fast, -one.normal(like))


def test_uniform_numbers_are_drawn_where_the_array_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[str] = []

    def source(self: Exact, device: torch.device, tag: str) -> torch.Generator:
        places.append(device.type)
        return torch.Generator()

    monkeypatch.setattr(Exact, "_source", source)
    noise = BankedDraw(0, "train", 5, bank=Bank(256, seed=0)).of("w")
    assert isinstance(noise, Native)
    noise.uniform(torch.empty(3, 4, device="meta"))
    assert places == ["meta"]


def test_the_name_decides() -> None:
    bank = Bank(256, seed=0)
    like = torch.empty(7, 30)

    def of(seed: int = 0, purpose: str = "train", index: int = 5, array: str = "w", tag: str = "") -> Tensor:
        return BankedDraw(seed, purpose, index, bank=bank).of(array).normal(like, tag)

    base = of()
    assert torch.equal(base, of())
    for other in (of(seed=1), of(purpose="other"), of(index=6), of(array="v"), of(tag="x")):
        assert not torch.equal(base, other)
    draw = BankedDraw(0, "train", 5, bank=bank)
    assert torch.equal(replace(draw, index=6).of("w").normal(like), of(index=6))
    # what is not normal is drawn as ever
    exact = Draw(0, "train", 5).of("w")
    assert torch.equal(draw.of("w").uniform(like), exact.uniform(like)) and draw.of("w").chip() == exact.chip()


@pytest.mark.parametrize(
    "shape", [(), (1,), (3,), (16,), (40000,), (37, 27), (512, 784), (5, 3, 3, 3), (1, 20000), (40, 5, 7)]
)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("source", ["exact", "banked", "own"])
def test_added_in_place_they_are_what_normal_gives(shape: tuple[int, ...], kind: torch.dtype, source: str) -> None:
    """Cut into blocks or not, to the bit; the bank's sum is rounded once, so it may differ in the last place."""
    w = torch.randn(shape).to(kind)
    draw: Draw = Draw(0, "train", 3)
    if source == "banked":
        draw = BankedDraw(0, "train", 3, bank=bank_for([shape], 0))
    noise = draw.of("w") if source != "own" else _Own()
    for std in (torch.rand((1,) * w.dim()).to(kind), torch.rand((*shape[:1], *[1] * (w.dim() - 1))).to(kind)):
        slow = (noise.normal(w).mul(std).add(w)).to(kind)
        fast = w.clone()
        add_normal(noise, fast, std, fast)
        if source == "banked":
            assert torch.allclose(fast.double(), slow.double(), rtol=2 * torch.finfo(kind).eps, atol=1e-6)
        else:
            assert torch.equal(fast, slow)


class _Own:
    """Noise without a way of its own to add."""

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        return Exact((0, "own", 0), "w").normal(like, tag)

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        raise NotImplementedError

    def chip(self, tag: str = "") -> float:
        raise NotImplementedError

    @property
    def reading(self) -> _Own:
        return self


@pytest.mark.parametrize("total", [1, 5, 16, 31, 500, 1000])
@pytest.mark.parametrize("row", [1, 3, 16, 27, 5000])
@pytest.mark.parametrize("multiple", [1, 16])
def test_cuts_hold_everything_once(total: int, row: int, multiple: int) -> None:
    assert cuts(torch.empty(0, row), 1000, multiple) == [] and cuts(torch.empty(total, 0), 1000, multiple) == [total]
    parts = cuts(torch.empty(total, row), 1000, multiple)
    assert sum(parts) == total and all(parts)
    for part in parts[:-1]:
        assert part * row % multiple == 0
        assert part * row <= max(1000, row * multiple)
    assert parts[-1] * row >= multiple or len(parts) == 1
    like, one = torch.arange(total * row).view(total, row), torch.ones(1, 1)
    cut = list(each_part(parts, like, one))
    assert torch.equal(torch.cat([part for part, _ in cut]), like) and all(other is one for _, other in cut)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)])
@pytest.mark.parametrize("source", [Draw(0, "train", 3), BankedDraw(0, "train", 3, bank=Bank(8, 0))])
def test_noise_of_nothing_is_nothing(shape: tuple[int, ...], source: Draw) -> None:
    out = torch.empty(shape)
    add_normal(source.of("w"), out, torch.ones((1,) * len(shape)), out)
    assert source.of("w").normal(out).shape == out.shape == shape


@pytest.mark.parametrize("noise", ["exact", "banked"])
@pytest.mark.parametrize("objective", [RWP(Gaussian("absolute")), SAM(), SAM("absolute")])
def test_a_model_with_an_empty_parameter_trains(objective: RWP | SAM, noise: str) -> None:
    """Beside the others, and, where somebody asks for that, in an array."""
    model, x = nn.Linear(5, 3), torch.randn(4, 5)
    model.register_parameter("none", nn.Parameter(torch.empty(0, 5)))
    for arrays in (None, [*select(model), Array("none", model.none)]):
        robust = Hardener(model, objective, Constant(0.1), steps=3, seed=0, arrays=arrays, noise=noise)
        loss = robust.backward(lambda: model(x).square().mean() + model.none.sum())
        assert loss.isfinite() and robust.skipped == 0
        assert model.none.grad is not None and model.none.grad.shape == (0, 5)


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(512, 784), (512, 512), (10, 512)], 27862),
        ([(3, 3)], 8192),
        ([(64, 64, 3, 3)] * 200, 65536),
        ([(10, 100_001)], 41668),
        ([(1, 3_000_000)], 65536),
    ],
)
def test_a_bank_takes_less_than_a_tenth_of_the_weights(shapes: list[tuple[int, ...]], size: int) -> None:
    assert bank_for(shapes, 0).size == size


def test_mistakes() -> None:
    with pytest.raises(UserError, match="a bank needs an even size of at least 2"):
        Bank(7, 0)
    with pytest.raises(UserError, match=r"No noise .bankd. here\. Did you mean .banked."):
        Hardener(nn.Linear(2, 2), RWP(Gaussian("filter-max")), Constant(0.1), steps=1, seed=0, noise="bankd")


@pytest.mark.parametrize(
    "text", ["gaussian-filter-max", "gaussian-layer-max", "mixture(gaussian-filter-norm)", "pcm-joshi"]
)
@pytest.mark.parametrize("layout", ["rows", "columns", "channels-last"])
def test_written_into_given_memory_the_values_are_the_same(text: str, layout: str) -> None:
    values = torch.randn(40, 50, 3, 3) if layout == "channels-last" else torch.randn(60, 300)
    if layout == "columns":
        values = values.T.contiguous().T
    if layout == "channels-last":
        values = values.contiguous(memory_format=torch.channels_last)
    array = Array("w", nn.Parameter(values), 1 if layout == "columns" else 0)
    chip = Corrupted(parse(text), 0.3, Draw(0, "test", 4))
    expected, out = chip(array), torch.empty_like(values)
    before = values.clone()
    chip.into(array, out)
    assert torch.equal(out, expected) and torch.equal(array.value, before)
    with replaced([array], chip):
        assert torch.equal(array.value, expected)
    assert torch.equal(array.value, before)


def test_values_of_another_shape_are_refused() -> None:
    array = Array("w", nn.Parameter(torch.ones(2, 3)))
    chip = Corrupted(lambda array, strength, noise: torch.ones(3), 1.0, Draw(0, "test", 0))  # type: ignore[arg-type]
    with (
        pytest.raises(UserError, match=r"w: the corruption made values of shape \(3,\) for weights of shape \(2, 3\)"),
        replaced([array], chip),
    ):
        pass
    assert torch.equal(array.value, torch.ones(2, 3))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 5))


def trained(noise: str, steps: int = 6, objective: RWP | MixedRWP | None = None) -> list[Tensor]:
    model, (x, y) = network(), (torch.randn(16, 30), torch.randint(5, (16,)))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    objective = objective or RWP(Gaussian("filter-max"))
    robust = Hardener(model, objective, Constant(0.2), steps=steps, seed=0, noise=noise)
    for _ in range(steps):
        optimizer.zero_grad()
        robust.backward(lambda: F.cross_entropy(model(x), y))
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_a_hardener_with_a_bank_is_reproducible_and_another_training() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = trained("banked")
    torch.set_rng_state(state)
    second = trained("banked")
    torch.set_rng_state(state)
    exact = trained("exact")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], exact[0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda robust: pickle.loads(pickle.dumps(robust))])
@pytest.mark.parametrize("noise", ["exact", "banked"])
def test_a_copy_of_a_hardener_goes_on_alike(copied: Callable[[Hardener], Hardener], noise: str) -> None:
    x, model = torch.randn(4, 30), network()
    robust = Hardener(model, RWP(Gaussian("filter-max")), Constant(0.2), steps=9, seed=0, noise=noise)

    def grads(one: Hardener) -> list[Tensor]:
        one.model.zero_grad()
        one.backward(lambda: one.model(x).square().mean())
        return [parameter.grad for parameter in one.model.parameters() if parameter.grad is not None]

    grads(robust)
    other = copied(robust)
    assert other.arrays[0].parameter is next(other.model.parameters()) is not robust.arrays[0].parameter
    assert not other._pool._free  # what is kept for the next step is not worth copying
    assert all(torch.equal(a, b) for a, b in zip(grads(robust), grads(other), strict=True))


def test_a_state_says_its_noise() -> None:
    made = {
        noise: Hardener(network(), RWP(Gaussian("filter-max")), Constant(0.2), steps=9, seed=0, noise=noise)
        for noise in ("exact", "banked")
    }
    states = {noise: robust.state_dict() for noise, robust in made.items()}
    assert {noise: state["noise"] for noise, state in states.items()} == {"exact": "exact", "banked": "banked"}
    for noise, other in (("exact", "banked"), ("banked", "exact")):
        made[noise].load_state_dict(states[noise])
        with pytest.raises(UserError, match=f"saved with noise={other}, and the Hardener has noise={noise}"):
            made[noise].load_state_dict(states[other])
    old = {name: value for name, value in states["exact"].items() if name != "noise"}
    made["exact"].load_state_dict(old)
    with pytest.raises(UserError, match="saved with noise=exact"):
        made["banked"].load_state_dict(old)


def test_gradients_under_the_bank_have_the_mean_and_spread_of_exact_ones() -> None:
    """2,000 draws of each: means within 5 standard errors (all 45 coordinates), spreads within 15%; the seed is fixed."""
    model, n = nn.Linear(9, 5), 2000
    torch.manual_seed(0)
    x, y = torch.randn(8, 9), torch.randint(5, (8,))
    grads = {}
    for noise in ("exact", "banked"):
        robust = Hardener(model, RWP(Gaussian("filter-max")), Constant(0.5), steps=n, seed=0, noise=noise)
        found = []
        for _ in range(n):
            model.zero_grad()
            robust.backward(lambda: F.cross_entropy(model(x), y))
            assert model.weight.grad is not None
            found.append(model.weight.grad.clone())
        grads[noise] = torch.stack(found)
    mean, spread = ({k: getattr(g, how)(0) for k, g in grads.items()} for how in ("mean", "std"))
    error = spread["exact"] * math.sqrt(2 / n)
    assert ((mean["banked"] - mean["exact"]).abs() < 5 * error).all()
    assert ((spread["banked"] / spread["exact"] - 1).abs() < 0.15).all()


def test_after_the_first_step_nothing_as_large_as_a_weight_is_allocated() -> None:
    """Bytes that a step takes, beyond those of the same forward and backward pass, by torch's own profiler."""
    model = nn.Sequential(nn.Linear(400, 500), nn.ReLU(), nn.Linear(500, 10))
    x, y = torch.randn(4, 400), torch.randint(10, (4,))
    weights = sum(4 * array.value.numel() for array in select(model))

    def loss() -> Tensor:
        return F.cross_entropy(model(x), y)

    def largest(robust: Hardener | None) -> tuple[int, int]:
        """The largest allocation while gradients exist already, and the sum of all that is never given back."""
        for _ in range(2):
            model.zero_grad()
            loss().backward() if robust is None else robust.backward(loss)
        model.zero_grad()
        with torch.profiler.profile(
            profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True
        ) as profile:
            loss().backward() if robust is None else robust.backward(loss)
        events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
        taken = [e.nbytes() for e in events if e.nbytes() > 0]
        return sum(one for one in taken if one > weights // 8), sum(e.nbytes() for e in events)

    plain = largest(None)
    for noise in ("exact", "banked"):
        robust = Hardener(model, RWP(Gaussian("filter-max")), Constant(0.1), steps=100, seed=0, noise=noise)
        big, kept = largest(robust)
        assert big == plain[0]  # the gradients, which any step makes
        assert 0 <= kept - plain[1] <= 8  # the losses of the last step, of which `metrics` tells


def test_without_the_guard_nothing_is_read_from_the_device() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    model, x = network(), torch.randn(4, 30)
    syncs = ("_local_scalar_dense", "nonzero", "is_nonzero", "_to_copy", "equal")
    for objective in (RWP(Gaussian("filter-max")), MixedRWP(Gaussian("filter-max")), SAM()):
        for guard in (False, True):
            robust = Hardener(model, objective, Constant(0.1), steps=9, seed=0, noise="banked", guard=guard)
            seen.clear()
            with Watch():
                robust.backward(lambda: model(x).square().mean())
            assert any(sync in one for one in seen for sync in syncs) == guard


def test_a_recipe_trains_with_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    base = Recipe("digits", "rwp(gaussian-filter-max)", "constant:0.2", epochs=1)
    exact, banked = (train(replace(base, noise=noise), tmp_path) for noise in ("exact", "banked"))  # type: ignore[arg-type]
    assert exact.folder != banked.folder and exact.whole and banked.whole
    again = train(replace(base, noise="banked"), tmp_path / "again")
    assert again.digest() == banked.digest() != exact.digest()


def test_where_nothing_is_drawn_a_bank_makes_no_other_run() -> None:
    """In a study one entry may say it for all arms; those that draw nothing keep the runs that they have."""
    for text in CATALOGUE:
        inner = {"randbet": "(int-flips)"}.get(text, "(gaussian-filter-max)")
        objective = text if text in ("plain", "sam", "asam") else text + inner
        exact, banked = (Recipe("digits", objective, noise=noise).resolved() for noise in NOISES)  # type: ignore[arg-type]
        assert (exact == banked) == (text in ("plain", "sam", "asam"))
        assert exact.noise == "exact"
