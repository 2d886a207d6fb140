"""One chip, scored once: the value that each score gives for each example.

Relies on: the model is in eval mode; a batch is a tensor, or a list, tuple or dictionary of
tensors, whose first tensor has one row for each example. Keeps: values are float32 on the CPU
[example], in the order of the data; scores with the same question to the model share one forward
pass, which changes no value.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError
from ..tasks.scores import Score, channels_last, each_tensor, moved
from ..weights.arrays import Array
from ..weights.batchnorm import Statistics, recalibrate_batchnorm
from .chips import ProgrammedModel
from .sampling import Sampling

ScoreFunction = Score | Callable[[nn.Module, Any], Tensor]
Examples = NDArray[np.float32]

# Two names beside those of the scores. NOT_FINITE holds 1 for each example whose answer was not
# finite and 0 for the others [example]; it is there where some answer was not finite. ORDER, on
# request, holds one number [1] that differs between different orders of the examples.
NOT_FINITE, ORDER = "not finite", "order"


def score_one_chip(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    sampling: Sampling,
    arrays: Sequence[Array],
    strength: float,
    chip: int,
    again: int = 0,
) -> dict[str, Examples]:
    """What each score gives for every example [example] on that chip at that strength, in the
    `again`-th read. The clean weights are back afterwards.
    """
    with ProgrammedModel(model, arrays, sampling) as programmed:
        return score_chip(programmed, scores, data, strength, chip, again)


def score_chip(
    programmed: ProgrammedModel,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    strength: float,
    chip: int,
    again: int = 0,
    ordered: bool = False,
) -> dict[str, Examples]:
    """As `score_one_chip`, for the next of many chips: the chip stays in place afterwards.
    `ordered` asks for `ORDER` too.
    """
    programmed.put(strength, chip, again)
    model, sampling, device = (
        programmed.model,
        programmed.sampling,
        programmed.arrays[0].value.device,
    )
    if sampling.calibration is not None:
        with sampling.casting(device):
            recalibrate_batchnorm(
                model, _arranged(sampling.calibration, sampling, device), _forward
            )
    return scored(model, scores, data, device, sampling, ordered)


def refuse_iterators(data: Iterable[Any], sampling: Sampling) -> None:
    """A `UserError` for data or calibration data that could be iterated only once."""
    for name, what in (("data", data), ("calibration", sampling.calibration)):
        if isinstance(what, Iterator):
            raise UserError(
                f"{name} is a {type(what).__name__}, which can be iterated only once; give a list "
                "or a DataLoader."
            )


def refuse_unbounded(score: ScoreFunction, what: str) -> None:
    """A `UserError` for a `Score` that is no fraction. A plain function does not say what it
    returns; its values are checked when they come.
    """
    if isinstance(score, Score) and score.unit != "fraction":
        raise UserError(
            f"{what} needs a score that lies between 0 and 1 by its nature, and {score.name} is in "
            f"{score.unit}; use accuracy, or a Score whose unit is 'fraction'."
        )


def counted(
    progress: Callable[[int, int], None] | None, sampling: Sampling, place: int
) -> Callable[[int], None] | None:
    """A function that tells `progress` how many chips are done, from how many are done at the
    strength of index `place`; None without `progress`.
    """
    if progress is None:
        return None
    return lambda done: progress(
        place * sampling.chips + done, len(sampling.strengths) * sampling.chips
    )


def shifted(
    progress: Callable[[int, int], None] | None, before: int, total: int
) -> Callable[[int, int], None] | None:
    """The `progress` of one of several calls, where earlier calls have scored `before` of `total`
    chips; None without `progress`.
    """
    return None if progress is None else lambda done, _: progress(before + done, total)


@contextmanager
def keeping(statistics: Statistics) -> Iterator[None]:
    """Lets running statistics change while the block runs, and puts them back afterwards."""
    before = statistics.take()
    try:
        yield
    finally:
        statistics.put(before)


def _arranged(
    batches: Iterable[Any], sampling: Sampling | None, device: torch.device
) -> Iterator[Any]:
    lay = channels_last if sampling is not None and sampling.channels_last else lambda batch: batch
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
    sampling: Sampling | None = None,
    ordered: bool = False,
) -> dict[str, Examples]:
    """What each score gives for every example [example], with the weights that are in place.

    `sampling` may ask for channels-last and for autocast. Under autocast, a `Score` grades logits
    in 32 bits at least. Where answers were not finite, `NOT_FINITE` marks them; `ordered` asks for
    `ORDER`. Raises `UserError` for data without an example, and as `checked`.
    """
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in (*scores, NOT_FINITE)}
    asks = [score.answer if isinstance(score, Score) else None for score in scores.values()]
    shared = asks[0] if len(set(asks)) == 1 else None  # one forward pass for all
    order = 0
    with torch.inference_mode():
        for batch in _arranged(data, sampling, device):
            answer = None if shared is None else answered(shared, model, batch, sampling, device)
            wrong: Examples = np.zeros((), np.float32)
            for name, score in scores.items():
                if isinstance(score, Score):
                    own = answer or answered(score.answer, model, batch, sampling, device)
                    values = checked(score.grade(*own), batch)
                    wrong = np.maximum(wrong, 1 - checked(score.finite(*own), batch))
                else:
                    with nullcontext() if sampling is None else sampling.casting(device):
                        values = checked(score(model, batch), batch)
                wrong = np.maximum(wrong, (~np.isfinite(values)).astype(np.float32))
                parts[name].append(values)
            parts[NOT_FINITE].append(wrong)
            if ordered:
                order = _order(batch, order)
    if not any(map(len, next(iter(parts.values())))):
        raise UserError("data is empty: it holds no example.")
    found = {name: np.concatenate(values) for name, values in parts.items()}
    if not found[NOT_FINITE].any():
        del found[NOT_FINITE]
    if ordered:
        found[ORDER] = np.array([order], dtype=np.float32)
    return found


def _order(batch: Any, before: int) -> int:
    """A checksum below 2^24, which float32 holds exactly, of the examples so far in their order: of
    some eight numbers of each tensor of each example. `before` is that of the batches before.
    """

    def feed(tensor: Tensor) -> Tensor:
        nonlocal before
        if tensor.dim() and tensor.numel():
            flat = tensor.reshape(len(tensor), -1)
            some = flat[:, :: max(1, flat.shape[1] // 8)].to(torch.float32).cpu().contiguous()
            before = zlib.crc32(some.numpy().tobytes(), before)
        return tensor

    each_tensor(batch, feed)
    return before & 0xFFFFFF


def answered(
    ask: Callable[[nn.Module, Any], tuple[Tensor, Tensor]],
    model: nn.Module,
    batch: Any,
    sampling: Sampling | None,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Logits and labels of a batch. Where `sampling` asks for autocast, the pass runs under
    autocast and the logits are returned in 32 bits at least.
    """
    if sampling is None or sampling.autocast is None:
        return ask(model, batch)
    with sampling.casting(device):
        logits, labels = ask(model, batch)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)), labels


