"""Does training fail under strong perturbation because the gradient vanishes, or because of its
variance?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...diagnostics import mechanism
from ...diagnostics.mechanism import FAILED, probes
from ...statistics import agree
from ..evidence import (
    Arm,
    EvidenceRow,
    Judgement,
    Lacking,
    difference,
    named,
    numbers,
    refuse_other_units,
)

WORDS = {"vanishing": "supported", "variance": "contradicted"}


@dataclass(frozen=True)
class Vanishing:
    """For each of `methods` (a title, a constant arm, the same arm with its gradient clipped): does
    it fail; and at the last probe before the arm's clean training accuracy comes within 5 points of
    its best (later ratios would be circular: an arm that has collapsed may drift to a best of its
    own much later), what of the norm of mean g over that of g0 and the signal-to-noise ratio, over
    seeds?

    "supported": the upper limit of the ratio is under 0.5 and clipping does not restore clean
    accuracy. "contradicted": the lower limit is above 0.5, the upper limit of signal to noise under
    0.3, and clipping restores it: it was variance. Restored: the clipped arm is ahead (lower limit
    above 0) and does not fail itself. Otherwise, and where no probe lies before the stall,
    "undecided". `plain` is the arm that failing is measured against.
    """

    methods: tuple[tuple[str, str, str], ...]
    plain: str = "sgd"

    def needs(self) -> list[str]:
        """Names of arms without which nothing can be said."""
        return [self.plain, *(name for _, *names in self.methods for name in names)]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        rows = []
        plain = named(arms, self.plain)
        refuse_other_units([plain])
        for title, name, clipped_name in self.methods:
            arm, clipped = named(arms, name), named(arms, clipped_name)
            if not all(map(probes, arm.metrics)):
                raise Lacking(
                    f"the gradient instrument did not look at arm {name!r} during training (probe)"
                )
            gain = difference(clipped, arm, 0.0)
            restored = (
                gain.interval.low > 0
                and float((plain.accuracy(0) - clipped.accuracy(0)).mean()) <= FAILED
            )
            found = mechanism.mechanism(
                arm.metrics, float((plain.accuracy(0) - arm.accuracy(0)).mean()), restored
            )
            rise = (
                f", rises {found.steepness:.2f} times as fast as its slope says"
                if found.steepness
                else ""
            )
            note = (
                f"{found.cause}; loses {100 * found.lost:.1f} points clean; at step {found.step}, "
                f"before the stall: norm of mean g / norm of g0 {numbers(found.ratio)}, "
                f"signal/noise {numbers(found.signal)}, cosine {found.cosine:.2f}, dead units "
                f"{found.dead:.0%}, loss varies by {found.variation:.1%} over draws{rise}; "
                f"clipping {'restores' if restored else 'does not restore'} it"
            )
            word = WORDS.get(found.word, "undecided")
            rows.append(
                EvidenceRow(title, f"{arm.peak:g}", clipped.name, arm.name, gain, word, note)
            )
        return Judgement(agree([row.word for row in rows]), tuple(rows))
