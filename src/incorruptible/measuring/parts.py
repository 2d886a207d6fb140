"""Many chips, each of which looks at a few examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from ..arrays import Array
from ..errors import Mistake
from ..scores import Score
from .chips import Chips
from .reading import Examples, ScoreFunction, read
from .socket import Socket
from .stacked import read_stacked
from .stacking import at_once, stackable, worth

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
    Small networks on few examples are read side by side, all others one after another: `stackable` and `worth` decide. Raises
    `Mistake` where parts differ in size.
    """
    if stackable(model, score, parts, chips, arrays) and worth(model, parts[0], arrays, len(numbers)):
        assert isinstance(score, Score)
        try:
            return read_stacked(model, score, parts, chips, arrays, strength, numbers, at_once(arrays))
        except (RuntimeError, UserWarning):
            pass  # a pass that branches on values, or draws, cannot be mapped; what is truly wrong is raised again below
    with Socket(model, arrays, chips) as socket:
        found = [
            read(socket, {"": score}, [part], strength, number)[""] for number, part in zip(numbers, parts, strict=True)
        ]
    if len({len(one) for one in found}) > 1:
        raise Mistake(f"parts of {sorted({len(one) for one in found})} examples came; give each chip equally many.")
    return np.stack(found)
