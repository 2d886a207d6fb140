"""SAM as an optimiser: the mathematics of the objectives, and weights that come back bit for bit, whatever happens."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import incorruptible as inc
from incorruptible.errors import UserError
from incorruptible.objectives import ASAM
from incorruptible.objectives import SAM as Objective
from incorruptible.objectives.base import Objective as AnyObjective
from incorruptible.optim import SAMOptimizer
from incorruptible.schedules import Constant
from test_hardener import normed
from test_objectives import bits, closure, grads, net

SGD = torch.optim.SGD


def sam(net: nn.Module, rho: float = 0.3, base: Any = SGD, **more: Any) -> SAMOptimizer:
    return SAMOptimizer(net.parameters(), base, rho, **{"lr": 0.1, **more})


def look(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A closure as the packages want it: with its backward."""

    def full() -> Tensor:
        found = loss()
        found.backward()
        return found

    return full


def one_step(optimizer: SAMOptimizer, loss: Callable[[], Tensor]) -> None:
    loss().backward()
    optimizer.first_step(zero_grad=True)
    loss().backward()
    optimizer.second_step(zero_grad=True)


def weights(model: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def bowl() -> tuple[nn.Parameter, Callable[[], Tensor]]:
    """L = (a^2 + 4 b^2) / 2 at (1, 1)."""
    w = nn.Parameter(torch.ones(2))
    return w, lambda: (w[0] ** 2 + 4 * w[1] ** 2) / 2


# By hand.


def test_sam_by_hand() -> None:
    """The numbers of the docstring: e = (1, 4), gradient (2, 20)."""
    w, loss = bowl()
    optimizer = SAMOptimizer([w], SGD, math.sqrt(17), lr=0.1)
    loss().backward()
    optimizer.first_step(zero_grad=True)
    torch.testing.assert_close(w.detach(), torch.tensor([2.0, 5.0]))
    loss().backward()
    optimizer.second_step()
    assert w.grad is not None
    torch.testing.assert_close(w.grad, torch.tensor([2.0, 20.0]))
    torch.testing.assert_close(w.detach(), torch.tensor([0.8, -1.0]))


def test_adaptive_by_hand() -> None:
    """At (1, 2): g = (1, 8), T = |w| = (1, 2), T g = (1, 16), e = rho T^2 g / sqrt(257) = (1, 32) at rho = sqrt(257)."""
    w, loss = bowl()
    w.data.copy_(torch.tensor([1.0, 2.0]))
    optimizer = SAMOptimizer([w], SGD, math.sqrt(257), adaptive=True, lr=0.1)
    loss().backward()
    optimizer.first_step()
    torch.testing.assert_close(w.detach(), torch.tensor([2.0, 34.0]))


def test_each_group_has_its_radius_in_one_norm() -> None:
    """g = (1, 4) has one norm over both groups; the first moves by 1 for rho = sqrt(17), the second by half of 4."""
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = SAMOptimizer([{"params": [a]}, {"params": [b], "rho": math.sqrt(17) / 2}], SGD, math.sqrt(17), lr=0.1)
    ((a**2 + 4 * b**2) / 2).sum().backward()
    optimizer.first_step()
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([2.0, 3.0]))


def test_groups_may_differ_in_shape() -> None:
    """a euclidean at 2, b adaptive at 2: g = (2, 8), T = (1, 2), ||T g|| = sqrt(260), e = (2, 32) at that rho."""
    a, b = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([2.0]))
    optimizer = SAMOptimizer([{"params": [a]}, {"params": [b], "adaptive": True}], SGD, math.sqrt(260), lr=0.1)
    ((a**2 + 4 * b**2) / 2).sum().backward()
    optimizer.first_step()
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([4.0, 34.0]))


def test_where_the_base_maximises_the_worst_is_below() -> None:
    w, loss = bowl()
    optimizer = SAMOptimizer([w], SGD, math.sqrt(17), lr=0.1, maximize=True)
    (-loss()).backward()
    optimizer.first_step()
    torch.testing.assert_close(w.detach(), torch.tensor([2.0, 5.0]))


# By twin.


