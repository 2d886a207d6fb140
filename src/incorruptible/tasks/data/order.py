"""An order of examples of which every first part is a fair sample."""

from __future__ import annotations

import torch
from torch import Tensor

from ...randomness.streams import key

__all__ = ["stratified"]


def stratified(labels: Tensor, *name: str | int) -> Tensor:
    """A shuffled order [n] in which every prefix holds the classes in equal parts, as nearly as
    their sizes allow.

    It follows from the labels [n] and the name alone.
    """
    source = torch.Generator().manual_seed(key(*name))
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in torch.unique(labels):
        own = torch.nonzero(labels == label).flatten()
        own = own[torch.randperm(len(own), generator=source)]
        place[own] = (
            torch.arange(len(own), dtype=torch.float64)
            + torch.rand(1, generator=source, dtype=torch.float64)
        ) / len(own)
    return place.argsort()
