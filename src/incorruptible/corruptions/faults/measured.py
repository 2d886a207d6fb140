"""Errors as they were measured on cells of one's own: after programming, and what time made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...durations import Seconds
from ...streams import Noise
from ..fitting import Curve, Fitted
from ..storages import Held
from .protocol import Raw, rectified

__all__ = ["MeasuredAgeing", "MeasuredProgramming"]


@dataclass(frozen=True)
class MeasuredProgramming:
    """g + s (shift(g) + spread(g) z), cut at 0, with z ~ N(0, 1) for each cell: the error at the first time that was measured."""

    fitted: Fitted
    file: str

    unit: ClassVar[str] = "multiple of the error as measured (1 = nominal)"
    formula: ClassVar[str] = "g + s (shift(g) + spread(g) z), cut at 0 uS, both as fitted to the cells"
    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    most: ClassVar[float] = math.inf

    def __str__(self) -> str:
        return "measured-programming"

    @property
    def source(self) -> str:
        return self.file

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        shift, spread = _at(self.fitted.parts(float(self.fitted.times[0] or 0.0)), held.value)
        return (value + strength * (shift + spread * noise.normal(value))).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | None:
        if not torch.equal(before.first**2, before.second):
            return None
        shift, spread = _at(self.fitted.parts(float(self.fitted.times[0] or 0.0)), held.value.double())
        return rectified(before.first + strength * shift, strength * spread)


@dataclass(frozen=True)
class MeasuredAgeing:
    """What `MeasuredProgramming` left, as it is at `time`: each cell keeps its z, and shift and spread are those of that time.

    It stands right behind the programming. A cell that was cut at 0 has lost its z; another one from below the cut takes its place.
    Only the distribution at each time is measured, so that a cell keeps its rank is an assumption: it matters to drift compensation,
    which compares two times, and to nothing else.
    """

    fitted: Fitted
    time: Seconds
    file: str

    unit: ClassVar[str] = MeasuredProgramming.unit
    formula: ClassVar[str] = "the same with shift and spread at its time"
    ages: ClassVar[bool] = True
    rereads: ClassVar[bool] = False
    most: ClassVar[float] = math.inf

    def __str__(self) -> str:
        return "measured-ageing"

    @property
    def source(self) -> str:
        return self.file

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        if strength == 0:
            return value
        first = self.fitted.parts(float(self.fitted.times[0] or 0.0))
        (shift, spread), (later, wider) = _at(first, held.value), _at(self.fitted.parts(self.time), held.value)
        z = (value - held.value - strength * shift) / (strength * spread)
        below = torch.special.ndtr(((-held.value - strength * shift) / (strength * spread)).double())
        tiny = torch.finfo(torch.float64).tiny
        lost = torch.special.ndtri((below * (1 - noise.uniform(value).double())).clamp_min(tiny)).to(value.dtype)
        z = torch.where(value > 0, z, lost)
        return (held.value + strength * (later + wider * z)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        g = held.value.double()
        shift, spread = _at(self.fitted.parts(self.time), g)
        return rectified(g + strength * shift, strength * spread)


def _at(parts: Sequence[tuple[float, Curve]], g: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and spread in uS at the conductances `g` in uS."""
    each = [(share, _between(curve, g)) for share, curve in parts]
    shift, spread = (sum(share * two[place] for share, two in each) for place in (0, 1))
    return torch.as_tensor(shift), torch.as_tensor(spread)


def _between(curve: Curve, g: Tensor) -> tuple[Tensor, Tensor]:
    knots, *values = (
        torch.tensor(part, dtype=g.dtype, device=g.device) for part in (curve.knots, curve.shift, curve.spread)
    )
    place = torch.bucketize(g.detach(), knots[1:-1])
    share = ((g - knots[place]) / (knots[place + 1] - knots[place])).clamp(0, 1)  # rounding may step out
    shift, spread = (one[place] + share * (one[place + 1] - one[place]) for one in values)
    return shift, spread
