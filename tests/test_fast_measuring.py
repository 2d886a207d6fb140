"""Fast ways of measuring find what the slow, obvious ones find; what is for speed alone is recorded and leaves nothing behind."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from incorruptible.corruptions import Gaussian, parse
from incorruptible.errors import UserError, UserErrors
from incorruptible.evaluation import Sampling, measure, measure_all, measure_mean, measure_until
from incorruptible.evaluation.chips import NoiseCache, ProgrammedModel, cleaned
from incorruptible.evaluation.scoring import score_one_chip
from incorruptible.evaluation.subsampled import batched
from incorruptible.evaluation.subsampled.batched import at_once, products, score_stacked, stackable, worth
from incorruptible.randomness.streams import Draw, Noise, add_normal
from incorruptible.tasks.networks import mlp, resnet8, small_conv, vit
from incorruptible.tasks.scores import Score, accuracy, cross_entropy
from incorruptible.training.recipe import Faults
from incorruptible.weights.arrays import Array, select
from incorruptible.weights.swap import replaced

FILTER_MAX = Gaussian("filter-max")
CORRUPTIONS = ("gaussian-filter-max", "gaussian-filter-norm", "int-flips", "pcm-joshi", "mixture(gaussian-filter-max)")
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: mlp(16, 24, 10), (16,)),
    "conv": (small_conv, (1, 8, 8)),
    "resnet8": (resnet8, (3, 8, 8)),
}


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def pairs(count: int, images: int, shape: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(1)
    return [
        (torch.randn(images, *shape, generator=source), torch.randint(0, 10, (images,), generator=source))
        for _ in range(count)
    ]


def bits(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def obvious(
    model: nn.Module, score: Any, part: Any, corruption: Any, strength: float, chip: int, arrays: list[Array]
) -> np.ndarray[Any, Any]:
    """One chip by a copy of the network, whose weights are overwritten."""
    network = copy.deepcopy(model)
    weights = dict(network.named_parameters())
    for array in arrays:
        weights[array.name].data.copy_(corruption(array, strength, Draw(7, "test", chip).of(array.name)))
    with torch.no_grad():
        return np.asarray(score(network, part).numpy())


# --- chips one after another in one place


@pytest.mark.parametrize("text", CORRUPTIONS)
def test_a_programmed_model_holds_the_bits_of_one_swapped_in(text: str) -> None:
    model, corruption = made(small_conv), parse(text)
    arrays, before = select(model), bits(model)
    for read in (None, (FILTER_MAX, 0.01)):
        chips = Sampling(corruption, [0.1, 0.2], 2, 7, read=read)
        with ProgrammedModel(model, arrays, chips, cache_noise=True) as programmed:
            for chip, strength in ((0, 0.1), (0, 0.2), (1, 0.2), (0, 0.1)):
                programmed.put(strength, chip)
                seen = [array.value.clone() for array in arrays]
                twin = copy.deepcopy(model)
                twin.load_state_dict(before)
                own = select(twin)
                drawn, fresh = Draw(7, "test", chip), Draw(7, "test, read", chip)
                added = None if read is None else lambda a, f=fresh: FILTER_MAX(a, 0.01, f.of(a.name))
                swapped = replaced(own, lambda array, s=strength, d=drawn: corruption(array, s, d.of(array.name)))
                with swapped, replaced(own, added):
                    assert all(torch.equal(one, array.value) for one, array in zip(seen, own, strict=True))
    assert unchanged(model, before)


def test_an_error_among_many_chips_leaves_the_clean_weights() -> None:
    model = made(small_conv)
    before, storage = bits(model), [parameter.data_ptr() for parameter in model.parameters()]
    chips = Sampling(FILTER_MAX, [0.1], 2, 0, channels_last=True)
    with pytest.raises(KeyError), ProgrammedModel(model, select(model), chips) as programmed:
        programmed.put(0.1, 0)
        assert not unchanged(model, before)
        raise KeyError
    assert unchanged(model, before) and [parameter.data_ptr() for parameter in model.parameters()] == storage


def test_a_chip_is_drawn_once_for_all_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    real = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, **k: drawn.append("") or real(*a, **k))
    model, data = made(lambda: mlp(16, 24, 10)), pairs(1, 5, (16,))
    drawn.clear()
    measure(model, accuracy, data, FILTER_MAX, [0.1, 0.2, 0.3], chips=4, seed=0)
    assert len(drawn) == 4 * 2  # chips times arrays


def test_what_is_remembered_is_bounded_and_the_same() -> None:
    like, other = torch.empty(4, 5), torch.empty(4, 5, dtype=torch.float64)
    plain = Draw(0, "test", 3).of("w")
    memory = NoiseCache(capacity=30)
    memory.turn(3)
    noise: Noise = memory.of(plain)
    for _ in range(2):
        for tag in ("", "b"):  # the second one has no room
            assert torch.equal(noise.normal(like, tag), plain.normal(like, tag))
            assert torch.equal(noise.uniform(like, tag), plain.uniform(like, tag))
        assert torch.equal(noise.normal(other), plain.normal(other))
        noise.normal(like).zero_()  # what is given may be written to
    assert sum(kept.numel() for kept in memory._kept.values()) == 20
    for kind in (torch.float32, torch.float64):  # numbers that are remembered, and numbers that have no room
        base, same = torch.ones(4, 5, dtype=kind), torch.ones(4, 5, dtype=kind)
        for start, out in ((base, torch.empty_like(base)), (same, same)):
            for _ in range(2):
                start.fill_(1.0)
                add_normal(noise, start, torch.full((1, 1), 2.0, dtype=kind), out)
                assert torch.equal(out, 1 + 2 * plain.normal(base))
    assert noise.chip("t") == plain.chip("t") and noise.reading.chip() == plain.reading.chip()
    memory.turn(3)
    assert len(memory._kept) == 1  # still the same chip
    memory.turn(4)  # the numbers of the chip before are of no more use
    memory.of(Draw(0, "test", 4).of("w")).normal(like)
    assert sum(kept.numel() for kept in memory._kept.values()) == 20


def test_what_is_known_of_clean_weights_may_be_written_to() -> None:
    """A corruption may go on computing in a scale that it was given; the next one is given the same scale all the same."""
    (array,) = cleaned(select(nn.Linear(5, 3)))
    for ask in (array.peak, array.norm):
        truth = ask().clone()
        ask().zero_()
        assert truth.all() and torch.equal(ask(), truth)


# --- chips side by side


@pytest.mark.parametrize(
    "score", [accuracy, pytest.param(cross_entropy, marks=pytest.mark.slow)], ids=lambda score: score.name
)
@pytest.mark.parametrize("protect", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("text", CORRUPTIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_chips_side_by_side_score_as_one_after_another(name: str, text: str, protect: bool, score: Score) -> None:
    """Logits differ in the last places: cross-entropy by at most 1e-5, and no answer of these 60 x 2 turns."""
    make, shape = NETWORKS[name]
    model, corruption = made(make), parse(text)
    arrays = select(model, protect=("0.*",) if protect and name != "mlp" else ("1.*",) if protect else ())
    some = pairs(12, 5, shape)
    chips = Sampling(corruption, [0.1], 12, 7)
    numbers = [3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 97, 93]
    for parts_ in (some, [some[0]] * 12):
        found = score_stacked(model, score, parts_, chips, arrays, 0.1, numbers, 5)
        twin = np.stack(
            [obvious(model, score, p, corruption, 0.1, k, arrays) for p, k in zip(parts_, numbers, strict=True)]
        )
        assert found.shape == twin.shape == (12, 5) and found.dtype == np.float32
        np.testing.assert_allclose(found, twin, rtol=0, atol=0 if score is accuracy else 1e-5)
        assert score is accuracy or np.ptp(found, axis=0).max() > 1e-4  # chips differ


def test_stacked_weights_are_the_chips_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    from incorruptible.evaluation.subsampled import batched

    seen: list[dict[str, Tensor]] = []

    def graded(model: Any, score: Any, weights: dict[str, Tensor], *rest: Any) -> Any:
        seen.append({name: weight.clone() for name, weight in weights.items()})
        return np.zeros((len(next(iter(weights.values()))), 5), dtype=np.float32), 0

    monkeypatch.setattr(batched, "_graded", graded)
    model = made(small_conv)
    chips = Sampling(parse("pcm-joshi"), [0.5], 5, 7, read=(FILTER_MAX, 0.01))
    numbers = (6, 0, 3, 1, 4)  # as they come, not as they are counted
    score_stacked(model, accuracy, pairs(5, 5, (1, 8, 8)), chips, select(model), 0.5, numbers, 3)
    assert [len(one["0.weight"]) for one in seen] == [3, 2]
    with ProgrammedModel(model, select(model), chips) as programmed:
        for place, chip in enumerate(numbers):
            programmed.put(0.5, chip)
            for array in programmed.arrays:
                assert torch.equal(seen[place // 3][array.name][place % 3], array.value)


def test_the_rule_follows_from_counted_work() -> None:
    small, wide, conv = made(mlp), made(lambda: mlp(784, 512, 512, 10)), made(small_conv)
    eight, many = pairs(1, 8, (64,))[0], pairs(1, 700, (64,))[0]
    assert products(small, eight) == 8 * (64 * 128 + 128 * 128 + 128 * 10)
    assert products(conv, pairs(1, 2, (1, 8, 8))[0]) == 2 * (9 * 16 * 64 + 9 * 16 * 32 * 16 + 9 * 32 * 32 * 16 + 320)
    assert worth(small, eight, select(small), 16) and not worth(small, eight, select(small), 15)
    assert not worth(small, many, select(small), 16)
    assert not worth(wide, pairs(1, 8, (784,))[0], select(wide), 16)
    assert worth(conv, pairs(1, 8, (1, 8, 8))[0], select(conv), 16)
    assert (at_once(select(small)), at_once(select(wide))) == (64, 25)


class Branching(nn.Module):
    """A forward pass that looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y if y.sum() > 0 else -y


