"""At which points the gradient is looked at, and the walk from one to the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from ..errors import Mistake, unknown
from ..randomness.streams import Draw
from ..schedules import Controller, Schedule, peak
from ..weights.arrays import Array, unwrapped

__all__ = [
    "POLICIES",
    "Found",
    "Grads",
    "Objective",
    "Path",
    "Point",
    "Walk",
    "checked_reach",
    "most_of",
    "policy_of",
    "walk",
]

POLICIES = ("noisy", "clean", "frozen")

Grads = dict[str, Tensor]


class Point(NamedTuple):
    """A place to look. `values` makes the weights array by array, when asked; None is the clean weights.

    The gradient found there counts with `share`. With share 0 it does not count: it is handed back to the objective, of the
    arrays, which decides from it where to look next. With `keep` it does not count by itself either, but is handed back for
    every parameter, and the objective returns what is to be added in the end; `share` then weighs the loss alone.

    `rest` says that the values are the weights at rest, as their storage holds them: clean weights for all purposes.

    `inside` is for what is not in the weights: it is entered with the model, unwrapped, once the values stand there, and left
    when loss and gradient are known.
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
        """What to look inside of, around forward and backward pass alike; whoever looks at points enters it."""
        return nullcontext() if self.inside is None else self.inside(unwrapped(model))


class Found(NamedTuple):
    """What was found at a point: the loss, detached, and the gradients that are handed back, by name.

    Both are those of the whole loss: without the factor of mixed precision, and without the division by the number of
    micro-batches. A name is that of an array, or as of `named_parameters`, which is the same for arrays.
    """

    loss: Tensor
    grads: Grads


Path = Generator[Point, Found, None]
Walk = Generator[Point, Found, Grads | None]  # of an objective that adds gradients of its own


class Objective(Protocol):
    """A generator of points; `str` writes it in the grammar that `parse` reads.

    `passes` is how many points it visits at most, each one forward and one backward pass; `clean` says whether one of them is
    the clean weights, which decides where BatchNorm's running statistics move; `unit` says what strength 1 means. An objective
    with `keep` among its points returns gradients, by name, in every walk, and others return None. It may have `most`, the
    largest strength.
    """

    @property
    def passes(self) -> int: ...
    @property
    def clean(self) -> bool: ...
    @property
    def unit(self) -> str: ...
    @property
    def source(self) -> str: ...

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> Walk:
        """Visit the points for one micro-batch at `strength`, with the randomness of `draw`."""
        ...


def walk(path: Walk, look: Callable[[Point], Found]) -> Grads | None:
    """Go along `path`; `look` visits a point and says what it found. Returns the gradients to add, if there are any."""
    try:
        point = next(path)
        while True:
            point = path.send(look(point))
    except StopIteration as end:
        added: Grads | None = end.value
        return added
    finally:
        path.close()


def policy_of(objective: Objective, wanted: str | None) -> str:
    """Which pass moves BatchNorm's running statistics: "noisy", "clean" or "frozen"; a `Mistake` for one that never comes."""
    policy = wanted or ("clean" if objective.clean else "noisy")
    if policy not in POLICIES:
        raise unknown("BatchNorm policy", policy, POLICIES)
    if policy == "clean" and not objective.clean:
        raise Mistake(f"batchnorm='clean': {objective} never visits the clean weights; use 'noisy' or 'frozen'.")
    if policy == "noisy" and objective.clean and objective.passes == 1:
        raise Mistake(f"batchnorm='noisy': {objective} visits the clean weights alone; use 'clean' or 'frozen'.")
    return policy


def most_of(thing: object) -> float:
    """The largest strength that an objective or a corruption takes: 1 where it is a rate, infinite where there is no bound."""
    return float(getattr(thing, "most", math.inf))


def checked_reach(objective: Objective, strength: Schedule | Controller) -> None:
    """A `Mistake` where `strength` goes beyond what `objective` takes, or is free to: a controller without a cap."""
    most = most_of(objective)
    if most == math.inf:
        return  # a schedule of the user's own is not asked for nothing
    unit = getattr(objective, "corruption", objective).unit
    if callable(strength):
        top = peak(strength)
        if top > most:
            raise Mistake(f"{objective}: strength {top:g}: at most {most:g} ({unit}); lower the schedule.")
    elif not getattr(strength, "cap", most) <= most:
        raise Mistake(
            f"{objective}: a strength of at most {most:g} is needed ({unit}): add cap={most:g} to {strength}."
        )
