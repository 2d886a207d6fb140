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
    """The chips of `measure` at one strength: the mean scores of all that were read, and every score of the first KEPT plain ones."""

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
        self.chips, self.strength, self.means = chips, strength, dict[tuple[int, bool], float]()
        self.kept: dict[int, Examples] = {}

    @property
    def seen(self) -> int:
        """How many there are, a mirrored one in place of a plain one not counted twice."""
        return len({chip for chip, _ in self.means})

    def read(self, start: int, stop: int, pairs: bool) -> Values:
        """The mean score of each of the chips start to stop - 1 [chip]; with `pairs` every odd one mirrors the one before."""
        wanted = [(chip, pairs and chip % 2 == 1) for chip in range(start, stop)]
        lacking = [one for one in wanted if one not in self.means]
        if lacking:
            self._read(lacking, replace(self.chips, pairs=pairs))
        return np.array([self.means[one] for one in wanted])

    def _read(self, lacking: Sequence[tuple[int, bool]], chips: Chips) -> None:
        with evaluating(self.model), keeping(Statistics(self.model)), Socket(self.model, self.arrays, chips) as socket:
            for chip, mirrored in lacking:
                found = read(socket, {"": self.score}, self.data, self.strength, chip)[""]
                self.means[chip, mirrored] = float(found.mean(dtype=np.float64))
                if chip < KEPT and not mirrored:
                    self.kept[chip] = found
                if self.told is not None:
                    self.told(self.seen)

    def examples(self, count: int) -> Values:
        """The scores of the first so many, at most KEPT [chip, example]."""
        self.read(0, count, False)
        return np.stack([self.kept[chip] for chip in range(count)]).astype(np.float64)
