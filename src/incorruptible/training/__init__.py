"""Training that hardens a network against weights that go wrong.

`Hardener` is two lines in a training loop of your own: it perturbs the weights while your loop
computes a loss and its gradient, and puts them back. `Trainer` is a plain loop around a `Hardener`,
for a task and a `Recipe` (`training.recipe`); `incorruptible train` and studies use it. The rest
serves both: weights in files, processes that train together, 16-bit arithmetic.

    robust = Hardener(model, RWP(Gaussian("filter-max")), Quadratic(0, 0.1), steps=1000, seed=0)
    robust.backward(lambda: loss_of(model(x), y))  # in place of loss.backward()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..renamed import missing
from .distributed import ALONE, RankGroup, joined, launched, promised
from .hardener import NOISES, Hardener
from .trainer import Trainer
from .weights import clip_weights, load_weights, save_weights

__all__ = [
    "ALONE",
    "NOISES",
    "Hardener",
    "RankGroup",
    "Trainer",
    "clip_weights",
    "joined",
    "launched",
    "load_weights",
    "promised",
    "save_weights",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
