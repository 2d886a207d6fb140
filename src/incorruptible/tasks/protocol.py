"""What a task is: a model, data and a score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..data import Batches
from ..errors import Mistake
from ..scores import accuracy, cross_entropy

__all__ = ["Task", "batches"]


@dataclass(frozen=True, eq=False)
class Task:
    """A model and what it is for. Only `model` and `test` are needed to measure; training needs `train` as well.

    `model()` makes the network, with fresh weights from torch's global generator. `train`, `validation` and `test` are
    tuples of tensors (inputs, labels), which are cut into batches here, or anything that gives batches each time it is
    iterated (a DataLoader). `loss(model, batch)` and `score(model, batch)` give one number for each example, [b].
    `reference` is the loss of the best constant predictor (ln 10 for ten balanced classes): what budgets are relative to.
    """

    model: Callable[[], nn.Module]
    test: Any
    train: Any = None
    validation: Any = None
    loss: Callable[[nn.Module, Any], Tensor] = field(default=cross_entropy)
    score: Callable[[nn.Module, Any], Tensor] = field(default=accuracy)
    reference: float | None = None
    name: str = ""
    source: str = ""

    def part(self, name: str) -> Any:
        """The data of that name; a `Mistake` where the task has none."""
        data = getattr(self, name)
        if data is None:
            raise Mistake(f"{self.name or 'the task'} has no {name} data: give the Task {name}=(inputs, labels).")
        return data


def batches(data: Any, size: int, order: tuple[str | int, ...] | None = None) -> Iterable[Any]:
    """Batches of tensors in memory, in `order` if one is named; what makes its own batches comes back as it is."""
    in_memory = isinstance(data, tuple | list) and len(data) > 0 and all(isinstance(part, Tensor) for part in data)
    return Batches(data, size, order) if in_memory else data
