"""A fast source of normal numbers for training: a bank of them, from which each array reads
windows.

Where layers are linear and batches are small, drawing normal numbers is most of what training with
random weight perturbation costs. A bank holds 8,192 to 65,536 normal numbers that are drawn once.
The noise of an array is put together from *windows*: pieces of the bank, each of which starts at a
random place and carries a random sign. Seed, purpose, index and array decide the places and signs.

Relies on: `_cuts` makes no window larger than half the bank. Keeps: over draws, the noise of an
array has mean 0 and exactly the covariance of independent standard normal numbers; the same name
gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .streams import Draw, Native, Noise, key

_LEAST, _MOST = 1 << 13, 1 << 16  # the fewest and the most numbers of a bank
_WINDOWS = 32  # windows that one operation reads, each with a sign of its own
# A row holds the signs of 32 windows, and a row is drawn at random. The columns are Walsh functions
# that share one factor, so over all rows the product of one, two or three different columns has
# mean 0: any three signs are independent.
_SIGNS = [
    [(-1.0) ** (row & (_WINDOWS + one)).bit_count() for one in range(_WINDOWS)]
    for row in range(2 * _WINDOWS)
]


class Bank:
    """`size` numbers whose circular autocorrelation is exactly that of white noise.

    They start as `size` independent normal numbers, whose Fourier coefficients are then brought to
    modulus 1. The phases stay random, so each number is a sum of many waves and normal to within
    1 / size. Because the spectrum is flat,

        sum_i b_i b_{i+k} = size * (k = 0)     (indices modulo `size`).

    A window that starts at a uniformly random place and carries a random sign therefore has mean 0,
    and over draws its covariance is *exactly* the identity, as with independent normal numbers. Two
    windows whose signs are independent are uncorrelated, wherever they start. The bank differs from
    independent numbers only in higher order: there are no more than 2 `size` different windows, and
    the sum of squares over a whole bank never varies.

    The numbers are kept twice in a row, so that every window is one view. Raises `UserError` if
    `size` is odd or below 2.

    >>> b = Bank(8, seed=0).on(torch.device("cpu"))[0][:8].double()
    >>> [round(float(b @ b.roll(k)), 4) + 0.0 for k in range(4)]
    [8.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 2 or size % 2:
            raise UserError(f"a bank needs an even size of at least 2, not {size}.")
        self.size = size
        waves = np.fft.rfft(np.random.default_rng(key(seed, "bank", size)).standard_normal(size))
        numbers = np.fft.irfft(waves / np.abs(waves), size) * np.sqrt(size)
        twice, signs = np.tile(numbers.astype(np.float32), 2), np.array(_SIGNS, np.float32)
        self._on = {torch.device("cpu"): (torch.from_numpy(twice), torch.from_numpy(signs))}

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Returns, on `device`, the numbers [2 size] and the signs [64, 32]. A row of the signs
        holds the signs of 32 windows, any three of which are independent.
        """
        if device not in self._on:
            numbers, signs = self._on[torch.device("cpu")]
            self._on[device] = numbers.to(device), signs.to(device)
        return self._on[device]


def bank_for(sizes: Iterable[tuple[int, ...]], seed: int) -> Bank:
    """Returns a bank for arrays with these shapes.

    The bank has about one number for 24 weights, between 8,192 and 65,536. Twice its size, which is
    the memory that it takes, is then less than a tenth of all weights, unless the least size
    applies. A larger bank would repeat itself less, but would not stay in the cache beside the
    weights.
    """
    weights = sum(math.prod(size) for size in sizes)
    return Bank(-(-min(_MOST, max(_LEAST, weights // 24)) // 2) * 2, seed)


@dataclass(frozen=True)
class _Banked(Native):
    """The noise of one array from a bank. Uniform numbers are not banked: they are drawn where the
    array lives.
    """

    bank: Bank = field(kw_only=True)

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        kind = torch.promote_types(like.dtype, torch.float32)
        zeros = torch.zeros(like.shape, dtype=kind, device=like.device)
        self.add_normal(
            zeros, torch.ones((1,) * like.dim(), dtype=kind, device=like.device), zeros, tag
        )
        return zeros

    def add_normal(self, base: Tensor, std: Tensor, out: Tensor, tag: str = "") -> None:
        """As `streams.add_normal`, with many windows in one operation."""
        if base.dim() == 0:
            base, std, out = base.view(1), std.view(1), out.view(1)
        self._add(base, std, out, key(*self.name, self.array, tag))

    def _add(self, base: Tensor, std: Tensor, out: Tensor, state: int) -> int:
        """Cuts the first dimension into parts, and adds to each part its window of the bank.
        Returns the state of the generator after the last part.
        """
        count, size = base.shape[0], self.bank.size
        # a row is too long for the bank: each row is cut by itself
        if base.numel() > size // 2 * count:
            for start, scale, there in zip(
                base, std.expand(count, *std.shape[1:]), out, strict=True
            ):
                state = self._add(start, scale, there, state)
            return state
        numbers, signs = self.bank.on(base.device)
        for rows, shape, stride, farthest in _cuts(base.shape, size):
            state, first = _splitmix(state)
            state, rest = _splitmix(state)
            # Each window begins `apart` numbers behind the one before. `apart` is small enough that
            # the last window ends within the two copies of the bank, wherever the first one begins.
            apart = 1 + (rest >> 32) % farthest if farthest else 0
            window = numbers.as_strided(shape, (apart, *stride), first % size)
            start, there, scale = (
                _windows(base, rows, shape),
                _windows(out, rows, shape),
                _windows(std, rows, shape),
            )
            sign = signs[rest % len(_SIGNS), : shape[0]].view(-1, *[1] * len(stride))
            torch.addcmul(start, window, scale * sign, out=there)
        return state


def _windows(tensor: Tensor, rows: slice, shape: tuple[int, ...]) -> Tensor:
    """Returns the rows `rows` of a tensor as windows of `shape`. A tensor of one row is the same
    for all rows, and is broadcast.
    """
    some = tensor if rows.stop - rows.start >= tensor.shape[0] else tensor[rows]
    return some[None] if some.shape[0] == 1 else some.view(*shape[:2], *some.shape[1:])


@lru_cache(maxsize=1024)
def _cuts(like: torch.Size, size: int) -> list[tuple[slice, tuple[int, ...], tuple[int, ...], int]]:
    """Decides how an array of shape `like` is cut into groups of windows, each window of at most
    half a bank.

    Returns for each group: its rows; the shape [windows, rows of a window, ...]; the strides of
    this shape without the first; and how many numbers apart its windows may begin at most. A group
    has 32 windows at most, so that they can lie far apart. Where the length of a window divides the
    number of rows, no rest is left that would need an operation of its own.
    """
    count, row = like[0], math.prod(like[1:])
    most = min(count, size // 2 // max(row, 1))
    rows = next((n for n in range(most, most // 2, -1) if count % n == 0), most)
    windows, rest = divmod(count, max(rows, 1))
    parts = [(min(_WINDOWS, windows - first), rows) for first in range(0, windows, _WINDOWS)]
    stride = tuple(math.prod(like[place + 1 :]) for place in range(len(like)))
    found, at = [], 0
    for windows, rows in parts + [(1, rest)] * (rest > 0):
        farthest = (size - rows * row) // max(1, windows - 1)
        found.append((slice(at, at + windows * rows), (windows, rows, *like[1:]), stride, farthest))
        at += windows * rows
    return found


def _splitmix(state: int) -> tuple[int, int]:
    """Returns the next state and 64 well-mixed bits: SplitMix64 (Steele, Lea and Flood 2014,
    doi:10.1145/2660193.2660195).
    """
    state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return state, word ^ (word >> 31)


@dataclass(frozen=True)
class BankedDraw(Draw):
    """A draw whose normal numbers come from a bank. For training only: a chip that is measured has
    exact noise.
    """

    bank: Bank = field(kw_only=True)

    def _of(self, array: str) -> Noise:
        return _Banked((self.seed, self.purpose, self.index), array, self.read, bank=self.bank)
