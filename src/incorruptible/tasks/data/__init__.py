"""Data that travel with the package or with Python, images from files and the hub, and batches of
whatever comes.
"""

from __future__ import annotations

from .batches import Batches, batches, fingerprint, named_randomness, shuffles
from .digits import digits
from .images import Augmentation, Images

__all__ = [
    "Augmentation",
    "Batches",
    "Images",
    "batches",
    "digits",
    "fingerprint",
    "named_randomness",
    "shuffles",
]
