"""Does training under strong perturbation fail by vanishing gradients, or by their variance?"""

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
    """Asks for each method whether its arm fails, and what its gradient was before that.

    Each of `methods` is a title, a constant arm, and the same arm with its gradient clipped. An arm
    fails if it loses more than 10 points of clean accuracy against the arm `plain`. The gradient
    instrument gives the norm of the mean gradient over that of the clean gradient ("the ratio"),
    and the signal-to-noise ratio, each with an interval over seeds. Both are taken at the last
    probe before the stall, where the arm's clean training accuracy comes within 5 points of its
    best. Later ratios would be circular: an arm that has collapsed may drift to a best of its own
    much later.

    A row is "supported" (the gradient vanishes) where the upper limit of the ratio is under 0.5 and
    clipping does not restore clean accuracy. It is "contradicted" (variance) where the lower limit
    of the ratio is above 0.5, the upper limit of signal to noise is under 0.3, and clipping
    restores clean accuracy. Clipping restores it if the clipped arm is ahead (lower limit above 0)
    and does not fail itself. Otherwise, and where no probe lies before the stall, a row is
    "undecided".
    """

    methods: tuple[tuple[str, str, str], ...]
    plain: str = "sgd"

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
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
