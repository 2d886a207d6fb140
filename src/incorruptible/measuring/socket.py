"""Where chips are put in, one after another; at the end the clean weights are back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from ..arrays import Array
from ..streams import Noise
from .chips import Chips
from .remembered import Remembered

__all__ = ["Clean", "Socket", "cleaned"]


class Clean(Array):
    """Clean weights in memory of their own: what the noise is relative to is computed once, and not for every chip."""

    @cached_property
    def _peak(self) -> Tensor:
        return super().peak()

    @cached_property
    def _norm(self) -> Tensor:
        return super().norm()

    def peak(self) -> Tensor:
        return self._peak.clone()  # a corruption may go on computing in place

    def norm(self) -> Tensor:
        return self._norm.clone()


def cleaned(arrays: Sequence[Array]) -> list[Clean]:
    """A copy of each array."""
    return [
        Clean(array.name, nn.Parameter(array.value.clone(), requires_grad=False), array.axis, array.groups)
        for array in arrays
    ]


class Socket:
    """The arrays of `model` while chips of `chips` take their place: `put` writes a chip over the one before.

    `replaced` keeps the clean weights aside and writes them back for every chip; here that happens once for all. A chip's
    values are computed from the clean weights alone, never from those that stand in the model. With `remember`, the random
    numbers of a chip are kept for its next strength; see `Remembered`.
    """

    def __init__(self, model: nn.Module, arrays: Sequence[Array], chips: Chips, *, remember: bool = False) -> None:
        self.model, self.arrays, self.chips = model, arrays, chips
        self.noise = Remembered() if remember else None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        # glibc gives freed memory back to the system beyond a threshold that grows with what was freed: without this, a
        # pass of a 784-512-512-10 network faulted 1,000 pages in again each time, a tenth of its time
        torch.empty(31 << 20, dtype=torch.uint8)
        with torch.no_grad():
            self.clean = cleaned(self.arrays)
        self._open.callback(self._restore)
        if self.chips.channels_last:
            self._open.enter_context(_channels_last(self.model))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def put(self, strength: float, chip: int, again: int = 0) -> None:
        """That chip at that strength, in its `again`-th read."""
        if self.noise is not None:
            self.noise.turn(chip)
        with torch.no_grad():
            for clean, array in zip(self.clean, self.arrays, strict=True):
                self.chips.write(clean, array.value, strength, chip, again, self._remembered)
        torch.clear_autocast_cache()  # it may hold 16-bit copies of the chip before

    def _remembered(self, noise: Noise) -> Noise:
        return noise if self.noise is None else self.noise.of(noise)

    def _restore(self) -> None:
        with torch.no_grad():
            for clean, array in zip(self.clean, self.arrays, strict=True):
                array.value.copy_(clean.value)
        torch.clear_autocast_cache()


@contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    """Kernels of four dimensions laid out with their channels side by side, for a while; afterwards on their own storage."""
    own = [(one, one.data) for one in model.parameters() if one.dim() == 4]
    try:
        for parameter, data in own:
            parameter.data = data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for parameter, data in own:
            parameter.data = data