def twin(objective: AnyObjective, rho: float, base: Any, **more: Any) -> list[Tensor]:
    """Twenty steps with a Hardener, which perturbs all parameters, as the packages do."""
    model = normed()
    optimizer = base(model.parameters(), lr=0.1, **more)
    robust = inc.Hardener(model, objective, Constant(rho), steps=20, seed=0, arrays=inc.select(model, also=("*",)))
    for _ in range(20):
        optimizer.zero_grad()
        robust.backward(closure(model))
        optimizer.step()
    return weights(model)


TWINS = [
    (Objective(), {}, SGD, {"momentum": 0.9}),
    (Objective(), {}, torch.optim.AdamW, {}),
    (ASAM(eta=0), {"adaptive": True}, SGD, {"momentum": 0.9}),
    (ASAM(), {"adaptive": True, "eta": 0.01}, SGD, {"weight_decay": 0.01}),
]


@pytest.mark.parametrize(("objective", "own", "base", "more"), TWINS, ids=lambda x: str(x)[:40])
@pytest.mark.parametrize("by", ["steps", "closure"])
def test_twenty_steps_are_those_of_the_objective(
    objective: AnyObjective, own: dict[str, Any], base: Any, more: dict[str, Any], by: str
) -> None:
    """Bit for bit, with the running statistics of BatchNorm."""
    model = normed()
    optimizer = sam(model, 0.3, base, model=model, **own, **more)
    for _ in range(20):
        optimizer.zero_grad()
        if by == "steps":
            one_step(optimizer, closure(model))
        else:
            closure(model)().backward()
            optimizer.step(look(closure(model)))
    assert bits(weights(model)) == bits(twin(objective, 0.3, base, **more))
    assert bits(weights(model)) != bits(weights(normed()))


# Weights that come back.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_weights_come_back_bit_for_bit_into_the_same_storage(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    before = [p.detach().clone() for p in model.parameters()]
    places = [p.data_ptr() for p in model.parameters()]
    optimizer = sam(model, lr=0.0)
    for _ in range(50):
        model.zero_grad()
        model(torch.ones(2, 4, dtype=dtype)).square().sum().backward()
        optimizer.first_step(zero_grad=True)
        assert any((p != old).any() for p, old in zip(model.parameters(), before, strict=True))
        model(torch.ones(2, 4, dtype=dtype)).square().sum().backward()
        optimizer.restore()
        raw = [p.detach().view(torch.uint8) for p in model.parameters()]
        assert all(torch.equal(p, old.view(torch.uint8)) for p, old in zip(raw, before, strict=True))
        optimizer.restore()  # nothing stands aside any more
    assert [p.data_ptr() for p in model.parameters()] == places


def test_an_error_in_the_closure_leaves_everything_as_it_was() -> None:
    model = normed()
    optimizer = sam(model, model=model, momentum=0.9)
    closure(model)().backward()
    before = bits(weights(model))

    def failing() -> Tensor:
        closure(model)().backward()
        assert bits(weights(model)) != before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(failing)
    assert bits(weights(model)) == before
    assert grads(model) == [] and not optimizer.state
    closure(model)().backward()
    optimizer.step(look(closure(model)))  # and it goes on
    assert bits(weights(model)) != before


def test_a_second_first_step_is_a_mistake_and_puts_the_weights_back() -> None:
    model = net()
    optimizer, before = sam(model), bits(weights(model))
    closure(model)().backward()
    optimizer.first_step()
    with pytest.raises(UserError, match="first_step was called twice; the weights are back now"):
        optimizer.first_step()
    assert bits(weights(model)) == before
    one_step(optimizer, closure(model))


def test_an_optimiser_that_is_thrown_away_leaves_clean_weights() -> None:
    model = net()
    optimizer, before = sam(model), bits(weights(model))
    closure(model)().backward()
    optimizer.first_step()
    del optimizer
    assert bits(weights(model)) == before


# Gradients that are no help.


