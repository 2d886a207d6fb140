"""Puts other values into arrays for the length of a block, and brings the clean weights back bit
for bit.

There are two ways. The plain way copies the clean weights aside, writes the values over them, and
copies the clean weights back. The fast way, for weights in the CPU's memory, writes the values into
other memory and exchanges the memory of the two storages, so that nothing is copied back.

Relies on: `Array.value` shares its memory with the parameter; for the fast way, on two private
functions of torch (2.12 and later), without which the plain way is taken. Keeps: after the block,
also after an error or Ctrl-C, every weight has its clean bits, and all that shared memory with a
weight before still does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, renamed_arguments
from .arrays import Array

_EXCHANGE = "_swap_data_ptr_"  # exchanges the memory of two storages; since torch 2.12
_EXCHANGES = hasattr(torch.UntypedStorage, _EXCHANGE) and hasattr(torch._C, "_storage_Use_Count")


def _alone() -> int:
    """How many uses torch counts of a storage at which nothing looks but a parameter and the tensor
    that `Array.value` makes of it.
    """
    value = torch.nn.Parameter(torch.empty(1, device="cpu"))
    place = value.data
    return torch._C._storage_Use_Count(place.untyped_storage()._cdata) if _EXCHANGES else 0


_ALONE = _alone()


class BufferPool:
    """Memory for tensors that are kept aside for a while, used again the next time.

    `lend` returns a tensor with the shape, type, device and layout of `like`, but without gaps in
    memory; its content is left over from earlier use. `back` takes the tensor for later loans. Two
    loans without a return between them are two different tensors.
    """

    def __init__(self) -> None:
        self._free: defaultdict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        self._dense: dict[
            tuple[Any, ...], tuple[Any, ...]
        ] = {}  # the kind of `like`, where it has gaps, to the kind of tensor that is lent for it

    def __reduce__(self) -> tuple[type[BufferPool], tuple[()]]:
        # A copied or unpickled pool is empty: the memory is of no use elsewhere.
        return (
            BufferPool,
            (),
        )

    def lend(self, like: Tensor) -> Tensor:
        """Returns a tensor like `like`, with any content."""
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
        """Returns a copy of the tensor `of`, in lent memory where its layout is dense."""
        return self.lend(of).copy_(of) if of.layout == torch.strided else of.clone()

    def back(self, lent: Tensor) -> None:
        """Takes a lent tensor back, so that `lend` can give it out again."""
        if lent.layout == torch.strided and lent.untyped_storage().nbytes() >= lent.nbytes:
            self._free[_kind(lent)].append(lent)


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    """What two tensors must have in common so that one can be lent for the other."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


@renamed_arguments(spare="pool")
@contextmanager
def replaced(
    arrays: Sequence[Array],
    values: Callable[[Array], Tensor] | None,
    pool: BufferPool | None = None,
) -> Iterator[None]:
    """Puts other values into `arrays` for the length of a block. On leaving, also by an error, the
    weights are back bit for bit.

    `values(array)` returns the values of one array, of the array's shape. It is called array by
    array, and sees clean weights in the array it is called for. If `values` has a method
    `into(array, out)`, this method is called instead and writes the values into the memory `out`,
    without a further tensor of the array's size. With `values=None` all weights stay. Raises
    `UserError` for values of another shape.

    Values are copied into the same storage, and the clean weights are copied back. Two simpler ways
    fail: subtracting the noise again drifts (bf16 weights by 2% in 1000 steps), and assigning
    another `.data` breaks every alias (shared tensors, flat buffers, compiled graphs). Writing this
    way goes around autograd's version counter, so a graph that is kept beyond the block would see
    other weights: call `backward` inside the block.

    `pool` keeps the memory for the next time. With a pool, nothing is copied where torch can
    exchange the memory of two storages (torch 2.12 and later, on the CPU, a tensor that fills its
    own storage): values are written into memory of the pool, which the array's storage holds for
    the length of the block. Every tensor on this storage sees the values. Only what keeps a bare
    address, such as a numpy array or another process, does not follow: an address that was taken
    before the block sees the clean weights throughout, and one that was taken inside sees the
    memory of the pool, which then lives as long as the weights do.
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
    """Clean weights that were copied aside, while other values are written over them."""

    def __init__(self, place: Tensor, pool: BufferPool) -> None:
        self.place, self.pool = place, pool
        self.other = pool.copy(place)

    def back(self) -> None:
        """Brings the clean weights back. May be called more than once."""
        self.place.copy_(self.other)


class _Exchanged:
    """Clean weights whose memory is in `other` from `exchange` to `back`, while the weights'
    storage holds the memory of the pool.
    """

    def __init__(self, place: Tensor, pool: BufferPool) -> None:
        self.place, self.pool = place, pool
        self.other = pool.lend(place)
        self._clean = place.data_ptr()

    def exchange(self) -> None:
        """Exchanges the memory of `other` and of the weights."""
        getattr(self.place.untyped_storage(), _EXCHANGE)(self.other.untyped_storage())

    def back(self) -> None:
        """Brings the clean weights back. Does nothing if they are back already or were never
        exchanged.
        """
        if self.other.data_ptr() != self._clean:
            return
        storage = self.place.untyped_storage()
        if torch._C._storage_Use_Count(storage._cdata) > _ALONE:
            # Something else uses this storage and may have taken a bare address of the memory that
            # is in it now. This memory therefore has to live as long as the weights: their storage
            # keeps a reference.
            memory = self.other.untyped_storage()
            vars(storage).setdefault("exchanged", {})[id(memory)] = memory
        try:
            self.exchange()
        except RuntimeError:  # the storage was resized inside the block
            self.place.copy_(self.other)


def _put_back(held: list[_Copied | _Exchanged]) -> None:
    """Brings all weights back, the last first, even if one of them fails or Ctrl-C interrupts. The
    first error is raised at the end.
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
            # The weight that failed is tried once more, because Ctrl-C may have come in the middle.
            # If it fails again it is given up, so that the others still come back.
            if waiting and waiting[-1] is tried:
                waiting.pop()
                tried = None  # the next weight has not failed yet
            else:
                tried = waiting[-1] if waiting else None
    for one in held:
        one.pool.back(one.other)
    if failed is not None:
        raise failed


def _exchangeable(tensor: Tensor) -> bool:
    # A tensor that fills its whole storage, in a layout that `BufferPool` keeps. On a GPU weights
    # are copied, because a graph that CUDA has captured holds addresses.
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
    """Writes the values of `array` into `out`. Raises `UserError` for values of another shape."""
    into: Callable[[Array, Tensor], None] | None = getattr(values, "into", None)
    if into is not None:
        into(array, out)
        return
    new = values(array)
    if new.shape != out.shape:
        raise UserError(
            f"{array.name} has shape {tuple(out.shape)}, but values of shape {tuple(new.shape)} "
            "were given."
        )
    out.copy_(new)


def _forget_casts() -> None:
    # Autocast keeps 16-bit copies of the weights until its own block ends. Without this, later
    # passes would see the copies of other values.
    if torch.is_autocast_cache_enabled():
        torch.clear_autocast_cache()
