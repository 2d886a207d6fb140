"""Bit errors in memories that hold weights as whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ..grammar import write
from .faults import BitFlips
from .storages import Integers
from .stored import Composed, Stored

__all__ = ["IntFlips"]


@dataclass(frozen=True)
class IntFlips(Composed, Integers):
    """Each bit of each code flips with probability s, but for the `protected` most significant ones; see `Integers`."""

    protected: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stored()

    def __str__(self) -> str:
        return write("int-flips", self)

    def stored(self) -> Stored:
        return Stored(self.plain(), (BitFlips(self.protected),))
