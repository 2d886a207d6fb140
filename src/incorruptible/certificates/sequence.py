"""The order in which strengths are tested, so that no correction for their number is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Step", "fixed_sequence"]


class Step(NamedTuple):
    """One strength under test: `hits` of `n` trials, the exact lower bound of their chance, and whether it is enough.

    `holds`: the accuracy that the required share of all chips reaches, by the same chips and the same confidence; nan where
    nothing of the kind is known.
    """

    strength: float
    hits: int
    n: int
    bound: float
    granted: bool
    holds: float = float("nan")


def fixed_sequence(strengths: Sequence[float], test: Callable[[float], Step]) -> tuple[Step, ...]:
    """Test strengths in increasing order, each at the full confidence, up to the first that fails.

    A false promise needs the first strength whose promise is false to pass its test, which has chance at most 1 - confidence;
    so all that pass hold together at that confidence, without a correction for their number, and also where the same chips
    serve for all (fixed-sequence testing: Maurer, Hothorn & Lehmacher 1995). The strengths must be chosen beforehand.
    """
    steps: list[Step] = []
    for strength in sorted(strengths):
        steps.append(test(strength))
        if not steps[-1].granted:
            break
    return tuple(steps)
