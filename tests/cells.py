"""Cells as someone would measure them, simulated: a file for tests, and the errors behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHIFTS", "TARGETS", "shift", "spread", "write"]

Floats = NDArray[np.float64]
TARGETS = np.linspace(0.5, 20, 8)
SHIFTS = {"20s": -0.02, "1h": -0.08, "1d": -0.12}  # of the target, at each time


def shift(g: Floats, time: str = "20s") -> Floats:
    """The mean error in uS at the target `g` in uS."""
    return SHIFTS[time] * g


def spread(g: Floats, time: str = "20s") -> Floats:
    """Its standard deviation in uS; targets near 0 have cells that read 0."""
    wider: float = 1 + abs(SHIFTS[time])
    found: Floats = wider * (0.3 + 0.08 * g - 0.002 * g**2)
    return found


def write(
    path: Path,
    targets: Floats = TARGETS,
    cells: int = 25,
    times: Iterable[str] = ("20s",),
    seed: int = 0,
    noise: Callable[[np.random.Generator, int], Floats] = lambda source, n: source.standard_normal(n),
) -> Path:
    """A file with so many cells at each target; with several times each cell keeps its rank."""
    g = np.repeat(targets, cells)
    z = noise(np.random.default_rng(seed), len(g))
    lines = ["target,measured,time"]
    for time in times:
        measured = np.maximum(0, g + shift(g, time) + spread(g, time) * z)
        lines += [f"{a:.6g},{b:.6g},{time}" for a, b in zip(g, measured, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path
