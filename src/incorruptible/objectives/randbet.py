"""Random bit error training: the mean of the clean gradient and of bounded gradients under
error.

Keeps: every chip of a training step has noise of its own, also with a population above 1; a
gradient that is not finite is handed on as it is, so that the guard or a scaler sees it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..corruptions import Corrupted
from ..errors import UserError
from ..randomness.streams import Draw
from ..specs.grammar import write
from ..weights.arrays import Array
from .base import ObjectiveSteps, OfCorruption, Point


@dataclass(frozen=True)
class RandBET(OfCorruption):
    """Random bit error training (Stutz et al., Bit Error Robustness for Energy-Efficient DNN
    Accelerators, MLSys 2021, arXiv 2006.13977). The gradient is:

        (g + sum over i of clamp(g_i, -bound, bound)) / (population + 1)

    Here g is the gradient at the weights at rest, and g_i the gradient at weights that draw i has
    corrupted.

    The formula holds for every parameter, biases and norms too, element by element. All gradients
    are applied to w straight through the corruption, as by `RWP`. At rest the weights are what
    their storage holds (for codes, the quantised weights). While the clean loss of the batch is not
    below `threshold`, and at strength 0, the gradient is g alone. The authors' threshold is 1.75
    for 10 classes and 3.5 for 100 (0.76 ln classes). Costs population + 1 passes, and one pass
    where the gradient is g alone.

    Population 1, bound 0.05 and the update are those of the authors' code
    (average_weights_training.py, commit 59d8533). The deviations from that code:

    - Here a batch is judged by its own clean loss. There, a batch with loss < 1.15 threshold and a
      mean of clean and perturbed loss <= threshold lets the next batch be perturbed.
    - Under DDP and accumulation each rank and each micro-batch is averaged and judged by itself.
    - A gradient that is not finite stays so, and the guard sees it. There, an infinite one becomes
      `bound` and is not noticed.
    - The weight clipping of the paper is a function of its own, `clip_weights`, and the ramp of the
      rate over 20 steps is a schedule.

    By hand: L = w^2 / 2 at w = 2, where c(w) = 3, and bound 1: (2 + min(3, 1)) / 2 = 1.5.
    """

    population: int = 1
    bound: float = 0.05
    threshold: float = math.inf

    clean: ClassVar[bool] = True
    source: ClassVar[str] = "Stutz et al., MLSys 2021, arXiv 2006.13977"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.population, int) and self.population >= 1):
            raise UserError(
                f"randbet: population {self.population!r}: a whole number, 1 at least, is needed "
                "(plain is 0)."
            )
        for name in ("bound", "threshold"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"randbet: {name} {getattr(self, name)!r}: a number above 0 is needed."
                )

    def __str__(self) -> str:
        return write("randbet", self, inner=str(self.corruption))

    @property
    def passes(self) -> int:
        """The largest number of passes: one at rest, and one for each corrupted draw."""
        return self.population + 1

    @property
    def share(self) -> float:
        """The share of each point in the mean."""
        return 1 / self.passes

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> ObjectiveSteps:
        def at(s: float, chip: Draw) -> Point:
            return Point(Corrupted(self.corruption, s, chip), self.share, keep=True, rest=s == 0)

        loss, grads = yield at(0.0, draw)
        # With an infinite threshold the loss is not compared, because the comparison reads a number
        # from the device and so waits for it.
        if strength == 0 or (self.threshold < math.inf and not loss < self.threshold):
            return grads
        total = {name: g * self.share for name, g in grads.items()}
        for one in range(self.population):
            # Numbered like this, no draw comes twice: each call has `population` numbers of its
            # own.
            chip = replace(draw, index=draw.index * self.population + one)
            _, grads = yield at(strength, chip)
            for name, g in grads.items():
                bounded = self._bounded(g) * self.share
                total[name] = total[name] + bounded if name in total else bounded
        return total

    def _bounded(self, g: Tensor) -> Tensor:
        # Clamping would make an infinite gradient finite, and neither the guard nor a loss scaler
        # would notice it.
        return torch.where(g.isfinite(), g.clamp(-self.bound, self.bound), g)
