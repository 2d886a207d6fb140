"""Is training noise above test noise better than noise equal to it, because it regularises?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...statistics import agree, crossed_sum, paired, verdict
from ..evidence import (
    MARGIN,
    Arm,
    EvidenceRow,
    Judgement,
    Lacking,
    best,
    constants,
    difference,
    numbers,
    said,
)


@dataclass(frozen=True)
class OverRegularised:
    """Compares, at each test strength, an arm that trains with more noise with the arm that trains
    with as much noise as the test has.

    kappa is the training strength over the test strength. Among the constant arms of `method` with
    kappa in (1, 4], validation chooses the best; it is compared with the arm of kappa 1.

    A row is "supported" where three things hold: the score is ahead; the gap between noisy test
    loss and noisy training loss shrinks (lower limit above 0, over crossed seeds and examples); and
    the noisy training score is not higher (lower limit over seeds, on the training examples
    themselves, not above 0). Where the score is ahead and one of the others fails, the reason was
    not regularisation, and the row is "undecided". "equivalent" means a difference within `margin`.
    The study must measure the part "train".
    """

    method: str = "rwp"
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return []

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        candidates = constants(arms, self.method)
        pairs, rows = [], []
        for s in tests:
            same = [a for a in candidates if abs(a.peak / s - 1) < 1e-9]
            above = [a for a in candidates if 1 + 1e-9 < a.peak / s <= 4 + 1e-9]
            if same and above:
                pairs.append((s, best(above, s), same[0], best(candidates, s)))
        differences = [difference(over, equal, s, self.margin) for s, over, equal, _ in pairs]
        for (s, over, equal, chosen), found, word in zip(
            pairs, differences, verdict(differences), strict=True
        ):
            k = over.index(s)
            if (
                over.train is None
                or over.train_loss is None
                or equal.train is None
                or equal.train_loss is None
            ):
                raise Lacking('the study does not measure the part "train"')
            gap = crossed_sum(
                [
                    equal.test_loss[:, k] - over.test_loss[:, k],
                    over.train_loss[:, k] - equal.train_loss[:, k],
                ]
            )
            train = paired(over.sign * over.train[:, k], equal.sign * equal.train[:, k])
            shrinks, not_higher = gap.interval.low > 0, train.interval.low <= 0
            note = (
                f"loss gap shrinks by {numbers(gap.interval)} nats, noisy training score ahead by "
                f"{said(train.interval, over.unit)}; validation's choice among all: {chosen.name} "
                f"(kappa {chosen.peak / s:.3g})"
            )
            if word == "supported" and not (shrinks and not_higher):
                word, note = "undecided", f"ahead, but not by regularisation alone: {note}"
            left = f"{over.name} (kappa {over.peak / s:.3g})"
            rows.append(
                EvidenceRow(
                    "over-regularised", f"{s:g}", left, equal.name, found, word, note, over.unit
                )
            )
        return Judgement(agree([row.word for row in rows]), tuple(rows))
