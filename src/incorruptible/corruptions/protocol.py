"""What a corruption is: one stored array and a named noise, turned into other values."""

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
    """What says of itself what it is."""

    @property
    def unit(self) -> str:
        """What strength 1 means."""
        ...

    @property
    def formula(self) -> str:
        """What becomes of a weight w, or of the number x in a cell, at strength s."""
        ...

    @property
    def source(self) -> str:
        """Where it is from."""
        ...


class Corruption(Described, Protocol):
    """Something that goes wrong with stored weights. Strength is an argument; 0 is the resting
    state.

    `str` writes a member in the grammar that `parse` reads: `parse(str(corruption)) == corruption`.

    It may have a method `into(array, strength, noise, out)`, which writes the same values into
    `out` (the array's own storage, or other memory of its shape and type) without a tensor of that
    size in between.
    """

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        """Other values for `array`, of its shape, dtype and device; the array itself is
        untouched.
        """
        ...

    def moments(self, array: Array, strength: float) -> Moments:
        """Mean and standard deviation of the error at that strength, as the formula states them."""
        ...


def write_into(
    corruption: Corruption, array: Array, strength: float, noise: Noise, out: Tensor
) -> None:
    """Write the corrupted values of `array` into `out`. Raises `UserError` for values of another
    shape.
    """
    into: Callable[..., None] | None = getattr(corruption, "into", None)
    if into is not None:
        into(array, strength, noise, out)
        return
    values = corruption(array, strength, noise)
    if values.shape != out.shape:
        raise UserError(
            f"{array.name}: values of shape {tuple(values.shape)} came for {tuple(out.shape)}."
        )
    out.copy_(values)


@dataclass(frozen=True)
class Corrupted:
    """The arrays on one chip: each as new values, or written into given memory."""

    corruption: Corruption
    strength: float
    draw: Draw

    def __call__(self, array: Array) -> Tensor:
        return self.corruption(array, self.strength, self.draw.of(array.name))

    def into(self, array: Array, out: Tensor) -> None:
        """Write the values of `array` into `out`, which may be its own storage. Raises `UserError`
        for values of another shape.
        """
        write_into(self.corruption, array, self.strength, self.draw.of(array.name), out)


class Traits(NamedTuple):
    """What a corruption may say besides: attributes of these names, with what holds where it says
    nothing.

    `conditions` is what a result must state (range, mapping, time, compensation); `rereads` that
    each read of a chip has noise of its own; `pinned` that something goes wrong at strength 0 too;
    `max_strength` the largest strength there is; `ruins` that a single event may ruin a whole chip,
    however seldom: then chips that agree say little of those to come.
    """

    conditions: str = ""
    rereads: bool = False
    pinned: bool = False
    max_strength: float = math.inf
    ruins: bool = False


def traits(corruption: object) -> Traits:
    """The traits of a corruption, one's own classes included.

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
    """The strengths as floats. Raises `UserError` for none, for negative or non-finite ones, and
    for those `corruption` forbids.
    """
    if isinstance(strengths, int | float):
        strengths = (strengths,)
    if len(strengths) == 0:
        raise UserError("there is no strength; at least one is needed.")
    if len(set(strengths)) < len(strengths):
        raise UserError(f"strengths {written(tuple(map(float, strengths)))}: one comes twice.")
    found = tuple(checked(float(strength)) for strength in strengths)
    most = traits(corruption).max_strength
    if corruption is not None and max(found) > most:
        raise UserError(
            f"{corruption}: strength {max(found):g}: at most {most:g} ({corruption.unit})."
        )
    return found
