"""Other values in the weights' place for a while, and the clean ones back bit for bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .arrays import Array
from .errors import Mistake

__all__ = ["Spare", "replaced"]


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

    Values that have a method `into(array, out)` write themselves, into the array's own storage, without a tensor of its size
    in between. `spare` keeps the memory of the clean weights for the next time.
    """
    if values is None:
        yield
        return
    into: Callable[[Array, Tensor], None] | None = getattr(values, "into", None)
    memory = Spare() if spare is None else spare
    clean: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for array in arrays:
                place = array.value
                if into is None:
                    new = values(array)
                    if new.shape != place.shape:
                        raise Mistake(
                            f"{array.name}: values of shape {tuple(new.shape)} came for {tuple(place.shape)}."
                        )
                    clean.append((place, memory.copy(place)))
                    place.copy_(new)
                else:
                    clean.append((place, memory.copy(place)))
                    into(array, place)
        _forget_casts()
        yield
    finally:
        with torch.no_grad():
            for place, before in reversed(clean):
                place.copy_(before)
                memory.back(before)
        _forget_casts()


def _forget_casts() -> None:
    # autocast keeps 16-bit copies of the weights until its block ends; without this, later passes would see stale ones
    if torch.is_autocast_cache_enabled():
        torch.clear_autocast_cache()
