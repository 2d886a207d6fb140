"""What a task is: `Task` is a network with its data and score, and `NamedTask` is the name of a
task that is not loaded yet.

Relies on: the data do not change after they were given to a `Task`, because their fingerprints are
computed once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .data import Images, fingerprint
from .scores import accuracy, cross_entropy, score_of


class NamedTask(ABC):
    """A task that is named but not loaded yet: its data are neither read nor made. `str` writes the
    task as the command line takes it.
    """

    @abstractmethod
    def task(self) -> Task:
        """Model and data, ready to use. Raises `UserError` where the data cannot be had."""

    def absolute(self) -> NamedTask:
        """The same task under a text that finds its files from any folder."""
        return self

    @property
    def portable(self) -> str:
        """The part of the text that identifies a run: it names no folder."""
        return str(self)


@dataclass(frozen=True, eq=False)
class Task:
    """A network with the data that it is measured on. Measuring needs `model` and `test`; training
    needs `train` as well.

    - `model()` makes the network, with fresh weights from torch's global generator.
    - `train`, `validation`, `test` are tuples of tensors (inputs, labels), which are cut into
      batches here, or any object that gives batches each time it is iterated (a DataLoader).
    - `loss(model, batch)` and `score(model, batch)` give one number for each example, [b]. A text
      names one of this package, such as "accuracy".
    - `reference` is the loss of the best constant predictor (ln 10 for ten balanced classes). Loss
      budgets are given relative to it.
    - `seen` is how many of the training examples, the first ones, `model()` depends on. Bounds
      count only the others.
    - `blank()` makes the same network where weights are loaded into it at once, so that `model()`
      would do work in vain.
    - `origin` says what the data were made from, where the data can change under the same name. It
      is part of a run's identity, as the data are.
    - `batch` is how many examples are best measured at once.

    Raises `UserError` if `model` is a network instead of a function that makes one, and for a loss
    or score that cannot be called.
    """

    model: Callable[[], nn.Module]
    test: Any
    train: Any = None
    validation: Any = None
    loss: Callable[[nn.Module, Any], Tensor] = field(default=cross_entropy)
    score: Callable[[nn.Module, Any], Tensor] = field(default=accuracy)
    reference: float | None = None
    seen: int = 0
    blank: Callable[[], nn.Module] | None = None
    name: str = ""
    source: str = ""
    origin: str = ""
    batch: int = 1024

    def __post_init__(self) -> None:
        if isinstance(self.model, nn.Module) or not callable(self.model):
            kind = type(self.model).__name__
            raise UserError(
                f"Task(model=...) is a {kind}, but a function that makes one is needed: "
                f"model=lambda: {kind}(...), or the class itself."
            )
        for name in ("loss", "score"):
            object.__setattr__(self, name, score_of(getattr(self, name), name))

    def part(self, name: str) -> Any:
        """Returns the data of the part `name`. Raises `UserError` if the task has no such data, or
        no image in them.
        """
        data = getattr(self, name)
        if data is None:
            raise UserError(
                f"{self.name or 'the task'} has no {name} data: give the Task {name}=(inputs, "
                "labels)."
            )
        if isinstance(data, Images) and not len(data):
            raise UserError(f"{self.name or 'the task'} keeps no images for {name}.")
        return data

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each part's data, and their origin if there is one. They are computed
        once, so the data must not change later.
        """
        found = {part: fingerprint(getattr(self, part)) for part in ("train", "validation", "test")}
        return found | {"origin": self.origin} if self.origin else found


def constant_loss(labels: Tensor) -> float:
    """The cross-entropy in nats of the best predictor that sees no input, which is the entropy of
    the labels' frequencies: the `reference` of a task.

    >>> round(constant_loss(torch.tensor([0, 0, 1, 1])), 4)
    0.6931
    """
    return float(
        torch.special.entr(torch.bincount(labels.flatten()).double() / labels.numel()).sum()
    )
