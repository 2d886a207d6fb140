"""Many chips, each of which looks at a few examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from ..arrays import Array
from ..errors import Mistake
from .chips import Chips
from .reading import Examples, ScoreFunction, read_chip

__all__ = ["read_parts"]


def read_parts(
    model: nn.Module,
    score: ScoreFunction,
    parts: Sequence[Any],
    chips: Chips,
    arrays: Sequence[Array],
    strength: float,
    numbers: Sequence[int],
) -> Examples:
    """What the score gives on chip `numbers[k]` for every example of the batch `parts[k]`: [chip, example].

    Every part has equally many examples; the same batch may stand for several chips. The model is in eval mode already.
    Raises `Mistake` where parts differ in size.
    """
    found = [
        read_chip(model, {"": score}, [part], chips, arrays, strength, number)[""]
        for number, part in zip(numbers, parts, strict=True)
    ]
    if len({len(one) for one in found}) > 1:
        raise Mistake(f"parts of {sorted({len(one) for one in found})} examples came; give each chip equally many.")
    return np.stack(found)