def test_zero_gradients_move_nothing_and_the_step_is_plain() -> None:
    model, plain = net(), net()
    optimizer, base = sam(model, weight_decay=0.1), SGD(plain.parameters(), lr=0.1, weight_decay=0.1)
    for one in (model, plain):
        (closure(one)() * 0).backward()
    before = weights(model)
    optimizer.first_step()
    assert all(map(torch.equal, weights(model), before))  # but for the sign of a zero, until the second step
    optimizer.second_step()
    base.step()
    assert bits(weights(model)) == bits(weights(plain)) != bits(before)
    assert optimizer.skipped == 0


@pytest.mark.parametrize("factor", [math.inf, math.nan])
@pytest.mark.parametrize("which", ["both", "second"])
def test_no_step_where_a_gradient_is_not_finite(factor: float, which: str) -> None:
    model = net()
    optimizer, before = sam(model, momentum=0.9), bits(weights(model))
    (closure(model)() * (factor if which == "both" else 1)).backward()
    optimizer.first_step(zero_grad=True)
    assert (bits(weights(model)) == before) == (which == "both")
    (closure(model)() * factor).backward()
    optimizer.second_step(zero_grad=True)
    assert bits(weights(model)) == before
    assert optimizer.skipped == 1 and not optimizer.state
    one_step(optimizer, closure(model))
    assert all(tensor.isfinite().all() for tensor in weights(model)) and optimizer.skipped == 1


def test_where_only_the_first_gradient_is_not_finite_the_step_is_plain() -> None:
    """So that ranks whose first gradients are their own still step together."""
    model, plain = net(), net()
    optimizer = sam(model)
    (closure(model)() * math.nan).backward()
    optimizer.first_step(zero_grad=True)
    closure(model)().backward()
    optimizer.second_step()
    closure(plain)().backward()
    SGD(plain.parameters(), lr=0.1).step()
    assert bits(weights(model)) == bits(weights(plain)) and optimizer.skipped == 0


def test_frozen_and_sparse_parameters() -> None:
    table, frozen = nn.Embedding(3, 2, sparse=True), nn.Parameter(torch.ones(2), requires_grad=False)
    before = table.weight.detach().clone()
    optimizer = SAMOptimizer([table.weight, frozen], SGD, 0.5, lr=0.1)
    table(torch.tensor([1, 1])).sum().backward()
    optimizer.first_step()
    moved = (table.weight - before).detach()
    torch.testing.assert_close(moved, torch.tensor([[0.0, 0.0], [math.sqrt(0.125)] * 2, [0.0, 0.0]]))
    optimizer.second_step()
    assert torch.equal(frozen, torch.ones(2)) and torch.equal(table.weight[0], before[0])


# BatchNorm, schedulers, checkpoints, scalers.


@pytest.mark.parametrize(("given", "seen"), [(True, 8), (False, 9)])
def test_running_statistics_move_once_where_the_model_is_given(given: bool, seen: int) -> None:
    """From seven batches seen; without the model they move in both passes, as in the packages."""
    model = normed()
    one_step(sam(model, model=model if given else None), closure(model))
    assert model[1].num_batches_tracked == seen


