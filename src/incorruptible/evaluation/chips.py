"""Which chips are made, how they are read, and the network that holds one chip after another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..corruptions import Corruption, as_corruption, checked_strengths, traits
from ..corruptions.protocol import write_into
from ..errors import UserError, renamed_arguments, unknown
from ..randomness.streams import Draw, Noise
from ..weights.arrays import Array, select
from ..weights.batchnorm import Statistics, fold_batchnorm

__all__ = ["CAPACITY", "Clean", "NoiseCache", "ProgrammedModel", "Sampling", "cleaned"]

# ---- Which chips are made, and how they are read

_POLICIES = ("as-is", "folded", "recalibrated")
_AUTOCASTS = {"bf16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Sampling:
    """`chips` chips of `purpose` at each strength, each read `reads` times; see `measure` for every
    field.

    With `pairs` chip 2k + 1 is the mirror image of chip 2k (antithetic pairs), in what was
    programmed and in what is read."""

    corruption: Corruption
    strengths: Sequence[float]
    chips: int
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
        object.__setattr__(self, "corruption", as_corruption(self.corruption))
        object.__setattr__(self, "strengths", checked_strengths(self.strengths, self.corruption))
        if self.chips < 1 or self.reads < 1:
            raise UserError(f"chips={self.chips} and reads={self.reads}: both are at least 1.")
        if self.reads > 1 and self.read is None and not traits(self.corruption).rereads:
            raise UserError(
                f"reads={self.reads}: every read of a chip would be the same; "
                "say what a read adds: read=(corruption, strength), or --read-noise."
            )
        if self.read is not None:
            checked_strengths([self.read[1]])
        if self.batchnorm not in _POLICIES:
            raise unknown("BatchNorm policy", self.batchnorm, _POLICIES)
        if (self.batchnorm == "recalibrated") != (self.calibration is not None):
            raise UserError(
                "batchnorm='recalibrated' and calibration=batches go together: the inputs to "
                "compute the statistics from."
            )
        if self.autocast is not None and self.autocast not in _AUTOCASTS:
            raise unknown("autocast", self.autocast, _AUTOCASTS)

    def casting(self, device: torch.device) -> AbstractContextManager[Any]:
        """The arithmetic of a forward pass on `device`. Raises `UserError` for a device that has no
        autocast.
        """
        if self.autocast is None:
            return nullcontext()
        if not torch.amp.is_autocast_available(device.type):
            raise UserError(
                f"autocast={self.autocast!r}: torch has no autocast for {device.type}; leave it "
                "out."
            )
        return torch.autocast(device.type, _AUTOCASTS[self.autocast])

    def differ(self, strength: float) -> bool:
        """Whether chips differ at that strength: at 0, without read noise and pinned faults, all
        are the same.
        """
        return bool(strength or self.read or traits(self.corruption).pinned)

    def distinct(self, strength: float) -> int:
        """How many different chips there are at that strength."""
        return self.chips if self.differ(strength) else 1

    @property
    def total(self) -> int:
        """How many times a chip is read, over all strengths."""
        return sum(self.distinct(strength) * self.reads for strength in self.strengths)

    def fitted(
        self, model: nn.Module, arrays: Sequence[Array] | None
    ) -> tuple[nn.Module, Sequence[Array]]:
        """The network to measure and its arrays: a folded copy where the policy says so, in which
        arrays keep their names.
        """
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
        """What `array`, which holds clean weights, holds on that chip at that strength, in its
        `again`-th read.

        `heard` may keep what a noise gives. Raises `UserError` for a corruption that gives another
        shape."""
        values = _of(
            self.corruption, array, strength, heard(self.drawn(chip, again).of(array.name))
        )
        if self.read is None:
            return values
        programmed = replace(array, parameter=nn.Parameter(values, requires_grad=False))
        return _of(
            self.read[0],
            programmed,
            self.read[1],
            heard(self.read_afresh(chip, again).of(array.name)),
        )

    def write(
        self,
        array: Array,
        out: Tensor,
        strength: float,
        chip: int,
        again: int,
        heard: Callable[[Noise], Noise] = lambda noise: noise,
    ) -> None:
        """Write `values` into `out`, other memory of the shape and type of the clean weights that
        `array` holds.
        """
        if self.read is None:
            write_into(
                self.corruption, array, strength, heard(self.drawn(chip, again).of(array.name)), out
            )
        else:
            out.copy_(self.values(array, strength, chip, again, heard))

    def drawn(self, chip: int, again: int) -> Draw:
        """The noise of that chip in its `again`-th read."""
        return Draw(
            self.seed, self.purpose, self._named(chip), read=again, mirrored=self._mirrors(chip)
        )

    def read_afresh(self, chip: int, again: int) -> Draw:
        """The noise that `read` adds to that read of that chip."""
        name = self._named(chip) * self.reads + again
        return Draw(self.seed, f"{self.purpose}, read", name, mirrored=self._mirrors(chip))

    def _mirrors(self, chip: int) -> bool:
        return self.pairs and chip % 2 == 1

    def _named(self, chip: int) -> int:
        """The number of the chip whose noise it is: its own, or that of the twin that it
        mirrors.
        """
        return chip - 1 if self._mirrors(chip) else chip


Sampling.__init__ = renamed_arguments(draws="chips")(Sampling.__init__)  # type: ignore[method-assign]


def _of(corruption: Corruption, array: Array, strength: float, noise: Noise) -> Tensor:
    values = corruption(array, strength, noise)
    if values.shape != array.value.shape:
        raise UserError(
            f"{array.name}: values of shape {tuple(values.shape)} came for "
            f"{tuple(array.value.shape)}."
        )
    return values.to(array.value.dtype)


# ---- The random numbers of one chip, drawn once for all of its strengths

CAPACITY = 1 << 26  # numbers that are kept, 256 MiB in float32; what goes beyond is drawn anew


class NoiseCache:
    """What was drawn for the chip at hand, which is the same at every strength; drawing costs a
    quarter of a small network's pass.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity, self.chip = capacity, -1
        self._kept: dict[Hashable, Tensor] = {}
        self._room = capacity

    def turn(self, chip: int) -> None:
        """Forget the chip before, if another comes."""
        if chip != self.chip:
            self.chip, self._room = chip, self.capacity
            self._kept.clear()

    def of(self, noise: Noise) -> Noise:
        """The same noise, which draws what it has not drawn before."""
        return _Again(noise, self)

    def look(self, name: Hashable, draw: Callable[[], Tensor]) -> tuple[Tensor, bool]:
        """What was drawn under that name, and whether it is kept: then it must not be written
        to.
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


# ---- Where chips are put in, one after another; at the end the clean weights are back bit for bit


class Clean(Array):
    """Clean weights in memory of their own: what the noise is relative to is computed once, and not
    for every chip.
    """

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
        Clean(
            array.name,
            nn.Parameter(array.value.clone(), requires_grad=False),
            array.axis,
            array.groups,
        )
        for array in arrays
    ]


class ProgrammedModel:
    """The arrays of `model` while chips of `chips` take their place: `put` writes a chip over the
    one before.

    `replaced` keeps the clean weights aside and writes them back for every chip; here that happens
    once for all. A chip's values are computed from the clean weights alone, never from those that
    stand in the model. With `cache_noise`, the random numbers of a chip are kept for its next
    strength; see `NoiseCache`."""

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
        # glibc gives freed memory back to the system beyond a threshold that grows with what was
        # freed: without this, a pass of a 784-512-512-10 network faulted 1,000 pages in again each
        # time, a tenth of its time
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
        """That chip at that strength, in its `again`-th read; what the passes of other chips moved
        is where it was.
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
    """Kernels of four dimensions laid out with their channels side by side, for a while; afterwards
    on their own storage.
    """
    own = [(one, one.data) for one in model.parameters() if one.dim() == 4]
    try:
        for parameter, data in own:
            parameter.data = data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for parameter, data in own:
            parameter.data = data
