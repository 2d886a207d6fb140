"""Adaptive SAM: the ball is measured in units of the weights themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import UserError
from ..randomness.streams import Draw
from ..specs.grammar import write
from ..weights.arrays import Array
from .base import Point, PointSteps
from .sam import Ascent


@dataclass(frozen=True)
class ASAM:
    """Adaptive sharpness-aware minimisation (Kwon et al., arXiv 2102.11600): the gradient at w + e,
    with T = |w| + eta and e = rho T^2 g / ||T g||, where g is the gradient at w.

    The ball is measured in units of each weight, so that scaling one layer up and the next one down
    by the same factor does not change its shape (with eta = 0). The strength is rho.
    Costs two passes. eta = 0.01 is the authors' default; some packages use 0.
    """

    eta: float = 0.01

    passes: ClassVar[int] = 2
    clean: ClassVar[bool] = True
    unit: ClassVar[str] = "rho, the radius of the ball in units of |w| + eta"
    source: ClassVar[str] = "arXiv 2102.11600"

    def __post_init__(self) -> None:
        if not 0 <= self.eta < float("inf"):
            raise UserError(
                f"asam: eta {self.eta!r}: a finite number that is not negative is needed."
            )

    def __str__(self) -> str:
        return write("asam", self)

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> PointSteps:
        found = yield Point(None, share=0)
        yield Point(
            Ascent(found.grads, arrays, strength, lambda array: array.value.abs() + self.eta)
        )
