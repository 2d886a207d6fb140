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
    """`draws` chips of `purpose` at each strength, each read `reads` times; see `measure` for every field.

    With `pairs` chip 2k + 1 is the mirror image of chip 2k (antithetic pairs), in what was programmed and in what is read.
    """

    corruption: Corruption
    strengths: Sequence[float]
    draws: int
    seed: int
    purpose: str = "test"
    reads: int = 1
    read: tuple[Corruption, float] | None = None
    batchnorm: str = "as-is"
    calibration: Iterable[Any] | None = None
    pairs: bool = False

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
        with replaced(arrays, Corrupted(self.corruption, strength, self.drawn(chip, again))):
            if self.read is None:
                yield
                return
            with replaced(arrays, Corrupted(*self.read, self.read_afresh(chip, again))):
                yield

    def drawn(self, chip: int, again: int) -> Draw:
        """The noise of that chip in its `again`-th read."""
        return Draw(self.seed, self.purpose, self._named(chip), read=again, mirrored=self._mirrors(chip))

    def read_afresh(self, chip: int, again: int) -> Draw:
        """The noise that `read` adds to that read of that chip."""
        name = self._named(chip) * self.reads + again
        return Draw(self.seed, f"{self.purpose}, read", name, mirrored=self._mirrors(chip))

    def _mirrors(self, chip: int) -> bool:
        return self.pairs and chip % 2 == 1

    def _named(self, chip: int) -> int:
        """The number of the chip whose noise it is: its own, or that of the twin that it mirrors."""
        return chip - 1 if self._mirrors(chip) else chip
