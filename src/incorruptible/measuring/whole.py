"""Whole chips, as many as are asked for, each of them read once: those of `measure`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..arrays import Array
from ..batchnorm import Statistics, evaluating
from .chips import Chips
from .reading import Examples, ScoreFunction, keeping, read
from .socket import Socket

__all__ = ["KEPT", "WholeChips"]

Values = NDArray[np.float64]
KEPT = 128  # chips, the most by which a design is chosen


class WholeChips:
    """The chips of `measure` at one strength: the mean scores of all that were read, and every score of the first KEPT."""

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
        self.chips, self.strength, self.means = chips, strength, list[float]()
        self.kept: list[Examples] = []

    @property
    def seen(self) -> int:
        """How many there are."""
        return len(self.means)

    def read(self, start: int, stop: int, pairs: bool) -> Values:
        """The mean score of each of the chips start to stop - 1 [chip]."""
        if stop <= self.seen:
            return np.array(self.means[start:stop])
        chips = replace(self.chips, pairs=pairs)
        with evaluating(self.model), keeping(Statistics(self.model)), Socket(self.model, self.arrays, chips) as socket:
            for chip in range(self.seen, stop):
                found = read(socket, {"": self.score}, self.data, self.strength, chip)[""]
                self.means.append(float(found.mean(dtype=np.float64)))
                if chip < KEPT:
                    self.kept.append(found)
                if self.told is not None:
                    self.told(chip + 1)
        return np.array(self.means[start:stop])

    def examples(self, count: int) -> Values:
        """The scores of the first so many, at most KEPT [chip, example]."""
        self.read(0, count, False)
        return np.stack(self.kept[:count]).astype(np.float64)
