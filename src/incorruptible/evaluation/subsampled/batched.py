"""Many chips that look at few examples each, scored side by side where that is faster.

A *stack* holds the weights of several chips in one tensor with an extra first axis, so that one
batched product computes the answers of all chips. Networks that torch cannot map in this way, and
large networks, are scored one chip after another, *in place*.

Relies on: layers that torch's `vmap` maps; a `Score` of logits. Keeps: stacked weights are those of
the chips in place, bit for bit; logits differ by rounding only, which is checked on the first chip;
which way is taken follows from counted work, so that the same call goes the same way everywhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ...errors import UserError
from ...tasks.scores import (
    Score,
    accuracy,
    bits_per_byte,
    bounded_loss,
    cross_entropy,
    moved,
    predict,
)
from ...weights.arrays import Array, unwrapped
from ..chips import ProgrammedModel, cleaned
from ..sampling import Sampling
from ..scoring import NOT_FINITE, Examples, ScoreFunction, checked, score_chip

# ---- When chips are scored side by side

FEWEST = 16  # the fewest chips that are worth a stack: a stack of four costs more than it saves
AT_ONCE = 64  # the most chips in a stack; there are fewer where their weights are more than STACK
STACK = 1 << 24  # the most numbers in a stack, 64 MiB in float32
# The most weights in the arrays of a chip. Beyond, reading weights costs as much as multiplying
# them.
WEIGHTS = 1 << 19
# The most products of two numbers, for one chip with all of its images and on average over layers.
WORK = {
    "cpu": 1 << 21,
    "cuda": 1 << 25,
}
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
# Networks with other layers that have weights are scored in place.
_KINDS = (
    *_LAYERS,
    nn.modules.batchnorm._BatchNorm,
)


def stackable(
    model: nn.Module,
    score: ScoreFunction,
    parts: Sequence[Any],
    sampling: Sampling,
    arrays: Sequence[Array],
) -> bool:
    """Whether chips can be scored side by side at all. This takes a `Score` of logits, batches that
    are pairs of tensors, and layers that torch maps well.

    These are scored in place: plain functions as scores; recalibrated BatchNorm; autocast and
    channels-last; a model that is wrapped or has hooks; layers with weights other than Linear,
    convolutions and BatchNorm.
    """
    own = dict(model.named_parameters())
    return (
        isinstance(score, Score)
        and score.answer is predict
        and sampling.calibration is None
        and sampling.autocast is None
        and not sampling.channels_last
        and unwrapped(model) is model
        and all(own.get(array.name) is array.parameter for array in arrays)
        and len({parameter.device for parameter in own.values()}) == 1
        and all(_maps(module) for module in model.modules())
        and all(_paired(part) and _paired(parts[0]) and _alike(part, parts[0]) for part in parts)
    )


def worth(model: nn.Module, part: Any, arrays: Sequence[Array], count: int) -> bool:
    """Whether `count` chips, each on a batch as large as `part`, are scored faster side by side.

    docs/results/fast-measuring.md has what was measured, on a processor; what holds for CUDA was
    not.
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
    """How many products of two numbers the Linear and convolutional layers compute in one pass over
    the batch `part`.
    """
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
    return (
        isinstance(part, list | tuple)
        and len(part) == 2
        and all(isinstance(one, Tensor) for one in part)
    )


def _alike(part: Sequence[Tensor], first: Sequence[Tensor]) -> bool:
    return all(
        one.shape == other.shape and one.dtype == other.dtype
        for one, other in zip(part, first, strict=True)
    )


# ---- Chips side by side: their weights in one stack, and one pass for all of them

_EXAMPLE_BY_EXAMPLE = tuple(
    score.grade for score in (accuracy, bits_per_byte, bounded_loss, cross_entropy)
)


def score_stacked(
    model: nn.Module,
    score: Score,
    parts: Sequence[Any],
    sampling: Sampling,
    arrays: Sequence[Array],
    strength: float,
    numbers: Sequence[int],
    at_once: int,
    seen: Stacks | None = None,
) -> Examples:
    """What the score gives on chip `numbers[k]` for every example of the pair `parts[k]`: [chip,
    example].

    The chips are those in place, bit for bit. Logits differ by rounding, because one product of
    stacked matrices (for convolutions, one grouped convolution) stands for many. The weights of
    `at_once` chips lie in memory that is used again for the next chips; the model's own weights are
    not touched. Raises what torch's vmap raises for a network that it cannot map, and raises vmap's
    warning where it would compute chip by chip.
    """
    device = arrays[0].value.device
    same = all(own[0] is parts[0][0] and own[1] is parts[0][1] for own in parts)
    with torch.no_grad():
        clean = cleaned(arrays)
        stacks = {
            array.name: array.value.new_empty(at_once, *array.value.shape) for array in arrays
        }
    found = []
    for start in range(0, len(numbers), at_once):
        some = numbers[start : start + at_once]
        with torch.no_grad():
            for place, chip in enumerate(some):
                for array in clean:
                    stacks[array.name][place].copy_(sampling.values(array, strength, chip, 0))
        weights = {name: stack[: len(some)] for name, stack in stacks.items()}
        found.append(
            _graded(model, score, weights, moved(parts[start : start + at_once], device), same)
        )
    if seen is not None:
        seen.not_finite += sum(count for _, count in found)
    return np.concatenate([one for one, _ in found])


