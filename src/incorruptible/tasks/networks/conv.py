"""A small convolutional network with BatchNorm, for 8x8 images."""

from __future__ import annotations

from torch import nn


def _block(fan_in: int, fan_out: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(fan_out),
        nn.ReLU(),
    ]


def small_conv(channels: int = 1, classes: int = 10, width: int = 16) -> nn.Sequential:
    """Three 3x3 convolutions with BatchNorm and ReLU, then a mean and a Linear, for 8x8 images.

    The convolutions are `width`, 2 `width` and 2 `width` wide, with strides 1, 2 and 1. The mean is
    taken over all pixels.

    >>> sum(p.numel() for p in small_conv().parameters())
    14458
    """
    return nn.Sequential(
        *_block(channels, width, 1),
        *_block(width, 2 * width, 2),
        *_block(2 * width, 2 * width, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, classes),
    )
