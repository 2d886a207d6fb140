"""Fresh weights for networks with BatchNorm after He et al. 2015."""

from __future__ import annotations

from torch import nn

__all__ = ["he_normal"]


def he_normal(model: nn.Module) -> None:
    """Draw each convolution from N(0, 2 / (kernel area x outputs per group)), the fan-out that
    keeps gradients' size.

    Linear and BatchNorm stay as torch makes them. He et al. 2015, arXiv 1502.01852, equation 14.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