def test_a_scheduler_moves_the_base_optimiser() -> None:
    """Without torch's warning of steps that never came, which would be an error here."""
    model = net()
    optimizer = sam(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    one_step(optimizer, closure(model))
    scheduler.step()
    assert optimizer.param_groups is optimizer.base_optimizer.param_groups
    before = weights(model)
    one_step(optimizer, closure(model))
    half = weights(model)
    for old, new, bare in zip(before, half, weights_of_two_steps(), strict=True):
        assert torch.equal(new, bare) and not torch.equal(new, old)


def weights_of_two_steps() -> list[Tensor]:
    """The same without a scheduler: lr 0.1, then 0.05."""
    model = net()
    for lr in (0.1, 0.05):
        one_step(sam(model, lr=lr), closure(model))
    return weights(model)


@pytest.mark.parametrize("base", [SGD, torch.optim.AdamW])
def test_a_checkpoint_goes_on_with_the_same_bits(base: Any) -> None:
    more = {"momentum": 0.9} if base is SGD else {}
    model, file = net(), io.BytesIO()
    optimizer = sam(model, base=base, **more)
    for i in range(6):
        if i == 3:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        one_step(optimizer, closure(model))
    file.seek(0)
    saved, again = torch.load(file), net()
    resumed = sam(again, 0.0, base, **more)  # rho comes from the checkpoint
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    for _ in range(3):
        one_step(resumed, closure(again))
    assert bits(weights(again)) == bits(weights(model))
    assert resumed.state is resumed.base_optimizer.state and len(resumed.state) == 4


def test_a_checkpoint_of_the_base_optimiser_loads() -> None:
    model = net()
    base = SGD(model.parameters(), lr=0.05, momentum=0.9)
    closure(model)().backward()
    base.step()
    optimizer = sam(model, momentum=0.9)
    optimizer.load_state_dict(base.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.05 and optimizer.param_groups[0]["rho"] == 0.3
    one_step(optimizer, closure(model))


def test_a_copy_goes_the_same_way() -> None:
    model = net()
    optimizer = sam(model, momentum=0.9)
    one_step(optimizer, closure(model))
    other, follower = copy.deepcopy((model, optimizer))
    for one, its in ((model, optimizer), (other, follower)):
        one_step(its, closure(one))
    assert bits(weights(other)) == bits(weights(model))
    assert follower.param_groups is follower.base_optimizer.param_groups


def test_a_group_that_is_added_later_is_perturbed_and_stepped() -> None:
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = SAMOptimizer([a], SGD, math.sqrt(17), lr=0.1)
    optimizer.add_param_group({"params": [b]})
    one_step(optimizer, lambda: ((a**2 + 4 * b**2) / 2).sum())
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([0.8, -1.0]))


@pytest.mark.parametrize("overflow", [False, True])
def test_with_a_gradient_scaler_as_documented(overflow: bool) -> None:
    """Its scale, a power of two, changes no bit here; where it overflows, there is no step and the weights are clean."""
    model, plain = net(), net()
    optimizer, before = sam(model), bits(weights(model))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loss = closure(model)
    scaler.scale(loss()).backward()
    optimizer.first_step(zero_grad=True)
    scaler.scale(loss() * (math.inf if overflow else 1)).backward()
    optimizer.restore()
    scaler.step(optimizer.base_optimizer)
    scaler.update()
    if overflow:
        assert bits(weights(model)) == before and scaler.get_scale() == 512
    else:
        one_step(sam(plain), closure(plain))
        for new, old in zip(weights(model), weights(plain), strict=True):
            torch.testing.assert_close(new, old, rtol=0, atol=1e-6)
        assert bits(weights(model)) != before


# UserErrors.


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda o, m: o.first_step(), "no parameter has a gradient"),
        (lambda o, m: o.second_step(), "second_step needs a first_step"),
        (lambda o, m: o.step(), r"step\(\) needs a closure"),
        (lambda o, m: sam(m, -0.1), "rho=-0.1: a finite number of at least 0"),
        (lambda o, m: sam(m, adaptive=True, eta=math.nan), "eta=nan: a finite number"),
        (lambda o, m: o.add_param_group({"params": [nn.Parameter(torch.ones(1))], "rho": math.inf}), "rho=inf"),
        (
            lambda o, m: SAMOptimizer(m.parameters(), SGD(m.parameters(), lr=0.1)),
            "base_optimizer is one SGD; its class",
        ),
        (lambda o, m: SAMOptimizer(m.parameters(), torch.optim.LBFGS), "LBFGS evaluates the loss by itself"),
    ],
)
def test_mistakes_say_what_would_do(call: Callable[[SAMOptimizer, nn.Module], Any], line: str) -> None:
    model = net()
    optimizer = sam(model)
    with pytest.raises(UserError, match=line):
        call(optimizer, model)
    assert len(optimizer.param_groups) == 1
    one_step(optimizer, closure(model))


@pytest.mark.parametrize("call", [SAMOptimizer.state_dict, copy.deepcopy, lambda o: o.load_state_dict({})])
def test_nothing_is_saved_or_loaded_between_the_two_steps(call: Callable[[SAMOptimizer], Any]) -> None:
    model = net()
    optimizer = sam(model)
    closure(model)().backward()
    optimizer.first_step()
    with pytest.raises(UserError, match=r"the weights are perturbed: call optimizer.restore\(\) first"):
        call(optimizer)
