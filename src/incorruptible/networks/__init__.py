"""Small networks of the field, by name; a call makes one with fresh weights from torch's global generator."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .conv import small_conv
from .mlp import mlp

__all__ = ["CATALOGUE", "mlp", "small_conv"]

CATALOGUE: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "conv": small_conv}
