"""One training for every test strength: which of its checkpoints each strength is served by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from .evidence import Arm, Array, Lacking

__all__ = ["Served", "matching", "served"]


class Served(NamedTuple):
    """The score on each test example [S, n] of the checkpoint that each seed chose, and how many seeds chose which."""

    test: Array
    picks: str


def served(arms: Sequence[Arm], run: str, strength: float) -> Served:
    """What the training `run` comes to at that test strength: for each seed the best of its checkpoints, the last weights among
    them, by the seed's own score on validation data; of equal ones the latest. Raises `Lacking` where it is not finished."""
    own = [arm for arm in arms if arm.name == run or (arm.role == "checkpoint" and arm.name.startswith(f"{run} @"))]
    if not own:
        raise Lacking(f"arm {run!r} is not finished")
    last, *rest = own
    own = [last, *reversed(rest)]
    k = last.index(strength)
    validation = np.array([arm.sign * arm.validation[:, k] for arm in own])
    best = validation.argmax(0)
    counts = Counter("the end" if one == 0 else own[one].name.removeprefix(f"{run} ") for one in best)
    picks = ", ".join(f"{name} by {count}" for name, count in counts.most_common()) if len(own) > 1 else ""
    return Served(np.array([own[one].test[seed, k] for seed, one in enumerate(best)]), picks)


def matching(arms: Sequence[Arm], pattern: str) -> list[Arm]:
    """The arms that a pattern names, checkpoints left out. Raises `Lacking` where there is none."""
    found = [arm for arm in arms if arm.role != "checkpoint" and fnmatchcase(arm.name, pattern)]
    if not found:
        raise Lacking(f"no arm {pattern!r} is finished")
    return found
