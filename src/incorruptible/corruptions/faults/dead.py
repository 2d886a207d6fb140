"""Lines of an array that are lost as a whole: word lines and bit lines that are open or shorted."""

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
from .protocol import Raw, Split, nothing

__all__ = ["LINES", "Dead"]

LINES = ("row", "column")


@dataclass(frozen=True)
class Dead:
    """Each line is lost with probability s: all cells of its weights hold what makes a weight of
    zero.

    A "column" is an output line: a filter. A "row" is an input line: one place of the fan-in in
    every filter, which in a convolution is one input channel at one place of the kernel (the rows
    of im2col). Grouped convolutions are held as one block, in which a row crosses all groups;
    grouped transposed ones have a row for each input channel, in its own group. Rates are nested: a
    line that is lost at one rate on a chip is lost at every higher one.
    """

    line: str = "row"

    unit: ClassVar[str] = "share of lines that are lost"
    source: ClassVar[str] = (
        "shorts between bit lines, Chen et al., IEEE Trans. Computers 2015, doi 10.1109/TC.2014.12"
    )
    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    max_strength: ClassVar[float] = 1.0
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
    """One element for each input line; only its shape counts."""
    return array.value if array.axis is None else array.value.narrow(array.axis, 0, 1)


def columns(array: Array) -> Tensor:
    """One element for each filter, with dimension 0 cut to one element for each group; only its
    shape counts.
    """
    value = array.value
    keep = {array.axis, 0} if array.groups > 1 else {array.axis}
    for dim in range(value.dim()):
        if dim not in keep:
            value = value.narrow(dim, 0, 1)
    return value[:: array.value.shape[0] // array.groups] if array.groups > 1 else value


def spread(lines: Tensor, array: Array) -> Tensor:
    """Broadcastable to the array's value: each group's filters reach over the group's part of
    dimension 0.
    """
    if array.groups > 1 and lines.shape[0] == array.groups:
        return lines.repeat_interleave(array.value.shape[0] // array.groups, dim=0)
    return lines
