"""Batches of any data, in a named order, and a fingerprint that identifies data.

Relies on: a data set gives the same example for the same index and state of the global generators.
Keeps: an order follows from its name alone, whatever was drawn before; the global generators are
afterwards as they were; a fingerprint depends on what data hold, and not on where they are stored.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from ...errors import UserError
from ...randomness.streams import key


class Batches:
    """Tuples of tensors cut into batches along the first dimension. Every iteration starts anew.

    With `order`, the examples are shuffled by a permutation that follows from this name alone. So
    epoch 7 of seed 3 is the same whatever came before: `Batches(data, 64, order=(3, "epoch", 7))`.
    The last batch may be smaller.
    """

    def __init__(
        self, tensors: Sequence[Tensor], size: int, order: tuple[str | int, ...] | None = None
    ) -> None:
        self.tensors, self.size, self.order = tuple(tensors), size, order

    def __len__(self) -> int:
        return -(-self.examples // self.size)

    @property
    def examples(self) -> int:
        """The number of examples."""
        return len(self.tensors[0])

    def places(self) -> Iterator[Tensor | slice]:
        """For each batch, the places of its examples in the data."""
        if self.order is None:
            yield from (
                slice(start, start + self.size) for start in range(0, self.examples, self.size)
            )
            return
        source = torch.Generator().manual_seed(key(*self.order))
        yield from torch.split(torch.randperm(self.examples, generator=source), self.size)

    def at(self, places: Tensor | slice) -> list[Tensor]:
        """The batch of the examples at `places`."""
        return [
            tensor[places.to(tensor.device) if isinstance(places, Tensor) else places]
            for tensor in self.tensors
        ]

    def __iter__(self) -> Iterator[list[Tensor]]:
        for some in self.places():
            yield self.at(some)


@runtime_checkable
class Batched(Protocol):
    """Data that cut themselves into batches, such as `Images`."""

    def batches(
        self,
        size: int,
        order: tuple[str | int, ...] | None,
        device: torch.device | None,
        augmented: bool,
    ) -> Batches:
        """Batches of `size` examples in `order`, made on `device`; `augmented` is True in training
        alone.
        """


@runtime_checkable
class Identified(Protocol):
    """Data that name the contents by which they are identified."""

    def identity(self) -> Any:
        """The tensors, numbers and texts that determine the data."""


def batches(
    data: Any,
    size: int,
    order: tuple[str | int, ...] | None = None,
    device: torch.device | None = None,
    augmented: bool = False,
) -> Iterable[Any]:
    """Cuts data into batches: a tuple of tensors or arrays, in `order` if one is named. Data that
    already come in batches are returned as they are.

    Data with a method `batches` make their batches themselves, on `device` and, in training,
    `augmented`. Raises `UserError` for a data set that gives single examples, and for tensors of
    different lengths.
    """
    if isinstance(data, Batched):
        return data.batches(size, order, device, augmented)
    if (
        isinstance(data, tuple)
        and data
        and all(isinstance(part, Tensor | np.ndarray) for part in data)
    ):
        tensors = [torch.as_tensor(part) for part in data]
        if len({len(tensor) for tensor in tensors}) > 1:
            raise UserError(
                f"data of {[len(tensor) for tensor in tensors]} examples: there must be as many "
                "labels as inputs."
            )
        return Batches(tensors, size, order)
    if isinstance(data, Dataset) or not isinstance(data, Iterable):
        raise UserError(
            f"data are a {type(data).__name__}; give a tuple of tensors (inputs, labels), or "
            "batches: torch.utils.data.DataLoader(data, batch_size=64)."
        )
    return data


def shuffles(data: Any) -> bool:
    """Whether the data are a DataLoader that gives another order each time."""
    return isinstance(data, DataLoader) and isinstance(data.sampler, RandomSampler)


def fingerprint(data: Any) -> str:
    """A hash of what the data hold, whatever the place where they are stored.

    Tensors and arrays are hashed whole. Of a DataLoader or a list, up to 64 examples are hashed,
    spread evenly, together with the number of examples, the batch size and whether they are
    shuffled. Data of another kind count by their type alone.
    """
    digest = hashlib.sha256()
    _feed(digest, data)
    return digest.hexdigest()[:16]


def _feed(digest: Any, data: Any) -> None:
    """Feeds the contents of `data` to a hash. A tag before each part keeps different structures
    apart.
    """
    if isinstance(data, Tensor | np.ndarray):
        array = (
            data.detach().cpu().contiguous().numpy()
            if isinstance(data, Tensor)
            else np.ascontiguousarray(data)
        )
        digest.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
    elif isinstance(data, DataLoader):
        digest.update(
            f"loader {data.batch_size} {type(data.sampler).__name__} {data.drop_last} ".encode()
        )
        _feed(digest, data.dataset)
    elif isinstance(data, TensorDataset):
        _feed(digest, data.tensors)
    elif isinstance(data, Identified):
        _feed(digest, data.identity())
    elif isinstance(data, Mapping):  # a BatchEncoding of transformers is a Mapping, but no dict
        for name in sorted(data):
            digest.update(repr(name).encode())
            _feed(digest, data[name])
    elif isinstance(data, tuple | list) or (
        isinstance(data, Dataset) and not isinstance(data, IterableDataset)
    ):
        n = len(data)  # type: ignore[arg-type]
        digest.update(f"{n} members ".encode())
        # a data set may augment its examples at random when they are taken
        with named_randomness("fingerprint") if isinstance(data, Dataset) else nullcontext():
            for place in range(n) if n <= 64 else [i * (n - 1) // 63 for i in range(64)]:
                _feed(digest, data[place])
    elif isinstance(data, bool | int | float | str | bytes):
        digest.update(repr(data).encode())
    else:
        digest.update(type(data).__name__.encode())


@contextmanager
def named_randomness(*name: str | int, device: torch.device | None = None) -> Iterator[None]:
    """Seeds the global generators of torch, numpy and random from a name for the length of a block,
    and puts their states back afterwards.

    This is for code that draws from global generators and takes no other: dropout, the shuffling of
    a DataLoader, augmentation in a user's data set.
    """
    seed = key(*name)
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(
            devices=[device] if device is not None and device.type == "cuda" else []
        ):
            torch.manual_seed(seed >> 1)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
