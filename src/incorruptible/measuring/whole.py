"""Whole chips, as many as are asked for, each of them read once: those of `measure`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..arrays import Array
from .chips import Chips
from .reading import Examples, ScoreFunction

__all__ = ["WholeChips"]

Values = NDArray[np.float64]


class WholeChips:
    """The chips of `measure` at one strength, kept as far as they were read."""

    def __init__(
        self,
        model: nn.Module,
        score: ScoreFunction,
        data: Iterable[Any],
        chips: Chips,
        arrays: Sequence[Array],
        strength: float,
        told: Callable[[int], None] | None,
    ) -> None:
        self.model, self.score, self.data, self.arrays, self.told = model, score, data, arrays, told
        self.chips = replace(chips, strengths=(strength,))
        self.kept: dict[tuple[int, int, int], dict[str, Examples]] = {}

    @property
    def seen(self) -> int:
        """How many there are."""
        return len(self.kept)

    def read(self, start: int, stop: int, pairs: bool) -> Values:
        """The mean score of each of the chips start to stop - 1 [chip]."""
        from . import measure_all

        told = self.told
        chips = replace(self.chips, draws=stop, pairs=pairs)
        progress = None if told is None else lambda done, total: told(done)
        found = measure_all(
            self.model, {"": self.score}, self.data, chips, arrays=self.arrays, kept=self.kept, progress=progress
        )
        return np.asarray(found[""].values[0, start:])

    def examples(self, count: int) -> Values:
        """The scores of the first so many [chip, example]."""
        self.read(0, count, False)
        return np.stack([self.kept[0, chip, 0][""] for chip in range(count)]).astype(np.float64)
