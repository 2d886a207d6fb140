"""Lengths of time, written with their unit: `1s`, `1h`, `1d`, `1y`."""

from __future__ import annotations

import math
import re

from ..errors import UserError

# A year is 365 days, as in the tables of other simulators.
UNITS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "y": 31536000.0,
}
_PRINTED = ("y", "d", "h", "min", "s", "ms", "us")


class Seconds(float):
    """A length of time in seconds; written with the largest unit that makes it a short number.

    >>> print(Seconds(86400), Seconds(5400), Seconds(0))
    1d 1.5h 0s
    """

    def __str__(self) -> str:
        for unit in _PRINTED:
            count = float(self) / UNITS[unit]
            text = f"{count:.4g}"
            if count >= 1 and "e" not in text and float(text) * UNITS[unit] == float(self):
                return f"{text}{unit}"
        return f"{float(self)!r}s".replace(".0s", "s")

    __repr__ = __str__

    def written(self) -> str:
        """The time as a user types it. `seconds` reads this text back as the same time."""
        return str(self)


def seconds(value: str | float) -> Seconds:
    """A length of time from a text with its unit, or from a number of seconds.

    Raises `UserError` for a text that is no time or has no unit, and for a time that is negative or
    not finite.

    >>> float(seconds("1.5h")), seconds(20)
    (5400.0, 20s)
    """
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", value)
        number = found and _number(found[1])
        if found is None or number is None:
            raise UserError(
                f"time {value!r} is no time: a number and its unit are needed, as in 20s, 1h, 1d "
                "or 1y."
            )
        if not found[2]:
            raise UserError(
                f"time {value!r} has no unit: {value.strip()}s, {value.strip()}h, {value.strip()}d "
                f"or {value.strip()}y?"
            )
        if found[2] not in UNITS:
            raise UserError(
                f"time {value!r}: no unit {found[2]!r}; choose one of {', '.join(UNITS)}."
            )
        value = number * UNITS[found[2]]
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"time {value!r}: a finite time that is not negative is needed.")
    return Seconds(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
