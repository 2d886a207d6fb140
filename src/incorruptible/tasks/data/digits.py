"""The UCI optical digits: 1,797 grey images of 8x8 pixels, ten classes (CC BY 4.0, see NOTICE)."""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from ...errors import unknown
from .order import stratified

# numbers of training, validation and test images; both splits cut the same shuffled order
SPLITS: dict[str, tuple[int, int, int]] = {"small": (500, 300, 997), "full": (1000, 200, 597)}


@lru_cache(maxsize=1)
def _all() -> tuple[Tensor, Tensor]:
    """All images [1797, 1, 8, 8] with pixels in [0, 1], and labels [1797], in the order of the
    file.
    """
    packed = (files(__package__) / "digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.int64)
    images = torch.from_numpy(table[:, :64]).float().div(16).reshape(-1, 1, 8, 8)
    return images, torch.from_numpy(table[:, 64].copy())


def digits(split: str = "small") -> dict[str, tuple[Tensor, Tensor]]:
    """Returns images [n, 1, 8, 8] and labels [n], under "train", "validation" and "test".

    The split is fixed and stratified: "small" has 500, 300 and 997 images, "full" has 1,000, 200
    and 597. Pixels are in [0, 1], less the mean over all pixels of the training images. Raises
    `UserError` for another split.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    images, labels = _all()
    parts = torch.split(stratified(labels, "digits", "split"), list(SPLITS[split]))
    mean = images[parts[0]].mean()
    return {
        name: (images[i] - mean, labels[i])
        for name, i in zip(("train", "validation", "test"), parts, strict=True)
    }
