"""Objectives: where in weight space a training step computes its gradient. One file for each.

Plain training computes the gradient at the clean weights w. An objective visits other points as
well: `RWP` visits the weights as a corruption leaves them, `SAM` the worst point of a ball around
w, `RandBET` both w and corrupted weights. The gradient that is found there is applied to w. An
objective is a generator of points (`objectives.base`) and never writes to weights itself; the
`Hardener` puts the weights of each point in place and takes them out again.

>>> from incorruptible.randomness.streams import Draw
>>> [point.clean for point in MixedRWP("gaussian-filter-max")([], 0.1, Draw(0, "train", 0))]
[False, True]
"""

from __future__ import annotations

from collections.abc import Callable

from ..corruptions import parse as parse_corruption
from ..specs.grammar import build, split
from .asam import ASAM
from .base import Objective
from .local_rwp import LocalRWP
from .mixed_rwp import MixedRWP
from .plain import Plain
from .randbet import RandBET
from .rwp import RWP
from .rwp_sam import RWPSAM
from .sam import SAM

__all__ = [
    "ASAM",
    "CATALOGUE",
    "RWP",
    "RWPSAM",
    "SAM",
    "LocalRWP",
    "MixedRWP",
    "Objective",
    "Plain",
    "RandBET",
    "parse",
]

CATALOGUE: dict[str, Callable[..., Objective]] = {
    "plain": Plain,
    "rwp": RWP,
    "local-rwp": LocalRWP,
    "mixed-rwp": MixedRWP,
    "sam": SAM,
    "asam": ASAM,
    "rwp-sam": RWPSAM,
    "randbet": RandBET,
}


def parse(text: str) -> Objective:
    """The objective that `text` writes down. Raises `UserError` for a text that names none.

    >>> parse("rwp(gaussian-filter-max)")
    RWP(corruption=Gaussian(scale='filter-max'))
    >>> str(parse("sam:metric=filter-max"))
    'sam:metric=filter-max'
    """
    return build("objective", split(text), CATALOGUE, parse_corruption)
