"""The network that holds one chip after another.

    with ProgrammedModel(model, arrays, sampling) as programmed:
        programmed.put(0.1, chip=0)   # the model now computes with the weights of chip 0
        programmed.put(0.1, chip=1)   # ... of chip 1; no error of chip 0 is left
    # the clean weights are back

Relies on: the values of a chip follow from the clean weights, the strength and the named noise
alone. Keeps: the clean weights and the running statistics are bit-equal after the block, also after
an error; with and without a `NoiseCache` the chips are bit-equal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..randomness.streams import Noise
from ..weights.arrays import Array
from ..weights.batchnorm import Statistics
from .sampling import Sampling

# ---- The random numbers of one chip, drawn once for all of its strengths

# How many random numbers are kept, 256 MiB in float32. Numbers beyond that are drawn again.
CAPACITY = 1 << 26


class NoiseCache:
    """Random numbers of the current chip, which are the same at every strength of it.

    Drawing them again for each strength would cost a quarter of a small network's pass.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity, self.chip = capacity, -1
        self._kept: dict[Hashable, Tensor] = {}
        self._room = capacity

    def turn(self, chip: int) -> None:
        """Say which chip is current; the numbers of another chip are forgotten."""
        if chip != self.chip:
            self.chip, self._room = chip, self.capacity
            self._kept.clear()

    def of(self, noise: Noise) -> Noise:
        """The same noise, with numbers from this cache where they were drawn before."""
        return _Again(noise, self)

    def look(self, name: Hashable, draw: Callable[[], Tensor]) -> tuple[Tensor, bool]:
        """The numbers of that name, drawn now if they are not in the cache, and whether the cache
        keeps them. A tensor that is kept must not be written to.
        """
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
    memory: NoiseCache

    def _look(self, kind: str, like: Tensor, tag: str) -> tuple[Tensor, bool]:
        draw: Any = getattr(self.noise, kind)
        return self.memory.look(
            (self.noise, kind, tag, like.shape, like.dtype, like.device), lambda: draw(like, tag)
        )

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


# ---- The model whose arrays hold chips, one after another


class Clean(Array):
    """A copy of the clean weights of an array. The sizes that noise is relative to, `peak` and
    `norm`, are computed once and not for every chip.
    """

    @cached_property
    def _peak(self) -> Tensor:
        return super().peak()

    @cached_property
    def _norm(self) -> Tensor:
        return super().norm()

    def peak(self) -> Tensor:
        return self._peak.clone()  # a corruption may compute in place on what it gets

    def norm(self) -> Tensor:
        return self._norm.clone()


def cleaned(arrays: Sequence[Array]) -> list[Clean]:
    """A copy of each array."""
    return [
        Clean(
            array.name,
            nn.Parameter(array.value.clone(), requires_grad=False),
            array.axis,
            array.groups,
        )
        for array in arrays
    ]


class ProgrammedModel:
    """`model` with the chips of `sampling` in its arrays: `put` writes one chip over the one
    before.

    `weights.swap.replaced` copies the clean weights aside and back for every chip; this class does
    so once for all chips. A chip's values are computed from the clean weights alone, never from the
    values that stand in the model. With `cache_noise`, the random numbers of a chip are kept for
    its next strength; see `NoiseCache`.
    """

    def __init__(
        self,
        model: nn.Module,
        arrays: Sequence[Array],
        sampling: Sampling,
        *,
        cache_noise: bool = False,
    ) -> None:
        self.model, self.arrays, self.sampling = model, arrays, sampling
        self.noise = NoiseCache() if cache_noise else None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        # glibc gives freed memory back to the system above a threshold, and the threshold grows
        # with the largest block that was freed. Allocating and freeing 31 MiB raises it. Without
        # this, each pass of a 784-512-512-10 network faulted 1,000 pages in again, a tenth of its
        # time.
        torch.empty(31 << 20, dtype=torch.uint8)
        with torch.no_grad():
            self.clean = cleaned(self.arrays)
        self._statistics = Statistics(self.model)
        self._buffers = self._statistics.take()
        self._open.callback(self._restore)
        if self.sampling.channels_last:
            self._open.enter_context(_channels_last(self.model))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def put(self, strength: float, chip: int, again: int = 0) -> None:
        """Write that chip at that strength, in its `again`-th read, into the arrays, and put back
        the buffers that passes of other chips have moved.
        """
        self._statistics.put(self._buffers)
        if self.noise is not None:
            self.noise.turn(chip)
        with torch.no_grad():
            for clean, array in zip(self.clean, self.arrays, strict=True):
                self.sampling.write(clean, array.value, strength, chip, again, self._cached)
        torch.clear_autocast_cache()  # it may hold 16-bit copies of the chip before

    def _cached(self, noise: Noise) -> Noise:
        return noise if self.noise is None else self.noise.of(noise)

    def _restore(self) -> None:
        self._statistics.put(self._buffers)
        with torch.no_grad():
            for clean, array in zip(self.clean, self.arrays, strict=True):
                array.value.copy_(clean.value)
        torch.clear_autocast_cache()


@contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    """Lays kernels of four dimensions out with their channels side by side while the block runs.
    Afterwards the parameters are on their own storage again.
    """
    own = [(one, one.data) for one in model.parameters() if one.dim() == 4]
    try:
        for parameter, data in own:
            parameter.data = data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for parameter, data in own:
            parameter.data = data
