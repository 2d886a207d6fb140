"""Bit errors in memories that hold weights as floating-point numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ..grammar import write
from .faults import BitFlips
from .storages import Floats
from .stored import Composed, Stored

__all__ = ["FloatFlips"]


@dataclass(frozen=True)
class FloatFlips(Composed, Floats):
    """Each bit of each number flips with probability s, but for the `protected` most significant ones; see `Floats`.

    One flip of the top exponent bit multiplies a weight below 2 by 2^128 (float32, bfloat16) or 2^16 (float16).
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
