"""Which layers hurt when they are corrupted, and what is gained by keeping a layer digital.

To keep a layer *digital* is to hold its weights exactly, outside the arrays in which errors occur.
`sensitivity` measures, on the same chips, the network with each layer corrupted alone and with all
layers but one corrupted:

    found = sensitivity(model, accuracy, data, "gaussian-filter-max", 0.2)
    print(found)       # what each layer loses alone, and gains by being digital
    found.gains()      # the same as `Effect`s

Relies on: noise is named by array, so that the chip of a layer does not depend on what else is
corrupted, and differences are paired over chips. Keeps: the loss of a layer alone is exactly the
clean score less that of `measure(..., arrays=[layer])`; no set of arrays is measured twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ...corruptions import Corruption, Moments, traits
from ...errors import UserError, renamed_arguments, unknown
from ...randomness.streams import Noise
from ...tasks.scores import Score, score_of
from ...weights.arrays import Array, select, survey
from .. import Scores, measure, measure_all
from ..sampling import Sampling, SamplingOptions, sampling_of
from ..scoring import shifted
from .results import Effect, GroupScores, Sensitivity

__all__ = [
    "Effect",
    "GroupScores",
    "LayerGroup",
    "Sensitivity",
    "blocks",
    "named_by",
    "sensitivity",
]


# ---- Groups of arrays that are corrupted or kept digital together


class LayerGroup(NamedTuple):
    """Arrays that are corrupted or kept digital together, under one name."""

    name: str
    arrays: tuple[Array, ...]

    @property
    def weights(self) -> int:
        """How many weights the arrays hold."""
        return sum(array.value.numel() for array in self.arrays)


def blocks(arrays: Sequence[Array], by: str = "layer") -> tuple[str, list[LayerGroup]]:
    """`by` with the depth that was taken, and the groups of arrays in the order of the network.

    With "layer" each array is a group. "block:N" puts arrays together that lie in the same module
    at depth N: "encoder.0.attn.in_proj_weight" lies in `encoder` at depth 1 and in `encoder.0` at
    depth 2. Arrays of modules above that depth are groups of their own. "block" takes the first
    depth at which there is more than one group. Raises `UserError` for another word, and for a
    depth that does not exist.
    """
    if by == "layer":
        return by, [LayerGroup(array.name, (array,)) for array in arrays]
    word, _, depth = by.partition(":")
    deepest = max(1, max(len(_module(array)) for array in arrays))
    if word != "block" or not (depth.isdecimal() or by == "block"):
        raise unknown(
            "way to part a network",
            by,
            ["layer", "block", *(f"block:{n + 1}" for n in range(deepest))],
        )
    if depth:
        if not 1 <= int(depth) <= deepest:
            choices = ", ".join(f"block:{n + 1}" for n in range(deepest))
            raise UserError(
                f"by {by!r}: no weight lies at depth {int(depth)}; choose one of: {choices}."
            )
        return f"block:{int(depth)}", _at(arrays, int(depth))
    found = next((n for n in range(1, deepest + 1) if len(_at(arrays, n)) > 1), deepest)
    return f"block:{found}", _at(arrays, found)


def named_by(model: nn.Module, arrays: Sequence[Array], patterns: str) -> LayerGroup:
    """The group of those `arrays` that `patterns` name: shell patterns over parameter names, with
    commas between them.

    These are the arrays that `select(protect=...)` leaves out. Raises `UserError` for a pattern
    that matches no parameter, and where no parameter that is matched is in an array.
    """
    names = {array.name for array in arrays}
    each = [one.strip() for one in patterns.split(",")]
    also = [array.pattern for array in arrays]
    left = {one.name for one in survey(model, also=also, protect=each) if one.array is not None}
    found = tuple(array for array in arrays if array.name not in left)
    if not found:
        raise UserError(
            f"{patterns!r} names only what is digital already; the arrays are: "
            f"{', '.join(sorted(names))}."
        )
    return LayerGroup(repr(patterns), found)


def _module(array: Array) -> list[str]:
    return array.name.split(".")[:-1]


def _at(arrays: Sequence[Array], depth: int) -> list[LayerGroup]:
    found: dict[str, list[Array]] = {}
    for array in arrays:
        found.setdefault(".".join(_module(array)[:depth]), []).append(array)
    return [
        LayerGroup(name or "(the model's own)", tuple(members)) for name, members in found.items()
    ]


# ---- The measurement

Names = frozenset[str]


@renamed_arguments(draws="chips", protect="what_if_digital", corruption="sampling")
def sensitivity(
    model: nn.Module,
    score: Score | str,
    data: Iterable[Any],
    sampling: Sampling | Corruption | str,
    strength: float | None = None,
    *,
    by: str = "layer",
    what_if_digital: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[SamplingOptions],
) -> Sensitivity:
    """The score of `model` with each layer corrupted alone, with all but it, and with all of them,
    on the same chips.

    `by` is "layer" (one array), "block:N" (the arrays of a module at depth N) or "block" (the first
    depth with more than one block). Each text in `what_if_digital` holds shell patterns over
    parameter names, with commas between them, and adds what is gained by keeping those arrays
    digital. The chip of a layer does not depend on what else is corrupted, so that all differences
    are paired: the loss of a layer corrupted alone is exactly `clean - measure(...,
    arrays=[layer])`. The measurement takes at most (2 layers + patterns + 1) x `chips` + 1 passes
    over `data`. Which layers to protect is a choice, so `data` should be validation data, and the
    test score should be measured afterwards.

    `sampling` says which chips, at one strength: a `Sampling`, or a corruption, its `strength` and
    the `options` of a `Sampling`. Unless given, there are 25 chips, of the purpose "validation".
    `progress` is as in `measure`.

    Raises `UserError` as `measure` does, and for a score without a direction or values that are not
    finite, fewer than 2 chips, several strengths, strength 0 (unless a fault is pinned), a depth
    that does not exist, and a pattern that matches nothing.
    """
    score = score_of(score)
    if getattr(score, "higher_is_better", None) is None:
        raise UserError(
            "the score has no direction, so nothing is lost or gained: wrap it in a Score."
        )
    given: Any = strength  # one number, or a list of one
    sampling = sampling_of(sampling, given, options, chips=25, purpose="validation")
    chips = sampling.chips
    if chips < 2:
        raise UserError(f"chips={chips}: at least 2 chips are needed to tell a loss from chance.")
    _refuse_rest(sampling)
    arrays = list(select(model) if sampling.arrays is None else sampling.arrays)
    by, parts = blocks(arrays, by)
    asked = [named_by(model, arrays, patterns) for patterns in what_if_digital]
    every = frozenset(array.name for array in arrays)
    # A set that is needed twice is measured once: of two layers, all but the first is the second
    # alone.
    sets = list(
        dict.fromkeys(
            [every, *_alone(parts), *(every - names for names in _alone([*parts, *asked]))]
        )
    )
    sets = [names for names in sets if names]
    resting = replace(sampling, corruption=_Digital(), strengths=[0.0], chips=1, reads=1, read=None)
    clean = measure(model, score, data, resting)
    found: dict[Names, Scores] = {}
    remembering: Any = _Remembering(sampling.corruption)
    for place, names in enumerate(sets):
        chosen = [array for array in arrays if array.name in names]
        each = replace(sampling, corruption=remembering, arrays=chosen)
        tell = shifted(progress, place * chips, len(sets) * chips)
        # `measure` has checked the whole network above. A single layer may truly change no answer.
        only = measure_all(model, {"": score}, data, each, progress=tell, checks=False)
        found[names] = only[""]
        _refuse_infinite(found[names], names)
    values = {names: scores.values[0] for names, scores in found.items()}
    values[frozenset()] = np.full(chips, clean.values[0, 0])
    return Sensitivity(
        by,
        float(clean.values[0, 0]),
        found[every],
        tuple(_group(block, every, arrays, values, True) for block in parts),
        tuple(_group(block, every, arrays, values, False) for block in asked),
    )


class _Digital:
    """A corruption under which nothing goes wrong: every array holds its clean weights."""

    unit = formula = source = "nothing"

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        return array.value

    def moments(self, array: Array, strength: float) -> Moments:
        nothing = array.value.new_zeros(())
        return Moments(nothing, nothing)


class _Remembering:
    """A corruption that remembers the moments of each array, because some corruptions estimate them
    from 256 chips, and there are many sets of arrays.
    """

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


def _refuse_rest(sampling: Sampling) -> None:
    """Raises `UserError` for several strengths, and for a strength at which all chips are alike."""
    if len(sampling.strengths) != 1:
        raise UserError(
            f"{len(sampling.strengths)} strengths are given; sensitivity is measured at one strength."
        )
    corruption = sampling.corruption
    if sampling.strengths[0] == 0 and not traits(corruption).pinned:
        said = (
            "all chips are alike, and no loss can be told from chance; give a strength above 0, "
            "or use measure."
        )
        if not traits(corruption).conditions:  # no storage that errs at rest
            said = "nothing is corrupted, so there is nothing to see; give a strength above 0."
        raise UserError(f"{corruption} at strength 0: {said}")


def _alone(parts: Sequence[LayerGroup]) -> list[Names]:
    return [frozenset(array.name for array in block.arrays) for block in parts]


def _group(
    block: LayerGroup,
    every: Names,
    arrays: Sequence[Array],
    values: dict[Names, NDArray[np.float64]],
    alone: bool,
) -> GroupScores:
    names = frozenset(array.name for array in block.arrays)
    share = block.weights / sum(array.value.numel() for array in arrays)
    ordered = tuple(array.name for array in block.arrays)
    return GroupScores(
        block.name,
        ordered,
        block.weights,
        share,
        values[names] if alone else None,
        values[every - names],
    )


def _refuse_infinite(scores: Scores, names: Names) -> None:
    wrong = int((~np.isfinite(scores.values)).sum())
    if wrong:
        raise UserError(
            f"{scores.name} is not finite on {wrong} of {scores.chips} chips with "
            f"{', '.join(sorted(names)[:3])} corrupted; take a weaker strength, or a score that is "
            "bounded, such as accuracy."
        )
