"""How weights are held: as values of cells, from which a linear read-out makes the weights again.

Relies on: whoever reads cells of an `exact` storage adds only the change to the weights, as
`Stored` does, because `Held.decode(Held.value)` may differ from the weights by rounding of the
arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ...weights.arrays import Array


def _same(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True, eq=False)
class Held:
    """What a storage holds of one array.

    `value` [cells, *shape] is what stands in the cells: conductances in uS, bit patterns, or
    weights. `number` turns values of cells into the numbers x that are read, of the same shape. The
    weights are the sum over cells of c x, plus `offset`; c stands for `coefficients` [cells, ...],
    and both broadcast to the array's shape.

    A cell holds values from `low` to `high`. Cells of the value `zero` make a weight of zero.
    `unit` is the unit of the values. `bits` is the width of a bit pattern, and None for other
    cells. Of bit patterns, `low` and `high` are those of the smallest and the largest number, and a
    cell can hold any of the 2^bits patterns.

    `low`, `high` and `zero` are tensors where they depend on the weights: a float would have to
    wait until a GPU has computed it. Those of conductances are floats.
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
        """The weights [*shape] that are read from cells whose values are `value` [cells,
        *shape].
        """
        return (self.number(value) * self.coefficients).sum(0) + self.offset

    def cell(self, place: Tensor | float) -> Tensor:
        """`low`, `high` or `zero` as a value of a cell: a tensor of the cells' dtype and device."""
        if isinstance(place, Tensor):
            return place.to(self.value)
        return torch.full((), place, dtype=self.value.dtype, device=self.value.device)


class Storage(Protocol):
    """A way to hold weights in hardware. A fault may need cells of a certain kind."""

    @property
    def exact(self) -> bool:
        """Whether the cells can hold every weight as it is. Otherwise weights are rounded to what
        the cells can hold.
        """

    @property
    def cells(self) -> str:
        """What the cells hold: "weights", "conductances" or "bits"."""

    def encode(self, array: Array) -> Held:
        """The cells that hold `array`, which stays untouched."""
