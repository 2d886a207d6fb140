"""The loss around a network's weights: the gradient under perturbation, the curvature, and slices.

`health` compares the gradient at perturbed weights with the clean one, `tolerated` finds the
largest strength that keeps the loss within a budget, `sharpness` gives the top eigenvalue and the
trace of the Hessian, and `along`, `line` and `surface` show the loss along paths and on a plane.
All of them leave the model as it was.

>>> import torch
>>> from torch import nn
>>> model = nn.Linear(2, 1, bias=False)
>>> _ = model.weight.data.fill_(1.0)
>>> bowl = lambda model, batch: (model.weight**2).sum().view(1) / 2  # Hessian: the identity
>>> round(sharpness(model, None, bowl, None).trace, 3)
2.0
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
