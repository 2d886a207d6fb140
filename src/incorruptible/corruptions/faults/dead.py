"""Dead lines: word lines and bit lines that are open or shorted, so that all weights on them are
zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import unknown
from ...randomness.streams import Noise
from ...specs.grammar import write
from ...weights.arrays import Array
from ..storages import Held
from .drop import bernoulli_mask
from .protocol import RateFault, Raw, Split, nothing

LINES = ("row", "column")


@dataclass(frozen=True)
class Dead(RateFault):
    """Each line of an array is lost with probability s: all cells of its weights hold what makes a
    weight of zero.

    `line` "column" means an output line, which is a filter. `line` "row" means an input line: one
    place of the fan-in in every filter, which in a convolution is one input channel at one place of
    the kernel (the rows of im2col). A grouped convolution is held as one block, in which a row
    crosses all groups; a grouped transposed convolution has a row for each input channel, in its
    own group.

    Rates are nested: a line that is lost at one rate on a chip is lost at every higher rate on this
    chip. Raises `UserError` for another `line`.
    """

    line: str = "row"

    unit: ClassVar[str] = "share of lines that are lost"
    source: ClassVar[str] = (
        "shorts between bit lines, Chen et al., IEEE Trans. Computers 2015, doi 10.1109/TC.2014.12"
    )
    ruins: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.line not in LINES:
            raise unknown("line of dead", self.line, LINES)

    def __str__(self) -> str:
        return write("dead", self)

    @property
    def formula(self) -> str:
        return f"each {self.line} is 0 with probability s"

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        like = rows(held.array) if self.line == "row" else columns(held.array)
        lost = spread(bernoulli_mask(noise, like, strength, self.line), held.array)
        return torch.where(lost, held.cell(held.zero), value)

    def moments(self, before: Raw, held: Held, strength: float) -> Split:
        return Split(strength, nothing(before, held))


def rows(array: Array) -> Tensor:
    """A tensor with one element for each input line of `array`; only its shape counts.

    >>> rows(Array("w", torch.zeros(4, 3))).shape, columns(Array("w", torch.zeros(4, 3))).shape
    (torch.Size([1, 3]), torch.Size([4, 1]))
    """
    return array.value if array.axis is None else array.value.narrow(array.axis, 0, 1)


def columns(array: Array) -> Tensor:
    """A tensor with one element for each filter of `array`, with dimension 0 cut to one element for
    each group; only its shape counts.
    """
    value = array.value
    keep = {array.axis, 0} if array.groups > 1 else {array.axis}
    for dim in range(value.dim()):
        if dim not in keep:
            value = value.narrow(dim, 0, 1)
    return value[:: array.value.shape[0] // array.groups] if array.groups > 1 else value


def spread(lines: Tensor, array: Array) -> Tensor:
    """`lines` so that they broadcast to the array's value: one element for each group along
    dimension 0 becomes one for each of the group's places along it.
    """
    if array.groups > 1 and lines.shape[0] == array.groups:
        return lines.repeat_interleave(array.value.shape[0] // array.groups, dim=0)
    return lines
