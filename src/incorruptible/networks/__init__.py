"""Small networks of the field, by name; a call makes one with fresh weights from torch's global generator."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .conv import small_conv
from .mlp import mlp
from .transformer import deep_transformer, transformer

__all__ = ["CATALOGUE", "IMAGES", "SEQUENCES", "deep_transformer", "mlp", "small_conv", "transformer"]

IMAGES: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "conv": small_conv}
# these are asked for a length, and have one of their own without
SEQUENCES: dict[str, Callable[..., nn.Module]] = {
    "transformer": transformer,
    "deep-transformer": deep_transformer,
}
CATALOGUE: dict[str, Callable[[], nn.Module]] = {**IMAGES, **SEQUENCES}
