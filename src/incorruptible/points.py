"""At which points the gradient is looked at, and the walk from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor

from .arrays import Array
from .errors import Mistake, unknown
from .streams import Draw

__all__ = ["POLICIES", "Grads", "Objective", "Path", "Point", "policy_of", "walk"]

POLICIES = ("noisy", "clean", "frozen")

Grads = dict[str, Tensor]


class Point(NamedTuple):
    """A place to look. `values` makes the weights array by array, when asked; None is the clean weights.

    The gradient found there counts with `share`. With share 0 it does not count: it is handed back to the objective, by
    array name, which decides from it where to look next.
    """

    values: Callable[[Array], Tensor] | None
    share: float = 1.0


Path = Generator[Point, Grads, None]


class Objective(Protocol):
    """A generator of points; `str` writes it in the grammar that `parse` reads.

    `passes` is how many points it visits, each one forward and one backward pass; `clean` says whether one of them is
    the clean weights, which decides where BatchNorm's running statistics move; `unit` says what strength 1 means.
    """

    passes: ClassVar[int]
    clean: ClassVar[bool]
    unit: ClassVar[str]
    source: ClassVar[str]

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> Path:
        """Visit the points for one micro-batch at `strength`, with the randomness of `draw`."""
        ...


def walk(path: Path, look: Callable[[Point], Grads]) -> None:
    """Go along `path`; `look` visits a point and returns its gradients where the share is 0, else nothing ({})."""
    try:
        point = next(path)
        while True:
            point = path.send(look(point))
    except StopIteration:
        return
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
