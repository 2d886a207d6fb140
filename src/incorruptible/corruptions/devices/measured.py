"""A user's own device, from a file of measured cells: the errors that were fitted to the cells, and
the device that has these errors.

The fit itself is in `corruptions/fitting.py`; the file is read in `corruptions/cells.py`. At each
measured time the fit gives two curves of the target conductance g: shift(g), the mean error, and
spread(g), its standard deviation, both in uS. s is the strength, and z ~ N(0, 1) is drawn for each
cell.

Relies on: `MeasuredAgeing` stands right behind `MeasuredProgramming`, so that it can find each
cell's z in its conductance. Keeps: the text of a device names the sha of the file's content, so
that a file that has changed is refused and not used by mistake.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, cast

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ...specs.durations import Seconds, seconds
from ...specs.grammar import write, written
from ..cells import content_of, read, sha_of
from ..faults import Fault
from ..faults.protocol import Raw, rectified
from ..fitting import CellFit, Curve, Fitted
from ..storages import Held
from .device import Device

# ---- The errors: after programming, and what time made of them


@dataclass(frozen=True)
class _MeasuredFault:
    """What both faults share: the curves that were `fitted` to the cells in `file`."""

    fitted: Fitted
    file: str

    unit: ClassVar[str] = "multiple of the error as measured (1 = nominal)"
    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    max_strength: ClassVar[float] = math.inf

    @property
    def source(self) -> str:
        return self.file

    def first(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and spread in uS at the first time that was measured, at the conductances `g`."""
        return _at(self.fitted.parts(float(self.fitted.times[0] or 0.0)), g)


@dataclass(frozen=True)
class MeasuredProgramming(_MeasuredFault):
    """The error at the first time that was measured: g + s (shift(g) + spread(g) z), cut at 0 uS.

    Each cell draws z once and keeps it.
    """

    formula: ClassVar[str] = (
        "g + s (shift(g) + spread(g) z), cut at 0 uS, both as fitted to the cells"
    )

    def __str__(self) -> str:
        return "measured-programming"

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        shift, spread = self.first(held.value)
        return (value + strength * (shift + spread * noise.normal(value))).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | None:
        # Only cells that are certain (E[x]^2 = E[x^2]) have a normal error behind this fault.
        if not torch.equal(before.first**2, before.second):
            return None
        shift, spread = self.first(held.value.double())
        return rectified(before.first + strength * shift, strength * spread)


@dataclass(frozen=True)
class MeasuredAgeing(_MeasuredFault):
    """The error at a later `time`: each cell keeps the z that `MeasuredProgramming` gave it, and
    shift and spread are those of `time`.

    This fault stands right behind the programming. A cell that was cut at 0 uS has lost its z;
    another z takes its place, drawn from those that lead to the cut. Only the distribution at each
    time is measured. That a cell keeps its rank from one time to another is an assumption; it
    matters only to drift compensation, which compares two times.
    """

    time: Seconds

    formula: ClassVar[str] = "the same with shift and spread at its time"
    ages: ClassVar[bool] = True

    def __str__(self) -> str:
        return "measured-ageing"

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        if strength == 0:
            return value
        shift, spread = self.first(held.value)
        later, wider = _at(self.fitted.parts(self.time), held.value)
        # Invert the programming: value = g + s (shift + spread z), where it was not cut.
        z = (value - held.value - strength * shift) / (strength * spread)
        below = torch.special.ndtr(
            ((-held.value - strength * shift) / (strength * spread)).double()
        )
        # A new z for the cells that were cut: uniform in the probability below the cut. In float64,
        # whose tails reach further than those of float32.
        tiny = torch.finfo(torch.float64).tiny
        lost = torch.special.ndtri(
            (below * (1 - noise.uniform(value).double())).clamp_min(tiny)
        ).to(value.dtype)
        z = torch.where(value > 0, z, lost)
        return (held.value + strength * (later + wider * z)).clamp_min(0)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw:
        # The cell keeps its rank, so its distribution is the measured one, whatever stood before.
        g = held.value.double()
        shift, spread = _at(self.fitted.parts(self.time), g)
        return rectified(g + strength * shift, strength * spread)


