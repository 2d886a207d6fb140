"""Resistive memory: error of programming, and what relaxation makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...durations import Seconds, seconds
from ...errors import Mistake, unknown
from ...grammar import write
from .conductance import Programming

__all__ = ["WAN", "MiloProgramming", "WanProgramming", "wan"]

# by fit and seconds after programming: sigma in uS as a polynomial of g / G_0, lowest power first
WAN: dict[str, tuple[float, dict[float, tuple[float, ...]]]] = {
    "quartic": (
        40.0,
        {
            1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
            86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
            172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
        },
    ),
    "cubic": (1.0, {1.0: (1.053, 2.374e-1, -1.167e-2, 1.536e-4)}),
}
TOP = {"quartic": 40.0, "cubic": 39.26}  # uS, up to which each was fitted


def wan(name: str, fit: str, time: float) -> tuple[float, tuple[float, ...]]:
    """G_0 in uS and the coefficients of a fit at a time; a `Mistake` of `name` where that was not measured."""
    if fit not in WAN:
        raise unknown(f"fit of {name}", fit, WAN)
    unit, by_time = WAN[fit]
    if time not in by_time:
        times = " or ".join(f"time={Seconds(one)}" for one in by_time)
        raise Mistake(f"{name}: {Seconds(time)} after programming was not measured for fit={fit}: set {times}.")
    return unit, by_time[time]


@dataclass(frozen=True)
class MiloProgramming(Programming):
    """g + s sigma(g) z with sigma = 4.782321 - 0.009107 g uS, fitted from 50 to 225 uS.

    By hand: sigma(50) = 4.327 uS, sigma(225) = 2.733 uS.
    Source: Milo et al., IRPS 2021, Fig. 4 (IGVVA-100), as fitted in CrossSim 3.2.
    """

    source: ClassVar[str] = "Milo et al., IRPS 2021, Fig. 4 (IGVVA-100), as fitted in CrossSim 3.2"

    def __str__(self) -> str:
        return "milo-programming"

    @property
    def valid(self) -> tuple[float, float]:
        return 50.0, 225.0

    @property
    def formula(self) -> str:
        return "g + s (4.78 - 0.00911 g) z uS, cut at 0 uS"

    def sigma(self, g: Tensor) -> Tensor:
        size: Tensor = 4.782321 - 0.009107 * g
        return size.clamp_min(0)


@dataclass(frozen=True)
class WanProgramming(Programming):
    """g + s sigma_t(g) z, cut at 0: the spread around the target at one of the times that were measured.

    `fit` quartic is a polynomial of g / 40 uS at 1 s, 1 d and 2 d, up to 40 uS; cubic is one of g in uS at 1 s, up to 39.26 uS.
    A cell keeps its z at all times. By hand, at 1 s and 20 uS: 0.348 + 8.015 - 10.963 + 5.674 - 1.051 = 2.023 uS.
    Source: Wan et al., Nature 608 (2022), Extended Data Fig. 3; quartic as in aihwkit's ReRamWan2022NoiseModel, cubic as in
    CrossSim 3.2.
    """

    fit: str = "quartic"
    time: Seconds = field(default=Seconds(1), metadata={"parse": seconds})

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))
        wan("wan-programming", self.fit, self.time)

    def __str__(self) -> str:
        return write("wan-programming", self)

    @property
    def valid(self) -> tuple[float, float]:
        return 0.0, TOP[self.fit]

    @property
    def formula(self) -> str:
        return f"g + s sigma(g) z, cut at 0 uS, sigma the {self.fit} fit at {self.time}"

    @property
    def source(self) -> str:
        by = "aihwkit ReRamWan2022NoiseModel" if self.fit == "quartic" else "CrossSim 3.2"
        return f"Wan et al., Nature 608 (2022), Extended Data Fig. 3, doi 10.1038/s41586-022-04992-8, as fitted in {by}"

    def sigma(self, g: Tensor) -> Tensor:
        unit, coefficients = wan("wan-programming", self.fit, self.time)
        size = torch.zeros_like(g)
        for c in reversed(coefficients):
            size = size * (g / unit) + c
        return size.clamp_min(0)
