"""The loss around a network's weights: what perturbation does to the gradient, how sharp it is, and
how it looks in slices.
"""

from __future__ import annotations

from .gradient import Health, health, tolerated
from .sharpness import Sharpness, sharpness
from .slices import Slice, Surface, along, line, surface

__all__ = [
    "Health",
    "Sharpness",
    "Slice",
    "Surface",
    "along",
    "health",
    "line",
    "sharpness",
    "surface",
    "tolerated",
]
