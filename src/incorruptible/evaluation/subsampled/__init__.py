"""The mean over chips to a half-width, with as few passes as possible: many chips that each look at
few images.

The spread of the mean comes from chips and from single answers. Where making a chip costs little
beside reading all images, more chips with few images each reach the same half-width with less work.
A first look at some chips and images decides. Where few images do not pay, whole chips are scored,
as by `measure`.

    found = measure_mean(model, accuracy, data, "gaussian-filter-max:.3", half_width=0.0025, seed=0)
    print(found)  # the mean, its interval, and how many chips looked at how many images

Relies on: data that can be indexed, for subsets of images; else whole chips are scored. Keeps:
which images a chip looks at is drawn from named noise and is independent of the chips, so that the
mean is not biased by the choice; the model is as before after the call, also after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import torch
from torch import nn

from ...corruptions import Corruption, traits
from ...errors import UserError, renamed_arguments
from ...tasks.data import Batches, batches
from ...tasks.scores import score_of
from ...weights.batchnorm import Statistics, evaluating
from ..base import stated
from ..checks import check_network
from ..sampling import Sampling, SamplingOptions, sampling_of
from ..scoring import ScoreFunction, count_of, counted, keeping, refuse_iterators
from .design import BATCH, MeanEstimator, gathered
from .results import Means

__all__ = ["measure_mean"]

FINEST = 1e-12  # below this half-width there is nothing but rounding


@renamed_arguments(most="max_chips", corruption="sampling")
def measure_mean(
    model: nn.Module,
    score: ScoreFunction | str,
    data: Iterable[Any],
    sampling: Sampling | Corruption | str,
    strengths: Sequence[float] | None = None,
    *,
    half_width: float,
    confidence: float = 0.95,
    max_chips: int | None = None,
    images: int | None = None,
    antithetic: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[SamplingOptions],
) -> Means:
    """The mean score over chips on these n examples, from chips that look at few examples each. At
    each strength, chips are added until the interval of the mean is at most 2 `half_width` long.

    Choose this for a mean to a small half-width on many images, where `measure_until` would take a
    thousand whole chips or more. The estimate is of mu = (1/n) sum_i E[Y(chip, i)], where Y(chip,
    i) is the score of that chip on example i. Chip c looks at a random subset S_c of m examples,
    and

        mu_hat = beta mean(C) + mean_c D_c,    D_c = mean over S_c of (Y(c, i) - beta C_i),

    with the clean scores C of all examples. Subsets are drawn without replacement and independently
    of the chips, and m and beta are fixed before the chips that are averaged. So mu_hat is unbiased
    but for stopping, and the D_c are independent and equally distributed. m and beta come from a
    first look (`statistics.plan`), unless `images` gives m. With m = n the chips are whole, those
    of `measure`, and need no clean pass. The interval is Student's, made longer because one stops
    when it is short enough (`statistics.gather`). It covers 95% approximately. The interval of
    `measure_until` holds without exception and takes many more chips.

    Corruptions that may ruin a whole chip (flipped bits, stuck cells, dead lines) are refused: a
    rare chip that fails altogether moves the mean by more than chips that agree can show.

    `antithetic` makes chip 2k + 1 the mirror image of chip 2k: True always, False never. None pairs
    the first quarter of the chips, and the others if that helps; whole chips are not paired. At
    most `max_chips` chips are averaged (unless given, the number of the `Sampling`, or 20,000); the
    result says whether they were enough. Subsets need data that can be indexed: a tuple of tensors,
    `Images`, or batches (inputs, labels) in a list or an unshuffled DataLoader, which are laid out
    in memory once; otherwise chips are whole. `sampling`, `strengths`, `options` and `progress` are
    as in `measure`.

    Raises `UserError` as `measure` does, and for a half-width below 1e-12, no examples, a
    confidence outside (0, 1), fewer than 16 `max_chips`, several reads of a chip, and more `images`
    than there are.
    """
    score = score_of(score)
    asked = sampling_of(
        sampling, strengths, options, chips=20_000, purpose="test", max_chips=max_chips
    )
    _refuse(half_width, confidence, asked)
    refuse_iterators(data, asked)
    # A DataLoader draws from torch's global generator whenever it is iterated.
    with torch.random.fork_rng(devices=[]):
        data = batches(data, BATCH)
        rows, why = gathered(data)
        data = rows if rows is not None and isinstance(data, Batches) else data
        total = count_of(data) if rows is None else rows.examples
        _refuse_images(images, total, why)
        model, arrays = asked.fitted(model)
        each = replace(asked, batchnorm="as-is" if asked.batchnorm == "folded" else asked.batchnorm)
        with evaluating(model), keeping(Statistics(model)):
            check_network(model, {"": score}, data, each, arrays)
        estimator = MeanEstimator(
            model,
            score,
            data,
            rows,
            total,
            each,
            arrays,
            half_width,
            confidence,
            images,
            antithetic,
        )
        found = [
            estimator.average(strength, why, counted(progress, each, place))
            for place, strength in enumerate(each.strengths)
        ]
    return Means(
        averages=tuple(found),
        **stated(asked, score),
        n_examples=total,
        half_width=half_width,
        confidence=confidence,
        max_chips=asked.chips,
    )


def _refuse(half_width: float, confidence: float, asked: Sampling) -> None:
    """Raises `UserError` for a measurement that would not end, or whose interval would not hold."""
    if not FINEST <= half_width < float("inf"):
        raise UserError(
            f"half_width is {half_width:g}; it is positive, {FINEST:g} or more, in the unit of the "
            "score, for example 0.0025."
        )
    if not 0 < confidence < 1:
        raise UserError(f"confidence is {confidence:g}; it lies between 0 and 1, for example 0.95.")
    if asked.chips < 16:
        raise UserError(
            f"max_chips is {asked.chips}; at least 16 chips are needed to tell how much they differ."
        )
    if asked.reads > 1:
        raise UserError(f"reads={asked.reads}: measure_mean reads each chip once; leave reads out.")
    if traits(asked.corruption).ruins:
        raise UserError(
            f"{asked.corruption} may ruin a whole chip and leave all others as they are, which the few "
            "chips that are looked at first would not show: measure whole chips (chips=...), or by "
            "measure_until, whose interval holds whatever one chip may do (--half-width without "
            "--subsample)."
        )


def _refuse_images(images: int | None, total: int, why: str) -> None:
    """Raises `UserError` for more images than there are, and for a choice of images from data that
    cannot be indexed; `why` says why not.
    """
    if not total:
        raise UserError("data is empty: it holds no example.")
    if images is not None and not (1 <= images < total and not why) and images != total:
        raise UserError(
            f"images={images}: "
            + (why or f"a chip looks at 1 to {total} images")
            + f"; images={total} are whole chips."
        )
