"""How strong the perturbation of training is at each step.

A schedule is a plain function from progress, 0 at the first step and 1 at the last, to a strength.
A controller (`Auto`) computes the strength of the next step from the losses of the steps before.

>>> parse("linear:0:0.3")(0.5), Quadratic(0.0, 0.4)(0.5)
(0.15, 0.1)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import UserError
from ..specs.grammar import build, split
from .auto import Auto
from .controller import Controller, Seen, State
from .schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Linear,
    Quadratic,
    Reversed,
    Schedule,
    Steps,
    WarmupHold,
    checked,
)

__all__ = [
    "CATALOGUE",
    "Auto",
    "Constant",
    "Controller",
    "Cosine",
    "Linear",
    "Quadratic",
    "Reversed",
    "Schedule",
    "Seen",
    "State",
    "Steps",
    "WarmupHold",
    "checked",
    "parse",
    "peak",
]

CATALOGUE: dict[str, Callable[..., Any]] = {**SCHEDULES, Auto.name: Auto}


def parse(text: str) -> Any:
    """The schedule or controller that `text` writes down: `constant:0.3` (or just `0.3`),
    `linear:0:0.3`, `reversed(linear:0:0.3)`, `auto`. Raises `UserError` for a text that names none.

    >>> parse("warmup-hold:0.5:warmup=0.3")(0.15)
    0.25
    """
    try:
        return Constant(float(text))
    except UserError:
        raise
    except ValueError:
        return build("schedule", split(text), CATALOGUE, _inner)


def _inner(text: str) -> Any:
    """The schedule inside `reversed(...)`. Raises `UserError` for a controller, which cannot be
    reversed.
    """
    found = parse(text)
    if not callable(found):
        raise UserError(f"{text!r} is no function of progress: reversed(...) takes a schedule.")
    return found


def peak(strength: Schedule | Controller) -> float:
    """The largest strength: of a schedule, the largest at 101 evenly spaced values of progress; of
    a controller, its cap, or nan where it has none.
    """
    if callable(strength):
        return max(strength(i / 100) for i in range(101))
    cap = getattr(strength, "cap", math.inf)
    return float(cap) if math.isfinite(cap) else math.nan
