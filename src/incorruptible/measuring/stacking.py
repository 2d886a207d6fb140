"""When chips are read side by side: a rule from counted work alone, so that the same call takes the same way everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..arrays import Array, unwrapped
from ..scores import Score, predict
from .chips import Chips
from .reading import ScoreFunction

__all__ = ["at_once", "products", "stackable", "worth"]

FEWEST = 16  # chips that are worth a stack: of four it costs more than it saves
AT_ONCE = 64  # chips in a stack, and fewer where their weights would be more than
STACK = 1 << 24  # numbers, 64 MiB in float32
WEIGHTS = 1 << 19  # in one chip's arrays: beyond, reading them costs as much as multiplying them
WORK = {"cpu": 1 << 21, "cuda": 1 << 25}  # products of two numbers for one chip, all of its images, and one layer
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_KINDS = (*_LAYERS, nn.modules.batchnorm._BatchNorm)  # other layers with weights are read in place


def stackable(
    model: nn.Module, score: ScoreFunction, parts: Sequence[Any], chips: Chips, arrays: Sequence[Array]
) -> bool:
    """Whether chips can be read side by side at all: a `Score` of logits, pairs of tensors, layers that torch maps well.

    In place are read: functions of one's own; BatchNorm recalibrated; autocast and channels-last; a model that is wrapped
    or has hooks; layers other than Linear, convolutions, BatchNorm and what stands between them.
    """
    own = dict(model.named_parameters())
    return (
        isinstance(score, Score)
        and score.answer is predict
        and chips.calibration is None
        and chips.autocast is None
        and not chips.channels_last
        and unwrapped(model) is model
        and all(own.get(array.name) is array.parameter for array in arrays)
        and len({parameter.device for parameter in own.values()}) == 1
        and all(_maps(module) for module in model.modules())
        and all(_paired(part) and _paired(parts[0]) and _alike(part, parts[0]) for part in parts)
    )


def worth(model: nn.Module, part: Any, arrays: Sequence[Array], count: int) -> bool:
    """Whether `count` chips, each on a batch of the size of `part`, are read faster side by side.

    docs/fast-measuring.md has what was measured, on a processor; what holds for CUDA was not.
    """
    kind = arrays[0].value.device.type
    if count < FEWEST or kind not in WORK or _weights(arrays) > WEIGHTS:
        return False
    return products(model, part) <= WORK[kind] * len(_layers(model))


def at_once(arrays: Sequence[Array]) -> int:
    """How many chips a stack holds."""
    return max(1, min(AT_ONCE, STACK // max(1, _weights(arrays))))


def _weights(arrays: Sequence[Array]) -> int:
    return sum(array.value.numel() for array in arrays)


def _layers(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _LAYERS)]


def products(model: nn.Module, part: Any) -> int:
    """How many products of two numbers the Linear and convolutional layers compute in one pass of that batch."""
    total = 0

    def count(module: Any, _: Any, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in _layers(model)]
    try:
        with torch.inference_mode():
            predict(model, [tensor.to(next(model.parameters()).device) for tensor in part])
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _maps(module: nn.Module) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks
    return not hooked and (isinstance(module, _KINDS) or not module._parameters)


def _paired(part: Any) -> bool:
    return isinstance(part, list | tuple) and len(part) == 2 and all(isinstance(one, Tensor) for one in part)


def _alike(part: Sequence[Tensor], first: Sequence[Tensor]) -> bool:
    return all(one.shape == other.shape and one.dtype == other.dtype for one, other in zip(part, first, strict=True))
