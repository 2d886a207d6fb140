"""Residual networks for 32x32 images: CIFAR's own ResNets, and ResNet-18 and 50 with a small stem.

All of them come from He et al. 2016 (arXiv 1512.03385). They differ in the block (`Basic` or
`Bottleneck`), the depth, the width, and the shortcut where shapes change: option A has no
parameters, option B is a 1x1 convolution. Keeps: the order and the names of modules are part of
saved weights and of the names of arrays, so a change there changes the noise of every chip.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UserError
from .initial import he_normal


class _Padded(nn.Module):
    """Option A of He et al. 2016: takes every stride-th pixel, and zeros for the new channels. It
    has no parameters.
    """

    def __init__(self, new: int, stride: int) -> None:
        super().__init__()
        self.new, self.stride = new, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))


def _projected(fan_in: int, fan_out: int, stride: int) -> nn.Module:
    """Option B of He et al. 2016: a 1x1 convolution and BatchNorm."""
    return nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))


def _shortcut(fan_in: int, fan_out: int, stride: int, padded: bool) -> nn.Module:
    """The input, brought to the block's shape by option A (`padded`) or option B."""
    if fan_in == fan_out and stride == 1:
        return nn.Identity()
    return _Padded(fan_out - fan_in, stride) if padded else _projected(fan_in, fan_out, stride)


class Basic(nn.Module):
    """relu(shortcut(x) + bn(conv3x3(relu(bn(conv3x3(x))))))."""

    growth = 1

    def __init__(self, fan_in: int, width: int, stride: int, padded: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(fan_in, width, stride, padded)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """As `Basic`, with 1x1, 3x3 and 1x1 convolutions, of which the last is four times as wide. The
    stride is in the 3x3 convolution.
    """

    growth = 4

    def __init__(self, fan_in: int, width: int, stride: int, padded: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, self.growth * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.growth * width)
        self.shortcut = _shortcut(fan_in, self.growth * width, stride, padded)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def _resnet(
    block: type[Basic | Bottleneck],
    depths: Sequence[int],
    width: int,
    channels: int,
    classes: int,
    padded: bool,
) -> nn.Sequential:
    """A 3x3 stem, one stage for each of `depths`, the mean over pixels, and one Linear. The first
    stage has full size; each later one has half the height and width, and twice the channels.
    """
    stages: list[nn.Module] = []
    fan_in = width
    for number, depth in enumerate(depths):
        blocks: list[nn.Module] = []
        for i in range(depth):
            blocks.append(block(fan_in, width * 2**number, 2 if number and i == 0 else 1, padded))
            fan_in = width * 2**number * block.growth
        stages.append(nn.Sequential(*blocks))
    model = nn.Sequential(
        nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        ),
        *stages,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(fan_in, classes),
    )
    he_normal(model)
    return model


def cifar_resnet(
    depth: int, channels: int = 3, classes: int = 10, width: int = 16
) -> nn.Sequential:
    """CIFAR's ResNet of `depth` = 6 n + 2 layers: three stages of n `Basic` blocks.

    The stages are `width`, 2 `width` and 4 `width` wide. Shortcuts are option A, without
    parameters, as in He et al. 2016, arXiv 1512.03385, section 4.2. Raises `UserError` for another
    depth.
    """
    if depth < 8 or depth % 6 != 2:
        raise UserError(f"depth={depth}: CIFAR's ResNets have 6 n + 2 layers, such as 8, 20 or 56.")
    return _resnet(Basic, [(depth - 2) // 6] * 3, width, channels, classes, padded=True)


def resnet8(channels: int = 3, classes: int = 10) -> nn.Sequential:
    """CIFAR's ResNet-8, 0.08M parameters; He et al. 2016.

    >>> sum(p.numel() for p in resnet8().parameters())
    75290
    """
    return cifar_resnet(8, channels, classes)


def resnet20(channels: int = 3, classes: int = 10) -> nn.Sequential:
    """CIFAR's ResNet-20, 0.27M parameters; He et al. 2016, table 6."""
    return cifar_resnet(20, channels, classes)


def resnet56(channels: int = 3, classes: int = 10) -> nn.Sequential:
    """CIFAR's ResNet-56, 0.85M parameters; He et al. 2016, table 6."""
    return cifar_resnet(56, channels, classes)


def resnet18(channels: int = 3, classes: int = 10, width: int = 64) -> nn.Sequential:
    """ResNet-18 with a 3x3 stem and no max pooling, for 32x32 images, 11.17M parameters.

    Shortcuts are option B of He et al. 2016: a 1x1 convolution with BatchNorm where shapes change.
    """
    return _resnet(Basic, (2, 2, 2, 2), width, channels, classes, padded=False)


def resnet50(channels: int = 3, classes: int = 10, width: int = 64) -> nn.Sequential:
    """ResNet-50 with a 3x3 stem and no max pooling, for 32x32 images, 23.52M parameters.

    Shortcuts are option B of He et al. 2016. The stride is in the 3x3 convolution, as in
    torchvision ("v1.5"); the paper has it in the 1x1 convolution.
    """
    return _resnet(Bottleneck, (3, 4, 6, 3), width, channels, classes, padded=False)
