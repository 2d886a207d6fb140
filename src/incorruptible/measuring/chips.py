"""Which chips are made, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..arrays import Array, select
from ..batchnorm import fold_batchnorm
from ..corruptions import Corrupted, Corruption, checked_strengths, traits
from ..errors import Mistake, unknown
from ..streams import Draw
from ..swapping import replaced

__all__ = ["Chips"]

_POLICIES = ("as-is", "folded", "recalibrated")


@dataclass(frozen=True, eq=False)
class Chips:
    """`draws` chips of `purpose` at each strength, each read `reads` times; see `measure` for every field."""

    corruption: Corruption
    strengths: Sequence[float]
    draws: int
    seed: int
    purpose: str = "test"
    reads: int = 1
    read: tuple[Corruption, float] | None = None
    batchnorm: str = "as-is"
    calibration: Iterable[Any] | None = None

    def __post_init__(self) -> None:
        if not callable(self.corruption):
            raise Mistake(
                f"corruption={self.corruption!r} is none: parse({str(self.corruption)!r}) makes one of a text."
            )
        object.__setattr__(self, "strengths", checked_strengths(self.strengths, self.corruption))
        if self.draws < 1 or self.reads < 1:
            raise Mistake(f"draws={self.draws} and reads={self.reads}: both are at least 1.")
        if self.reads > 1 and self.read is None and not traits(self.corruption).rereads:
            raise Mistake(
                f"reads={self.reads}: every read of a chip would be the same; "
                "say what a read adds: read=(corruption, strength), or --read-noise."
            )
        if self.read is not None:
            checked_strengths([self.read[1]])
        if self.batchnorm not in _POLICIES:
            raise unknown("BatchNorm policy", self.batchnorm, _POLICIES)
        if (self.batchnorm == "recalibrated") != (self.calibration is not None):
            raise Mistake(
                "batchnorm='recalibrated' and calibration=batches go together: the inputs to compute the statistics from."
            )

    def differ(self, strength: float) -> bool:
        """Whether chips differ at that strength: at 0, without read noise and pinned faults, all are the same."""
        return bool(strength or self.read or traits(self.corruption).pinned)

    def distinct(self, strength: float) -> int:
        """How many different chips there are at that strength."""
        return self.draws if self.differ(strength) else 1

    @property
    def total(self) -> int:
        """How many times a chip is read, over all strengths."""
        return sum(self.distinct(strength) * self.reads for strength in self.strengths)

    def fitted(self, model: nn.Module, arrays: Sequence[Array] | None) -> tuple[nn.Module, Sequence[Array]]:
        """The network to measure and its arrays: a folded copy where the policy says so, in which arrays keep their names."""
        if self.batchnorm != "folded":
            return model, select(model) if arrays is None else arrays
        model = fold_batchnorm(model)
        names = {array.name for array in (select(model) if arrays is None else arrays)}
        return model, [array for array in select(model, also=names) if array.name in names]

    @contextmanager
    def in_place(self, arrays: Sequence[Array], strength: float, chip: int, again: int) -> Iterator[None]:
        """That chip at that strength, in its `again`-th read, for a while."""
        drawn = Draw(self.seed, self.purpose, chip, read=again)
        with replaced(arrays, Corrupted(self.corruption, strength, drawn)):
            if self.read is None:
                yield
                return
            fresh = Draw(self.seed, f"{self.purpose}, read", chip * self.reads + again)
            with replaced(arrays, Corrupted(*self.read, fresh)):
                yield
