"""Handwritten digits on two small networks: real data that travels with the package.

Keeps: the images of a part, and their order, are the same in every run; with `prior`, the start of
a network and the mean that is subtracted come from the first share of the training images alone.
"""

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

# the networks that take 8x8 images
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "conv": small_conv,
}
FEWEST = 10  # of training images: one of each class


@dataclass(frozen=True)
class Digits(NamedTask):
    """UCI optical digits, 8x8 pixels in ten classes, on a small network: `digits:network=conv`.

    `network` is "mlp" (64-128-128-10) or "conv" (with BatchNorm). `split` is "small" (500 training,
    300 validation and 997 test images) or "full" (1,000, 200 and 597). `train` takes only the first
    so many training images, which hold the classes in equal parts, as in
    `digits:split=full:train=250`; 0 takes all.

    `prior` is a share such as 0.5, for PAC-Bayes bounds. A new network is then not random: it is
    trained plainly on this first share of the training images, with biases frozen afterwards. This
    start is the mean of a data-dependent prior, and a bound counts the other images. The mean that
    is subtracted from the pixels then comes from this share alone.
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
                f"digits: train={self.train}: split={self.split} allows {FEWEST} to {most} images."
            )
        if self.prior:
            if self.network == "conv":
                raise UserError(
                    "digits: prior=... needs network=mlp, because running statistics of BatchNorm "
                    "have no prior."
                )
            if not 0 < self.prior < 1 or min(self.seen, self.size - self.seen) < FEWEST:
                raise UserError(
                    f"digits: prior={self.prior:g}: the share must leave at least {FEWEST} of "
                    f"{self.size} images on each side, as 0.5 does."
                )

    @property
    def size(self) -> int:
        """The number of training images."""
        return self.train or SPLITS[self.split][0]

    @property
    def seen(self) -> int:
        """How many of the training images, the first ones, the start of a network has seen."""
        return int(self.size * self.prior)

    def __str__(self) -> str:
        return write("digits", self)

    def task(self) -> Task:
        """Returns the model and data, ready to use."""
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