class Attending(nn.Module):
    """Attention by hand, which torch maps chip by chip."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)[:, None, None]
        return F.scaled_dot_product_attention(y, y, y)[:, 0, 0]


@pytest.mark.parametrize("make", [Branching, Attending])
def test_what_cannot_be_mapped_is_read_in_place(make: Callable[[], nn.Module]) -> None:
    model, some = made(make), pairs(16, 4, (16,))
    chips = Sampling(FILTER_MAX, [0.3], 16, 7)
    arrays = select(model)
    assert stackable(model, cross_entropy, some, chips, arrays) and worth(model, some[0], arrays, 16)
    found = batched.score_parts(model, cross_entropy, some, chips, arrays, 0.3, range(16))
    twin = [obvious(model, cross_entropy, some[k], FILTER_MAX, 0.3, k, arrays) for k in range(16)]
    np.testing.assert_allclose(found, np.stack(twin), atol=1e-6)


def _hooked(before: bool = False) -> nn.Module:
    model = mlp(16, 24, 10)
    (model[1].register_forward_pre_hook if before else model[1].register_forward_hook)(lambda *_: None)
    return model


@pytest.mark.parametrize(
    ("make", "score", "changed"),
    [
        (lambda: mlp(16, 10), lambda model, batch: model(batch[0])[:, 0], {}),
        (lambda: mlp(16, 10), accuracy, {"autocast": "bf16"}),
        (lambda: mlp(16, 10), accuracy, {"channels_last": True}),
        (lambda: mlp(16, 10), accuracy, {"batchnorm": "recalibrated", "calibration": pairs(1, 4, (16,))}),
        (lambda: mlp(16, 10), replace(accuracy, answer=lambda model, batch: (model(batch[0]), batch[1])), {}),
        (_hooked, accuracy, {}),
        (lambda: _hooked(before=True), accuracy, {}),
        (lambda: nn.DataParallel(mlp(16, 10)), accuracy, {}),
        (lambda: vit(size=8, width=12, heads=1, depth=1), accuracy, {}),
    ],
    ids=[
        *("function", "autocast", "channels-last", "recalibrated", "own answer", "hooks", "hooks before", "wrapped"),
        "attention",
    ],
)
def test_what_is_not_read_side_by_side(make: Callable[[], nn.Module], score: Any, changed: dict[str, Any]) -> None:
    model = made(make)
    assert not stackable(model, score, pairs(3, 4, (16,)), Sampling(FILTER_MAX, [0.1], 3, 0, **changed), select(model))


def test_plain_chips_are_read_side_by_side_and_arrays_of_another_model_are_not() -> None:
    model, plain = mlp(16, 10), Sampling(FILTER_MAX, [0.1], 3, 0)
    assert stackable(model, accuracy, pairs(3, 4, (16,)), plain, select(model))
    assert not stackable(model, accuracy, pairs(3, 4, (16,)), plain, select(copy.deepcopy(model)))
    assert not stackable(model, accuracy, [*pairs(2, 4, (16,)), *pairs(1, 5, (16,))], plain, select(model))


def test_pairs_alone_are_stacked_and_a_score_of_ones_own_is_asked_chip_by_chip() -> None:
    model, chips = made(lambda: mlp(16, 24, 10)), Sampling(FILTER_MAX, [0.3], 16, 7)
    arrays, some = select(model), pairs(16, 5, (16,))
    assert stackable(model, accuracy, some, chips, arrays)
    assert not stackable(model, accuracy, [*some[:15], (*some[15], some[15][1])], chips, arrays)
    assert not stackable(model, accuracy, [*some[:15], *pairs(1, 6, (16,))], chips, arrays)
    centred = Score("logit", "1", True, lambda logits, labels: logits[:, 0] - logits[:, 0].mean())
    found = batched.score_parts(model, centred, some, chips, arrays, 0.3, range(16))
    np.testing.assert_allclose(found.mean(1), 0, atol=1e-6)
    with pytest.raises(UserError, match="one number for each example"):
        batched.score_parts(model, replace(centred, grade=lambda x, y: x), some, chips, arrays, 0.3, range(16))


# --- 16 bits and layout


def test_bf16_is_recorded_and_close() -> None:
    model, data = made(small_conv), pairs(2, 40, (1, 8, 8))
    before, seen = bits(model), list[torch.dtype]()
    own = replace(cross_entropy, grade=lambda logits, y: seen.append(logits.dtype) or cross_entropy.grade(logits, y))
    plain = measure(model, cross_entropy, data, FILTER_MAX, [0, 0.1], chips=3, seed=0)
    found = measure(model, own, data, FILTER_MAX, [0, 0.1], chips=3, seed=0, autocast="bf16")
    assert set(seen) == {torch.float32} and unchanged(model, before)
    assert 0 < np.abs(found.values - plain.values).max() < 0.02
    assert "autocast bf16" in found.header() and "autocast" not in plain.header()
    assert (found.plain()["autocast"], plain.plain()["autocast"]) == ("bf16", None)
    until = measure_until(
        model, accuracy, data, FILTER_MAX, [0.1], half_width=0.4, seed=0, autocast="bf16", channels_last=True
    )
    assert "autocast bf16, channels last" in str(until) and until.plain()["channels_last"] is True
    with pytest.raises(UserError, match="bf16"):
        measure(model, accuracy, data, FILTER_MAX, [0.1], chips=1, seed=0, autocast="int8")


def test_under_ones_own_autocast_every_chip_is_seen() -> None:
    model, data = made(lambda: mlp(16, 24, 10)), pairs(1, 40, (16,))
    plain = measure(model, cross_entropy, data, FILTER_MAX, [0.5], chips=3, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        found = measure(model, cross_entropy, data, FILTER_MAX, [0.5], chips=3, seed=0)
    np.testing.assert_allclose(found.values, plain.values, atol=0.01)
    assert np.ptp(plain.values) > 0.05


def test_under_ones_own_autocast_every_chip_is_recalibrated_by_itself() -> None:
    """Statistics are computed without inference mode, where autocast keeps 16-bit copies of the weights of the chip before."""
    model, data = made(small_conv), pairs(2, 40, (1, 8, 8))
    asked: dict[str, Any] = {"batchnorm": "recalibrated", "calibration": data}
    plain = measure(model, cross_entropy, data, FILTER_MAX, [3.0], chips=3, seed=0, **asked)
    with torch.autocast("cpu", torch.bfloat16):
        found = measure(model, cross_entropy, data, FILTER_MAX, [3.0], chips=3, seed=0, **asked)
    np.testing.assert_allclose(found.values, plain.values, atol=0.01)
    assert np.ptp(plain.values) > 0.1  # and where copies stay, the second chip is off by 2.7


def test_channels_last_for_a_while() -> None:
    model, data, seen = made(small_conv), pairs(2, 10, (1, 8, 8)), list[bool]()
    data = [(x.expand(-1, 1, 8, 8), y) for x, y in data]
    storage = [(p.data_ptr(), p.stride()) for p in model.parameters()]

    def score(network: nn.Module, batch: Any) -> Tensor:
        seen.append(network[3].weight.is_contiguous(memory_format=torch.channels_last))
        return cross_entropy(network, batch)

    found = measure(model, score, data, Gaussian("filter-norm"), [0.2], chips=3, seed=0, channels_last=True)
    assert seen[-6:] == [True] * 6  # before them, the network is looked at once as it lies
    plain = measure(model, cross_entropy, data, Gaussian("filter-norm"), [0.2], chips=3, seed=0)
    np.testing.assert_allclose(found.values, plain.values, atol=1e-5)
    assert [(p.data_ptr(), p.stride()) for p in model.parameters()] == storage
    assert "channels last" in found.header() and found.plain()["channels_last"] is True


# --- processes


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_workers_find_the_same_bits_in_the_same_order() -> None:
    model, data = made(small_conv), pairs(2, 20, (1, 8, 8))
    chips = Sampling(FILTER_MAX, [0, 0.1, 0.3], 5, 7, reads=2, read=(FILTER_MAX, 0.01))
    seen: dict[int, list[tuple[int, int]]] = {0: [], 2: []}
    kept: dict[int, Any] = {0: {}, 2: {}}
    scores = {"a": accuracy, "l": cross_entropy}
    alone, shared = (
        measure_all(
            model,
            scores,
            data,
            chips,
            workers=workers,
            kept=kept[workers],
            progress=lambda *at, w=workers: seen[w].append(at),
        )
        for workers in (0, 2)
    )
    for name in scores:
        np.testing.assert_array_equal(alone[name].values, shared[name].values)
        np.testing.assert_array_equal(alone[name].reads, shared[name].reads)
    assert seen[0] == seen[2] == [(i, 30) for i in range(1, 31)]
    assert list(kept[0]) == list(kept[2])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_measurement_keeps_what_came(workers: int) -> None:
    model, data = made(lambda: mlp(16, 24, 10)), pairs(1, 20, (16,))
    before, kept, calls = bits(model), dict[tuple[int, int, int], Any](), list[int]()
    chips = Sampling(FILTER_MAX, [0.1, 0.2], 4, 7)

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_all(model, {"a": accuracy}, data, chips, kept=kept, progress=stop, workers=workers)
    assert sorted(kept) == [(0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 0, 0), (1, 1, 0)] and unchanged(model, before)
    told = measure_all(
        model, {"a": accuracy}, data, chips, kept=kept, progress=lambda d, _: calls.append(d), workers=workers
    )
    assert calls == [5, 6, 7, 8]
    whole = measure_all(model, {"a": accuracy}, data, chips)
    np.testing.assert_array_equal(told["a"].values, whole["a"].values)


class Odd(Exception):
    """One that cannot be made again from its message."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class OddMistake(UserError):
    """One that pickle refuses."""

    def __init__(self) -> None:
        super().__init__("odd")
        self.own = lambda: None