def _at(parts: Sequence[tuple[float, Curve]], g: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and spread in uS at the conductances `g` in uS: the mean of the curves of `parts`, each
    with its weight.
    """
    each = [(share, _between(curve, g)) for share, curve in parts]
    shift, spread = (sum(share * two[place] for share, two in each) for place in (0, 1))
    return torch.as_tensor(shift), torch.as_tensor(spread)


def _between(curve: Curve, g: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and spread of one curve at the conductances `g` in uS, linear between its knots."""
    knots, *values = (
        torch.tensor(part, dtype=g.dtype, device=g.device)
        for part in (curve.knots, curve.shift, curve.spread)
    )
    place = torch.bucketize(g.detach(), knots[1:-1])  # the knot to the left of each g
    # Rounding may give a share just outside 0 and 1.
    share = ((g - knots[place]) / (knots[place + 1] - knots[place])).clamp(0, 1)
    shift, spread = (one[place] + share * (one[place + 1] - one[place]) for one in values)
    return shift, spread


# ---- The device


@dataclass(frozen=True)
class Measured(Device):
    """Cells that the user measured, from the CSV `file` with the columns target and measured (uS),
    and time if the cells were read at several times.

    The error at a target is Gaussian, cut at 0 uS, with the mean and the standard deviation that
    `CellFit` finds. Between two times both are linear in log time. `g_min` and `g_max` are the
    range of targets unless given, and `time` is the first that was measured. `sha` is the sha of
    the file's content. Whatever names the device in writing names the sha too, so that a file that
    has changed is refused.

    Raises `UserError` for a bad file (`cells.read`), for a file that has changed, and for
    conductances and times beyond those that were measured.
    """

    # None stands for "as measured" in these three; __post_init__ fills in the value from the file.
    g_max: float = cast("float", None)
    g_min: float = cast("float", None)
    time: Seconds = field(default=cast("Seconds", None), metadata={"parse": seconds})
    file: str = field(kw_only=True, metadata={"example": "cells.csv"})
    sha: str = field(default="", kw_only=True)
    fitted: Fitted = field(init=False, repr=False, compare=False, metadata={"named": True})

    name: ClassVar[str] = "measured"
    valid: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        if not self.file or set(self.file) & set(":()|"):
            raise UserError(
                f"measured: file {self.file!r}: a path without ':', '|' and parentheses is needed."
            )
        content = content_of(self.file)
        now = sha_of(content)
        if self.sha not in ("", now):
            raise UserError(
                f"{self.file} has changed: its sha is {now} and not {self.sha}; without "
                f":sha={self.sha} it is taken as it is now."
            )
        fitted = _fitted(content, self.file)
        usual = {
            "sha": now,
            "fitted": fitted,
            "g_max": fitted.high,
            "time": Seconds(fitted.times[0] or 0.0),
        }
        if self.on_off is None:  # otherwise on_off gives G_min
            usual["g_min"] = fitted.low
        for name, value in usual.items():
            if getattr(self, name, None) in (None, ""):
                object.__setattr__(self, name, value)
        super().__post_init__()
        if self.lowest < fitted.low * (1 - 1e-9) or self.g_max > fitted.high * (1 + 1e-9):
            raise UserError(
                f"measured: {self.lowest:.4g} to {self.g_max:.4g} uS is outside {fitted.low:.4g} "
                f"to {fitted.high:.4g} uS, the targets in {self.file}: set g_max and g_min (or "
                "on_off)."
            )

    def __str__(self) -> str:
        head, *parts = write(self.name, self).split(":")
        usual = [
            ("g_max", self.fitted.high),
            ("g_min", self.fitted.low),
            ("time", Seconds(self.fitted.times[0] or 0.0)),
        ]
        # File and sha come first; fields that have the usual values are left out.
        first = [f"file={self.file}", f"sha={self.sha}"]
        without = {f"{key}={written(value)}" for key, value in usual} | {*first}
        return ":".join([head, *first, *(part for part in parts if part not in without)])

    @property
    def conditions(self) -> str:
        return f"{super().conditions}; fitted to {self.file}"

    def check_time(self) -> None:
        known = [
            Seconds(one or 0.0) for one in self.fitted.times
        ]  # None: no column time in the file
        if known[0] <= self.time <= known[-1]:
            return
        if self.fitted.times == (None,):
            raise UserError(
                f"measured: time={self.time}: {self.file} has no column time; cells must be read "
                "at several."
            )
        span = f"at {known[0]} only" if len(known) == 1 else f"from {known[0]} to {known[-1]}"
        raise UserError(
            f"measured: time={self.time}: the cells in {self.file} were read {span}; choose a time "
            "within."
        )

    def faults(self) -> tuple[Fault, ...]:
        programming = MeasuredProgramming(self.fitted, self.file)
        if self.time == (self.fitted.times[0] or 0.0):
            return (programming,)
        return programming, MeasuredAgeing(self.fitted, self.file, self.time)


def fits(device: Measured) -> list[CellFit]:
    """The fit at each measured time, with its cells and the intervals of its curves, for a report.

    Reads the file again. Raises `UserError` if the file has changed since the device was made.
    """
    content = content_of(device.file)
    if sha_of(content) != device.sha:
        raise UserError(f"{device.file} has changed since it was read.")
    return _fits(content, device.file)


@lru_cache(maxsize=4)  # one command builds the same device several times
def _fitted(content: bytes, file: str) -> Fitted:
    found = read(content, file)
    return Fitted(
        tuple(cells.time for cells in found), tuple(fit.curve for fit in _fits(content, file))
    )


def _fits(content: bytes, file: str) -> list[CellFit]:
    found = []
    for cells in read(content, file):
        try:
            found.append(CellFit(cells))
        except UserError as problem:
            raise UserError(f"{file}: {problem}") from None
    return found
