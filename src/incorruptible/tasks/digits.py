"""Handwritten digits on two small networks: real data that travels with the package."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..data import digits
from ..data.digits import SPLITS
from ..errors import unknown
from ..networks import CATALOGUE as NETWORKS
from .protocol import Task

__all__ = ["Digits"]


@dataclass(frozen=True)
class Digits:
    """UCI optical digits, 8x8 pixels, ten classes: `digits`, `digits:network=conv`, `digits:split=full`.

    `network` is "mlp" (64-128-128-10) or "conv" (with BatchNorm); `split` "small" (500 training, 300 validation, 997
    test images) or "full" (1,000, 200 and 597).
    """

    network: str = "mlp"
    split: str = "small"

    def __post_init__(self) -> None:
        for what, name, choices in (("network", self.network, NETWORKS), ("split", self.split, SPLITS)):
            if name not in choices:
                raise unknown(what, name, choices)

    def __str__(self) -> str:
        fields = [("network", self.network, "mlp"), ("split", self.split, "small")]
        return ":".join(["digits", *(f"{name}={value}" for name, value, usual in fields if value != usual)])

    def task(self) -> Task:
        """Model and data, ready to use."""
        parts = digits(self.split)
        return Task(
            NETWORKS[self.network],
            test=parts["test"],
            train=parts["train"],
            validation=parts["validation"],
            reference=math.log(10),
            name=str(self),
        )
