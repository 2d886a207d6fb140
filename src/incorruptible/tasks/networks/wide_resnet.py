"""Wide residual networks for 32x32 images: BatchNorm and ReLU come before each convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import UserError
from .initial import he_normal


class PreActivation(nn.Module):
    """A residual block with BatchNorm and ReLU before each convolution.

    With y = relu(bn(x)), the block gives x + conv3x3(relu(bn(conv3x3(y)))). Where shapes change, a
    1x1 convolution of y replaces x.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(fan_in)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        same = fan_in == fan_out and stride == 1
        self.shortcut = None if same else nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(y)
        total: Tensor = kept + self.conv2(torch.relu(self.bn2(self.conv1(y))))
        return total


def wide_resnet(depth: int, widen: int, channels: int = 3, classes: int = 10) -> nn.Sequential:
    """WRN-`depth`-`widen`: three stages of (depth - 4) / 6 blocks, without dropout.

    The stages are 16, 32 and 64 times `widen` wide: Zagoruyko and Komodakis 2016, arXiv 1605.07146,
    table 1. Raises `UserError` for another depth and for `widen` below 1.
    """
    if depth < 10 or depth % 6 != 4 or widen < 1:
        raise UserError(
            f"WRN-{depth}-{widen}: the depth must be 6 n + 4, such as 16 or 28, and the widening "
            "at least 1."
        )
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, padding=1, bias=False)]
    fan_in = 16
    for number in range(3):
        width, blocks = 16 * widen * 2**number, list[nn.Module]()
        for i in range((depth - 4) // 6):
            blocks.append(PreActivation(fan_in, width, 2 if number and i == 0 else 1))
            fan_in = width
        layers.append(nn.Sequential(*blocks))
    head = [
        nn.BatchNorm2d(fan_in),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(fan_in, classes),
    ]
    model = nn.Sequential(*layers, *head)
    he_normal(model)
    return model


def wrn_16_4(channels: int = 3, classes: int = 10) -> nn.Sequential:
    """WRN-16-4 for 32x32 images, 2.75M parameters; Zagoruyko and Komodakis 2016."""
    return wide_resnet(16, 4, channels, classes)


def wrn_28_10(channels: int = 3, classes: int = 10) -> nn.Sequential:
    """WRN-28-10 for 32x32 images, 36.5M parameters; Zagoruyko and Komodakis 2016, table 4."""
    return wide_resnet(28, 10, channels, classes)
