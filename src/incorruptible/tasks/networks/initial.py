"""Fresh weights for networks with BatchNorm, after He et al. 2015."""

from __future__ import annotations

from torch import nn


def he_normal(model: nn.Module) -> None:
    """Draws each convolution from N(0, 2 / fan-out), where the fan-out is kernel area x outputs per
    group. This fan-out keeps the size of gradients from layer to layer.

    Linear and BatchNorm stay as torch makes them. Source: He et al. 2015, arXiv 1502.01852,
    equation 14.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
