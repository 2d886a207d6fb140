"""One chip, read once: what every score gives for every example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arrays import Array
from ..batchnorm import Statistics, recalibrate_batchnorm
from ..errors import Mistake
from ..scores import Score, moved
from .chips import Chips

__all__ = [
    "Examples",
    "ScoreFunction",
    "count_of",
    "keeping",
    "read_chip",
    "refuse_iterators",
    "refuse_unbounded",
    "scored",
    "size_of",
]

ScoreFunction = Score | Callable[[nn.Module, Any], Tensor]
Examples = NDArray[np.float32]


def read_chip(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    chips: Chips,
    arrays: Sequence[Array],
    strength: float,
    chip: int,
    again: int = 0,
) -> dict[str, Examples]:
    """What each score gives for every example [example] on that chip at that strength, in its `again`-th read."""
    device = arrays[0].value.device
    with chips.in_place(arrays, strength, chip, again):
        if chips.calibration is not None:
            recalibrate_batchnorm(model, _moved(chips.calibration, device), _forward)
        return scored(model, scores, data, device)


def refuse_iterators(data: Iterable[Any], chips: Chips) -> None:
    """A `Mistake` for data or calibration data that could be iterated only once."""
    for name, what in (("data", data), ("calibration", chips.calibration)):
        if isinstance(what, Iterator):
            raise Mistake(
                f"{name} is a {type(what).__name__}, which can be iterated only once; give a list or a DataLoader."
            )


def refuse_unbounded(score: ScoreFunction, what: str) -> None:
    """A `Mistake` for a score that is no fraction; a function of one's own is taken at its word."""
    if isinstance(score, Score) and score.unit != "fraction":
        raise Mistake(
            f"{what} needs a score that lies between 0 and 1 by its nature, and {score.name} is in {score.unit}; "
            "use accuracy, or a Score whose unit is 'fraction'."
        )


@contextmanager
def keeping(statistics: Statistics) -> Iterator[None]:
    """Running statistics for a while; afterwards they are what they were."""
    before = statistics.take()
    try:
        yield
    finally:
        statistics.put(before)


def _moved(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    return (moved(batch, device) for batch in batches)


def _forward(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**{name: value for name, value in batch.items() if name != "labels"})
    return model(batch[0] if isinstance(batch, list) else batch)


def scored(
    model: nn.Module, scores: Mapping[str, ScoreFunction], data: Iterable[Any], device: torch.device
) -> dict[str, Examples]:
    """What each score gives for every example [example], with the weights that are in place."""
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in scores}
    answers = {score.answer if isinstance(score, Score) else None for score in scores.values()}
    with torch.inference_mode():
        for batch in _moved(data, device):
            ask = next(iter(answers)) if len(answers) == 1 else None  # one forward pass for all
            answer = None if ask is None else ask(model, batch)
            for name, score in scores.items():
                shared = isinstance(score, Score) and answer is not None
                values = score.grade(*answer) if shared else score(model, batch)  # type: ignore[union-attr,misc]
                parts[name].append(_checked(values, batch))
    if not next(iter(parts.values())):
        raise Mistake("data is empty: no batch came.")
    return {name: np.concatenate(values) for name, values in parts.items()}


def _checked(values: Any, batch: Any) -> NDArray[np.float32]:
    size = size_of(batch)
    if not isinstance(values, Tensor) or values.dim() != 1 or (size is not None and len(values) != size):
        came = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise Mistake(
            f"the score returned {came} for a batch of {size}; one number for each example, shape ({size},), is needed."
        )
    return values.float().cpu().numpy()


def count_of(data: Iterable[Any]) -> int:
    """How many examples batches hold, by going through them once; a `Mistake` where one does not tell."""
    total = 0
    for batch in data:
        size = size_of(batch)
        if size is None:
            raise Mistake(f"a batch came as {type(batch).__name__}; tensors, in a list or a dictionary, are needed.")
        total += size
    if not total:
        raise Mistake("data is empty: no batch came.")
    return total


def size_of(batch: Any) -> int | None:
    """How many examples a batch holds, by its first tensor; None where it holds none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    members = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((len(m) for m in members if isinstance(m, Tensor) and m.dim()), None)
