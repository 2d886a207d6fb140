"""Chips side by side: their weights in one stack, and one pass for all of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..arrays import Array
from ..scores import Score, accuracy, bits_per_byte, bounded_loss, cross_entropy, moved
from .chips import Chips
from .reading import Examples, checked
from .socket import cleaned

__all__ = ["read_stacked"]

_EXAMPLE_BY_EXAMPLE = tuple(score.grade for score in (accuracy, bits_per_byte, bounded_loss, cross_entropy))


def read_stacked(
    model: nn.Module,
    score: Score,
    parts: Sequence[Any],
    chips: Chips,
    arrays: Sequence[Array],
    strength: float,
    numbers: Sequence[int],
    at_once: int,
) -> Examples:
    """What the score gives on chip `numbers[k]` for every example of the pair `parts[k]`: [chip, example].

    The same chips as in place, bit for bit; logits differ by rounding, since one product of stacked matrices (for convolutions,
    one grouped convolution) stands for many. The weights of `at_once` chips lie in memory that is used again for the next ones;
    the model's own are not touched. Raises what torch's vmap raises for a network that it cannot map, and its warning where
    it would go chip by chip.
    """
    device = arrays[0].value.device
    same = all(own[0] is parts[0][0] and own[1] is parts[0][1] for own in parts)
    with torch.no_grad():
        clean = cleaned(arrays)
        stacks = {array.name: array.value.new_empty(at_once, *array.value.shape) for array in arrays}
    found = []
    for start in range(0, len(numbers), at_once):
        some = numbers[start : start + at_once]
        with torch.no_grad():
            for place, chip in enumerate(some):
                for array in clean:
                    stacks[array.name][place].copy_(chips.values(array, strength, chip, 0))
        weights = {name: stack[: len(some)] for name, stack in stacks.items()}
        found.append(_graded(model, score, weights, moved(parts[start : start + at_once], device), same))
    return np.concatenate(found)


def _graded(model: nn.Module, score: Score, weights: dict[str, Tensor], parts: Sequence[Any], same: bool) -> Examples:
    """[chip, example] of the chips whose weights [chip, ...] these are, each on its own part or all on one."""

    def answer(weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        def called(inputs: Tensor) -> Any:
            return functional_call(model, weights, (inputs,))

        return score.answer(called, (inputs, labels))  # type: ignore[arg-type]

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("error", "There is a performance drop", UserWarning)
        both = parts[0] if same else [torch.stack([own[place] for own in parts]) for place in (0, 1)]
        logits, labels = vmap(answer, in_dims=(0, *(2 * [None if same else 0])))(weights, *both)
        if score.grade in _EXAMPLE_BY_EXAMPLE:
            marks = score.grade(logits.flatten(0, 1), labels.flatten(0, 1)).view(labels.shape[:2])
            return marks.float().cpu().numpy()
        each = zip(logits, labels, parts, strict=True)
        return np.stack([checked(score.grade(own, truth), part) for own, truth, part in each])
