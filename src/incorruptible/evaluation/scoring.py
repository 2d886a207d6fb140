"""One chip, read once: what every score gives for every example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import Mistake
from ..tasks.scores import Score, channels_last, moved
from ..weights.arrays import Array
from ..weights.batchnorm import Statistics, recalibrate_batchnorm
from .chips import Chips, Socket

__all__ = [
    "Examples",
    "ScoreFunction",
    "checked",
    "count_of",
    "counted",
    "keeping",
    "read",
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
    with Socket(model, arrays, chips) as socket:
        return read(socket, scores, data, strength, chip, again)


def read(
    socket: Socket, scores: Mapping[str, ScoreFunction], data: Iterable[Any], strength: float, chip: int, again: int = 0
) -> dict[str, Examples]:
    """As `read_chip`, of one chip among many that come one after another."""
    socket.put(strength, chip, again)
    model, chips, device = socket.model, socket.chips, socket.arrays[0].value.device
    if chips.calibration is not None:
        with chips.casting(device):
            recalibrate_batchnorm(model, _arranged(chips.calibration, chips, device), _forward)
    return scored(model, scores, data, device, chips)


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


def counted(progress: Callable[[int, int], None] | None, chips: Chips, place: int) -> Callable[[int], None] | None:
    """What tells `progress` how many chips of the strength at `place` are read, of `draws` at every strength."""
    if progress is None:
        return None
    return lambda done: progress(place * chips.draws + done, len(chips.strengths) * chips.draws)


@contextmanager
def keeping(statistics: Statistics) -> Iterator[None]:
    """Running statistics for a while; afterwards they are what they were."""
    before = statistics.take()
    try:
        yield
    finally:
        statistics.put(before)


def _arranged(batches: Iterable[Any], chips: Chips | None, device: torch.device) -> Iterator[Any]:
    lay = channels_last if chips is not None and chips.channels_last else lambda batch: batch
    return (lay(moved(batch, device)) for batch in batches)


def _forward(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**{name: value for name, value in batch.items() if name != "labels"})
    return model(batch[0] if isinstance(batch, list) else batch)


def scored(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    device: torch.device,
    chips: Chips | None = None,
) -> dict[str, Examples]:
    """What each score gives for every example [example], with the weights that are in place.

    `chips` may ask for autocast, under which what a `Score` makes of an answer is computed in 32 bits at least, and for
    channels-last.
    """
    casting = None if chips is None or chips.autocast is None else partial(chips.casting, device)
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in scores}
    asks = [score.answer if isinstance(score, Score) else None for score in scores.values()]
    shared = asks[0] if len(set(asks)) == 1 else None  # one forward pass for all
    with torch.inference_mode():
        for batch in _arranged(data, chips, device):
            answer = None if shared is None else _answer(shared, model, batch, casting)
            for name, score in scores.items():
                if isinstance(score, Score):
                    values = score.grade(*(answer or _answer(score.answer, model, batch, casting)))
                else:
                    with nullcontext() if casting is None else casting():
                        values = score(model, batch)
                parts[name].append(checked(values, batch))
    if not any(map(len, next(iter(parts.values())))):
        raise Mistake("data is empty: no example came.")
    return {name: np.concatenate(values) for name, values in parts.items()}


def _answer(
    ask: Callable[[nn.Module, Any], tuple[Tensor, Tensor]],
    model: nn.Module,
    batch: Any,
    casting: Callable[[], AbstractContextManager[Any]] | None,
) -> tuple[Tensor, Tensor]:
    if casting is None:
        return ask(model, batch)
    with casting():
        logits, labels = ask(model, batch)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)), labels


def checked(values: Any, batch: Any) -> Examples:
    """The numbers that a score gave for `batch`. Raises `Mistake` for another shape than one number for each example."""
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
        raise Mistake("data is empty: no example came.")
    return total


def size_of(batch: Any) -> int | None:
    """How many examples a batch holds, by its first tensor; None where it holds none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    members = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((len(m) for m in members if isinstance(m, Tensor) and m.dim()), None)
