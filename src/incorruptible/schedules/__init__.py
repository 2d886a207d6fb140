"""How strong the perturbation is: schedules, which are plain functions of progress, and a
controller, which closes the loop.
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
    `linear:0:0.3`, `reversed(linear:0:0.3)`, `auto:classes=10`.

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
    """What `reversed(...)` works on: a schedule; a controller has no other direction."""
    found = parse(text)
    if not callable(found):
        raise UserError(f"{text!r} is no function of progress: reversed(...) takes a schedule.")
    return found


def peak(strength: Schedule | Controller) -> float:
    """The largest strength among 101 evenly spaced places of training; a controller's cap, and nan
    where it has none.
    """
    if callable(strength):
        return max(strength(i / 100) for i in range(101))
    cap = getattr(strength, "cap", math.inf)
    return float(cap) if math.isfinite(cap) else math.nan
