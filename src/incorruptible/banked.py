"""A fast source of normal numbers for training: a bank of them, read from a place and with a sign that the name decides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .errors import Mistake
from .streams import Draw, Native, Noise, cuts, each_part, key

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

    A larger one repeats itself less, but the cache holds it no more beside the weights; so 65,536 at most.
    """
    weights = sum(math.prod(size) for size in sizes)
    return Bank(-(-min(_MOST, max(_LEAST, weights // 24)) // 2) * 2, seed)


@dataclass(frozen=True)
class _Banked(Native):
    """The noise of one array from a bank; uniform numbers are drawn where the array lives, as ever in training."""

    bank: Bank = field(kw_only=True)

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        kind = torch.promote_types(like.dtype, torch.float32)
        found = torch.zeros(like.shape, dtype=kind, device=like.device)
        self.add_normal_(found, torch.ones((1,) * like.dim(), dtype=kind, device=like.device), tag)
        return found

    def add_normal_(self, out: Tensor, std: Tensor, tag: str = "") -> None:
        """As `streams.add_normal_`, window by window."""
        if out.dim() == 0:
            out, std = out.view(1), std.view(1)
        self._add(out, std, key(*self.name, self.array, tag))

    def _add(self, out: Tensor, std: Tensor, state: int) -> int:
        """Cut the first dimension, and add to each part its window of the bank; returns the state of the last one."""
        numbers, size = self.bank.on(out.device), self.bank.size
        if out.numel() > size * len(out):  # the bank holds no whole row: each is cut by itself
            for row, scale in zip(out, std.expand(len(out), *std.shape[1:]), strict=True):
                state = self._add(row, scale, state)
            return state
        stride = tuple(math.prod(out.shape[place + 1 :]) for place in range(out.dim()))
        for part, plus, minus in each_part(cuts(out, size), out, std, -std):
            state, word = _splitmix(state)
            window = numbers.as_strided(part.shape, stride, (word >> 1) % size)
            part.addcmul_(window, minus if word & 1 else plus)
        return state


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

    def _of(self, array: str) -> Noise:
        return _Banked((self.seed, self.purpose, self.index), array, self.read, bank=self.bank)
