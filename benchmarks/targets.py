"""The targets: the value that the upper limit of a row's interval must stay below, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .rows import PROCESSOR, WALL, Row

__all__ = ["TARGETS", "Target", "Verdict", "judged", "limit_of", "verdict_of"]


class Target(NamedTuple):
    """The interval of a row, on that clock and from at least `n` pairs, must stay below `upper`."""

    group: str
    variant: str
    upper: float
    clock: str = PROCESSOR
    n: int = 100


TARGETS = (
    Target("training-resnet20", "rwp-exact", 1.06),
    Target("training-resnet20", "rwp-banked", 1.06),
    Target("training-mlp", "rwp-banked", 1.25),
    Target("training-resnet20", "sam", 2.05),
    Target("training-mlp", "sam", 2.10),
    Target("measuring-resnet20", "measure", 1.05),
    Target("measuring-mlp", "measure", 0.5),
    Target("memory", "mlp/rwp-exact", 1.1, "counted", 1),
    Target("memory", "mlp/rwp-banked", 1.1, "counted", 1),
    Target("memory", "resnet20/rwp-exact", 1.1, "counted", 1),
    Target("memory", "resnet20/rwp-banked", 1.1, "counted", 1),
    Target("start-up", "help/wall", 0.4, WALL, 20),
    Target("start-up", "help/processor", 0.4, PROCESSOR, 20),
)
# The time to a half-width, in units of the time of whole chips: where chips differ so much that few images suffice, and elsewhere.
CONDITION, GAIN, CEILING = 10.0, 0.2, 1.1


class Verdict(NamedTuple):
    """A target with the row that was measured for it, and whether the row's upper limit is below it.

    `word` is "met" or "missed", or says that there are too few pairs to tell. Then the target is not met.
    """

    name: str
    upper: float
    row: Row | None
    met: bool
    says: str
    word: str


def limit_of(row: Row) -> float | None:
    """The upper limit for that row; None if the row has no target."""
    target = _target_of(row)
    return None if target is None else target.upper


def verdict_of(row: Row) -> Verdict | None:
    """The verdict on that row; None if the row has no target."""
    target = _target_of(row)
    return None if target is None else _verdict(f"{row.group} {row.variant}", target.upper, row, target.n)


def _target_of(row: Row) -> Target | None:
    if row.group == "means":
        return Target("means", row.variant, GAIN if row.facts["condition"] >= CONDITION else CEILING, row.clock, 0)
    key = row.group, row.variant, row.clock
    return next((one for one in TARGETS if (one.group, one.variant, one.clock) == key), None)


def judged(rows: Iterable[Row], groups: Sequence[str]) -> list[Verdict]:
    """The verdict on every target of `groups`, and on those of the means among `rows`.

    A target is not met if its row is missing, or was measured with fewer pairs.
    """
    rows, verdicts = list(rows), []
    for target in TARGETS:
        if target.group not in groups:
            continue
        key = target.group, target.variant, target.clock
        row = next((one for one in rows if (one.group, one.variant, one.clock) == key), None)
        verdicts.append(_verdict(f"{target.group} {target.variant}", target.upper, row, target.n))
    means = [row for row in rows if row.group == "means"]
    if "means" in groups and not means:
        verdicts.append(_verdict("means", GAIN, None, 0))
    return verdicts + [verdict for row in means if (verdict := verdict_of(row)) is not None]


def _verdict(name: str, upper: float, row: Row | None, least: int) -> Verdict:
    if row is None:
        return Verdict(name, upper, None, False, f"not measured; at most {upper:g} is asked for", "not measured")
    found, few = f"{row.middle:.3f} [{row.low:.3f}, {row.high:.3f}], n={row.n}", f"{least} are asked for"
    if math.isnan(row.high):
        return Verdict(name, upper, row, False, f"{found}: too few for an interval; {few}", "no interval")
    if row.n < least:
        return Verdict(name, upper, row, False, f"{found}: {few}", f"too few to say: {few}")
    met = row.high <= upper
    says = f"{found}, {'at most' if met else 'above'} {upper:g}"
    return Verdict(name, upper, row, met, says, "met" if met else "missed")
