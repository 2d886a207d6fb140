"""Whole input or output lines that are lost."""

from __future__ import annotations

from dataclasses import dataclass

from .faults import Dead
from .storages import Weights
from .stored import Composed, Stored

__all__ = ["DeadColumns", "DeadRows"]


@dataclass(frozen=True)
class DeadRows(Composed):
    """Each input line (one place of the fan-in, in every filter) is zero with probability s; see `Dead`."""

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