def checked(values: Any, batch: Any) -> Examples:
    """The numbers that a score gave for `batch`. Raises `UserError` for another shape than one
    number for each example.
    """
    size = size_of(batch)
    if (
        not isinstance(values, Tensor)
        or values.dim() != 1
        or (size is not None and len(values) != size)
    ):
        came = (
            f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        )
        raise UserError(
            f"the score returned {came} for a batch of {size}; one number for each example, shape "
            f"({size},), is needed."
        )
    return values.float().cpu().numpy()


def count_of(data: Iterable[Any]) -> int:
    """How many examples the batches of `data` hold, counted by iterating once. Raises `UserError`
    for a batch without tensors, and for no example at all.
    """
    total = 0
    for batch in data:
        size = size_of(batch)
        if size is None:
            raise UserError(
                f"a batch is a {type(batch).__name__}; tensors, in a list or a dictionary, are "
                "needed."
            )
        total += size
    if not total:
        raise UserError("data is empty: it holds no example.")
    return total


def size_of(batch: Any) -> int | None:
    """How many examples a batch holds, by its first tensor; None where it holds none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    members = (
        batch.values()
        if isinstance(batch, Mapping)
        else batch
        if isinstance(batch, list | tuple)
        else ()
    )
    return next((len(m) for m in members if isinstance(m, Tensor) and m.dim()), None)
