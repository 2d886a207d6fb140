"""What a corruption is: a function from one array and the noise of one chip to other weights.

`Corruption` is the protocol that every corruption follows, the user's own included. `Moments` and
`Traits` are what a corruption says about itself.

Relies on: the noise of a chip is named, so that an array's noise depends on the chip and the
array's name alone (`randomness.streams`).
Keeps: a corruption never writes into the array that it is given; `into` writes only into `out`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from ..errors import UserError
from ..randomness.streams import Draw, Noise
from ..schedules import checked
from ..specs.grammar import written
from ..weights.arrays import Array


class Moments(NamedTuple):
    """Mean and standard deviation of the weight error, each broadcastable to the array's value."""

    mean: Tensor
    std: Tensor


class Described(Protocol):
    """Whatever states its unit, formula and source: a corruption or a fault."""

    @property
    def unit(self) -> str:
        """What strength 1 means."""

    @property
    def formula(self) -> str:
        """What becomes of a weight w, or of the number x in a cell, at strength s."""

    @property
    def source(self) -> str:
        """The paper, or the convention, that the formula is from."""


class Corruption(Described, Protocol):
    """Something that goes wrong with stored weights. The strength is an argument, and strength 0 is
    the resting state.

    `str` writes a corruption in the grammar that `parse` reads: `parse(str(corruption)) ==
    corruption`.

    A corruption may have a method `into(array, strength, noise, out)`. The method writes the same
    values into `out` (the array's own memory, or other memory of the same shape and type), and so
    saves a tensor of that size.
    """

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        """The values of `array` on one chip, of the same shape, dtype and device. The array itself
        is untouched.
        """

    def moments(self, array: Array, strength: float) -> Moments:
        """Mean and standard deviation of the error at `strength`, as the formula states them."""


def write_into(
    corruption: Corruption, array: Array, strength: float, noise: Noise, out: Tensor
) -> None:
    """Write the corrupted values of `array` into `out`. Raises `UserError` where the corruption
    makes values of another shape.
    """
    into: Callable[..., None] | None = getattr(corruption, "into", None)
    if into is not None:
        into(array, strength, noise, out)
        return
    values = corruption(array, strength, noise)
    if values.shape != out.shape:
        raise UserError(
            f"{array.name}: the corruption made values of shape {tuple(values.shape)} for weights "
            f"of shape {tuple(out.shape)}."
        )
    out.copy_(values)


@dataclass(frozen=True)
class Corrupted:
    """The arrays of a network on one chip: each as new values, or written into given memory."""

    corruption: Corruption
    strength: float
    draw: Draw

    def __call__(self, array: Array) -> Tensor:
        return self.corruption(array, self.strength, self.draw.of(array.name))

    def into(self, array: Array, out: Tensor) -> None:
        """Write the values of `array` into `out`, which may be the array's own memory. Raises
        `UserError` where the corruption makes values of another shape.
        """
        write_into(self.corruption, array, self.strength, self.draw.of(array.name), out)


class Traits(NamedTuple):
    """What a corruption may say about itself besides its formula, by attributes of these names. The
    defaults hold where a corruption has no such attribute.

    - `conditions`: what a result must state (range, mapping, time, compensation);
    - `rereads`: each read of a chip has noise of its own;
    - `pinned`: something goes wrong at strength 0 too;
    - `max_strength`: the largest strength that the corruption takes;
    - `ruins`: a single event may ruin a whole chip, however seldom. Then a sample of chips that
      agree says little about the chips that were not looked at.
    """

    conditions: str = ""
    rereads: bool = False
    pinned: bool = False
    max_strength: float = math.inf
    ruins: bool = False


def traits(corruption: object) -> Traits:
    """The traits of a corruption. A corruption of the user's own class needs none of them.

    >>> traits(object())
    Traits(conditions='', rereads=False, pinned=False, max_strength=inf, ruins=False)
    """
    if hasattr(corruption, "most"):
        raise UserError(
            f"{type(corruption).__name__}.most was renamed to "
            f"{type(corruption).__name__}.max_strength."
        )
    said = {name: getattr(corruption, name) for name in Traits._fields if hasattr(corruption, name)}
    return Traits(**said)


def checked_strengths(
    strengths: Sequence[float] | float, corruption: Corruption | None = None
) -> tuple[float, ...]:
    """The strengths as floats. Raises `UserError` where there is no strength, where one comes
    twice, is negative or not finite, or is more than `corruption` takes.
    """
    if isinstance(strengths, int | float):
        strengths = (strengths,)
    if len(strengths) == 0:
        raise UserError("no strength was given; at least one is needed.")
    if len(set(strengths)) < len(strengths):
        raise UserError(f"strengths {written(tuple(map(float, strengths)))}: one is given twice.")
    found = tuple(checked(float(strength)) for strength in strengths)
    most = traits(corruption).max_strength
    if corruption is not None and max(found) > most:
        raise UserError(
            f"{corruption}: strength {max(found):g}: at most {most:g} ({corruption.unit})."
        )
    return found
