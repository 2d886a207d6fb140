"""A loop that is written with accelerate ends in the bits of the plain one."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from callbacks import AUTO, EPOCHS, LEARNING, OBJECTIVES, RAMP, RANDBET, SEED, SIZE, Broken, data, loop, state
from incorruptible.errors import UserError
from incorruptible.integrations.accelerate import AcceleratedHardener, checked_accelerator
from incorruptible.objectives import parse
from incorruptible.training import Hardener
from test_objectives import bits, net
from two_ranks import PATIENCE, saved_by_two_ranks

accelerate = pytest.importorskip("accelerate")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Accelerators share one state in a process."""
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def accelerator(**options: Any) -> Any:
    return accelerate.Accelerator(cpu=True, **options)


def prepared(host: Any, model: nn.Module, size: int = SIZE, count: int = 5) -> tuple[Any, Any, Any]:
    optimizer = torch.optim.SGD(model.parameters(), **LEARNING)
    return host.prepare(model, optimizer, DataLoader(TensorDataset(*data(count)), batch_size=size))  # type: ignore[no-any-return]


def fit(
    host: Any,
    text: str,
    strength: Any = RAMP,
    *,
    norm: float = 0.0,
    context: bool = False,
    epochs: range = range(EPOCHS),
    folder: Path | None = None,
    begin: Path | None = None,
    size: int = SIZE,
    count: int = 5,
    noise: str = "exact",
) -> tuple[nn.Module, AcceleratedHardener]:
    model, optimizer, loader = prepared(host, net(), size, count)
    steps = EPOCHS * math.ceil(len(loader) / host.gradient_accumulation_steps)
    robust = AcceleratedHardener(host, model, parse(text), strength, steps=steps, seed=SEED, noise=noise)
    host.register_for_checkpointing(robust)
    if begin is not None:
        host.load_state(str(begin))
    for _ in epochs:
        for x, y in loader:
            with host.accumulate(model):
                if context:
                    with robust.perturbed() as look:
                        host.backward(look(cross_entropy(model(x), y)))
                else:
                    robust.backward(lambda x=x, y=y: cross_entropy(model(x), y))
                if host.sync_gradients and norm:
                    host.clip_grad_norm_(model.parameters(), norm)
                optimizer.step()
                optimizer.zero_grad()
        if folder is not None:
            host.save_state(str(folder))
    return host.unwrap_model(model), robust


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("text", [*OBJECTIVES, RANDBET])
def test_same_bits_as_the_plain_loop(text: str, accumulate: int) -> None:
    """Five batches: with two or three to a step, the last one of an epoch is short."""
    model, robust = fit(accelerator(gradient_accumulation_steps=accumulate), text, norm=1.0)
    expected, _ = loop(text, accumulate=accumulate, norm=1.0, short=lambda m: accumulate)
    assert state(model) == state(expected) != state(net())
    assert robust.step == robust.steps


def test_noise_from_a_bank() -> None:
    text = OBJECTIVES[1]
    model, robust = fit(accelerator(), text, noise="banked")
    expected, _ = loop(text, noise="banked")
    assert state(model) == state(expected) != state(loop(text)[0])
    assert robust.state_dict()["noise"] == "banked"


def test_its_metrics_are_those_of_a_plain_loop() -> None:
    """What the line of docs/how-to/integrations.md gives to `accelerator.log`."""
    text = OBJECTIVES[1]
    _, robust = fit(accelerator(gradient_accumulation_steps=2), text)
    _, plain = loop(text, accumulate=2, short=lambda m: 2)
    found = robust.metrics()
    assert found == pytest.approx(plain.metrics()) and {"strength", "perturbed_loss", "skipped"} <= found.keys()
    assert all(type(value) is float for value in found.values())


def test_plain_is_what_accelerate_does_alone() -> None:
    host = accelerator(gradient_accumulation_steps=2)
    model, optimizer, loader = prepared(host, net())
    for _ in range(EPOCHS):
        for x, y in loader:
            with host.accumulate(model):
                host.backward(cross_entropy(model(x), y))
                optimizer.step()
                optimizer.zero_grad()
    hardened, _ = fit(host, "plain")
    assert state(hardened) == state(model)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_block_in_place_of_a_closure(accumulate: int) -> None:
    text = "rwp(gaussian-filter-max)"
    model, _ = fit(accelerator(gradient_accumulation_steps=accumulate), text, AUTO, context=True)
    expected, _ = loop(text, accumulate=accumulate, strength=AUTO, short=lambda m: accumulate)
    assert state(model) == state(expected)


def test_a_controller_hears_losses_of_whole_steps() -> None:
    """Also of a short one, whose losses accelerate divides by as many as a full one has."""
    _, robust = fit(accelerator(gradient_accumulation_steps=2), "sam", AUTO)
    _, expected = loop("sam", accumulate=2, strength=AUTO, short=lambda m: 2)
    assert robust.state_dict() == expected.state_dict()
    _, other = loop("sam", accumulate=2, strength=AUTO, short=lambda m: 2, weight=1.0)
    assert robust.state_dict()["control"] != other.state_dict()["control"]


@pytest.mark.parametrize("text", OBJECTIVES[1:3])
def test_bf16(text: str) -> None:
    """Autocast is inside the prepared model; the weights stay float32 and go where those of the same loop by hand go."""
    model, _ = fit(accelerator(mixed_precision="bf16"), text)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    host = accelerator(mixed_precision="bf16")
    expected, _ = loop(text, model=host.prepare(net()))
    assert state(model) == state(expected) != state(loop(text)[0])


