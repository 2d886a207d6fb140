"""How weights are held: as cells of some unit, from which a linear read-out makes the weights
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ...weights.arrays import Array

__all__ = ["Held", "Storage"]


def _same(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True, eq=False)
class Held:
    """What a storage holds of one array.

    `value` [cells, *shape] is what stands in the cells (conductances in uS, bit patterns, weights)
    and `number` turns it into the numbers x that are read, of the same shape. The weights are sum
    over cells of c x, plus `offset`, where c is `coefficients` [cells, ...] and both broadcast to
    the array's shape. A cell holds values from `low` to `high`; cells of `zero` make a weight of
    zero. `bits` is the width of a bit pattern, None where there is none; of patterns, `low` and
    `high` are those of the smallest and the largest number, and a cell can hold every one of the
    2^bits. They are tensors where they come from the weights, so that no draw waits for the
    weights' device; of conductances they are floats.
    """

    array: Array
    value: Tensor
    coefficients: Tensor
    offset: Tensor | float
    low: Tensor | float
    high: Tensor | float
    zero: Tensor | float
    unit: str
    bits: int | None = None
    number: Callable[[Tensor], Tensor] = field(default=_same)

    def decode(self, value: Tensor) -> Tensor:
        """The weights that are read from cells of that `value`."""
        return (self.number(value) * self.coefficients).sum(0) + self.offset

    def cell(self, place: Tensor | float) -> Tensor:
        """`low`, `high` or `zero` as the value of a cell, where the cells are."""
        if isinstance(place, Tensor):
            return place.to(self.value)
        return torch.full((), place, dtype=self.value.dtype, device=self.value.device)


class Storage(Protocol):
    """A way to hold weights. `exact` says whether they come back as they were, or rounded to what
    it can hold.

    `cells` says of what kind its cells are: "weights", "conductances" or "bits"; a fault may need
    one of them.
    """

    @property
    def exact(self) -> bool:
        """Whether the resting state is the weights themselves."""
        ...

    @property
    def cells(self) -> str:
        """What its cells hold."""
        ...

    def encode(self, array: Array) -> Held:
        """What is held of `array`, which is untouched."""
        ...
