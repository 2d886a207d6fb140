"""Digital storages with faults under names of their own: rounding, flipped bits, lost weights and
lines, stuck cells.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from ..specs.grammar import write
from .faults import BitFlips, Dead, Drop, Stuck
from .storages import Crossbar, Floats, Integers, Weights
from .stored import Composed, Stored

# ---- Rounding alone: weights as whole numbers of a few bits, and nothing at random


@dataclass(frozen=True)
class Quantised(Composed, Integers):
    """The weights as `Integers` hold them. Every strength is the same, 0 too: there is nothing that
    could grow.
    """

    source: ClassVar[str] = "Jacob et al., CVPR 2018 (arXiv 1712.05877)"

    def __str__(self) -> str:
        return write("quantised", self)

    @property
    def unit(self) -> str:
        return "none: rounding has no strength"

    @property
    def formula(self) -> str:
        return f"w rounded to {self.held}"

    def stored(self) -> Stored:
        return Stored(self.plain(), ())


# ---- Bit errors in memories that hold weights as whole numbers


@dataclass(frozen=True)
class IntFlips(Composed, Integers):
    """Each bit of each code flips with probability s, but for the `protected` most significant
    ones; see `Integers`.
    """

    protected: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stored()

    def __str__(self) -> str:
        return write("int-flips", self)

    def stored(self) -> Stored:
        return Stored(self.plain(), (BitFlips(self.protected),))


# ---- Bit errors in memories that hold weights as floating-point numbers


@dataclass(frozen=True)
class FloatFlips(Composed, Floats):
    """Each bit of each number flips with probability s, but for the `protected` most significant
    ones; see `Floats`.

    One flip of the top exponent bit multiplies a weight below 2 by 2^128 (float32, bfloat16) or
    2^16 (float16).
    """

    protected: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stored()

    def __str__(self) -> str:
        return write("float-flips", self)

    @property
    def formula(self) -> str:
        return f"{self.stored().formula}; {self.specials}"

    def stored(self) -> Stored:
        return Stored(self.plain(), (BitFlips(self.protected),))


# ---- DropConnect: weights that are lost at random


@dataclass(frozen=True)
class DropConnect(Composed):
    """Each weight is zero with probability s, and the others stay as they are (Wan et al., ICML
    2013).

    Rates are nested: what is lost at one rate on a chip is lost at every higher one.
    """

    def __str__(self) -> str:
        return "dropconnect"

    def stored(self) -> Stored:
        return Stored(Weights(), (Drop(),))


# ---- Conductances that are stuck, whatever was programmed


@dataclass(frozen=True)
class StuckCells(Composed, Crossbar):
    """Each cell of a `Crossbar` is stuck with probability s, at G_min ("zero"), at G_max ("max") or
    anywhere ("random").

    Of integers: `stored(integers|stuck:at=max)`.
    """

    at: str = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stored()

    def __str__(self) -> str:
        return write("stuck", self)

    def stored(self) -> Stored:
        crossbar = Crossbar(**{field.name: getattr(self, field.name) for field in fields(Crossbar)})
        return Stored(crossbar, (Stuck(self.at),))


# ---- Whole input or output lines that are lost


@dataclass(frozen=True)
class DeadRows(Composed):
    """Each input line (one place of the fan-in, in every filter) is zero with probability s; see
    `Dead`.
    """

    def __str__(self) -> str:
        return "dead-rows"

    def stored(self) -> Stored:
        return Stored(Weights(), (Dead("row"),))


@dataclass(frozen=True)
class DeadColumns(Composed):
    """Each output line (a filter) is zero with probability s; see `Dead`."""

    def __str__(self) -> str:
        return "dead-columns"

    def stored(self) -> Stored:
        return Stored(Weights(), (Dead("column"),))
