"""Other values in the weights' place for a while, and the clean ones back bit for bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .arrays import Array
from .errors import Mistake

__all__ = ["Spare", "replaced"]

_EXCHANGE = "_swap_data_ptr_"  # since torch 2.12
_EXCHANGES = hasattr(torch.UntypedStorage, _EXCHANGE)


class Spare:
    """Memory for what is kept aside, used again from one time to the next.

    `lend` gives a tensor of the shape, type, device and layout of `like`, but without gaps, whose content is left over from
    before; `back` takes it for the next one. Who lends twice without giving back gets two.
    """

    def __init__(self) -> None:
        self._free: defaultdict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        self._dense: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # what is lent for weights with gaps has none

    def __reduce__(self) -> tuple[type[Spare], tuple[()]]:
        return Spare, ()  # copied or pickled, it is empty: what lies here is of no use elsewhere

    def lend(self, like: Tensor) -> Tensor:
        """A tensor like `like`."""
        kind = _kind(like)
        free = self._free[self._dense.get(kind, kind)]
        if free:
            return free.pop()
        made = torch.empty_like(like)
        if made.stride() != like.stride():
            self._dense[kind] = _kind(made)
        return made

    def copy(self, of: Tensor) -> Tensor:
        """A copy of that tensor, in lent memory."""
        return self.lend(of).copy_(of) if of.layout == torch.strided else of.clone()

    def back(self, lent: Tensor) -> None:
        """Take it back."""
        if lent.layout == torch.strided:
            self._free[_kind(lent)].append(lent)


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


@contextmanager
def replaced(
    arrays: Sequence[Array], values: Callable[[Array], Tensor] | None, spare: Spare | None = None
) -> Iterator[None]:
    """Other values in place for a while; on leaving, also by an error, the weights are back bit for bit.

    `values` is asked array by array and sees clean weights; None leaves all as it is. Values are copied into the same
    storage and the clean ones copied back: subtracting drifts (bf16 by 2% in 1000 steps), and another `.data` breaks
    every alias (tied tensors, flat buffers, compiled graphs). Writing goes around autograd's version counter, so a
    graph that is kept beyond the block would see other weights: call backward inside.

    Values that have a method `into(array, out)` write themselves, into memory that they are given, without a further tensor of
    the array's size.

    `spare` keeps the memory for the next time. With it nothing is copied where torch lets two storages change their memory
    (2.12 and later, on the CPU, a tensor that fills a storage of its own): values are written into spare memory, which the
    array's storage holds for the length of the block. All that looks at that storage sees them, but for what keeps a bare
    address, as numpy and other processes do: it sees the clean weights throughout.
    """
    if values is None:
        yield
        return
    undo: _Undo = []
    try:
        with torch.no_grad():
            for array in arrays:
                if spare is None:
                    _copied(array, values, Spare(), undo)
                elif _exchangeable(array.value):
                    _exchanged(array, values, spare, undo)
                else:
                    _copied(array, values, spare, undo)
        _forget_casts()
        yield
    finally:
        with torch.no_grad():
            for back in reversed(undo):
                back()
        _forget_casts()


_Values = Callable[[Array], Tensor]
_Undo = list[Callable[[], Any]]


def _copied(array: Array, values: _Values, spare: Spare, undo: _Undo) -> None:
    """The clean weights copied aside, and the new ones written over them."""
    place = array.value
    clean = spare.copy(place)
    undo += [partial(spare.back, clean), partial(place.copy_, clean)]  # the last is undone first
    _write(values, array, place)


def _exchanged(array: Array, values: _Values, spare: Spare, undo: _Undo) -> None:
    """The new weights written into spare memory, which the array's storage then holds."""
    place = array.value
    new = spare.lend(place)
    undo.append(partial(spare.back, new))
    _write(values, array, new)
    exchange: Callable[[], None] = partial(getattr(place.untyped_storage(), _EXCHANGE), new.untyped_storage())
    exchange()
    undo.append(exchange)


def _exchangeable(tensor: Tensor) -> bool:
    # a tensor that is all of its storage, in a layout that `Spare` keeps. A graph that CUDA has captured holds addresses, so
    # elsewhere weights are copied.
    return (
        _EXCHANGES
        and type(tensor) is Tensor
        and tensor.is_cpu
        and tensor.layout == torch.strided
        and tensor.untyped_storage().nbytes() == tensor.nbytes
        and (tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last))
    )


def _write(values: _Values, array: Array, out: Tensor) -> None:
    into: Callable[[Array, Tensor], None] | None = getattr(values, "into", None)
    if into is not None:
        into(array, out)
        return
    new = values(array)
    if new.shape != out.shape:
        raise Mistake(f"{array.name}: values of shape {tuple(new.shape)} came for {tuple(out.shape)}.")
    out.copy_(new)


def _forget_casts() -> None:
    # autocast keeps 16-bit copies of the weights until its block ends; without this, later passes would see stale ones
    if torch.is_autocast_cache_enabled():
        torch.clear_autocast_cache()