@pytest.mark.parametrize(
    ("problem", "comes", "says"),
    [
        (UserError("mine"), UserError, "^mine$"),
        (UserErrors("s.toml", ["one", "two"]), UserErrors, "^s.toml has 2 mistakes:\n  one\n  two$"),
        (Faults([("a", "One."), ("b", "Two.")]), Faults, "^One. Two.$"),
        (OddMistake(), UserError, "^odd$"),
        (ZeroDivisionError("by 0"), ZeroDivisionError, "^by 0\nin a worker process:\nTraceback"),
        (Odd(1, 2), RuntimeError, "Odd: 1 and 2"),
    ],
    ids=["mistake", "mistakes", "faults", "odd mistake", "error", "odd"],
)
def test_what_is_raised_in_a_worker_is_raised_here(problem: Exception, comes: type[Exception], says: str) -> None:
    here = os.getpid()

    def score(model: nn.Module, batch: Any) -> Tensor:
        if os.getpid() == here:  # where the network is looked at before the first chip
            return torch.zeros(5)
        raise problem

    with pytest.raises(comes, match=says):
        measure(made(lambda: mlp(16, 10)), score, pairs(1, 5, (16,)), FILTER_MAX, [0.1], chips=2, seed=0, workers=2)


@pytest.mark.parametrize("kind", ["tensors", "in order", "shuffled"])
@pytest.mark.parametrize("workers", [0, 2])
def test_measuring_leaves_the_global_random_state_alone(workers: int, kind: str) -> None:
    """DataLoaders, the user's and that of the workers, draw from it; a training that goes on afterwards does not notice."""
    inputs, labels = pairs(1, 20, (16,))[0]
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=5, shuffle=kind == "shuffled")
    data: Any = (inputs, labels) if kind == "tensors" else loader
    model, before = made(lambda: mlp(16, 10)), torch.get_rng_state()
    measure(model, accuracy, data, FILTER_MAX, [0.1], chips=3, seed=0, workers=workers)
    assert torch.equal(torch.get_rng_state(), before)
    if not workers:
        measure_until(model, accuracy, data, FILTER_MAX, [0.1], half_width=0.4, max_chips=3, seed=0)
        measure_mean(model, accuracy, data, FILTER_MAX, [0.1], half_width=0.4, seed=0)
        assert torch.equal(torch.get_rng_state(), before)


