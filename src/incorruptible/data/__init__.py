"""Data that travels with the package, and batches of whatever comes as tensors."""

from __future__ import annotations

from .batches import Batches, fingerprint
from .digits import digits

__all__ = ["Batches", "digits", "fingerprint"]
