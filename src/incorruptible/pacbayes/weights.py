"""How far training moved the weights of a network, read from the networks before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError
from ..weights.arrays import Array, select, unwrapped
from .gaussian import Displacement


def displacement(
    model: nn.Module, start: nn.Module, also: Iterable[str] = (), protect: Iterable[str] = ()
) -> Displacement:
    """How `model` differs from `start`, the same network before training, filter by filter.

    `also` and `protect` are patterns as for `select`. They choose the arrays whose filters count;
    chips must be measured with errors in the same arrays. Raises `UserError` if the parameters of
    the two networks differ in name or shape.
    """
    after, before = unwrapped(model).state_dict(), unwrapped(start).state_dict()
    shapes = [
        {name: tuple(value.shape) for name, value in state.items()} for state in (after, before)
    ]
    if shapes[0] != shapes[1]:
        different = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
        raise UserError(
            f"the two are not the same network: {different[0][0]} differs; give the network that "
            "training began with."
        )
    arrays = select(model, also, protect)
    origin = {array.name: array.value for array in select(start, also, protect)}
    found: list[tuple[NDArray[np.float64], ...]] = []
    for array in arrays:
        value, first = array.value.double(), origin[array.name].double()
        filters = [
            _filters(array, torch.amax, value.abs()),
            _filters(array, torch.amax, first.abs()),
            _filters(array, torch.sum, (value - first).square()),
        ]
        found.append(tuple(filters))
    held = {array.parameter.data_ptr() for array in arrays}
    others = [
        name for name, value in after.items() if value.data_ptr() not in held and value.numel()
    ]
    moved = [float((after[name].double() - before[name].double()).abs().max()) for name in others]
    counts = [len(one[0]) for one in found]
    sizes = [array.value.numel() // count for array, count in zip(arrays, counts, strict=True)]
    peak, began, square = (np.concatenate(part) for part in zip(*found, strict=True))
    return Displacement(
        np.repeat(np.arange(len(arrays)), counts),
        np.repeat(sizes, counts),
        peak,
        began,
        square,
        max(moved, default=0.0),
    )


def _filters(array: Array, how: Callable[..., Tensor], value: Tensor) -> NDArray[np.float64]:
    """[F] `how` over each filter, once for each. `Array.reduce` repeats the values of a group so
    that they broadcast; one of each repetition is kept.
    """
    kept = array.reduce(how, value)
    if array.groups > 1:
        kept = kept.reshape(array.groups, -1, *kept.shape[1:])[:, 0]
    return np.asarray(kept.flatten().cpu().numpy())
