"""What an objective is: a generator of the points at which the gradient is computed.

An objective yields a `Point` and is sent a `PointResult`, the loss and perhaps gradients there,
from which it decides on the next point. `run_objective` drives the generator; the caller's `look`
puts the weights of a point in place, computes the loss and its gradient, and puts the weights back.

Relies on: the same objective with the same arrays, strength and draw yields the same points, so
that a stopped training goes on with the same bits.
Keeps: an objective writes to no weight and no `.grad`; the generator is closed, also after an
error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from ..corruptions import Corruption, as_corruption
from ..errors import UserError, unknown
from ..randomness.streams import Draw
from ..schedules import Controller, Schedule, peak
from ..weights.arrays import Array, unwrapped

POLICIES = ("noisy", "clean", "frozen")

Grads = dict[str, Tensor]


class Point(NamedTuple):
    """A point in weight space at which the loss and its gradient are computed.

    `values(array)` makes the weights of one array at this point; None stands for the clean weights.

    `share` is the weight of this point's gradient in the sum that is added to `.grad`. With share 0
    the gradient is not added: the gradients of the arrays are sent back to the objective, which
    computes the next point from them. With `keep` the gradient is not added either: the gradients
    of all parameters are sent back, the objective returns the sum to add in the end, and `share`
    weighs the loss alone.

    `rest` says that `values` are the weights at rest, as their storage holds them (rounded to
    levels, for example). A point at rest counts as one of clean weights.

    `inside` is for perturbation that is not in the weights, such as noise on outputs: a context
    that is entered with the unwrapped model once the values are in place, and left when loss and
    gradient are known.
    """

    values: Callable[[Array], Tensor] | None
    share: float = 1.0
    keep: bool = False
    rest: bool = False
    inside: Callable[[nn.Module], AbstractContextManager[None]] | None = None

    @property
    def clean(self) -> bool:
        """Whether the network is unperturbed at this point."""
        return (self.values is None and self.inside is None) or self.rest

    @property
    def counts(self) -> bool:
        """Whether this point's gradient is added to `.grad` directly."""
        return self.share != 0 and not self.keep

    def entered(self, model: nn.Module) -> AbstractContextManager[None]:
        """The context `inside` for `model`. Code that visits the point must hold it open around
        both the forward and the backward pass.
        """
        return nullcontext() if self.inside is None else self.inside(unwrapped(model))


class PointResult(NamedTuple):
    """The detached loss at a point, and the gradients by name that are sent back to the objective.

    Loss and gradients are those of the undivided, unscaled loss: the factor of mixed precision and
    the division by the number of micro-batches are taken out. Names are those of
    `named_parameters`, which arrays share.
    """

    loss: Tensor
    grads: Grads


# The generators that calling an objective gives. An objective with `keep` among its points returns
# gradients (`ObjectiveSteps`), the others return None (`PointSteps`).
PointSteps = Generator[Point, PointResult, None]
ObjectiveSteps = Generator[Point, PointResult, Grads | None]


@dataclass(frozen=True)
class OfCorruption:
    """What objectives at corrupted weights share: the corruption, given as an object or as text, and
    the largest strength, which is the corruption's.
    """

    corruption: Corruption = field(metadata={"inner": True, "named": True})

    unit: ClassVar[str] = "the corruption's"

    def __post_init__(self) -> None:
        object.__setattr__(self, "corruption", as_corruption(self.corruption))

    @property
    def max_strength(self) -> float:
        """The largest strength."""
        return max_strength_of(self.corruption)


class Objective(Protocol):
    """A way to compute the gradient of a training step. Calling it gives a generator of points;
    `str(objective)` writes it in the grammar that `parse` reads.

    `passes` is the largest number of points that it visits; each costs one forward and one backward
    pass. `clean` says whether one of the points is the clean weights, which decides the pass that
    moves BatchNorm's running statistics. `unit` says what strength 1 means, and `source` where the
    method was published. An objective may also have `max_strength`, the largest strength that it
    takes. If one of its points has `keep`, the objective must return gradients by name in every
    run; otherwise it returns None.
    """

    @property
    def passes(self) -> int:
        """How many points are visited at most; each costs one forward and one backward pass."""

    @property
    def clean(self) -> bool:
        """Whether one of the points is the clean weights."""

    @property
    def unit(self) -> str:
        """What strength 1 means."""

    @property
    def source(self) -> str:
        """The paper, or the convention, that the objective is from."""

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> ObjectiveSteps:
        """The points for one micro-batch at `strength`, with the randomness of `draw`."""


def run_objective(steps: ObjectiveSteps, look: Callable[[Point], PointResult]) -> Grads | None:
    """Run an objective to its end. `look(point)` visits a point and returns its loss and gradients.
    Returns the gradients that the objective wants added, or None.
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
    """The pass that moves BatchNorm's running statistics: "noisy", "clean" or "frozen". Without a
    wish, "clean" where the objective visits the clean weights, else "noisy".

    Raises `UserError` for an unknown policy, and for a pass that the objective never makes.
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
            f"batchnorm='noisy': {objective} visits only the clean weights; use 'clean' or "
            "'frozen'."
        )
    return policy


def max_strength_of(thing: object) -> float:
    """The largest strength that an objective or a corruption takes: 1 where the strength is a rate,
    infinity where there is no bound.
    """
    return float(getattr(thing, "max_strength", math.inf))


def checked_reach(objective: Objective, strength: Schedule | Controller) -> None:
    """Raise `UserError` where `strength` may exceed the largest strength of `objective`: a schedule
    whose peak does, or a controller without a low enough cap.
    """
    most = max_strength_of(objective)
    if most == math.inf:
        return  # spares evaluating a schedule of the user's own 101 times where there is no bound
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
