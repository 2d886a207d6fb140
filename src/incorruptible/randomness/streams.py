"""Randomness by name: the same seed, purpose, index and array give the same numbers, whatever else
is drawn.

A `Draw` names the randomness of one chip. The noise of every array on the chip is keyed by the
array's own name. So protecting one layer leaves the noise of every other layer as it was, and chip
k is the same at every strength and in every model that shares the names.

Relies on: torch's CPU generator fills long tensors in blocks of 16 numbers, with bits that do not
depend on the number of threads. Keeps: asking the same noise twice gives the same bits; a chip for
measuring has the same bits on every device; `add_normal` gives the bits of `normal`.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import index
from typing import Protocol

import torch
from torch import Tensor

# How many numbers are drawn at a time, so that they are still in a core's cache when they are added
# to the weights: BLOCK (64 KiB in float32) in memory of their own, LARGE in the memory of the
# result.
BLOCK, LARGE = 1 << 14, 1 << 17


def key(*parts: str | int) -> int:
    """A 63-bit seed from a name of several parts. Two distinct names collide with probability
    2^-63.

    >>> key(0, "test", 3, "fc.weight")
    1237264161335992653
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        # numpy's numbers and strings count as Python's, because their repr differs and depends on
        # the version of numpy. The length in front of each part keeps ("ab", "c") apart from ("a",
        # "bc").
        data = repr(str(part) if isinstance(part, str) else int(index(part))).encode()
        digest.update(struct.pack(">I", len(data)) + data)
    return int.from_bytes(digest.digest(), "big") >> 1


