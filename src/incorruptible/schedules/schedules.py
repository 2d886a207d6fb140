"""Schedules: the strength as a plain function of progress, from 0 (first step) to 1 (last step).

Any callable from a float in [0, 1] to a strength is a schedule. The schedules here can also be
written as text (`linear:0:0.3`), and print as a table at the prompt.

>>> Quadratic(0, 0.4)
quadratic:0:0.4
progress  0      0.1    0.25   0.5    0.75   0.9    1
strength  0      0.004  0.025  0.1    0.225  0.324  0.4

Keeps: a schedule depends on progress alone and has no state, so a resumed training has the same
strengths.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar, get_type_hints

from ..errors import UserError
from ..specs.grammar import write

Schedule = Callable[[float], float]
_STOPS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def checked(strength: float, what: str = "strength") -> float:
    """`strength` as a float. Raises `UserError` unless it is finite and not negative; `what` names
    the number in the message.
    """
    if not (isinstance(strength, Real) and math.isfinite(strength) and strength >= 0):
        raise UserError(f"{what} {strength!r}: a finite number that is not negative is needed.")
    return float(strength)


class _Printed(ABC):
    """What the schedules share: checked numbers, their text, and a table at the prompt."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The strength at a progress from 0 to 1."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            if kind is float:
                value = checked(getattr(self, name), f"{self.name}: {name}")
                object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return write(self.name, self, positional=True)

    def __repr__(self) -> str:
        cells = [f"{self(stop):.4g}" for stop in _STOPS]
        widths = [
            max(5, len(cell), len(f"{stop:g}")) for stop, cell in zip(_STOPS, cells, strict=True)
        ]
        rows = ["progress  ", "strength  "]
        for stop, cell, width in zip(_STOPS, cells, widths, strict=True):
            rows[0] += f"{stop:<{width}g}  "
            rows[1] += f"{cell:<{width}}  "
        return "\n".join([str(self), *(row.rstrip() for row in rows)])


@dataclass(frozen=True, repr=False)
class Constant(_Printed):
    """The same strength throughout."""

    name: ClassVar[str] = "constant"
    strength: float

    def __call__(self, progress: float) -> float:
        return self.strength


@dataclass(frozen=True, repr=False)
class Linear(_Printed):
    """From `start` to `stop` at constant speed: start + (stop - start) p."""

    name: ClassVar[str] = "linear"
    start: float
    stop: float

    def __call__(self, progress: float) -> float:
        return self.start + (self.stop - self.start) * progress


@dataclass(frozen=True, repr=False)
class Quadratic(_Printed):
    """From `start` to `stop`, slowly at first: start + (stop - start) p^2. This is the example of
    arXiv 2602.07320.
    """

    name: ClassVar[str] = "quadratic"
    start: float
    stop: float

    def __call__(self, progress: float) -> float:
        return self.start + (self.stop - self.start) * progress**2


@dataclass(frozen=True, repr=False)
class Cosine(_Printed):
    """From `start` to `stop` along half a cosine: start + (stop - start) (1 - cos(pi p)) / 2."""

    name: ClassVar[str] = "cosine"
    start: float
    stop: float

    def __call__(self, progress: float) -> float:
        return self.start + (self.stop - self.start) * (1 - math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, repr=False)
class WarmupHold(_Printed):
    """Rise linearly from 0 over the share `warmup` of training, then hold `peak`.

    A ramp that reaches its peak with the last step has its strongest noise where a decaying
    learning rate is near zero and nothing is learnt from it. This schedule avoids that.
    """

    name: ClassVar[str] = "warmup-hold"
    peak: float
    warmup: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup > 1:
            raise UserError(
                f"warmup-hold: warmup {self.warmup!r}: a share of training, from 0 to 1, is needed."
            )

    def __call__(self, progress: float) -> float:
        return self.peak if progress >= self.warmup else self.peak * progress / self.warmup


@dataclass(frozen=True, repr=False)
class Steps(_Printed):
    """A piecewise constant strength: `strengths[0]` from the start, and `strengths[i]` from
    progress `at[i - 1]` on. `strengths` has one entry more than `at`.
    """

    name: ClassVar[str] = "steps"
    strengths: tuple[float, ...]
    at: tuple[float, ...]

    def __post_init__(self) -> None:
        strengths = tuple(checked(strength, "steps: strengths") for strength in self.strengths)
        object.__setattr__(self, "strengths", strengths)
        object.__setattr__(self, "at", tuple(float(place) for place in self.at))
        if len(self.strengths) != len(self.at) + 1:
            raise UserError(
                f"steps: strengths has {len(self.strengths)} entries and at has {len(self.at)}; "
                "strengths needs one more than at."
            )
        if list(self.at) != sorted(set(self.at)) or not all(0 < place < 1 for place in self.at):
            raise UserError(f"steps: at {self.at!r}: rising places between 0 and 1 are needed.")

    def __call__(self, progress: float) -> float:
        return self.strengths[sum(progress >= place for place in self.at)]


@dataclass(frozen=True, repr=False)
class Reversed(_Printed):
    """The same strengths in the opposite order: schedule(1 - p). As a control it has the same
    average strength.
    """

    name: ClassVar[str] = "reversed"
    schedule: Schedule = field(metadata={"named": True, "inner": True})

    def __call__(self, progress: float) -> float:
        return self.schedule(1 - progress)

    def __str__(self) -> str:
        return write(self.name, self, inner=str(self.schedule))


SCHEDULES: dict[str, Callable[..., Any]] = {
    member.name: member
    for member in (Constant, Linear, Quadratic, Cosine, WarmupHold, Steps, Reversed)
}
