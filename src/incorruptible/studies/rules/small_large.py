"""Does one method win under small test noise and lose under large?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...statistics import agree
from ..evidence import MARGIN, Arm, EvidenceRow, Judgement, duel


@dataclass(frozen=True)
class SmallLarge:
    """Compares the best arm of each method in `ours` with the best arm of the method `theirs`.

    Validation chooses both arms at each test strength. Each method is compared twice: with the
    candidates of `theirs` (equal epochs), and with arms of role `double`, which train for twice the
    epochs (equal passes, where a step of `ours` takes two passes).

    A block of rows is "supported" if ours is ahead at all `small` strengths and behind at all
    `large` ones. `titles` name the methods of `ours` in rows. "equivalent" means a difference
    within `margin`.
    """

    small: tuple[float, ...]
    large: tuple[float, ...]
    ours: tuple[str, ...] = ("sam",)
    theirs: str = "rwp"
    double: str = "double"
    titles: tuple[str, ...] = ()
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        return []

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        rows: list[EvidenceRow] = []
        words = []
        budgets = {
            "equal epochs": [a for a in arms if a.kind == self.theirs and a.role == "candidate"],
            "equal passes": [a for a in arms if a.kind == self.theirs and a.role == self.double],
        }
        for place, method in enumerate(self.ours):
            title = self.titles[place] if place < len(self.titles) else method
            ours = [a for a in arms if a.kind == method and a.role == "candidate"]
            for budget, theirs in budgets.items():
                if not ours or not theirs:
                    continue
                question = f"{title}, {budget}"
                own = duel(question, ours, theirs, tests, self.margin)
                by = dict(zip(tests, (row.word for row in own), strict=True))
                ahead = {"supported": "ahead", "contradicted": "behind"}
                rows += [replace(row, word=ahead.get(row.word, row.word)) for row in own]
                flipped = {"supported": "contradicted", "contradicted": "supported"}
                words.append(
                    agree(
                        [by[s] for s in self.small]
                        + [flipped.get(by[s], by[s]) for s in self.large]
                    )
                )
                sizes = (
                    f"small {', '.join(f'{s:g}' for s in self.small)}; large "
                    f"{', '.join(f'{s:g}' for s in self.large)}"
                )
                counts = f"{len(ours)} arms", f"{len(theirs)} arms"
                rows.append(EvidenceRow(question, "all", *counts, None, words[-1], sizes))
        return Judgement(agree(words), tuple(rows))
