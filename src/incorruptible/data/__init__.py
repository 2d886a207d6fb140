"""Data that travels with the package, and batches of whatever comes as tensors."""

from __future__ import annotations

from .batches import Batches, batches, fingerprint, named_randomness, shuffles
from .digits import digits

__all__ = ["Batches", "batches", "digits", "fingerprint", "named_randomness", "shuffles"]
