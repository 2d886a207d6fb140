"""The random numbers of one chip, drawn once for all of its strengths."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..streams import Noise

__all__ = ["MOST", "Remembered"]

MOST = 1 << 26  # numbers that are kept, 256 MiB in float32; what goes beyond is drawn anew


class Remembered:
    """What was drawn for the chip at hand, which is the same at every strength; drawing costs a quarter of a small network's pass."""

    def __init__(self, most: int = MOST) -> None:
        self.most, self.chip = most, -1
        self._kept: dict[Hashable, Tensor] = {}
        self._room = most

    def turn(self, chip: int) -> None:
        """Forget the chip before, if another comes."""
        if chip != self.chip:
            self.chip, self._room = chip, self.most
            self._kept.clear()

    def of(self, noise: Noise) -> Noise:
        """The same noise, which draws what it has not drawn before."""
        return _Again(noise, self)

    def look(self, name: Hashable, draw: Callable[[], Tensor]) -> tuple[Tensor, bool]:
        """What was drawn under that name, and whether it is kept: then it must not be written to."""
        found = self._kept.get(name)
        if found is not None:
            return found, True
        found = draw()
        kept = found.numel() <= self._room
        if kept:
            self._kept[name] = found
            self._room -= found.numel()
        return found, kept


@dataclass(frozen=True)
class _Again:
    noise: Noise
    memory: Remembered

    def _look(self, kind: str, like: Tensor, tag: str) -> tuple[Tensor, bool]:
        draw: Any = getattr(self.noise, kind)
        return self.memory.look((self.noise, kind, tag, like.shape, like.dtype, like.device), lambda: draw(like, tag))

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        numbers, kept = self._look("normal", like, tag)
        return numbers.clone() if kept else numbers

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        numbers, kept = self._look("uniform", like, tag)
        return numbers.clone() if kept else numbers

    def add_normal(self, base: Tensor, std: Tensor, out: Tensor, tag: str = "") -> None:
        """As `streams.add_normal`, without a copy where the numbers fit into `out`."""
        z, kept = self._look("normal", base, tag)
        if base.dtype == out.dtype == z.dtype and base.data_ptr() != out.data_ptr():
            torch.mul(z, std, out=out).add_(base)
        else:
            out.copy_((z * std if kept else z.mul_(std)).add_(base))

    def chip(self, tag: str = "") -> float:
        return self.noise.chip(tag)

    @property
    def reading(self) -> Noise:
        return _Again(self.noise.reading, self.memory)