def cuts(like: Tensor, most: int, multiple: int = 1) -> list[int]:
    """Returns the lengths into which the first dimension of `like` is cut, so that a part holds at
    most `most` numbers where a row allows it.

    Each part but the last holds a multiple of `multiple` numbers. The last part holds at least
    `multiple` numbers, unless it is the only one. A tensor without numbers has at most one part.

    >>> cuts(torch.empty(100, 27), most=1000, multiple=16)
    [32, 32, 32, 4]
    """
    total = like.shape[0]
    if like.numel() == 0:
        return [total] if total else []
    row = like.numel() // total
    whole = multiple // math.gcd(row, multiple)  # the fewest rows that together hold a multiple
    step = max(1, most // row // whole) * whole
    # a last part that is too short is joined to the one before
    parts = [step] * (total // step)
    rest = total - step * len(parts)
    if rest * row >= multiple or not parts:
        parts += [rest] if rest else []
    else:
        parts[-1] += rest
    return parts


def each_part(parts: list[int], *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The parts of all tensors side by side, as views. A tensor of length 1 is not cut: it goes
    with every part.
    """
    cut = [[one] * len(parts) if len(one) == 1 else one.split_with_sizes(parts) for one in tensors]
    return zip(*cut, strict=True)


class Noise(Protocol):
    """The random numbers of one array on one chip.

    Asking twice gives the same numbers. `tag` names a further, independent set of numbers.
    """

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        """Standard normal numbers of the shape and on the device of `like`, in float32 (float64 if
        `like` is float64).
        """

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        """Uniform numbers in [0, 1), with the shape, device and type that `normal` gives."""

    def chip(self, tag: str = "") -> float:
        """One uniform number in [0, 1) that all arrays of the chip share."""

    @property
    def reading(self) -> Noise:
        """The noise of this read of the chip. Each read has other reading noise, while everything
        else on the chip stays.
        """


def add_normal(noise: Noise, base: Tensor, std: Tensor, out: Tensor, tag: str = "") -> None:
    """Writes base + std * noise.normal(base, tag) into `out`, with the same bits (noise from a bank
    may differ in the last place).

    `std` is broadcastable to `base` and has as many dimensions. `out` has the shape and type of
    `base`, and is `base` itself or other memory. Noise that has a method `add_normal` does this by
    that method, which may need no further tensor of the array's size.
    """
    own = getattr(noise, "add_normal", None)
    if own is None:
        _add(base, noise.normal(base, tag), std, out)
    else:
        own(base, std, out, tag)


@dataclass(frozen=True)
class Exact:
    """The noise of chips that are measured: drawn on the CPU in float32 and then moved, so that a
    chip is the same on every device.

    The bits are those of torch's CPU generator (Mersenne twister), which do not depend on the
    number of threads.
    """

    name: tuple[str | int, ...]
    array: str
    read: int = 0

    def _source(self, device: torch.device, tag: str) -> torch.Generator:
        """A fresh generator whose seed is the name of the noise."""
        return torch.Generator(device).manual_seed(key(*self.name, self.array, tag))

    def _draw(self, draw: Callable[..., Tensor], like: Tensor, tag: str) -> Tensor:
        numbers = draw(
            like.shape, generator=self._source(torch.device("cpu"), tag), dtype=torch.float32
        )
        return numbers.to(like.device, torch.promote_types(like.dtype, torch.float32))

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        return self._draw(torch.randn, like, tag)

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        return self._draw(torch.rand, like, tag)

    def add_normal(self, base: Tensor, std: Tensor, out: Tensor, tag: str = "") -> None:
        """As the function `add_normal`: the numbers are drawn in the memory of `out` where
        possible, and else block by block.
        """
        if base.device.type != "cpu" or base.dim() == 0:
            _add(base, self.normal(base, tag), std, out)
            return
        source = self._source(base.device, tag)
        kind = torch.promote_types(base.dtype, torch.float32)
        apart = (
            out.data_ptr() != base.data_ptr() and out.dtype == torch.float32 and out.is_contiguous()
        )
        # torch fills memory in steps of 16 numbers, so blocks of a multiple of 16 hold the same
        # numbers as one long draw
        parts = cuts(base, LARGE if apart else max(BLOCK, base.numel() // 12), 16)
        for there, start, scale in each_part(parts, out, base, std):
            if apart:
                there.normal_(generator=source).mul_(scale).add_(start)
            else:
                z = torch.randn(start.shape, generator=source, dtype=torch.float32)
                _add(start, z if kind is torch.float32 else z.to(kind), scale, there)

    def chip(self, tag: str = "") -> float:
        return key(*self.name, "", tag) / 2**63

    @property
    def reading(self) -> Noise:
        return replace(self, name=(*self.name, "read", self.read))


@dataclass(frozen=True)
class Native(Exact):
    """The noise of training: drawn on the array's own device. On the CPU it has the same bits as
    `Exact`.
    """

    def _draw(self, draw: Callable[..., Tensor], like: Tensor, tag: str) -> Tensor:
        kind = torch.promote_types(like.dtype, torch.float32)
        source = self._source(like.device, tag)
        return draw(like.shape, generator=source, dtype=torch.float32, device=like.device).to(kind)


def _add(base: Tensor, z: Tensor, std: Tensor, out: Tensor) -> None:
    """Writes base + std z into `out`; the content of `z` is overwritten."""
    z.mul_(std)
    if base.dtype == z.dtype:
        torch.add(base, z, out=out)
    else:
        out.copy_(z.add_(base))


@dataclass(frozen=True)
class _Mirrored:
    """The antithetic twin of a noise: each number is mirrored at the middle of its distribution.

    A normal number z becomes -z. A uniform number is k 2^-24 with a whole k below 2^24, and its
    twin is 1 - 2^-24 - u, which is again such a number: 1 - u would reach 1.
    """

    of: Noise

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        return self.of.normal(like, tag).neg_()

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        return self.of.uniform(like, tag).neg_().add_(1 - 2**-24)

    def chip(self, tag: str = "") -> float:
        # the largest double below 1, less u; rounding could go below 0
        return max(0.0, 1 - 2**-53 - self.of.chip(tag))

    def add_normal(self, base: Tensor, std: Tensor, out: Tensor, tag: str = "") -> None:
        """As the function `add_normal`."""
        add_normal(self.of, base, -std, out, tag)

    @property
    def reading(self) -> Noise:
        return _Mirrored(self.of.reading)


@dataclass(frozen=True)
class Draw:
    """The randomness of one chip: `draw.of("fc.weight")` is the noise of the array of that name.

    `purpose` keeps the chips of training, validation and test apart, and `index` counts them.
    `native=True` draws on the array's own device. This is fast on a GPU, but gives other numbers
    there than on the CPU, so it is for training only. `read` counts the reads of the chip: its
    programmed state stays, and its reading noise is another for each read. `mirrored=True` is the
    antithetic twin of the chip: -z for a normal number z, and 1 - u, up to the last place, for a
    uniform number u.
    """

    seed: int
    purpose: str
    index: int
    native: bool = False
    read: int = 0
    mirrored: bool = False

    def of(self, array: str) -> Noise:
        """The noise of the array named `array`."""
        noise = self._of(array)
        return _Mirrored(noise) if self.mirrored else noise

    def _of(self, array: str) -> Noise:
        """The noise without mirroring: a mirrored chip and its twin share it."""
        kind = Native if self.native else Exact
        return kind((self.seed, self.purpose, self.index), array, self.read)
