"""CIFAR-10 in the hub's layout, where it is there: in $CIFAR10, or beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["CIFAR", "needs_cifar"]

CIFAR = Path(os.environ.get("CIFAR10") or Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10")
needs_cifar = pytest.mark.skipif(
    not (CIFAR / "train.parquet").is_file(), reason=f"no train.parquet in {CIFAR}: set CIFAR10 to its folder"
)
