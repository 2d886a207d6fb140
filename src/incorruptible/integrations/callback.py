"""What a callback asks of any trainer, and the `Hardener` that comes of it once the trainer knows
its steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from ..errors import UserError, unknown
from ..objectives.base import Objective, checked_reach
from ..schedules import Controller, Schedule
from ..training import NOISES, Hardener
from ..weights.arrays import Array

__all__ = ["CallbackBase", "base", "put_aside", "sharded"]


def base(name: str, *modules: str) -> Any:
    """The class `name` of the first of `modules` that is there, one already imported before others;
    None without any.
    """
    for module in sorted(modules, key=lambda one: one.split(".")[0] not in sys.modules):
        try:
            return getattr(import_module(module), name)
        except ImportError:
            continue
    return None


def sharded(what: str, instead: str) -> UserError:
    """The answer to a trainer whose processes hold pieces of weights."""
    return UserError(
        f"{what} holds pieces of the weights in each process, and hardening needs them whole; it "
        f"works with {instead}."
    )


def put_aside(host: Any, name: str, instead: Any) -> Callable[[], None]:
    """Give `host` another attribute `name`; returns what undoes it, also where somebody had given
    this object one of its own.
    """
    own = vars(host)
    had, before = name in own, own.get(name)
    own[name] = instead

    def back() -> None:
        if had:
            own[name] = before
        else:
            own.pop(name, None)

    return back


class CallbackBase:
    """The part of a callback that is the same everywhere; `robust` is the `Hardener` while a
    training runs, and afterwards.

    `objective`, `strength`, `seed`, `batchnorm` and `noise` are as for `Hardener`. `steps`, of the
    optimiser, is known to the trainer unless its data have no length. `arrays` are those of
    `select(model)` unless given, as a list or as what makes it from the model. Raises `UserError`
    for a strength beyond what the objective takes, for another noise, and without the package.
    """

    package = ""  # what to install
    foreign: Any = None  # the class of callbacks that a subclass has besides

    def __init__(
        self,
        objective: Objective,
        strength: Schedule | Controller,
        *,
        seed: int,
        steps: int | None = None,
        arrays: Sequence[Array] | Callable[[nn.Module], Sequence[Array]] | None = None,
        batchnorm: str | None = None,
        noise: str = "exact",
    ) -> None:
        if self.foreign is None:
            raise UserError(f"{self.package} is not installed: pip install {self.package!r}")
        super().__init__()
        if not callable(objective) or isinstance(objective, type):
            raise UserError(
                f"objective={objective!r} is none: RWP(Gaussian('filter-max')) or SAM(), for "
                "example."
            )
        checked_reach(objective, strength)
        if noise not in NOISES:
            raise unknown("noise", noise, NOISES)
        self.objective, self.strength, self.seed = objective, strength, seed
        self.steps, self.arrays, self.batchnorm, self.noise = steps, arrays, batchnorm, noise
        self.robust: Hardener | None = None

    def hardener(
        self,
        model: nn.Module,
        *,
        steps: float,
        accumulate: int,
        backward: Callable[[Tensor], Any],
        scale: Callable[[], float] | None,
        guard: bool,
        state: dict[str, Any] | None,
    ) -> Hardener:
        """The `Hardener` of a training that begins, or from `state` goes on. Raises `UserError`
        where the steps are not known.
        """
        steps = steps if self.steps is None else self.steps
        if not 0 < steps < float("inf"):
            raise UserError(
                f"the trainer says that it will take {steps} steps, and the strength must know how "
                f"many: {type(self).__name__}(..., steps=1000)."
            )
        robust = Hardener(
            model,
            self.objective,
            self.strength,
            steps=int(steps),
            seed=self.seed,
            accumulate=accumulate,
            arrays=self.arrays(model) if callable(self.arrays) else self.arrays,
            backward=backward,
            scale=scale,
            batchnorm=self.batchnorm,
            guard=guard,
            noise=self.noise,
        )
        if state is not None:
            robust.load_state_dict(state)
        return robust
