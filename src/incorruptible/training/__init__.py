"""Hardening a network: the two lines for one's own loop, and a plain loop from a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..renamed import missing
from .distributed import ALONE, RankGroup, joined, launched, promised
from .hardener import NOISES, Hardener
from .trainer import Trainer
from .weights import clip_weights, load_weights, save_weights

__all__ = [
    "ALONE",
    "NOISES",
    "Hardener",
    "RankGroup",
    "Trainer",
    "clip_weights",
    "joined",
    "launched",
    "load_weights",
    "promised",
    "save_weights",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
