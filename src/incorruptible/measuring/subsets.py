"""Data of which any few examples can be taken, and which ones a chip looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from ..data import Batches
from ..streams import key

__all__ = ["drawn", "gathered"]


def drawn(total: int, *name: str | int) -> Tensor:
    """A random order [total] of that name, of which any first part is a sample drawn without replacement."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(key(*name)))


def gathered(data: Iterable[Any]) -> tuple[Batches | None, str]:
    """Data that can be indexed, or None and why not.

    Batches of tensors in a list, or in a DataLoader that goes through its data in order, are put together once: the inputs
    lie in memory. `Batches` come without the order that they may have. Raises no mistake for other data, which whole chips can
    look at.
    """
    if isinstance(data, Batches):
        plain = copy(data)
        plain.order = None
        return plain, ""
    if isinstance(data, DataLoader):
        if not isinstance(data.sampler, SequentialSampler) or type(data.batch_sampler) is not BatchSampler:
            return None, "the DataLoader does not go through all its data in order"
    elif not isinstance(data, Sequence):
        return None, f"data came as {type(data).__name__}, which cannot be indexed"
    parts = [list(batch) if isinstance(batch, list | tuple) else [] for batch in data]
    if not parts or not all(_alike(parts[0], part) for part in parts):
        return None, "batches are no pairs of tensors (inputs, labels)"
    tensors = [torch.cat(list(members)) for members in zip(*parts, strict=True)]
    return Batches(tensors, max(len(part[0]) for part in parts)), ""


def _alike(first: list[Any], part: list[Any]) -> bool:
    tensors = bool(part) and all(isinstance(member, Tensor) and member.dim() for member in part)
    return (
        tensors
        and len(part) == len(first)
        and len({len(member) for member in part}) == 1
        and all(member.shape[1:] == other.shape[1:] for member, other in zip(part, first, strict=True))
    )
