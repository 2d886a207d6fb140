"""Does one method win under small test noise and lose under large?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...statistics import agree
from ..evidence import MARGIN, Arm, EvidenceRow, Judgement, duel


@dataclass(frozen=True)
class SmallLarge:
    """The best arm of each method in `ours` against the best of the method `theirs`, chosen on
    validation at each test strength: first against candidates (equal epochs), then against arms of
    role `double` (equal passes: `theirs` for twice the epochs).

    A block is "supported" if ours is ahead at all `small` strengths and behind at all `large` ones.
    `titles` name ours in rows; "equivalent" within `margin`.
    """

    small: tuple[float, ...]
    large: tuple[float, ...]
    ours: tuple[str, ...] = ("sam",)
    theirs: str = "rwp"
    double: str = "double"
    titles: tuple[str, ...] = ()
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """Names of arms without which nothing can be said."""
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
