"""Other values in the weights' place: by an exchange of storages or by copies, seen alike and taken back alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from incorruptible import RWP, Constant, Draw, Gaussian, Hardener, UserError, select
from incorruptible.corruptions import Corrupted
from incorruptible.objectives import parse
from incorruptible.weights import swap
from incorruptible.weights.arrays import Array
from incorruptible.weights.swap import BufferPool, replaced

exchanges = pytest.mark.skipif(not swap._EXCHANGES, reason="this torch cannot exchange the memory of storages")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 5))


def chip(strength: float = 0.2) -> Corrupted:
    return Corrupted(Gaussian("filter-max"), strength, Draw(0, "test", 0))


def bits(tensors: Any) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@exchanges
def test_every_alias_sees_the_values_and_a_bare_address_the_clean_weights() -> None:
    model = network()
    (array, *_), weight = select(model), model[0].weight
    view, transposed, address = weight.data.view(-1), weight.data.T, weight.data.numpy()
    before, place, expected = weight.detach().clone(), weight.data_ptr(), chip()(array)
    with replaced([array], chip(), BufferPool()):
        assert torch.equal(weight, expected) and torch.equal(array.value, expected)
        assert torch.equal(view, expected.view(-1)) and torch.equal(transposed, expected.T)
        assert weight.data_ptr() != place and torch.equal(torch.from_numpy(address.copy()), before)
        assert torch.equal(model.state_dict()["0.weight"], expected)
    assert weight.data_ptr() == place and torch.equal(weight, before) and torch.equal(view, before.view(-1))
    weight.data.fill_(3.0)  # the optimiser's step: in the memory that was there before
    assert (address == 3.0).all() and (view == 3.0).all()


def flat() -> tuple[nn.Module, list[Array]]:
    """Two layers whose weights are slices of one buffer, as fused optimisers keep them."""
    model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False))
    buffer = torch.randn(50)
    model[0].weight.data, model[1].weight.data = buffer[:30].view(5, 6), buffer[30:].view(4, 5)
    return model, select(model)


def channels_last() -> tuple[nn.Module, list[Array]]:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).to(memory_format=torch.channels_last)
    return model, select(model)


def columns() -> tuple[nn.Module, list[Array]]:
    model = nn.Linear(6, 5)
    model.weight.data = torch.randn(6, 5).T
    return model, select(model)


def bfloat16() -> tuple[nn.Module, list[Array]]:
    model = network().to(torch.bfloat16)
    return model, select(model)


def conductances() -> tuple[nn.Module, list[Array]]:
    model = network()
    model[0].weight.data = model[0].weight.data.share_memory_()
    return model, select(model)


@pytest.mark.parametrize("make", [flat, channels_last, columns, bfloat16, conductances])
@pytest.mark.parametrize("values", [chip(), lambda array: array.value + 1, lambda array: array.value])
@pytest.mark.parametrize("raises", [False, True])
def test_with_spare_memory_the_values_are_those_without(
    make: Callable[[], tuple[nn.Module, list[Array]]], values: Callable[[Array], Tensor], raises: bool
) -> None:
    model, arrays = make()
    before, layout = bits(model.parameters()), [(p.stride(), p.data_ptr()) for p in model.parameters()]
    with replaced(arrays, values):
        expected = bits(model.parameters())
    pool = BufferPool()
    for _ in range(2):
        try:
            with replaced(arrays, values, pool):
                assert same(bits(model.parameters()), expected)
                assert [p.stride() for p in model.parameters()] == [stride for stride, _ in layout]
                if raises:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        assert same(bits(model.parameters()), before)
        assert [(p.stride(), p.data_ptr()) for p in model.parameters()] == layout
    assert sum(len(free) for free in pool._free.values()) == len(arrays)


def test_values_that_fail_half_way_leave_weights_and_spare_memory() -> None:
    model, pool = network(), BufferPool()
    arrays = select(model)
    before = bits(model.parameters())

    def values(array: Array) -> Tensor:
        return array.value + 1 if array is arrays[0] else torch.zeros(2, 1)

    for _ in range(3):
        with (
            pytest.raises(UserError, match=r"2.weight has shape .*, but values of shape \(2, 1\) were given"),
            replaced(arrays, values, pool),
        ):
            pytest.fail("the block must not run")
        assert same(bits(model.parameters()), before)
    assert sum(len(free) for free in pool._free.values()) == 2


@exchanges
@pytest.mark.parametrize(
    "objective", ["rwp(gaussian-filter-max)", "sam", "asam", "mixed-rwp(gaussian-filter-max)", "rwp(quantised)"]
)
@pytest.mark.parametrize("tied", [False, True])
def test_training_by_exchange_is_training_by_copies(
    objective: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> list[Tensor]:
        model = network()
        if tied:
            model.append(nn.ReLU()).append(nn.Linear(5, 200)).append(nn.Linear(200, 200))
            model[-1].weight = model[2].weight
        torch.manual_seed(1)
        x, y = torch.randn(16, 30), torch.randint(5, (16,))
        optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
        robust = Hardener(model, parse(objective), Constant(0.1), steps=5, seed=0)
        for _ in range(5):
            optimizer.zero_grad()
            robust.backward(lambda: F.cross_entropy(model(x), y))
            optimizer.step()
        return bits(model.parameters())

    fast = trained()
    monkeypatch.setattr(swap, "_EXCHANGES", False)
    assert same(fast, trained())


@exchanges
def test_where_weights_are_exchanged_none_is_copied() -> None:
    """One operation of the weights' size for each array: the values are written."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    model, pool = network(), BufferPool()
    with replaced(select(model), chip(), pool):
        pass
    with Watch(), replaced(select(model), chip(), pool):
        pass
    assert not [one for one in seen if "copy" in one or "clone" in one or "empty" in one]


