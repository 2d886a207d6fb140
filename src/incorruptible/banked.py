"""A fast source of normal numbers for training: a bank of them, read from a place and with a sign that the name decides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .errors import Mistake
from .streams import Draw, Exact, Noise, cuts, each_part, key

__all__ = ["Bank", "BankedDraw", "bank_for"]

_LEAST, _MOST = 1 << 13, 1 << 16


class Bank:
    """`size` numbers whose circular autocorrelation is exactly that of white noise.

    They are `size` independent normal numbers whose Fourier coefficients were brought to modulus 1: phases stay random, so that
    each number is a sum of many waves, normal to within 1 / size; and with a flat spectrum

        sum_i b_i b_{i+k} = size * (k = 0)     (indices modulo `size`).

    A window that starts at a place drawn uniformly and carries a random sign therefore has mean 0 and as covariance *exactly* the
    identity, over draws, as independent normal numbers do. What differs is of higher order: there are 2 `size` windows, and the
    sum of squares of a whole bank never varies. Kept twice in a row, so that every window is one view.

    Raises `Mistake` for a size below 2 or odd.

    >>> b = Bank(8, seed=0).on(torch.device("cpu"))[:8].double()
    >>> [round(float(b @ b.roll(k)), 4) + 0.0 for k in range(4)]
    [8.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 2 or size % 2:
            raise Mistake(f"a bank of {size} numbers: an even number of at least 2 is needed.")
        self.size = size
        waves = np.fft.rfft(np.random.default_rng(key(seed, "bank", size)).standard_normal(size))
        numbers = np.fft.irfft(waves / np.abs(waves), size) * np.sqrt(size)
        self._on = {torch.device("cpu"): torch.from_numpy(np.tile(numbers.astype(np.float32), 2))}

    def on(self, device: torch.device) -> Tensor:
        """The numbers [2 size] on that device."""
        if device not in self._on:
            self._on[device] = self._on[torch.device("cpu")].to(device)
        return self._on[device]


def bank_for(sizes: Iterable[tuple[int, ...]], seed: int) -> Bank:
    """A bank for arrays of these shapes: twice its size is less than a tenth of all weights, where that is 8,192 at least.

    A larger one repeats itself less, but the cache holds it no more beside the weights; so 65,536 at most, and more only where
    a row of an array is longer.
    """
    shapes = [tuple(size) for size in sizes]
    weights = sum(int(np.prod(shape)) for shape in shapes)
    longest = max((int(np.prod(shape[1:])) for shape in shapes), default=1)
    return Bank(-(-max(longest, min(_MOST, max(_LEAST, weights // 24))) // 2) * 2, seed)


@dataclass(frozen=True)
class _Banked(Exact):
    """The noise of one array from a bank; uniform numbers are drawn as ever."""

    bank: Bank = field(kw_only=True)

    def _windows(self, like: Tensor, tag: str) -> tuple[list[int], list[tuple[Tensor, bool]]]:
        """Cuts of the first dimension, and for each its window of the bank, in its shape, and whether the sign is minus."""
        numbers, size = self.bank.on(like.device), self.bank.size
        parts, row = cuts(like, size), like.numel() // like.shape[0]
        if row > size:
            raise Mistake(f"{self.array}: a row of {row} numbers, and the bank has {size}.")
        stride = tuple(math.prod(like.shape[place + 1 :]) for place in range(like.dim()))
        state, found = key(*self.name, self.array, tag), []
        for part in parts:
            state, word = _splitmix(state)
            window = numbers.as_strided((part, *like.shape[1:]), stride, (word >> 1) % size)
            found.append((window, bool(word & 1)))
        return parts, found

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        kind = torch.promote_types(like.dtype, torch.float32)
        zeros = torch.zeros(like.shape, dtype=kind, device=like.device)
        self.add_normal(zeros, torch.ones((1,) * like.dim(), dtype=kind, device=like.device), zeros, tag)
        return zeros

    def add_normal(self, base: Tensor, std: Tensor, out: Tensor, tag: str = "") -> None:
        """As `streams.add_normal`, window by window."""
        if base.dim() == 0:
            base, std, out = base.view(1), std.view(1), out.view(1)
        parts, windows = self._windows(base, tag)
        both = zip(each_part(parts, base, out, std, -std), windows, strict=True)
        for (start, there, plus, minus), (window, negative) in both:
            torch.addcmul(start, window, minus if negative else plus, out=there)


def _splitmix(state: int) -> tuple[int, int]:
    """The next state and 64 well-mixed bits: SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195)."""
    state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return state, word ^ (word >> 31)


@dataclass(frozen=True)
class BankedDraw(Draw):
    """A draw whose normal numbers come from a bank: for training alone."""

    bank: Bank = field(kw_only=True)

    def of(self, array: str) -> Noise:
        return _Banked((self.seed, self.purpose, self.index), array, self.read, bank=self.bank)