def test_arrays_of_nothing_fit_into_a_stack() -> None:
    assert at_once(select(made(lambda: mlp(16, 10)))) > 1
    empty = Array("empty", nn.Parameter(torch.zeros(0, 4)), 0)
    assert at_once([empty]) == 64


def test_workers_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(model: nn.Module, data: Any) -> None:
        measure(model, accuracy, data, FILTER_MAX, [0.1], chips=2, seed=0, workers=2)

    data = pairs(1, 5, (16,))
    with pytest.raises(UserError, match=r"workers is -1; it is how many processes"):
        measure(mlp(16, 10), accuracy, data, FILTER_MAX, [0.1], chips=2, seed=0, workers=-1)
    with pytest.raises(UserError, match=r"is on meta: leave workers out"):
        from incorruptible.evaluation.workers import ScoringJob, elsewhere

        away, arrays = mlp(16, 10).to("meta"), select(mlp(16, 10))  # the meta device stands for a GPU
        list(elsewhere(ScoringJob(away, {"": accuracy}, data, Sampling(FILTER_MAX, [0.1], 2, 0), arrays), [], 2))
    with pytest.raises(UserError, match="shared memory"):
        asked(mlp(16, 10).share_memory(), data)
    with pytest.raises(UserError, match="num_workers=1"):
        asked(mlp(16, 10), DataLoader(TensorDataset(*data[0]), batch_size=5, num_workers=1))
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(UserError, match="cannot fork"):
        asked(mlp(16, 10), data)


def test_read_chip_is_read_parts_of_one() -> None:
    model, some, chips = made(mlp), pairs(16, 8, (64,)), Sampling(FILTER_MAX, [0.1], 16, 0)
    arrays = select(model)
    together = batched.score_parts(model, cross_entropy, some, chips, arrays, 0.1, range(16))
    for k in range(16):
        alone = score_one_chip(model, {"": cross_entropy}, [some[k]], chips, arrays, 0.1, k)[""]
        np.testing.assert_allclose(together[k], alone, atol=1e-5)
