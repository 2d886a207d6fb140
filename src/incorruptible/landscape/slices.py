"""How the loss looks along a line and on a plane through the weights.

Keeps: weights, running statistics and torch's generators are as before; the directions follow from
the seed and the arrays' names alone, so that two networks with the same names and shapes are cut
along the same random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..objectives.base import Objective
from ..randomness.streams import Draw
from ..weights.arrays import Array
from ..weights.swap import replaced
from .probing import Loss, perturbed, untouched


class Slice(NamedTuple):
    """Mean loss on a batch at `places` [n] along each of several paths: `losses` [n, paths]."""

    places: NDArray[np.float64]
    losses: NDArray[np.float64]


class Surface(NamedTuple):
    """Mean loss on a batch over a plane, `losses` [n, n], at `places` [n] along each direction.
    Rows go along the first direction, columns along the second.
    """

    places: NDArray[np.float64]
    losses: NDArray[np.float64]


def along(
    model: nn.Module,
    arrays: Sequence[Array],
    objective: Objective,
    strengths: Sequence[float],
    loss: Loss,
    batch: Any,
    *,
    draws: int,
    seed: int,
) -> Slice:
    """The loss at the points that an objective itself evaluates, at each of `strengths`, with one
    path for each draw.

    For `rwp(...)` a path is one chip, from weak to strong. For SAM it is the steepest ascent on
    `batch`, the same for all draws. Afterwards weights, running statistics and generators are as
    before.
    """
    with untouched(model):
        found = [
            [
                perturbed(model, arrays, objective, s, loss, batch, Draw(seed, "slice", k))
                for k in range(draws)
            ]
            for s in strengths
        ]
    return Slice(np.asarray(strengths, dtype=np.float64), np.asarray(found))


def line(
    model: nn.Module,
    arrays: Sequence[Array],
    loss: Loss,
    batch: Any,
    *,
    reach: float = 1.0,
    points: int = 41,
    draws: int = 1,
    seed: int = 0,
) -> Slice:
    """The loss at w + t d for t in [-reach, reach], where d is a random direction in which each
    filter has the length of the weights' own filter.

    At |t| = 1 every filter has moved by its own norm (filter normalisation: Li et al., arXiv
    1712.09913, section 4), so that networks whose weights have different scales can be compared.
    Only arrays move. There is one direction for each draw.
    """
    places = np.linspace(-reach, reach, points)
    losses = np.empty((points, draws))
    with untouched(model), torch.no_grad():
        for k in range(draws):
            ahead = _direction(arrays, Draw(seed, "line", k))
            for place, t in enumerate(places):
                losses[place, k] = _at(model, arrays, loss, batch, (float(t), ahead))
    return Slice(places, losses)


def surface(
    model: nn.Module,
    arrays: Sequence[Array],
    loss: Loss,
    batch: Any,
    *,
    reach: float = 1.0,
    points: int = 21,
    seed: int = 0,
) -> Surface:
    """The loss at w + a d + b e for a, b in [-reach, reach], with random directions d and e as in
    `line`. Random directions in so many dimensions are almost orthogonal.
    """
    places = np.linspace(-reach, reach, points)
    down, across = (_direction(arrays, Draw(seed, "surface", k)) for k in range(2))
    with untouched(model), torch.no_grad():
        losses = [
            [_at(model, arrays, loss, batch, (float(a), down), (float(b), across)) for b in places]
            for a in places
        ]
    return Surface(places, np.asarray(losses))


Direction = dict[str, Tensor]


def _direction(arrays: Sequence[Array], draw: Draw) -> Direction:
    """A random direction in which each filter is as long as the weights' own filter."""
    found = {}
    for array in arrays:
        z = draw.of(array.name).normal(array.value)
        length = array.reduce(torch.linalg.vector_norm, z).clamp_min(
            torch.finfo(torch.float32).tiny
        )
        found[array.name] = (z * (array.norm() / length)).to(array.value.dtype)
    return found


def _at(
    model: nn.Module,
    arrays: Sequence[Array],
    loss: Loss,
    batch: Any,
    *steps: tuple[float, Direction],
) -> float:
    """The mean loss at the weights plus the given multiples of directions."""

    def moved(array: Array) -> Tensor:
        return array.value + sum(t * direction[array.name] for t, direction in steps)

    with replaced(arrays, moved):
        return float(loss(model, batch).mean())
