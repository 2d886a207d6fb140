"""How well a network does on many chips: paired draws, and never a mean without its n."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import nn

from ..corruptions import Corruption, equivalent, traits
from ..errors import Mistake
from ..tasks.data import batches, shuffles
from ..weights.arrays import Array
from ..weights.batchnorm import Statistics, evaluating
from .anytime import Precise, measure_until
from .chips import Chips
from .results import OverTime, Scores
from .scoring import Examples, ScoreFunction, keeping, refuse_iterators
from .subsampled import measure_mean
from .subsampled.results import Average, Means
from .workers import Bench, Key, elsewhere, here, turns

__all__ = [
    "Average",
    "Chips",
    "Means",
    "OverTime",
    "Precise",
    "Scores",
    "measure",
    "measure_all",
    "measure_mean",
    "measure_until",
]

Kept = MutableMapping[Key, dict[str, Examples]]


def measure(
    model: nn.Module,
    score: ScoreFunction,
    data: Iterable[Any],
    corruption: Corruption,
    strengths: Sequence[float],
    *,
    draws: int,
    seed: int,
    purpose: str = "test",
    reads: int = 1,
    read: tuple[Corruption, float] | None = None,
    arrays: Sequence[Array] | None = None,
    batchnorm: str = "as-is",
    calibration: Iterable[Any] | None = None,
    autocast: str | None = None,
    channels_last: bool = False,
    keep_examples: bool = False,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 0,
) -> Scores:
    """The score of `model` on `draws` chips at each strength.

    `score(model, batch)` gives one number for each example, [b]; `data` is iterated once for each chip and strength, so
    it must start anew each time: a tuple of tensors (inputs, labels), a list of batches or a DataLoader, not a generator;
    scores of single examples need one that does not shuffle. Batches are moved to the
    model's device. Draw k is the same chip at every strength, and in every model whose arrays have the same names; chips
    of different `purpose` are different. At strength 0 all chips are the same, and one is measured.

    With `read=(corruption, strength)` each chip is read `reads` times, and each read adds an error of its own on top of
    the chip's. `batchnorm` is "as-is", "folded" (into the convolution before the noise is drawn; `arrays` are found again
    by name) or "recalibrated" (running statistics computed anew on every chip from the inputs in `calibration`).

    `autocast="bf16"` computes forward passes in 16 bits; that rounding is no property of the chip, whose weights are drawn in
    the model's own type, and a score within a few examples of a tie may differ for it. `channels_last` lays images and
    kernels out with their channels side by side. Both are for speed and are recorded. `workers=2` reads chips in two
    processes of one thread each, forked from this one (models on the CPU, systems that fork): the same numbers as in one
    process of one thread.

    Restores weights, statistics, modes, layout and torch's global random state, also after an error; while a score, `progress`
    or the data run, a chip is in place. Raises `Mistake` for data that is empty or cannot be iterated twice, a score of the
    wrong shape, draws or reads below 1, a negative strength, and a policy, an autocast or workers that do not fit.
    """
    chips = Chips(
        corruption, strengths, draws, seed, purpose, reads, read, batchnorm, calibration, autocast, channels_last
    )
    found = measure_all(
        model,
        {"": score},
        data,
        chips,
        arrays=arrays,
        keep_examples=keep_examples,
        progress=progress,
        workers=workers,
    )
    return found[""]


def measure_all(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    chips: Chips,
    *,
    arrays: Sequence[Array] | None = None,
    keep_examples: bool = False,
    progress: Callable[[int, int], None] | None = None,
    kept: Kept | None = None,
    workers: int = 0,
) -> dict[str, Scores]:
    """Several scores on the same chips at once; scores of the model's answer share one forward pass. Else as `measure`.

    `chips` say `autocast` and `channels_last`. `kept` maps (strength, chip, read), by number, to what each score gave there
    [example]: what it holds is not measured again, and what is measured is put into it.
    """
    refuse_iterators(data, chips)
    if workers < 0:
        raise Mistake(f"workers is {workers}; it is how many processes share the chips, 0 or 1 for this one alone.")
    if keep_examples and shuffles(data):
        raise Mistake(
            "data are shuffled: scores of single examples need the same order each time; shuffle=False gives it."
        )
    data = batches(data, 1024)
    model, arrays = chips.fitted(model, arrays)
    equals = tuple(equivalent(chips.corruption, strength, arrays).strength for strength in chips.strengths)
    largest = [array.peak() for array in arrays]
    peaks = min(float(one.min()) for one in largest), max(float(one.max()) for one in largest)
    told, known = progress or (lambda done, total: None), {} if kept is None else kept
    found = _examples(model, scores, data, chips, arrays, told, known, workers)
    results = {}
    for name, score in scores.items():
        examples = found[name]
        each = examples.mean(3, dtype=np.float64)
        results[name] = Scores(
            values=each.mean(2),
            strengths=tuple(chips.strengths),
            corruption=str(chips.corruption),
            corruption_unit=chips.corruption.unit,
            name=str(getattr(score, "name", None) or getattr(score, "__name__", "score")),
            unit=getattr(score, "unit", "mean over examples"),
            higher_is_better=getattr(score, "higher_is_better", None),
            n_examples=examples.shape[3],
            seed=chips.seed,
            purpose=chips.purpose,
            batchnorm=chips.batchnorm,
            autocast=chips.autocast,
            channels_last=chips.channels_last,
            equivalent=equals,
            peaks=peaks,
            conditions=traits(chips.corruption).conditions,
            read=None if chips.read is None else f"{chips.read[0]}:{chips.read[1]:g}",
            reads=each if chips.reads > 1 else None,
            examples=examples.mean(2) if keep_examples else None,
        )
    return results


def _examples(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    chips: Chips,
    arrays: Sequence[Array],
    progress: Callable[[int, int], None],
    kept: Kept,
    workers: int,
) -> dict[str, Examples]:
    """[strength, draw, read, example] for each score."""
    bench, left = Bench(model, scores, data, chips, arrays), turns(chips, kept)
    done = chips.total - sum(map(len, left))
    if done:
        progress(done, chips.total)
    readings = here(bench, left) if workers < 2 else elsewhere(bench, left, workers)
    aside = torch.random.fork_rng(devices=[])  # a DataLoader draws from the global generator at every turn
    with aside, evaluating(model), keeping(Statistics(model)), closing(readings):
        for key, found in readings:
            kept[key] = found
            done += 1
            progress(done, chips.total)
    read: list[dict[str, Examples]] = []
    for place, strength in enumerate(chips.strengths):
        distinct = chips.distinct(strength)
        once = [kept[place, chip, again] for chip in range(distinct) for again in range(chips.reads)]
        read += once * (chips.draws // distinct)
    shape = (len(chips.strengths), chips.draws, chips.reads, -1)
    try:
        return {name: np.array([one[name] for one in read], dtype=np.float32).reshape(shape) for name in scores}
    except ValueError:
        raise Mistake("data gave another number of examples the second time; it must be the same each time.") from None
