"""A network of two layers that is right on all of its data: what changes its answers is what is done to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Data", "small_data_of", "small_network"]

Data = tuple[Tensor, Tensor]


def small_network() -> nn.Module:
    """The same weights at every call; torch's own random numbers are left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def small_data_of(model: nn.Module) -> Data:
    """60 examples, and what the network answers to them."""
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    return inputs, model(inputs).argmax(1)
