"""Conductances that are stuck, whatever was programmed."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..grammar import write
from .faults import Stuck
from .storages import Crossbar
from .stored import Composed, Stored

__all__ = ["StuckCells"]


@dataclass(frozen=True)
class StuckCells(Composed, Crossbar):
    """Each cell of a `Crossbar` is stuck with probability s, at G_min ("zero"), at G_max ("max") or anywhere ("random").

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
