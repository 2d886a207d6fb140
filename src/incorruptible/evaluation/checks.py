"""What is checked before the first chip: that the network is finite, and that its answers depend on
the weights in its arrays.

Both checks are cheap: they take up to three passes over a few examples. Without the first, a
network of NaNs would be right on class 0. Without the second, a network that computes from other
memory than its parameters would be as good on every chip as it is without errors.

Relies on: the model is in eval mode, and `data` can be iterated once more. Keeps: weights and
running statistics are as before after the checks, also after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import NotFinite, UserError
from ..tasks.scores import Score, channels_last, each_tensor, moved
from ..weights.arrays import Array, refuse_not_finite, unwrapped
from ..weights.batchnorm import Statistics
from ..weights.swap import replaced
from .sampling import Sampling
from .scoring import ScoreFunction, answered, keeping, size_of

FEW = 32  # examples that the checks look at


def check_network(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    sampling: Sampling,
    arrays: Sequence[Array],
) -> None:
    """Raise `UserError` for a network whose measurement would mean nothing. The model is in eval
    mode.

    Refused are weights that are not finite, answers to the first examples that are not finite, and
    a network none of whose answers changes by a bit when every weight in its arrays does. For a
    score that is a plain function, the answers are the model's outputs while the function runs.
    """
    refuse_not_finite(model)
    device = arrays[0].value.device
    batch = next(iter(data), None)
    if batch is None:
        return  # empty data is refused where examples are scored
    batch = moved(batch, device)
    if sampling.channels_last:
        batch = channels_last(batch)
    score = next(iter(scores.values()))
    look = partial(_answers, model, score, sampling, device)
    with keeping(Statistics(model)), torch.inference_mode():
        few, clean = _few(model, batch, look)
        if not all(bool(one.isfinite().all()) for one in clean if one.is_floating_point()):
            raise NotFinite(
                "the network's answers are not finite before any error is put in, and a score on "
                "chips would mean nothing: look at its weights, its inputs and its arithmetic "
                "(autocast?)."
            )
        with replaced(arrays, _others):
            changed = look(few, fits=True)
    if clean and len(clean) == len(changed) and all(map(torch.equal, clean, changed)):
        raise UserError(
            f"no answer of {type(unwrapped(model)).__name__} changes when all weights in its "
            "arrays do: it computes from other memory (weights in a list, copies made before, a "
            "cache, a frozen graph), and chips would all look clean. Measure the module that owns "
            "its parameters, before it is compiled or frozen."
        )


def _others(array: Array) -> Tensor:
    """Another value for every weight of the array: it is raised by twice the largest |weight|, or
    by 1 where all weights are 0.
    """
    size = array.value.abs().amax()
    return array.value + torch.where(size > 0, 2 * size, torch.ones_like(size))


def _few(
    model: nn.Module, batch: Any, look: Callable[..., list[Tensor]]
) -> tuple[Any, list[Tensor]]:
    """The first `FEW` examples of the batch and the answers to them; the whole batch and its
    answers where the batch cannot be cut.
    """
    size = size_of(batch)
    # A compiled network would be compiled again for a batch of another size.
    compiled = any(
        hasattr(one, "_orig_mod") or one._compiled_call_impl is not None for one in model.modules()
    )
    if size is None or size <= FEW or compiled:
        return batch, look(batch)
    few = each_tensor(
        batch, lambda tensor: tensor[:FEW] if tensor.dim() and len(tensor) == size else tensor
    )
    try:
        return few, look(few)
    except UserError:
        raise
    except Exception:  # a network may want batches of its own size
        return batch, look(batch)


def _answers(
    model: nn.Module,
    score: ScoreFunction,
    sampling: Sampling,
    device: torch.device,
    batch: Any,
    fits: bool = False,
) -> list[Tensor]:
    """The network's answers, as tensors: the logits that a `Score` grades, or for a plain function
    all that the model gave when the function called it.

    Unless the labels are known to fit, the score grades the answer once, so that labels which it
    cannot judge are refused here.
    """
    heard: list[Tensor] = []
    if isinstance(score, Score):
        answer = answered(score.answer, model, batch, sampling, device)
        if not fits:
            score.grade(*answer)  # raises for labels that do not fit
        return [answer[0].clone()]
    with sampling.casting(device):
        handle = model.register_forward_hook(
            lambda module, inputs, output: heard.extend(_tensors(output))
        )
        try:
            score(model, batch)
        finally:
            handle.remove()
    return heard


def _tensors(output: Any) -> Iterator[Tensor]:
    """Copies of the tensors in an output, because the network may change its own in place later."""
    if isinstance(output, Tensor):
        yield output.clone()
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)