@pytest.mark.parametrize("strength", [RAMP, AUTO], ids=["ramp", "auto"])
def test_checkpoints_go_on_with_the_same_bits(tmp_path: Path, strength: Any) -> None:
    whole, _ = fit(accelerator(gradient_accumulation_steps=2), OBJECTIVES[1], strength)
    fit(accelerator(gradient_accumulation_steps=2), OBJECTIVES[1], strength, epochs=range(1), folder=tmp_path)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    resumed, robust = fit(
        accelerator(gradient_accumulation_steps=2), OBJECTIVES[1], strength, epochs=range(1, 2), begin=tmp_path
    )
    assert state(resumed) == state(whole) and robust.step == robust.steps


def test_an_exception_leaves_all_as_it_was() -> None:
    host = accelerator()
    model, _, _ = prepared(host, net())
    before = state(model)
    robust = AcceleratedHardener(host, model, parse("rwp(gaussian-filter-max)"), RAMP, steps=10, seed=0)

    def broken() -> torch.Tensor:
        assert state(model) != before
        raise Broken

    with pytest.raises(Broken):
        robust.backward(broken)
    assert state(model) == before and robust.calls == 0


def test_a_loss_that_is_not_finite_is_skipped_without_a_scaler() -> None:
    host = accelerator()
    model, _, loader = prepared(host, net())
    robust = AcceleratedHardener(host, model, parse("sam"), RAMP, steps=10, seed=0)
    robust.backward(lambda: cross_entropy(model(next(iter(loader))[0]), next(iter(loader))[1]) * math.nan)
    assert robust.skipped == 1 and all(p.grad is None for p in model.parameters())


class Scaler:
    """What a GradScaler does to a loss; the real one works with an accelerator alone."""

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * 1024

    def get_scale(self) -> float:
        return 1024.0


@pytest.mark.parametrize("text", ["sam", "randbet(gaussian-filter-max):bound=0.01"])
def test_a_scaler_scales_gradients_and_nothing_else(text: str) -> None:
    """By a power of two, so that no bit of them changes."""
    found = []
    for scaler in (None, Scaler()):
        host, model = SimpleNamespace(**PLAIN, scaler=scaler), net()
        robust = AcceleratedHardener(host, model, parse(text), RAMP, steps=10, seed=0)
        x, y = data(1)
        robust.backward(lambda model=model, x=x, y=y: cross_entropy(model(x), y))
        found.append([p.grad / (1 if scaler is None else 1024) for p in model.parameters()])
    assert bits(found[0]) == bits(found[1])


PLAIN = {"distributed_type": "NO", "num_processes": 1, "gradient_accumulation_steps": 2, "sync_gradients": False}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"distributed_type": "FSDP"}, "accelerate with FSDP holds pieces .* accelerate launch --multi_gpu"),
        ({"distributed_type": "DEEPSPEED"}, "accelerate with DEEPSPEED holds pieces"),
        (
            {"parallelism_config": SimpleNamespace(total_size=4, dp_replicate_size=2)},
            "accelerate with parallelism_config holds",
        ),
        ({"distributed_type": "MULTI_CPU", "num_processes": 2}, "Sequential is not what accelerator.prepare returned"),
    ],
)
def test_refusals(changed: dict[str, Any], line: str) -> None:
    host = SimpleNamespace(**{**PLAIN, "scaler": None, **changed})
    with pytest.raises(UserError, match=line):
        AcceleratedHardener(host, net(), parse("sam"), RAMP, steps=10, seed=0)


def test_the_model_in_place_of_the_accelerator() -> None:
    with pytest.raises(UserError, match="is no Accelerator"):
        checked_accelerator(net())


def run(rank: int, folder: Path) -> None:
    """What one of two processes does."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    os.environ.update(MASTER_PORT=(folder / "port").read_text(), ACCELERATE_USE_CPU="true")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    patience = accelerate.InitProcessGroupKwargs(timeout=PATIENCE)
    host = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2, kwargs_handlers=[patience])
    assert host.num_processes == 2
    found = {}
    for text in OBJECTIVES[1:3]:
        model, _ = fit(host, text, size=SIZE // 2, count=4)
        found[text] = [p.detach().clone() for p in model.parameters()]
    try:
        AcceleratedHardener(host, net(), parse("sam"), RAMP, steps=10, seed=0)
    except UserError as problem:
        found["unprepared"] = str(problem)
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    """Ranks end bit-equal; each draws its own noise, so that they are as one process with the micro-batches of both."""
    (tmp_path / "port").write_text(str(free_port()))
    first, second = saved_by_two_ranks(run, tmp_path)
    for text in OBJECTIVES[1:3]:
        assert bits(first[text]) == bits(second[text]) != bits(net().parameters())
        torch.testing.assert_close(first[text], [*one_process(text).parameters()], rtol=0, atol=1e-6)
    assert "accelerator.prepare" in first["unprepared"]


def one_process(text: str) -> nn.Module:
    """Accelerate deals batches in turn: the first rank has every other one from the first."""
    model, (x, y) = net(), data(4)
    optimizer = torch.optim.SGD(model.parameters(), **LEARNING)
    robust = Hardener(model, parse(text), RAMP, steps=EPOCHS * 2, seed=SEED, accumulate=4)
    dealt = list(zip(x.split(SIZE // 2), y.split(SIZE // 2), strict=True))
    for step in range(EPOCHS * 2):
        optimizer.zero_grad()
        for place in (0, 2, 1, 3):
            part, labels = dealt[4 * (step % 2) + place]
            robust.backward(lambda part=part, labels=labels: cross_entropy(model(part), labels) / 4)
        optimizer.step()
    return model


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
