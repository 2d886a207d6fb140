"""Batches of tensors that lie in memory, and what identifies a set of data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..streams import key

__all__ = ["Batches", "fingerprint"]


class Batches:
    """Tuples of tensors cut into batches along the first dimension; every iteration starts anew.

    With `order` the examples come shuffled by a permutation of that name alone, so epoch 7 of seed 3 is the same
    whatever came before: `Batches(data, 64, order=(3, "epoch", 7))`. The last batch may be smaller.
    """

    def __init__(self, tensors: Sequence[Tensor], size: int, order: tuple[str | int, ...] | None = None) -> None:
        self.tensors, self.size, self.order = tuple(tensors), size, order

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        n = len(self.tensors[0])
        if self.order is None:
            for start in range(0, n, self.size):
                yield [tensor[start : start + self.size] for tensor in self.tensors]
            return
        permutation = torch.randperm(n, generator=torch.Generator().manual_seed(key(*self.order)))
        for some in torch.split(permutation, self.size):
            yield [tensor[some.to(tensor.device)] for tensor in self.tensors]


def fingerprint(data: Any) -> str:
    """A hash of what the data holds, never of where it lies; for what is not tensors, of its type and length."""
    digest = hashlib.sha256()
    if isinstance(data, tuple | list) and data and all(isinstance(part, Tensor) for part in data):
        for part in data:
            digest.update(f"{part.dtype} {tuple(part.shape)} ".encode() + part.cpu().contiguous().numpy().tobytes())
    else:
        size = len(data) if hasattr(data, "__len__") else "?"
        digest.update(f"{type(data).__name__} {size}".encode())
    return digest.hexdigest()[:16]
