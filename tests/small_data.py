"""The source of a small task, as a user would write it into a file: two classes that a line through 6 dimensions tells apart."""

from __future__ import annotations

__all__ = ["SMALL_DATA"]

SMALL_DATA = """
import torch
from incorruptible import Task

source = torch.Generator().manual_seed(0)

def part(count):
    x = torch.randn(count, 6, generator=source)
    return x, (x[:, 0] + x[:, 1] > 0).long()
"""
