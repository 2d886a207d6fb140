"""Handwritten digits on two small networks: real data that travels with the package."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import UserError, unknown
from ..specs.grammar import write
from .data import digits
from .data.digits import SPLITS
from .networks import mlp, small_conv
from .prior import prepared
from .protocol import NamedTask, Task

__all__ = ["Digits"]

# Those for 8x8 images.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "conv": small_conv,
}
FEWEST = 10  # images: one of each class


@dataclass(frozen=True)
class Digits(NamedTask):
    """UCI optical digits, 8x8 pixels, ten classes: `digits`, `digits:network=conv`,
    `digits:split=full:train=250`.

    `network` is "mlp" (64-128-128-10) or "conv" (with BatchNorm); `split` "small" (500 training,
    300 validation, 997 test images) or "full" (1,000, 200 and 597). `train` takes only so many of
    the training images, the first ones, with the classes in equal parts (0: all). With `prior`, a
    share such as 0.5, networks start where plain training on that first share of the training
    images led, with biases frozen: a prior for PAC-Bayes bounds, which count the other images;
    pixels are then less the mean over that share alone.
    """

    network: str = "mlp"
    split: str = "small"
    train: int = 0
    prior: float = 0.0

    def __post_init__(self) -> None:
        for what, name, choices in (
            ("network", self.network, NETWORKS),
            ("split", self.split, SPLITS),
        ):
            if name not in choices:
                raise unknown(what, name, choices)
        most = SPLITS[self.split][0]
        if self.train and not FEWEST <= self.train <= most:
            raise UserError(
                f"digits: train={self.train}: {FEWEST} to {most} images are there in "
                f"split={self.split}."
            )
        if self.prior:
            if self.network == "conv":
                raise UserError(
                    "digits: prior=... needs network=mlp: running statistics of BatchNorm have no "
                    "prior."
                )
            if not 0 < self.prior < 1 or min(self.seen, self.size - self.seen) < FEWEST:
                raise UserError(
                    f"digits: prior={self.prior:g}: a share is needed that leaves {FEWEST} of "
                    f"{self.size} images on each side, as 0.5 does."
                )

    @property
    def size(self) -> int:
        """How many training images."""
        return self.train or SPLITS[self.split][0]

    @property
    def seen(self) -> int:
        """How many of them, the first ones, the start has seen."""
        return int(self.size * self.prior)

    def __str__(self) -> str:
        return write("digits", self)

    def task(self) -> Task:
        """Model and data, ready to use."""
        parts = digits(self.split)
        images, labels = (part[: self.size] for part in parts["train"])
        model, shift = NETWORKS[self.network], torch.zeros(())
        if self.prior:
            shift = images[: self.seen].mean()
            images = images - shift
            model = prepared(model, images[: self.seen], labels[: self.seen])
        test, validation = (
            (parts[name][0] - shift, parts[name][1]) for name in ("test", "validation")
        )
        return Task(
            model,
            test=test,
            train=(images, labels),
            validation=validation,
            reference=math.log(10),
            name=str(self),
            seen=self.seen,
            blank=NETWORKS[self.network],
        )
