"""Weights held as conductances in a crossbar: in single devices or in differential pairs.

A weight is scaled to x = w / max|W| in [-1, 1]. A mapping says how many devices hold x and which
share of the range of conductances each of them takes.

Keeps: every conductance lies between G_min and G_max. A layer or a filter whose weights are all
zero is held as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...errors import UserError, unknown
from ...specs.grammar import write
from ...weights.arrays import Array
from .protocol import Held


class _Side(NamedTuple):
    """One device of a weight x in [-1, 1]. It holds the share u = a x + b of the range, cut at 0,
    and adds c u to the weight.
    """

    a: float
    b: float
    c: float


class _Mapping(NamedTuple):
    """The devices of a weight, the `offset` that is added to their sum, and the mapping in
    words.
    """

    sides: tuple[_Side, ...]
    offset: float
    words: str


MAPPINGS = {
    "one-sided": _Mapping((_Side(1, 0, 1), _Side(-1, 0, -1)), 0, "one-sided pair"),
    "two-sided": _Mapping((_Side(0.5, 0.5, 1), _Side(-0.5, 0.5, -1)), 0, "two-sided pair"),
    "offset": _Mapping((_Side(0.5, 0.5, 2),), -1, "single device with an offset"),
}
PER = ("layer", "filter")


@dataclass(frozen=True)
class Crossbar:
    """Conductances in uS from G_min to G_max. With x = w / max|W| and R = G_max - G_min, `mapping`
    is one of:

    - one-sided: a pair G+ = G_min + R max(x, 0), G- = G_min + R max(-x, 0), w = max|W| (G+ - G-) /
      R;
    - two-sided: a pair G+- = G_min + R (1 +- x) / 2, w = max|W| (G+ - G-) / R;
    - offset: a single device G = G_min + R (1 + x) / 2, w = max|W| (2 (G - G_min) / R - 1).

    The maximum is that of the whole layer (`per` "layer") or of each filter (`per` "filter"). The
    range is given by `g_max` and `g_min` in uS, or by `g_max` and `on_off` = G_max / G_min. With
    `levels` > 0 a cell holds that many evenly spaced conductances, and weights are rounded to them.
    With `slices` > 1 the share of the range is a number of that many digits in base `levels`, with
    one cell for each digit. `devices` cells hold the same conductance side by side and are
    averaged, which averages their errors too.

    Raises `UserError` for an empty range, for slices without levels, and for impossible counts.
    Source: mappings as in CrossSim 3.2 (BALANCED, OFFSET, BITSLICED) and aihwkit (SinglePair,
    NPair).

    >>> Crossbar(g_max=20.0).encode(Array("w", torch.tensor([[1.0, -0.5]]))).value.squeeze(1)
    tensor([[20.,  0.],
            [ 0., 10.]])
    """

    g_max: float = 25.0
    g_min: float = 0.0
    on_off: float | None = None
    mapping: str = "one-sided"
    per: str = "layer"
    levels: int = 0
    slices: int = 1
    devices: int = 1

    cells: ClassVar[str] = "conductances"

    def __post_init__(self) -> None:
        name = str(self).split(":")[0]
        if self.mapping not in MAPPINGS:
            raise unknown("mapping", self.mapping, MAPPINGS)
        if self.per not in PER:
            raise unknown(f"per of {name}", self.per, PER)
        if self.on_off is not None and self.g_min != type(self).g_min:
            raise UserError(
                f"{name}: g_min={self.g_min:g} and on_off={self.on_off:g} say the same thing; give "
                "one."
            )
        if self.on_off is not None and not self.on_off > 1:
            raise UserError(
                f"{name}: on_off={self.on_off:g}: the ratio G_max / G_min must be above 1."
            )
        if not 0 <= self.lowest < self.g_max < float("inf"):
            raise UserError(
                f"{name}: from g_min={self.lowest:g} to g_max={self.g_max:g} uS: 0 <= g_min < "
                "g_max is needed."
            )
        if self.levels < 0 or self.levels == 1 or self.slices < 1 or self.devices < 1:
            raise UserError(
                f"{name}: levels={self.levels}, slices={self.slices}, devices={self.devices}: "
                "levels must be 0 (any conductance) or at least 2, the others at least 1."
            )
        if self.slices > 1 and not self.levels:
            raise UserError(
                f"{name}: slices={self.slices} needs levels, the base of its digits: levels=4."
            )
        if self.levels and self.levels**self.slices > 2**24:
            raise UserError(
                f"{name}: levels={self.levels} and slices={self.slices} make more steps than "
                "float32 counts."
            )

    def __str__(self) -> str:
        return write("crossbar", self)

    @property
    def lowest(self) -> float:
        """G_min in uS."""
        if self.on_off is not None:
            return self.g_max / self.on_off
        return self.g_min

    @property
    def exact(self) -> bool:
        """Whether cells hold any conductance of their range, and not only some levels."""
        return self.levels == 0

    @property
    def held(self) -> str:
        """How weights are held, in words."""
        parts = [
            f"{self.lowest:.4g} to {self.g_max:.4g} uS",
            MAPPINGS[self.mapping].words,
            f"per {self.per}",
        ]
        parts += [f"{self.levels} levels"] if self.levels else []
        parts += [f"{self.slices} slices"] if self.slices > 1 else []
        parts += [f"{self.devices} devices side by side"] if self.devices > 1 else []
        return ", ".join(parts)

    def encode(self, array: Array) -> Held:
        """The cells [sides * slices * devices, *shape] in uS: for each side of the mapping its
        slices, lowest digit first, and for each slice its devices.
        """
        w = array.value.to(torch.promote_types(array.value.dtype, torch.float32))
        scale = self._scale(array, w)
        # A scale of 0 belongs to weights that are all 0; `clamp_min` keeps the other branch from
        # 0 / 0.
        x = torch.where(
            scale > 0, w / scale.clamp_min(torch.finfo(w.dtype).tiny), torch.zeros_like(w)
        ).clamp(-1, 1)
        span = self.g_max - self.lowest
        cells, parts, mapping = [], [], MAPPINGS[self.mapping]
        for side in mapping.sides:
            share = (side.a * x + side.b).clamp(0, 1)
            for digit, part in self._digits(share):
                cells += [self.lowest + span * digit] * self.devices
                parts += [side.c * part / span / self.devices] * self.devices
        c = torch.stack([scale * part for part in parts])
        # What G_min in every cell would read as is taken off, so that it does not count as weight.
        idle = -sum(parts) * self.lowest + mapping.offset
        at_zero = torch.zeros((), dtype=w.dtype, device=w.device)
        nothing = [
            d
            for s in mapping.sides
            for d, _ in self._digits(s.a * at_zero + s.b)
            for _ in range(self.devices)
        ]
        zero = (self.lowest + span * torch.stack(nothing)).reshape(-1, *[1] * w.dim())
        return Held(array, torch.stack(cells), c, scale * idle, self.lowest, self.g_max, zero, "uS")

    def _scale(self, array: Array, w: Tensor) -> Tensor:
        """max|W| of the layer or of each filter, broadcastable to the weights."""
        if self.per == "filter":
            return array.peak().to(w.dtype)
        return w.abs().amax().expand((1,) * w.dim())

    def _digits(self, share: Tensor) -> list[tuple[Tensor, float]]:
        """For each slice, lowest digit first: what share of its range the cell holds, and its
        weight in `share`, the share of the whole range that all slices hold together.
        """
        if not self.levels:
            return [(share, 1.0)]
        top = self.levels**self.slices - 1
        # The share as a whole number below levels^slices. It stays exact in float32 because
        # `__post_init__` refuses more than 2^24 steps.
        count, found = (share * top).round(), []
        for place in range(self.slices):
            found.append(
                (
                    count.remainder(self.levels) / (self.levels - 1),
                    (self.levels - 1) * self.levels**place / top,
                )
            )
            count = (count / self.levels).floor()
        return found
