"""Data that travel with the package or with Python, and batches of whatever comes as tensors."""

from __future__ import annotations

from .batches import Batches, batches, fingerprint, named_randomness, shuffles
from .digits import digits

__all__ = ["Batches", "batches", "digits", "fingerprint", "named_randomness", "shuffles"]
