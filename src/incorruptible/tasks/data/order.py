"""An order of examples in which every first part is a fair sample of all."""

from __future__ import annotations

import torch
from torch import Tensor

from ...randomness.streams import key


def stratified(labels: Tensor, *name: str | int) -> Tensor:
    """Returns a shuffled order [n] in which every prefix holds the classes in proportion, as nearly
    as whole examples allow.

    The order follows from the labels [n] and the name alone.
    """
    source = torch.Generator().manual_seed(key(*name))
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in torch.unique(labels):
        own = torch.nonzero(labels == label).flatten()
        own = own[torch.randperm(len(own), generator=source)]
        # n_c examples of a class are spread evenly over [0, 1), at distances of 1 / n_c from a
        # random start; the places of all classes, sorted, are the order
        place[own] = (
            torch.arange(len(own), dtype=torch.float64)
            + torch.rand(1, generator=source, dtype=torch.float64)
        ) / len(own)
    return place.argsort()
