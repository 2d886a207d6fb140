"""Does training fail under strong perturbation because the gradient vanishes, or because of its variance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...statistics import agree, t_interval
from ..evidence import Arm, Judgement, Lacking, Row, difference, named, numbers

__all__ = ["FAILED", "Vanishing", "before_stall", "probes"]

FAILED = 0.10  # an arm fails where it loses more than 10 points of clean accuracy to plain training
VANISHING = 0.5
NOISY = 0.3
STALL = 0.05


@dataclass(frozen=True)
class Vanishing:
    """For each of `methods` (a title, a constant arm, the same arm with its gradient clipped): does it fail; and at the last
    probe before the arm's clean training accuracy comes within 5 points of its best (later ratios would be circular: an arm
    that has collapsed may drift to a best of its own much later), what of the norm of mean g over that of g0 and the
    signal-to-noise ratio, over seeds?

    "supported": the upper limit of the ratio is under 0.5 and clipping does not restore clean accuracy. "contradicted": the
    lower limit is above 0.5, the upper limit of signal to noise under 0.3, and clipping restores it: it was variance.
    Restored: the clipped arm is ahead (lower limit above 0) and does not fail itself. Otherwise, and where no probe lies
    before the stall, "undecided". `plain` is the arm that failing is measured against.
    """

    methods: tuple[tuple[str, str, str], ...]
    plain: str = "sgd"

    def needs(self) -> list[str]:
        """Names of arms without which nothing can be said."""
        return [self.plain, *(name for _, *names in self.methods for name in names)]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        rows = []
        plain = named(arms, self.plain)
        for title, name, clipped_name in self.methods:
            arm, clipped = named(arms, name), named(arms, clipped_name)
            if not all(map(probes, arm.metrics)):
                raise Lacking(f"the gradient instrument did not look at arm {name!r} during training (probe)")
            lost = float((plain.accuracy(0) - arm.accuracy(0)).mean())
            gain = difference(clipped, arm, 0.0)
            restored = gain.interval.low > 0 and float((plain.accuracy(0) - clipped.accuracy(0)).mean()) <= FAILED
            at, step = before_stall(arm)
            seen = [probes(seed)[at] for seed in arm.metrics]
            ratio = t_interval([one["probe_mean_ratio"] for one in seen])
            signal = t_interval([one["probe_signal_to_noise"] for one in seen])
            dead = float(np.mean([one["probe_dead"] for one in seen]))
            cosine = float(np.mean([one["probe_cosine"] for one in seen]))
            uneven = float(np.mean([one["probe_loss_variation"] for one in seen]))
            steep = [one["probe_steepness"] for one in seen if one["probe_steepness"] is not None]
            if lost <= FAILED:
                word, cause = "undecided", "does not fail here"
            elif step is None:
                word, cause = "undecided", "no probe lies before the stall"
            elif ratio.high < VANISHING and not restored:
                word, cause = "supported", "the gradient vanishes"
            elif ratio.low > VANISHING and signal.high < NOISY and restored:
                word, cause = "contradicted", "gradient variance"
            else:
                word, cause = "undecided", "neither rule holds"
            rise = f", rises {np.mean(steep):.2f} times as fast as its slope says" if steep else ""
            note = (
                f"{cause}; loses {100 * lost:.1f} points clean; at step {step}, before the stall: "
                f"norm of mean g / norm of g0 {numbers(ratio)}, signal/noise {numbers(signal)}, cosine {cosine:.2f}, "
                f"dead units {dead:.0%}, loss varies by {uneven:.1%} over draws{rise}; "
                f"clipping {'restores' if restored else 'does not restore'} it"
            )
            rows.append(Row(title, f"{arm.peak:g}", clipped.name, arm.name, gain, word, note))
        return Judgement(agree([row.word for row in rows]), tuple(rows))


def before_stall(arm: Arm) -> tuple[int, int | None]:
    """Index and step of the last probe before mean clean training accuracy comes within 5 points of its best; step None
    where the first probe is there already."""
    course = np.mean([[float(one["probe_clean_accuracy"]) for one in probes(seed)] for seed in arm.metrics], axis=0)
    stall = int(np.argmax(course >= course.max() - STALL))
    at = max(0, stall - 1)
    return at, int(probes(arm.metrics[0])[at]["step"]) if stall else None


def probes(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records at which the gradient instrument looked."""
    return [one for one in metrics if "probe_mean_ratio" in one]
