"""How the tools of this room look at a model and leave no trace: gradients, and losses at other
weights, with everything put back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..objectives.base import Grads, Objective, Point, PointResult, run_objective
from ..randomness.streams import Draw
from ..weights.arrays import Array, unwrapped
from ..weights.batchnorm import Statistics
from ..weights.swap import replaced

Loss = Callable[[nn.Module, Any], Tensor]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Running statistics and torch's generators are after the block as they were before, also after
    an error.
    """
    statistics = Statistics(model)
    before = statistics.take()
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        statistics.put(before)


def gradient(
    model: nn.Module, parameters: Sequence[Tensor], loss: Loss, batch: Any
) -> tuple[float, list[Tensor]]:
    """Returns the mean loss on `batch` and its gradient with respect to each parameter. The
    gradient is zero for parameters that the loss does not depend on.
    """
    with torch.enable_grad():
        value = loss(model, batch).mean()
        grads = torch.autograd.grad(value, parameters, allow_unused=True)
    return float(value.detach()), [
        torch.zeros_like(p) if g is None else g.to_dense()
        for p, g in zip(parameters, grads, strict=True)
    ]


def perturbed(
    model: nn.Module,
    arrays: Sequence[Array],
    objective: Objective,
    strength: float,
    loss: Loss,
    batch: Any,
    draw: Draw,
) -> float:
    """The mean loss on `batch` at the points of one run of the objective, weighted by their shares.

    Climbing objectives climb along the gradient of `batch` itself.
    """
    trainable = [a for a in arrays if a.parameter.requires_grad]
    everywhere = trainable_of(model)
    seen: list[tuple[float, float]] = []

    def look(point: Point) -> PointResult:
        """Visits a point: its loss alone if it counts, and its gradients too if the objective asks
        for them.
        """
        grads: Grads = {}
        with replaced(arrays, point.values), point.entered(model):
            if point.counts:
                with torch.no_grad():
                    value = float(loss(model, batch).mean())
            else:
                wanted = (
                    everywhere
                    if point.keep
                    else {array.name: array.parameter for array in trainable}
                )
                value, found = gradient(model, list(wanted.values()), loss, batch)
                grads = dict(zip(wanted, found, strict=True))
        seen.append((point.share, value))
        return PointResult(torch.tensor(value), grads)

    run_objective(objective(arrays, strength, draw), look)
    return sum(share * value for share, value in seen if share) / sum(share for share, _ in seen)


def trainable_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes, by name."""
    return {name: p for name, p in unwrapped(model).named_parameters() if p.requires_grad}
