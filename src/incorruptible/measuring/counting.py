"""What making a chip and reading an image cost: counted, not timed, so that it is the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ..arrays import Array, unwrapped
from ..scores import moved
from ..statistics import Costs
from .chips import Chips
from .reading import ScoreFunction, count_of
from .socket import cleaned

__all__ = ["costs_of"]

# Nanoseconds on one core of an AMD EPYC with torch 2.13 (medians of 5 to 30 repetitions, batches of 64 to 1,024): torch.randn
# takes 3 for a number; 45 operations on the 25,856 weights of an MLP 230,000, 300 on the 268,336 of a ResNet-20 1,860,000; a
# pass of ResNet-8 runs 20 to 36 operations on numbers in a nanosecond, of ResNet-20 36 to 73, of the MLP 79.
RANDOM, NUMBER, OPERATION, FLOP = 3.0, 0.3, 2500.0, 1 / 50


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations, and the numbers that they make, while it lasts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations, self.numbers, self.random = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.operations += 1
        if not func.is_view:
            one = made if isinstance(made, list | tuple) else [made]
            count = sum(tensor.numel() for tensor in one if isinstance(tensor, Tensor))
            if torch.Tag.nondeterministic_seeded in func.tags:
                self.random += count
            else:
                self.numbers += count
        return made


def costs_of(
    model: nn.Module,
    score: ScoreFunction,
    batch: Any,
    size: int,
    chips: Chips,
    arrays: Sequence[Array],
    strength: float,
) -> Costs:
    """Nanoseconds for making a chip and for reading one image, from one clean pass over a batch of so many and one chip made.

    Counted are operations, numbers made, random numbers and floating-point operations, each at a fixed price (see above): the
    same call gives the same design everywhere. Where BatchNorm is recalibrated, a chip costs its passes over the calibration
    data too. On a GPU passes are cheaper than this and random numbers, which the CPU draws, are not.
    """
    device = arrays[0].value.device
    with torch.inference_mode(), FlopCounterMode(display=False) as flops, _Counted() as reading:
        score(unwrapped(model), moved(batch, device))
    image = (NUMBER * reading.numbers + FLOP * flops.get_total_flops()) / size
    clean = cleaned(arrays)
    with torch.no_grad(), _Counted() as making:
        for array in clean:
            chips.values(array, strength, 0, 0)
    chip = OPERATION * (making.operations + reading.operations) + NUMBER * making.numbers + RANDOM * making.random
    if chips.calibration is not None:
        chip += count_of(chips.calibration) * image
    return Costs(chip, image)