def _graded(
    model: nn.Module, score: Score, weights: dict[str, Tensor], parts: Sequence[Any], same: bool
) -> tuple[Examples, int]:
    """The scores [chip, example] of the chips with these `weights` [chip, ...], each on its own
    part, or all on the first part where they are the `same`; and how many answers were not finite.
    """

    def answer(weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        def called(inputs: Tensor) -> Any:
            return functional_call(model, weights, (inputs,))

        return score.answer(called, (inputs, labels))  # type: ignore[arg-type]

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("error", "There is a performance drop", UserWarning)
        both = (
            parts[0] if same else [torch.stack([own[place] for own in parts]) for place in (0, 1)]
        )
        logits, labels = vmap(answer, in_dims=(0, *(2 * [None if same else 0])))(weights, *both)
        if score.grade in _EXAMPLE_BY_EXAMPLE:
            flat = logits.flatten(0, 1), labels.flatten(0, 1)
            marks = score.grade(*flat).view(labels.shape[:2])
            return marks.float().cpu().numpy(), int((~score.finite(*flat)).sum())
        each = list(zip(logits, labels, parts, strict=True))
        wrong = sum(int((~score.finite(own, truth)).sum()) for own, truth, _ in each)
        return np.stack(
            [checked(score.grade(own, truth), part) for own, truth, part in each]
        ), wrong


# ---- Side by side or in place


class Stacks:
    """Remembers whether stacked chips of one network answer as the same chips do in place. This is
    checked once, with the first chip.

    `not_finite` counts the answers so far that were not finite, in place and in stacks.
    """

    def __init__(self) -> None:
        self.agree: bool | None = None
        self.not_finite = 0

    def trusted(
        self,
        model: nn.Module,
        score: Score,
        part: Any,
        sampling: Sampling,
        arrays: Sequence[Array],
        strength: float,
        number: int,
    ) -> bool:
        """Whether a stacked chip answers as in place. A network that computes from a view of its
        weights, for example, sees only the chip in place.
        """
        if self.agree is None:
            with ProgrammedModel(model, arrays, sampling) as programmed, torch.inference_mode():
                programmed.put(strength, number)
                one = moved(part, arrays[0].value.device)
                logits = score.answer(model, one)[0].double()
            # The same chip once more, its weights handed to the network as a stack hands them.
            with torch.inference_mode():
                weights = {
                    clean.name: sampling.values(clean, strength, number, 0)
                    for clean in cleaned(arrays)
                }

                def called(inputs: Tensor) -> Any:
                    return functional_call(model, weights, (inputs,))

                stacked = score.answer(called, one)[0].double()  # type: ignore[arg-type]
            room = 1e-3 * float(logits.abs().nan_to_num(0.0, 0.0, 0.0).amax()) + 1e-6
            self.agree = torch.allclose(logits, stacked, rtol=1e-3, atol=room, equal_nan=True)
        return self.agree


def score_parts(
    model: nn.Module,
    score: ScoreFunction,
    parts: Sequence[Any],
    sampling: Sampling,
    arrays: Sequence[Array],
    strength: float,
    numbers: Sequence[int],
    stacks: Stacks | None = None,
) -> Examples:
    """What the score gives on chip `numbers[k]` for every example of the batch `parts[k]`: [chip,
    example].

    Every part has equally many examples; the same batch may stand for several chips. The model is
    in eval mode already. Small networks on few examples are scored side by side, all others one
    after another. `stackable` and `worth` decide, and the first chip is scored both ways, which
    must agree; `stacks` remembers whether it did. Raises `UserError` where parts differ in size.
    """
    stacks = stacks or Stacks()
    if stackable(model, score, parts, sampling, arrays) and worth(
        model, parts[0], arrays, len(numbers)
    ):
        assert isinstance(score, Score)
        try:
            if stacks.trusted(model, score, parts[0], sampling, arrays, strength, numbers[0]):
                many = at_once(arrays)
                return score_stacked(
                    model, score, parts, sampling, arrays, strength, numbers, many, stacks
                )
        except (RuntimeError, UserWarning):
            # torch cannot map a pass that branches on values or draws random numbers. Where
            # something else is wrong, the pass in place below raises it again.
            pass
    with ProgrammedModel(model, arrays, sampling) as programmed:
        each = [
            score_chip(programmed, {"": score}, [part], strength, number)
            for number, part in zip(numbers, parts, strict=True)
        ]
    stacks.not_finite += sum(int(one[NOT_FINITE].sum()) for one in each if NOT_FINITE in one)
    scores = [one[""] for one in each]
    if len({len(one) for one in scores}) > 1:
        raise UserError(
            f"the parts have {sorted({len(one) for one in scores})} examples; give each chip a part "
            "with equally many examples."
        )
    return np.stack(scores)
