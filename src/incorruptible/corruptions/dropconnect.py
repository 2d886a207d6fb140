"""DropConnect: weights that are lost at random."""

from __future__ import annotations

from dataclasses import dataclass

from .faults import Drop
from .storages import Weights
from .stored import Composed, Stored

__all__ = ["DropConnect"]


@dataclass(frozen=True)
class DropConnect(Composed):
    """Each weight is zero with probability s, and the others stay as they are (Wan et al., ICML 2013).

    Rates are nested: what is lost at one rate on a chip is lost at every higher one.
    """

    def __str__(self) -> str:
        return "dropconnect"

    def stored(self) -> Stored:
        return Stored(Weights(), (Drop(),))
