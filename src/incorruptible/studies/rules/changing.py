"""Does it help to change the strength during training?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...diagnostics.mechanism import FAILED
from ...statistics import agree, paired, verdict
from ..evidence import Arm, EvidenceRow, Judgement, constants, duel, named, refuse_other_units


@dataclass(frozen=True)
class Changing:
    """Asks whether changing the strength helps optimisation (a) and matches the landscape (c).

    Rows are named after the parts of the paper's claim C4. Part b, whether a schedule pays against
    constant strengths that are tuned as hard, is not asked.

    Part a, for each of `methods` (a method and its title), looks at the smallest strength whose
    constant arm fails. It takes the perturbed training loss of that arm at that strength, less the
    loss of the arm with the schedule warm-up-hold; the interval is over seeds. Part c, for each of
    `ramps` (a title, a rising arm, and the arm of the same ramp reversed), compares the two test
    scores at every test strength. An arm fails if it loses more than 10 points of clean accuracy
    against the arm `plain`.
    """

    methods: tuple[tuple[str, str], ...]
    ramps: tuple[tuple[str, str, str], ...]
    plain: str = "sgd"

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return [self.plain, *(name for _, *names in self.ramps for name in names)]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        plain = named(arms, self.plain)
        refuse_other_units([plain] if self.methods else [])
        rows = [self._optimisation(arms, plain, method, title) for method, title in self.methods]
        words = [row.word for row in rows]
        for title, rising_name, falling_name in self.ramps:
            rising, falling = named(arms, rising_name), named(arms, falling_name)
            strengths = [s for s in rising.strengths if s == 0 or s in tests]
            own = duel(f"c, {title}", [rising], [falling], strengths)
            words.append(agree([row.word for row in own]))
            rows += own
        return Judgement(agree(words), tuple(rows))

    def _optimisation(
        self, arms: Sequence[Arm], plain: Arm, method: str, title: str
    ) -> EvidenceRow:
        question = f"a, {title}"
        lost = {
            a.name: float((plain.accuracy(0) - a.accuracy(0)).mean())
            for a in constants(arms, method)
        }
        failing = [a for a in constants(arms, method) if lost[a.name] > FAILED]
        if not failing:
            return EvidenceRow(
                question,
                "-",
                "warm-up-hold",
                "constant",
                None,
                "undecided",
                "no constant arm fails",
            )
        constant = failing[0]
        want = (method, "warmup-hold", constant.peak, "candidate")
        warm = [a for a in arms if (a.kind, a.schedule, a.peak, a.role) == want]
        if not warm:
            note = "no warm-up-hold arm at this strength"
            return EvidenceRow(
                question, f"{constant.peak:g}", "-", constant.name, None, "undecided", note
            )
        losses = [
            np.array([at["probe_perturbed_loss"] for at in arm.at_peak if at is not None])
            for arm in (constant, warm[0])
        ]
        gap = paired(losses[0], losses[1])
        note = (
            f"perturbed training loss at {constant.peak:g}: constant {losses[0].mean():.3f}, "
            f"warm-up-hold {losses[1].mean():.3f}"
        )
        (word,) = verdict([gap])
        return EvidenceRow(
            question,
            f"{constant.peak:g}",
            constant.name,
            warm[0].name,
            gap,
            word,
            note,
            unit="nats",
        )
