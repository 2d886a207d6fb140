"""A start that has seen only the first share of the training data, so that a PAC-Bayes bound may
count the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..weights.arrays import select
from .data import Batches
from .scores import cross_entropy

STEPS, BATCH, LR, MOMENTUM = 160, 64, 0.05, 0.9


def prepared(
    make: Callable[[], nn.Module], images: Tensor, labels: Tensor, steps: int = STEPS
) -> Callable[[], nn.Module]:
    """Returns a function that makes a network by `make` and trains it plainly on these images. Its
    weights are w0, the mean of a data-dependent prior.

    Training is SGD with batches of 64, momentum 0.9, a learning rate that falls from 0.05 to 0
    along a cosine, no weight decay, and `steps` steps. Fresh weights and the order of the images
    come from torch's global generator alone, so the same state of the generator gives the same
    bits. Parameters without noise (biases) no longer require a gradient afterwards: a prior without
    width could not follow them.
    """

    def model() -> nn.Module:
        network = make()
        order = int(torch.randint(2**62, ()))
        optimizer = torch.optim.SGD(network.parameters(), LR, MOMENTUM)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        source = _endless(images, labels, order)
        with torch.enable_grad():
            for _ in range(steps):
                optimizer.zero_grad()
                torch.autograd.backward(cross_entropy(network, next(source)).mean())
                optimizer.step()
                decay.step()
        optimizer.zero_grad()
        held = {array.parameter.data_ptr() for array in select(network)}
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.data_ptr() in held)
        return network

    return model


def _endless(images: Tensor, labels: Tensor, order: int) -> Iterator[list[Tensor]]:
    epoch = 0
    while True:
        yield from Batches((images, labels), BATCH, (order, "prior", epoch))
        epoch += 1
