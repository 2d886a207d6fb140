"""A multilayer perceptron with ReLU."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, on flattened inputs: 64-128-128-10 unless given.

    >>> sum(p.numel() for p in mlp().parameters())
    26122
    """
    widths = widths or (64, 128, 128, 10)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
