"""The part that the callbacks for all trainers share: their options, and the `Hardener` that is
made once the trainer knows its number of steps.

Keeps: a method that is replaced on a trainer for the length of a training is afterwards the one
that was there before.
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


def base(name: str, *modules: str) -> Any:
    """Returns the class `name` of the first of `modules` that can be imported, or None. A package
    that is already imported goes before the others.
    """
    for module in sorted(modules, key=lambda one: one.split(".")[0] not in sys.modules):
        try:
            return getattr(import_module(module), name)
        except ImportError:
            continue
    return None


def sharded(what: str, instead: str) -> UserError:
    """Returns the error for a trainer whose processes hold pieces of the weights."""
    return UserError(
        f"{what} holds pieces of the weights in each process, and hardening needs them whole; it "
        f"works with {instead}."
    )


def put_aside(host: Any, name: str, instead: Any) -> Callable[[], None]:
    """Replaces the attribute `name` of `host`, and returns a function that undoes this. An
    attribute that the object itself had, besides its class's, is restored.
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
    """The part of a callback that is the same for all trainers. `robust` is the `Hardener`, during
    a training and after it.

    `objective`, `strength`, `seed`, `batchnorm` and `noise` are those of `Hardener`. `steps` counts
    steps of the optimiser; the trainer knows the number unless its data have no length. `arrays`
    are those of `select(model)` unless given, as a list or as a function that returns them for the
    model. Raises `UserError` for a strength that the objective does not allow, for an unknown
    noise, and if the trainer's package is not installed.
    """

    package = ""  # the package to install
    foreign: Any = None  # the trainer's own class of callbacks, from which a subclass derives too

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
                f"objective={objective!r} is no objective: give RWP(Gaussian('filter-max')) or "
                "SAM(), for example."
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
        """Returns the `Hardener` for a training that begins or, with `state`, goes on. Raises
        `UserError` if the number of steps is not known.
        """
        steps = steps if self.steps is None else self.steps
        if not 0 < steps < float("inf"):
            raise UserError(
                f"the trainer announces {steps} steps, but the schedule of the strength needs "
                f"their number: {type(self).__name__}(..., steps=1000)."
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
