"""How well a network does on chips with errors in their weights.

A *chip* is one realisation of everything that is random in a piece of hardware: which errors its
weights have. `measure` makes one chip after another, puts each in place of the clean weights, and
scores the network on the same examples:

    scores = measure(model, accuracy, data, "gaussian-filter-max:0,.1", chips=25)
    print(scores)     # mean, interval and spread over chips at both strengths
    scores.values     # [strength, chip]

Besides `measure`, which scores a given number of chips, `measure_until` takes chips until the mean
is known well enough, and `measure_mean` does so with fewer passes. `evaluation.comparison` compares
two networks, `evaluation.sensitivity` the layers of one network, and `evaluation.audit` lists what
an error touches.

Relies on: the data give the same examples in every pass; `shuffles` and the order of the examples
tell whether scores of single examples can be kept. Keeps: chip k of a seed and a purpose is the
same in every function and at every strength; weights, running statistics, modes and torch's global
random state are as before after each call, also after an error; a mean never stands without its
number of chips and examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import nn

from ..corruptions import Corruption, equivalent
from ..errors import NotFinite, UserError, renamed_arguments
from ..renamed import missing
from ..tasks.data import Batches, batches, shuffles
from ..tasks.scores import score_of
from ..weights.arrays import Array
from ..weights.batchnorm import Statistics, evaluating
from .anytime import AnytimeMeans, measure_until
from .base import stated
from .checks import check_network
from .results import OverTime, Scores
from .sampling import Sampling, SamplingOptions, sampling_of
from .scoring import NOT_FINITE, ORDER, Examples, ScoreFunction, keeping, refuse_iterators
from .subsampled import measure_mean
from .subsampled.results import Average, Means
from .workers import Key, ScoringJob, elsewhere, here, work_items

__all__ = [
    "AnytimeMeans",
    "Average",
    "Means",
    "OverTime",
    "Sampling",
    "Scores",
    "measure",
    "measure_all",
    "measure_mean",
    "measure_until",
]

Kept = MutableMapping[Key, dict[str, Examples]]
SHUFFLED = (
    "the data have another order each time (are they shuffled?): scores of single examples need the "
    "same order at every chip; shuffle=False keeps the order."
)


@renamed_arguments(draws="chips", corruption="sampling")
def measure(
    model: nn.Module,
    score: ScoreFunction | str,
    data: Iterable[Any],
    sampling: Sampling | Corruption | str,
    strengths: Sequence[float] | None = None,
    *,
    keep_examples: bool | None = False,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 0,
    **options: Unpack[SamplingOptions],
) -> Scores:
    """The score of `model` on every chip at each strength.

    `sampling` says which chips: a `Sampling`, or a corruption, its `strengths` and the `options` of
    a `Sampling` (chips=25, seed=0, batchnorm="folded", ...). Unless given, there are 25 chips.

    `score(model, batch)` gives one number for each example, [b]; a text names a score of this
    package, such as "accuracy". `data` is iterated once for each
    chip and strength, so it must start anew each time: a tuple of tensors (inputs, labels), a list
    of batches or a DataLoader, not a generator. Batches are moved to the model's device. At
    strength 0 all chips are the same, and only one chip is measured.

    `keep_examples` says whether the score of each example is kept, which intervals over examples
    need. This takes data that come in the same order at every chip. With True, `measure` refuses
    data in another order; with None it keeps the scores if the order turns out to be the same.

    `workers=2` scores chips in two processes of one thread each, forked from this process. It takes
    a model on the CPU and a system that can fork; the numbers are those of one process of one
    thread. `progress(done, total)` is called after every chip.

    Answers that are not finite are wrong answers, and `Scores.not_finite` counts them. A network
    that is not finite without any error is refused. So is a network whose answers all stay the same
    when every weight in its arrays changes.

    Restores weights, running statistics, modes, layout and torch's global random state, also after
    an error. While the score, `progress` or the data run, a chip is in place of the clean weights.

    Raises `UserError` for data that is empty or cannot be iterated twice, a score of the wrong
    shape or that does not fit the answers, workers that cannot be used, and for whatever `Sampling`
    refuses.
    """
    score = score_of(score)
    sampling = sampling_of(sampling, strengths, options, chips=25, purpose="test")
    found = measure_all(
        model,
        {"": score},
        data,
        sampling,
        keep_examples=keep_examples,
        progress=progress,
        workers=workers,
    )
    return found[""]


def measure_all(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction | str],
    data: Iterable[Any],
    sampling: Sampling,
    *,
    keep_examples: bool | None = False,
    progress: Callable[[int, int], None] | None = None,
    kept: Kept | None = None,
    workers: int = 0,
    checks: bool = True,
) -> dict[str, Scores]:
    """Several scores on the same chips at once: scores of the model's answer share one forward
    pass. Everything else is as in `measure`.

    With `checks=False`, networks that `measure` refuses (not finite, or none of whose answers
    depends on the weights in its arrays) are measured too, because diagnoses look at trainings that
    failed. An answer that is not finite then counts as wrong at strength 0 as well.

    `kept` holds what was measured already: it maps the indices (strength, chip, read) to what each
    score gave there [example]. Entries of `kept` are not measured again, and new ones are added, so
    that a measurement that was stopped can go on.
    """
    called = {name: score_of(score) for name, score in scores.items()}
    sampling = sampling.filled(25, "test")
    refuse_iterators(data, sampling)
    if workers < 0:
        raise UserError(
            f"workers is {workers}; it is how many processes share the chips: 0 or 1 for this "
            "process alone."
        )
    if keep_examples and shuffles(data):
        raise UserError(SHUFFLED)
    data = batches(data, 1024)
    model, arrays = sampling.fitted(model)
    sizes = _Sizes.of(sampling, arrays)  # before any chip, for a corruption's moments may fail
    told, known = progress or (lambda done, total: None), {} if kept is None else kept
    found = _examples(
        model,
        called,
        data,
        sampling,
        arrays,
        told,
        known,
        workers,
        keep_examples is not False,
        checks,
    )
    if ORDER in found and len(np.unique(found[ORDER])) > 1:
        if keep_examples:
            raise UserError(SHUFFLED)
        keep_examples = False
    return {
        name: _result(score, found[name], found.get(NOT_FINITE), sampling, sizes, keep_examples)
        for name, score in called.items()
    }


class _Sizes(NamedTuple):
    """How large errors and weights are: for each strength the strength of gaussian-filter-max with
    an error of equal size, and over all filters f the smallest and the largest max|W_f|.
    """

    equivalent: tuple[float, ...]
    peaks: tuple[float, float]

    @classmethod
    def of(cls, sampling: Sampling, arrays: Sequence[Array]) -> _Sizes:
        """The sizes for these arrays, at the strengths of `sampling`."""
        each = (equivalent(sampling.corruption, s, arrays).strength for s in sampling.strengths)
        largest = [array.peak() for array in arrays]
        peaks = min(float(one.min()) for one in largest), max(float(one.max()) for one in largest)
        return cls(tuple(each), peaks)


def _result(
    score: ScoreFunction,
    examples: Examples,
    not_finite: Examples | None,
    sampling: Sampling,
    sizes: _Sizes,
    keep_examples: bool | None,
) -> Scores:
    """The `Scores` of one score, whose values are `examples` [strength, chip, read, example]."""
    each = examples.mean(3, dtype=np.float64)
    return Scores(
        values=each.mean(2),
        **stated(sampling, score),
        strengths=tuple(sampling.strengths),
        higher_is_better=getattr(score, "higher_is_better", None),
        n_examples=examples.shape[3],
        equivalent=sizes.equivalent,
        peaks=sizes.peaks,
        reads=each if sampling.reads > 1 else None,
        examples=None if keep_examples is False else examples.mean(2),
        not_finite=None if not_finite is None else not_finite.sum((2, 3)).astype(np.int64),
    )


def _examples(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    sampling: Sampling,
    arrays: Sequence[Array],
    progress: Callable[[int, int], None],
    kept: Kept,
    workers: int,
    ordered: bool,
    checks: bool,
) -> dict[str, Examples]:
    """For each score its values [strength, chip, read, example]. `NOT_FINITE` is there where some
    answer was not finite, and `ORDER` [strength, chip, read, 1] where the order was looked at.
    """
    ordered = ordered and not isinstance(data, Batches | list | tuple)  # these never shuffle
    job, left = (
        ScoringJob(model, scores, data, sampling, arrays, ordered),
        work_items(sampling, kept),
    )
    done = sampling.total - sum(map(len, left))
    if done:
        progress(done, sampling.total)
    readings = here(job, left) if workers < 2 else elsewhere(job, left, workers)
    # A DataLoader draws from torch's global generator whenever it is iterated.
    aside = torch.random.fork_rng(devices=[])
    with aside, evaluating(model), keeping(Statistics(model)), closing(readings):
        if left and checks:
            check_network(model, scores, data, sampling, arrays)
        for key, found in readings:
            if checks and NOT_FINITE in found and not sampling.differ(sampling.strengths[key[0]]):
                count = int(found[NOT_FINITE].sum())
                raise NotFinite(
                    f"the network's answers to {count} of {len(found[NOT_FINITE])} examples are "
                    "not finite before any error is put in, or their score is not: a score "
                    "on chips would mean nothing."
                )
            kept[key] = found
            done += 1
            progress(done, sampling.total)
    read: list[dict[str, Examples]] = []
    for place, strength in enumerate(sampling.strengths):
        distinct = sampling.distinct(strength)
        once = [
            kept[place, chip, again] for chip in range(distinct) for again in range(sampling.reads)
        ]
        read += once * (sampling.chips // distinct)
    shape = (len(sampling.strengths), sampling.chips, sampling.reads, -1)
    try:
        found = {
            name: np.array([one[name] for one in read], dtype=np.float32).reshape(shape)
            for name in scores
        }
    except ValueError:
        raise UserError(
            "data gave another number of examples the second time; it must be the same each time."
        ) from None
    for name in (NOT_FINITE, ORDER):  # what an earlier version kept has neither
        if any(name in one for one in read):
            size = next(iter(found.values())).shape[-1]
            nothing = (
                np.zeros(size, np.float32)
                if name == NOT_FINITE
                else next(one[name] for one in read if name in one)
            )
            found[name] = np.array(
                [one.get(name, nothing) for one in read], dtype=np.float32
            ).reshape(shape)
    return found


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
