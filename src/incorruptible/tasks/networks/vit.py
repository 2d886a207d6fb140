"""A small vision transformer for 32x32 images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import UserError


class _Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, growth: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, growth * width), nn.GELU(), nn.Linear(growth * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        total: Tensor = x + self.mlp(self.norm2(x))
        return total


class VisionTransformer(nn.Module):
    """Patches by one convolution, learned positions, blocks, a norm, the mean over patches, and one
    Linear; see `vit`.
    """

    def __init__(
        self, channels: int, classes: int, size: int, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.position = nn.Embedding((size // patch) ** 2, width)
        self.blocks = nn.Sequential(*[_Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position.weight
        logits: Tensor = self.head(torch.mean(self.norm(self.blocks(tokens)), 1))
        return logits


def vit(
    channels: int = 3,
    classes: int = 10,
    size: int = 32,
    patch: int = 4,
    width: int = 192,
    depth: int = 6,
    heads: int = 3,
) -> VisionTransformer:
    """A small vision transformer, patches of 4x4 on 32x32 images, 2.69M parameters.

    After Dosovitskiy et al. 2021 (arXiv 2010.11929, section 3.1), with norms first. Width and heads
    are those of DeiT-Ti (arXiv 2012.12877, table 1) at half its depth, and the mean over patches
    replaces the class token. Positions are an Embedding, which stays digital unless the user asks
    for it (`also=("position.*",)`). Raises `UserError` if the patches do not fill the image or the
    heads do not divide the width.
    """
    if min(patch, depth, heads) < 1 or size < patch or size % patch or width % heads:
        raise UserError(
            f"vit: size={size} must be a multiple of patch={patch}, width={width} a multiple of "
            f"heads={heads}, and depth={depth} at least 1."
        )
    return VisionTransformer(channels, classes, size, patch, width, depth, heads)
