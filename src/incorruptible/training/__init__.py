"""Hardening a network: the two lines for one's own loop, and a plain loop from a recipe."""

from __future__ import annotations

from .distributed import ALONE, Group, joined, launched, promised
from .hardener import NOISES, Hardener
from .trainer import Fit
from .weights import clip_weights, load_weights, save_weights

__all__ = [
    "ALONE",
    "NOISES",
    "Fit",
    "Group",
    "Hardener",
    "clip_weights",
    "joined",
    "launched",
    "load_weights",
    "promised",
    "save_weights",
]
