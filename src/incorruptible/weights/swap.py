"""Other values in the weights' place for a while, and the clean ones back bit for bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, renamed_arguments
from .arrays import Array

__all__ = ["BufferPool", "replaced"]

_EXCHANGE = "_swap_data_ptr_"  # since torch 2.12
_EXCHANGES = hasattr(torch.UntypedStorage, _EXCHANGE) and hasattr(torch._C, "_storage_Use_Count")


def _alone() -> int:
    """How often torch counts a storage at which one parameter looks, and what `Array.value` makes
    of it.
    """
    value = torch.nn.Parameter(torch.empty(1, device="cpu"))
    place = value.data
    return torch._C._storage_Use_Count(place.untyped_storage()._cdata) if _EXCHANGES else 0


_ALONE = _alone()


class BufferPool:
    """Memory for what is kept aside, used again from one time to the next.

    `lend` gives a tensor of the shape, type, device and layout of `like`, but without gaps, whose
    content is left over from before; `back` takes it for the next one. Who lends twice without
    giving back gets two.
    """

    def __init__(self) -> None:
        self._free: defaultdict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        self._dense: dict[
            tuple[Any, ...], tuple[Any, ...]
        ] = {}  # what is lent for weights with gaps has none

    def __reduce__(self) -> tuple[type[BufferPool], tuple[()]]:
        # Copied or pickled, it is empty: what lies here is of no use elsewhere.
        return (
            BufferPool,
            (),
        )

    def lend(self, like: Tensor) -> Tensor:
        """A tensor like `like`."""
        kind = _kind(like)
        free = self._free[self._dense.get(kind, kind)]
        if free:
            return free.pop()
        # A tensor that is made in inference mode cannot be written to outside of that mode.
        with torch.inference_mode(False):
            made = torch.empty_like(like)
        if made.stride() != like.stride():
            self._dense[kind] = _kind(made)
        return made

    def copy(self, of: Tensor) -> Tensor:
        """A copy of that tensor, in lent memory."""
        return self.lend(of).copy_(of) if of.layout == torch.strided else of.clone()

    def back(self, lent: Tensor) -> None:
        """Take it back."""
        if lent.layout == torch.strided and lent.untyped_storage().nbytes() >= lent.nbytes:
            self._free[_kind(lent)].append(lent)


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


@renamed_arguments(spare="pool")
@contextmanager
def replaced(
    arrays: Sequence[Array],
    values: Callable[[Array], Tensor] | None,
    pool: BufferPool | None = None,
) -> Iterator[None]:
    """Other values in place for a while; on leaving, also by an error, the weights are back bit for
    bit.

    `values` is asked array by array and sees clean weights; None leaves all as it is. Values are
    copied into the same storage and the clean ones copied back: subtracting drifts (bf16 by 2% in
    1000 steps), and another `.data` breaks every alias (tied tensors, flat buffers, compiled
    graphs). Writing goes around autograd's version counter, so a graph that is kept beyond the
    block would see other weights: call backward inside.

    Values that have a method `into(array, out)` write themselves, into memory that they are given,
    without a further tensor of the array's size.

    `pool` keeps the memory for the next time. With it nothing is copied where torch lets two
    storages change their memory (2.12 and later, on the CPU, a tensor that fills a storage of its
    own): values are written into pool memory, which the array's storage holds for the length of the
    block. All that looks at that storage sees them, but for what keeps a bare address, as numpy and
    other processes do. Taken before, it sees the clean weights throughout; taken inside, the pool
    memory, which then lives as long as the weights do.
    """
    if values is None:
        yield
        return
    held: list[_Copied | _Exchanged] = []
    try:
        with torch.no_grad():
            for array in arrays:
                place = array.value
                if pool is None:
                    held.append(_Copied(place, BufferPool()))
                    _write(values, array, place)
                elif _exchangeable(place):
                    both = _Exchanged(place, pool)
                    held.append(both)
                    _write(values, array, both.other)
                    both.exchange()
                else:
                    held.append(_Copied(place, pool))
                    _write(values, array, place)
        _forget_casts()
        yield
    finally:
        with torch.no_grad():
            _put_back(held)
        _forget_casts()


class _Copied:
    """Clean weights that were copied aside, while others are written over them."""

    def __init__(self, place: Tensor, pool: BufferPool) -> None:
        self.place, self.pool = place, pool
        self.other = pool.copy(place)

    def back(self) -> None:
        """Returns the clean weights. May be called more than once."""
        self.place.copy_(self.other)


class _Exchanged:
    """Clean weights whose storage holds other memory, from `exchange` to `back`."""

    def __init__(self, place: Tensor, pool: BufferPool) -> None:
        self.place, self.pool = place, pool
        self.other = pool.lend(place)
        self._clean = place.data_ptr()

    def exchange(self) -> None:
        """The memory of `other` into the weights' storage, and theirs into its."""
        getattr(self.place.untyped_storage(), _EXCHANGE)(self.other.untyped_storage())

    def back(self) -> None:
        """The clean weights; asked again, or where nothing was exchanged, nothing."""
        if self.other.data_ptr() != self._clean:
            return
        storage = self.place.untyped_storage()
        if torch._C._storage_Use_Count(storage._cdata) > _ALONE:
            # somebody looks at it who may have taken a bare address meanwhile: the memory there
            # lives as long as the weights'
            memory = self.other.untyped_storage()
            vars(storage).setdefault("exchanged", {})[id(memory)] = memory
        try:
            self.exchange()
        except RuntimeError:  # the storage has another size by now
            self.place.copy_(self.other)


def _put_back(held: list[_Copied | _Exchanged]) -> None:
    """All that is held, the last first, though one fails or Ctrl-C comes between: the first error
    is raised in the end.
    """
    waiting, failed = list(held), None
    tried: _Copied | _Exchanged | None = None
    while waiting:
        try:
            while waiting:
                waiting[-1].back()
                waiting.pop()
        except BaseException as problem:
            failed = failed or problem
            if waiting and waiting[-1] is tried:
                waiting.pop()
            tried = waiting[-1] if waiting else None
    for one in held:
        one.pool.back(one.other)
    if failed is not None:
        raise failed


def _exchangeable(tensor: Tensor) -> bool:
    # a tensor that is all of its storage, in a layout that `BufferPool` keeps. A graph that CUDA
    # has captured holds addresses, so elsewhere weights are copied.
    return (
        _EXCHANGES
        and type(tensor) is Tensor
        and tensor.is_cpu
        and tensor.layout == torch.strided
        and tensor.untyped_storage().nbytes() == tensor.nbytes
        and (tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last))
        and not tensor.is_neg()
        and not tensor.is_conj()
    )


def _write(values: Callable[[Array], Tensor], array: Array, out: Tensor) -> None:
    into: Callable[[Array, Tensor], None] | None = getattr(values, "into", None)
    if into is not None:
        into(array, out)
        return
    new = values(array)
    if new.shape != out.shape:
        raise UserError(
            f"{array.name}: values of shape {tuple(new.shape)} came for {tuple(out.shape)}."
        )
    out.copy_(new)


def _forget_casts() -> None:
    # autocast keeps 16-bit copies of the weights until its block ends; without this, later passes
    # would see stale ones
    if torch.is_autocast_cache_enabled():
        torch.clear_autocast_cache()