def test_memory_is_lent_again_and_never_twice_at_once() -> None:
    pool, like = BufferPool(), torch.randn(4, 5)
    first = pool.copy(like)
    second = pool.copy(like)
    assert first.data_ptr() != second.data_ptr() and torch.equal(first, like)
    pool.back(first)
    assert pool.lend(like) is first
    pool.back(second)
    assert pool.lend(like.T) is not second  # another layout
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(pool.copy(sparse).to_dense(), torch.eye(3))
    pool.back(sparse)


@pytest.mark.parametrize("layout", ["gaps", "expanded", "columns"])
def test_memory_for_weights_with_gaps_is_lent_again(layout: str) -> None:
    wide = torch.randn(6, 10)
    like = {"gaps": wide[:, ::2], "expanded": wide[:, :1].expand(6, 5), "columns": wide.T}[layout]
    pool = BufferPool()
    first = pool.copy(like)
    pool.back(first)
    assert pool.copy(like) is first and torch.equal(first, like)
    model = nn.Linear(20, 30)
    model.weight = nn.Parameter(torch.randn(30, 40)[:, ::2])
    robust = Hardener(model, RWP(Gaussian("filter-max")), Constant(0.1), steps=9, seed=0)
    kept = []
    for _ in range(4):
        robust.backward(lambda: model(torch.ones(3, 20)).square().mean())
        kept.append(sum(len(free) for free in robust._pool._free.values()))
    assert kept[1] == kept[3] == 3  # the clean weight, and what was in `.grad` of weight and bias


def test_swaps_within_swaps_come_back() -> None:
    model, pool = network(), BufferPool()
    arrays = select(model)
    before = [array.value.clone() for array in arrays]
    for _ in range(3):
        with replaced(arrays, chip(), pool), replaced(arrays, chip(), pool):
            pass
        with pytest.raises(ZeroDivisionError), replaced(arrays, chip(), pool):
            _ = 1 / 0
    assert all(torch.equal(a.value, b) for a, b in zip(arrays, before, strict=True))


@exchanges
@pytest.mark.parametrize(
    "look", [lambda weight: weight.detach().numpy(), lambda weight: torch.from_dlpack(weight.detach())]
)
def test_an_address_that_was_taken_inside_stays_good(look: Callable[[Tensor], Any]) -> None:
    """It is of the pool memory, which lives as long as the weights then, and is let go with them."""
    model = nn.Linear(300, 200)
    robust = Hardener(model, RWP(Gaussian("filter-max")), Constant(0.1), steps=9, seed=0)
    seen: list[Any] = []

    def closure() -> Tensor:
        seen[:] = [look(model.weight)]  # the same number of aliases after the first call as before
        return model(torch.ones(2, 300)).square().mean()

    for _ in range(3):
        robust.backward(closure)
    assert len(vars(model.weight.untyped_storage())["exchanged"]) <= 2  # one for the weight, one for its gradient
    before = torch.as_tensor(seen[0]).clone()
    del robust
    fresh = [torch.full((200, 300), 7.0) for _ in range(20)]
    assert torch.equal(torch.as_tensor(seen[0]), before) and len(fresh) == 20


