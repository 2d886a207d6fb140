"""Why a training fails under perturbation: its gradient vanishes, or it drowns in variance. The
decision uses only what was recorded during training.

Relies on: records with `probe_...` entries, which the gradient instrument (`landscape.health`)
wrote, at the same steps for every seed. Keeps: what is judged was seen before the network stalled,
because the gradient of a network that has collapsed is small for that reason alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..statistics import Interval, t_interval

FAILED = (
    0.10  # a training fails if it loses more than 10 points of clean accuracy to plain training
)
# the limits that `mechanism` compares with
VANISHING = 0.5
NOISY = 0.3
STALL = 0.05

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Mechanism:
    """How the trainings of one recipe, one for each seed, came to fail.

    `word` is vanishing, variance, neither, or no failure; `cause` explains it in a few words. The
    other numbers come from the last probe before the stall, at `step`, or after `epoch` epochs
    (None if there is no probe before it, or the epoch is not known).

    - `ratio`: ||E g|| / ||g0||, and `signal`: signal to noise, each with a 95% interval over seeds.
      For one training the interval is the number itself.
    - `cosine`, `dead` (share of dead units), `variation` (of the loss over draws) and `steepness`
      (None for objectives that do not climb): means over seeds.
    - `lost`: the clean accuracy lost to plain training, as a fraction.
    - `restored`: whether clipping the gradient restores this accuracy (None: not known).
    """

    word: str
    cause: str
    step: int | None
    epoch: float | None
    ratio: Interval
    signal: Interval
    cosine: float
    dead: float
    variation: float
    steepness: float | None
    lost: float
    restored: bool | None


def mechanism(histories: Sequence[History], lost: float, restored: bool | None) -> Mechanism:
    """Decides the mechanism from the records of each training.

    - *no failure*: `lost` is at most FAILED.
    - *vanishing*: just before the stall, the upper limit of the ratio is below VANISHING, and
      clipping does not restore accuracy.
    - *variance*: the lower limit of the ratio is above VANISHING, the upper limit of signal to
      noise is below NOISY, and clipping restores accuracy.
    - *neither*: none of these.

    Later ratios would make the argument circular: where a network has collapsed, its gradient is
    small because it has collapsed. Raises `UserError` if a recorded number is not finite.
    """
    at, step = before_stall(histories)
    seen = [probes(history)[at] for history in histories]
    ratio, signal = (
        _interval([one[f"probe_{name}"] for one in seen])
        for name in ("mean_ratio", "signal_to_noise")
    )
    if lost <= FAILED:
        word, cause = "no failure", "does not fail here"
    elif step is None:
        word, cause = "neither", "no probe lies before the stall"
    elif restored is None:
        word, cause = "neither", "no clipped twin to compare with"
    elif ratio.high < VANISHING and not restored:
        word, cause = "vanishing", "the gradient vanishes"
    elif ratio.low > VANISHING and signal.high < NOISY and restored:
        word, cause = "variance", "gradient variance"
    else:
        word, cause = "neither", "neither rule holds"
    steep = [one["probe_steepness"] for one in seen if one["probe_steepness"] is not None]
    cosine, dead, variation = (
        float(np.mean([one[f"probe_{name}"] for one in seen]))
        for name in ("cosine", "dead", "loss_variation")
    )
    return Mechanism(
        word=word,
        cause=cause,
        step=step,
        epoch=None if step is None else _epoch(histories[0], step),
        ratio=ratio,
        signal=signal,
        cosine=cosine,
        dead=dead,
        variation=variation,
        steepness=float(np.mean(steep)) if steep else None,
        lost=lost,
        restored=restored,
    )


def before_stall(histories: Sequence[History]) -> tuple[int, int | None]:
    """Index and step of the last probe before the stall.

    The stall is the first probe whose clean training accuracy, the mean over seeds, is within 5
    points (STALL) of its best. The step is None if that is the first probe.
    """
    accuracy = np.mean(
        [[float(one["probe_clean_accuracy"]) for one in probes(each)] for each in histories], axis=0
    )
    stall = int(np.argmax(accuracy >= accuracy.max() - STALL))
    at = max(0, stall - 1)
    return at, int(probes(histories[0])[at]["step"]) if stall else None


def probes(history: History) -> list[Mapping[str, Any]]:
    """The records that hold measurements of the gradient."""
    return [one for one in history if "probe_mean_ratio" in one]


def _interval(values: Sequence[float]) -> Interval:
    """A 95% interval over seeds; for a single seed, the number itself."""
    return t_interval(values) if len(values) > 1 else Interval(values[0], values[0], values[0])


def _epoch(history: History, step: int) -> float | None:
    """The number of epochs after `step` steps, by the first record that knows both."""
    for one in history:
        if one.get("epoch") and one.get("step"):
            return round(step * float(one["epoch"]) / float(one["step"]), 2)
    return None
