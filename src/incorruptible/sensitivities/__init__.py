"""Which layers hurt when they are corrupted, and what it buys to keep one digital."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arrays import Array, select
from ..corruptions import Corruption, Moments, checked_strengths, traits
from ..errors import Mistake
from ..measuring import Scores, measure
from ..scores import Score
from ..streams import Noise
from .blocks import Block, blocks, named_by
from .results import Effect, Group, Sensitivity

__all__ = ["Effect", "Group", "Sensitivity", "sensitivity"]

Names = frozenset[str]


def sensitivity(
    model: nn.Module,
    score: Score,
    data: Iterable[Any],
    corruption: Corruption,
    strength: float,
    *,
    draws: int,
    seed: int,
    by: str = "layer",
    protect: Sequence[str] = (),
    purpose: str = "validation",
    arrays: Sequence[Array] | None = None,
    batchnorm: str = "as-is",
    calibration: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """The score of `model` with each layer corrupted alone, with all but it, and with all of them, on the same chips.

    `by` is "layer" (one array), "block:N" (the arrays of a module at depth N) or "block" (the first depth with more than one
    block). Each of `protect`, shell patterns over parameter names with commas between them, adds what it buys to keep those
    arrays digital. The chip of a layer does not depend on what else is corrupted, so that all differences are paired: the loss
    of a layer corrupted alone is exactly `clean - measure(..., arrays=[layer])`. Takes (2 layers + patterns + 1) `draws` passes
    over `data`. What to protect is a choice, so `data` should be validation data, and the test score be measured afterwards.

    Everything else as for `measure`. Raises `Mistake` for a score without a direction or values that are not finite, fewer
    than 2 draws, several strengths, strength 0 (unless a fault is pinned), a depth that does not exist, and a pattern that
    matches nothing.
    """
    if getattr(score, "higher_is_better", None) is None:
        raise Mistake("the score has no direction, so nothing is lost or gained: wrap it in a Score.")
    if draws < 2:
        raise Mistake(f"draws={draws}: at least 2 chips are needed to tell a loss from chance.")
    strength = _one(strength, corruption)
    arrays = list(select(model) if arrays is None else arrays)
    by, parts = blocks(arrays, by)
    asked = [named_by(model, arrays, patterns) for patterns in protect]
    every = frozenset(array.name for array in arrays)
    # What is asked for twice is measured once: of two layers, all but the first is the second alone
    sets = list(dict.fromkeys([every, *_alone(parts), *(every - names for names in _alone([*parts, *asked]))]))
    sets = [names for names in sets if names]
    common: dict[str, Any] = {"seed": seed, "purpose": purpose, "batchnorm": batchnorm, "calibration": calibration}
    clean = measure(model, score, data, _Digital(), [0.0], draws=1, arrays=arrays, **common)
    found: dict[Names, Scores] = {}
    remembering: Any = _Remembering(corruption)
    for place, names in enumerate(sets):
        chosen = [array for array in arrays if array.name in names]
        tell = _shifted(progress, place * draws, len(sets) * draws)
        found[names] = measure(
            model, score, data, remembering, [strength], draws=draws, arrays=chosen, progress=tell, **common
        )
        _refuse_infinite(found[names], names)
    values = {names: scores.values[0] for names, scores in found.items()}
    values[frozenset()] = np.full(draws, clean.values[0, 0])
    return Sensitivity(
        by,
        float(clean.values[0, 0]),
        found[every],
        tuple(_group(block, every, arrays, values, True) for block in parts),
        tuple(_group(block, every, arrays, values, False) for block in asked),
    )


class _Digital:
    """Nothing goes wrong: every array holds its weights."""

    unit = formula = source = "nothing"

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        return array.value

    def moments(self, array: Array, strength: float) -> Moments:
        nothing = array.value.new_zeros(())
        return Moments(nothing, nothing)


class _Remembering:
    """The same corruption, asked for the moments of an array once: some are estimated from 256 chips, and sets are many."""

    def __init__(self, corruption: Corruption) -> None:
        self._of = corruption
        self._moments: dict[str, Moments] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def __str__(self) -> str:
        return str(self._of)

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        return self._of(array, strength, noise)

    def moments(self, array: Array, strength: float) -> Moments:
        if array.name not in self._moments:
            self._moments[array.name] = self._of.moments(array, strength)
        return self._moments[array.name]


def _one(strength: float, corruption: Corruption) -> float:
    strengths = checked_strengths(strength, corruption)
    if len(strengths) != 1:
        raise Mistake(f"{len(strengths)} strengths came; a map is made at one.")
    if strengths[0] == 0 and not traits(corruption).pinned:
        said = "all chips are alike, and a map is made of how they differ; give more than 0, or measure it."
        if not traits(corruption).conditions:  # at rest on no storage
            said = "nothing is corrupted and there is nothing to see; give more than 0."
        raise Mistake(f"{corruption} at strength 0: {said}")
    return strengths[0]


def _alone(parts: Sequence[Block]) -> list[Names]:
    return [frozenset(array.name for array in block.arrays) for block in parts]


def _group(
    block: Block, every: Names, arrays: Sequence[Array], values: dict[Names, NDArray[np.float64]], alone: bool
) -> Group:
    names = frozenset(array.name for array in block.arrays)
    share = block.weights / sum(array.value.numel() for array in arrays)
    ordered = tuple(array.name for array in block.arrays)
    return Group(block.name, ordered, block.weights, share, values[names] if alone else None, values[every - names])


def _shifted(progress: Callable[[int, int], None] | None, before: int, total: int) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


def _refuse_infinite(scores: Scores, names: Names) -> None:
    wrong = int((~np.isfinite(scores.values)).sum())
    if wrong:
        raise Mistake(
            f"{scores.name} is not finite on {wrong} of {scores.draws} chips with {', '.join(sorted(names)[:3])} corrupted; "
            "take a weaker strength, or a score that is bounded, such as accuracy."
        )
