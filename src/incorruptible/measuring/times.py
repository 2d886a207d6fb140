"""The same chips at several times since they were programmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..durations import Seconds
from .results import Scores

__all__ = ["OverTime"]

_TITLES = ("time", "strength", "filter-max", "mean", "95% interval", "sd", "5%", "median", "worst")
_WIDTHS = (8, 8, 10, 7, 17, 7, 7, 7, 7)


@dataclass(frozen=True, eq=False)
class OverTime:
    """What `measure` found at each time; chip k is the same chip at every time and strength."""

    times: tuple[Seconds, ...]
    scores: tuple[Scores, ...]

    @property
    def conditions(self) -> str:
        """How weights are held at all of the times."""
        return self.scores[-1].conditions.replace(f"{self.times[-1]} after programming", "at times after programming")

    def plain(self) -> dict[str, Any]:
        """One entry for each time, as plain data."""
        return {
            "times": [
                {"time": str(time), "seconds": float(time), **one.plain()}
                for time, one in zip(self.times, self.scores, strict=True)
            ]
        }

    def __str__(self) -> str:
        head = self.scores[-1].header().replace(self.scores[-1].conditions, self.conditions)
        lines = [
            head.replace(f":time={self.times[-1]}", ""),
            "  ".join(f"{t:>{w}}" for t, w in zip(_TITLES, _WIDTHS, strict=True)),
        ]
        for time, one in zip(self.times, self.scores, strict=True):
            lines += [f"{time!s:>8}  {line}" for line in one.lines()]
        return "\n".join(
            [
                *lines,
                "interval: Student's, of the mean over chips, on these examples; 5%, median, worst: of these chips",
            ]
        )

    __repr__ = __str__
