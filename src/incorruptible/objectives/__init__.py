"""At which points to look for the gradient: one file for each way, and a catalogue."""

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
    """The objective that `text` writes down.

    >>> parse("rwp(gaussian-filter-max)")
    RWP(corruption=Gaussian(scale='filter-max'))
    >>> str(parse("sam:metric=filter-max"))
    'sam:metric=filter-max'
    """
    return build("objective", split(text), CATALOGUE, parse_corruption)