@exchanges
def test_memory_that_nobody_looked_at_goes_with_the_hardener() -> None:
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3))
    for text in ("rwp(gaussian-filter-max)", "sam", "mixed-rwp(gaussian-filter-max)"):
        robust = Hardener(model, parse(text), Constant(0.1), steps=9, seed=0)
        for _ in range(3):
            loss = robust.backward(lambda: model(torch.ones(2, 30)).square().mean())
        assert loss.isfinite()
    assert not any("exchanged" in vars(array.value.untyped_storage()) for array in select(model))


@exchanges
@pytest.mark.parametrize("function", ["_Exchanged.exchange", "_Exchanged.back", "_write", "_Copied.back"])
def test_weights_come_back_whenever_ctrl_c_comes(function: str) -> None:
    """Raised at each line of the function, as often as it is passed; the weights are back, or were never touched."""
    for copied in (False, True):
        model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
        before, stop = bits(model.parameters()), 0
        while True:
            stop += 1
            came = interrupted(model, function, stop, None if copied else BufferPool())
            assert same(bits(model.parameters()), before), (function, stop)
            if not came:
                break
        assert stop > 1 or copied == function.startswith("_Exchanged")


def interrupted(model: nn.Module, name: str, stop: int, pool: BufferPool | None) -> bool:
    """Whether Ctrl-C came, at the `stop`-th line of that function that is passed."""
    code = attrgetter(name)(swap).__code__
    passed = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal passed
        if frame.f_code is not code:
            return None
        if event == "line":
            passed += 1
            if passed == stop:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        with replaced(select(model), chip(), pool):
            pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@exchanges
@pytest.mark.parametrize("factor", [0, 2])
def test_a_storage_that_changed_its_size_inside_holds_the_clean_weights(factor: int) -> None:
    model, pool = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)), BufferPool()
    before = bits(model.parameters())
    for _ in range(2):
        with replaced(select(model), chip(), pool):
            storage = model[1].weight.untyped_storage()
            storage.resize_(factor * storage.nbytes())
        assert same(bits(model.parameters()), before)


def test_one_array_that_cannot_be_put_back_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
    before, back = bits(model.parameters()), swap._Copied.back

    def failing(self: swap._Copied) -> None:
        if self.place.shape == (3, 8):
            raise RuntimeError("this one not")
        back(self)

    monkeypatch.setattr(swap._Copied, "back", failing)
    with pytest.raises(RuntimeError, match="this one not"), replaced(select(model), chip()):
        pass
    assert torch.equal(model[0].weight, before[0]) and not torch.equal(model[1].weight, before[2])


def test_a_weight_behind_one_that_failed_is_tried_again_where_its_first_try_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
    before, back, interrupted = bits(model.parameters()), swap._Copied.back, []

    def failing(self: swap._Copied) -> None:
        if self.place.shape == (3, 8):
            raise RuntimeError("this one not")
        if not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        back(self)

    monkeypatch.setattr(swap._Copied, "back", failing)
    with pytest.raises(RuntimeError, match="this one not"), replaced(select(model), chip()):
        pass
    assert interrupted and torch.equal(model[0].weight, before[0])


def test_spare_memory_of_inference_mode_serves_outside() -> None:
    model = nn.Linear(6, 8)
    robust = Hardener(model, RWP(Gaussian("filter-max")), Constant(0.1), steps=9, seed=0)
    with torch.inference_mode(), robust.perturbed() as look:
        look(model(torch.ones(2, 6)).mean())
    assert robust.backward(lambda: model(torch.ones(2, 6)).square().mean()).isfinite()


def test_a_bank_stays_where_the_model_is_whatever_the_default() -> None:
    model = nn.Linear(60, 30)
    with torch.device("meta"):
        robust = Hardener(model, RWP(Gaussian("filter-max")), Constant(0.1), steps=9, seed=0, noise="banked")
    assert robust.backward(lambda: model(torch.ones(4, 60)).square().mean()).isfinite()
