"""Data of the tasks: digits that travel with the package, sources that travel with Python, images
from files and the Hugging Face hub, and batches of any data.

`batches` cuts any data into batches, `fingerprint` identifies data by what they hold, and
`named_randomness` makes code reproducible that draws from global generators.

>>> images, labels = digits()["train"]
>>> images.shape, labels.shape
(torch.Size([500, 1, 8, 8]), torch.Size([500]))
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
