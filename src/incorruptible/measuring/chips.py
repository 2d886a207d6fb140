"""Which chips are made, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..arrays import Array, select
from ..batchnorm import fold_batchnorm
from ..corruptions import Corruption, checked_strengths, traits
from ..corruptions.protocol import write_into
from ..errors import Mistake, unknown
from ..streams import Draw, Noise

__all__ = ["Chips"]

_POLICIES = ("as-is", "folded", "recalibrated")
_AUTOCASTS = {"bf16": torch.bfloat16}


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
    autocast: str | None = None
    channels_last: bool = False
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
        if self.autocast is not None and self.autocast not in _AUTOCASTS:
            raise unknown("autocast", self.autocast, _AUTOCASTS)

    def casting(self, device: torch.device) -> AbstractContextManager[Any]:
        """The arithmetic of a forward pass on `device`. Raises `Mistake` for a device that has no autocast."""
        if self.autocast is None:
            return nullcontext()
        if not torch.amp.is_autocast_available(device.type):
            raise Mistake(f"autocast={self.autocast!r}: torch has no autocast for {device.type}; leave it out.")
        return torch.autocast(device.type, _AUTOCASTS[self.autocast])

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

    def values(
        self,
        array: Array,
        strength: float,
        chip: int,
        again: int,
        heard: Callable[[Noise], Noise] = lambda noise: noise,
    ) -> Tensor:
        """What `array`, which holds clean weights, holds on that chip at that strength, in its `again`-th read.

        `heard` may keep what a noise gives. Raises `Mistake` for a corruption that gives another shape.
        """
        values = _of(self.corruption, array, strength, heard(self.drawn(chip, again).of(array.name)))
        if self.read is None:
            return values
        programmed = replace(array, parameter=nn.Parameter(values, requires_grad=False))
        return _of(self.read[0], programmed, self.read[1], heard(self.read_afresh(chip, again).of(array.name)))

    def write(
        self,
        array: Array,
        out: Tensor,
        strength: float,
        chip: int,
        again: int,
        heard: Callable[[Noise], Noise] = lambda noise: noise,
    ) -> None:
        """Write `values` into `out`, other memory of the shape and type of the clean weights that `array` holds."""
        if self.read is None:
            write_into(self.corruption, array, strength, heard(self.drawn(chip, again).of(array.name)), out)
        else:
            out.copy_(self.values(array, strength, chip, again, heard))

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


def _of(corruption: Corruption, array: Array, strength: float, noise: Noise) -> Tensor:
    values = corruption(array, strength, noise)
    if values.shape != array.value.shape:
        raise Mistake(f"{array.name}: values of shape {tuple(values.shape)} came for {tuple(array.value.shape)}.")
    return values.to(array.value.dtype)
