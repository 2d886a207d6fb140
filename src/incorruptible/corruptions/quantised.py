"""Rounding alone: weights as whole numbers of a few bits, and nothing at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..grammar import write
from .storages import Integers
from .stored import Composed, Stored

__all__ = ["Quantised"]


@dataclass(frozen=True)
class Quantised(Composed, Integers):
    """The weights as `Integers` hold them. Every strength is the same, 0 too: there is nothing that could grow."""

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
