"""At which points an objective looks at the gradient, and how its steps from one point to the next
are taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from ..errors import UserError, unknown
from ..randomness.streams import Draw
from ..schedules import Controller, Schedule, peak
from ..weights.arrays import Array, unwrapped

__all__ = [
    "POLICIES",
    "Grads",
    "Objective",
    "ObjectiveSteps",
    "Point",
    "PointResult",
    "PointSteps",
    "checked_reach",
    "max_strength_of",
    "policy_of",
    "run_objective",
]

POLICIES = ("noisy", "clean", "frozen")

Grads = dict[str, Tensor]


class Point(NamedTuple):
    """A place to look. `values` makes the weights array by array, when asked; None is the clean
    weights.

    The gradient found there counts with `share`. With share 0 it does not count: it is handed back
    to the objective, of the arrays, which decides from it where to look next. With `keep` it does
    not count by itself either, but is handed back for every parameter, and the objective returns
    what is to be added in the end; `share` then weighs the loss alone.

    `rest` says that the values are the weights at rest, as their storage holds them: clean weights
    for all purposes.

    `inside` is for what is not in the weights: it is entered with the model, unwrapped, once the
    values stand there, and left when loss and gradient are known.
    """

    values: Callable[[Array], Tensor] | None
    share: float = 1.0
    keep: bool = False
    rest: bool = False
    inside: Callable[[nn.Module], AbstractContextManager[None]] | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing goes wrong with the weights here."""
        return (self.values is None and self.inside is None) or self.rest

    @property
    def counts(self) -> bool:
        """Whether the gradient here is added as it is, and not handed back."""
        return self.share != 0 and not self.keep

    def entered(self, model: nn.Module) -> AbstractContextManager[None]:
        """What to look inside of, around forward and backward pass alike; whoever looks at points
        enters it.
        """
        return nullcontext() if self.inside is None else self.inside(unwrapped(model))


class PointResult(NamedTuple):
    """What was found at a point: the loss, detached, and the gradients that are handed back, by
    name.

    Both are those of the whole loss: without the factor of mixed precision, and without the
    division by the number of micro-batches. A name is that of an array, or as of
    `named_parameters`, which is the same for arrays.
    """

    loss: Tensor
    grads: Grads


# What calling an objective gives: it yields points and is sent what was found there. Some return
# gradients of their own.
PointSteps = Generator[Point, PointResult, None]
ObjectiveSteps = Generator[Point, PointResult, Grads | None]


class Objective(Protocol):
    """A generator of points; `str` writes it in the grammar that `parse` reads.

    `passes` is how many points it visits at most, each one forward and one backward pass; `clean`
    says whether one of them is the clean weights, which decides where BatchNorm's running
    statistics move; `unit` says what strength 1 means. An objective with `keep` among its points
    returns gradients, by name, whenever it is run, and others return None. It may have
    `max_strength`, the largest strength.
    """

    @property
    def passes(self) -> int: ...
    @property
    def clean(self) -> bool: ...
    @property
    def unit(self) -> str: ...
    @property
    def source(self) -> str: ...

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> ObjectiveSteps:
        """Visit the points for one micro-batch at `strength`, with the randomness of `draw`."""
        ...


def run_objective(steps: ObjectiveSteps, look: Callable[[Point], PointResult]) -> Grads | None:
    """Take every step of an objective: `look` visits a point and says what it found. Returns the
    gradients to add, if any.
    """
    try:
        point = next(steps)
        while True:
            point = steps.send(look(point))
    except StopIteration as end:
        added: Grads | None = end.value
        return added
    finally:
        steps.close()


def policy_of(objective: Objective, wanted: str | None) -> str:
    """Which pass moves BatchNorm's running statistics: "noisy", "clean" or "frozen"; a `UserError`
    for one that never comes.
    """
    policy = wanted or ("clean" if objective.clean else "noisy")
    if policy not in POLICIES:
        raise unknown("BatchNorm policy", policy, POLICIES)
    if policy == "clean" and not objective.clean:
        raise UserError(
            f"batchnorm='clean': {objective} never visits the clean weights; use 'noisy' or "
            "'frozen'."
        )
    if policy == "noisy" and objective.clean and objective.passes == 1:
        raise UserError(
            f"batchnorm='noisy': {objective} visits the clean weights alone; use 'clean' or "
            "'frozen'."
        )
    return policy


def max_strength_of(thing: object) -> float:
    """The largest strength that an objective or a corruption takes: 1 where it is a rate, infinite
    where there is no bound.
    """
    return float(getattr(thing, "max_strength", math.inf))


def checked_reach(objective: Objective, strength: Schedule | Controller) -> None:
    """A `UserError` where `strength` goes beyond what `objective` takes, or is free to: a
    controller without a cap.
    """
    most = max_strength_of(objective)
    if most == math.inf:
        return  # a schedule of the user's own is not asked for nothing
    unit = getattr(objective, "corruption", objective).unit
    if callable(strength):
        top = peak(strength)
        if top > most:
            raise UserError(
                f"{objective}: strength {top:g}: at most {most:g} ({unit}); lower the schedule."
            )
    elif not getattr(strength, "cap", most) <= most:
        raise UserError(
            f"{objective}: a strength of at most {most:g} is needed ({unit}): add cap={most:g} to "
            f"{strength}."
        )
