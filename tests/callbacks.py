"""What the tests of the integrations train: a small network on 40 examples, and the plain loop that each is held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from incorruptible.objectives import parse
from incorruptible.schedules import Auto, Controller, Linear, Schedule
from incorruptible.training import Hardener
from test_objectives import net

OBJECTIVES = ["plain", "rwp(gaussian-filter-max)", "sam", "mixed-rwp(gaussian-filter-max):share=0.25"]
RANDBET = "randbet(gaussian-filter-max):threshold=1.1"
RAMP = Linear(0.1, 0.3)
AUTO = Auto(classes=3, budget=1.2)
SIZE, EPOCHS, SEED = 8, 2, 3
LEARNING = {"lr": 0.05, "momentum": 0.9}


def data(batches: int = 5) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    n = SIZE * batches
    return torch.randn(n, 4, generator=source), torch.randint(0, 3, (n,), generator=source)


def batches(count: int = 5) -> list[tuple[Tensor, Tensor]]:
    x, y = data(count)
    return list(zip(x.split(SIZE), y.split(SIZE), strict=True))


def loop(
    text: str,
    *,
    accumulate: int = 1,
    strength: Schedule | Controller = RAMP,
    norm: float = 0.0,
    short: Callable[[int], int] = lambda size: size,
    model: nn.Module | None = None,
    weight: float | None = None,
    count: int = 5,
    scaled: bool = False,
    noise: str = "exact",
) -> tuple[nn.Module, Hardener]:
    """The loop that one would write: short last groups step too; each loss of a group is divided by `short(its length)`.

    With `scaled`, the `Hardener` is told where that makes gradients larger than a division by `accumulate` would.
    """
    model = net() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), **LEARNING)
    groups = [batches(count)[i : i + accumulate] for i in range(0, count, accumulate)]
    steps, parts = EPOCHS * len(groups), accumulate
    scale = (lambda: accumulate / parts) if scaled else None
    robust = Hardener(
        model, parse(text), strength, steps=steps, seed=SEED, accumulate=accumulate, scale=scale, noise=noise
    )
    for _ in range(EPOCHS):
        for group in groups:
            optimizer.zero_grad()
            parts = short(len(group))
            for x, y in group:
                robust.backward(lambda x=x, y=y, parts=parts: cross_entropy(model(x), y) / parts)
            robust.finish_step(weight)
            if norm:
                nn.utils.clip_grad_norm_(model.parameters(), norm)
            optimizer.step()
    assert robust.step == steps
    return model, robust


def state(model: nn.Module) -> dict[str, Any]:
    """Parameters and running statistics, as bytes."""
    return {name: tensor.detach().cpu().numpy().tobytes() for name, tensor in model.state_dict().items()}


class Broken(Exception):
    """What a training step raises in a test."""
