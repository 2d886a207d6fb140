"""The networks that are trained and measured, with random data of the right shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from incorruptible.tasks.networks import mlp, resnet18, resnet20, vit

__all__ = ["NETWORKS", "Network"]


@dataclass(frozen=True)
class Network:
    """A network, and images of its size with random labels. The weights are new, and the same in every call."""

    what: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    batch: int

    def __call__(self) -> nn.Module:
        torch.manual_seed(0)
        return self.make()

    def batches(self, count: int, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """`count` batches of `size` images and labels, the same in every call. The default size is that of training."""
        source, size = torch.Generator().manual_seed(1), size or self.batch
        return [
            (torch.randn(size, *self.shape, generator=source), torch.randint(10, (size,), generator=source))
            for _ in range(count)
        ]


NETWORKS = {
    "mlp": Network("MLP 784-512-512-10", lambda: mlp(784, 512, 512, 10), (1, 28, 28), 64),
    "digits": Network("MLP 64-128-128-10", lambda: mlp(64, 128, 128, 10), (1, 8, 8), 64),
    "resnet20": Network("ResNet-20", resnet20, (3, 32, 32), 128),
    "resnet18": Network("ResNet-18", resnet18, (3, 32, 32), 32),
    "vit": Network("vision transformer, width 96, 3 blocks", lambda: vit(width=96, depth=3), (3, 32, 32), 64),
}
