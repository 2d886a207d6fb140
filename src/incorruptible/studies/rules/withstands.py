"""Do hardened networks withstand a corruption better than others do?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...statistics import agree, verdict
from ..evidence import MARGIN, Arm, Judgement, Row, best, difference
from .ahead import matching

__all__ = ["Withstands"]


@dataclass(frozen=True)
class Withstands:
    """At each test strength above 0, or at 0 where there is no other: of the arms of `hardened`, the one that is best on validation
    under this very corruption, against the one of each of `against` (a title and names, in which * stands for anything) that is.

    The first of `against` decides; the others are printed with words of their own. Differences are over crossed seeds and
    examples, Holm over the strengths of one title; "equivalent" within `margin`. Each row notes the equivalent gaussian-filter-max
    strength, averaged over the seeds of the hardened arm.
    """

    hardened: tuple[str, ...]
    against: tuple[tuple[str, ...], ...]
    strengths: tuple[float, ...] = ()
    margin: float = MARGIN

    def needs(self) -> list[str]:
        """Names of arms without which nothing can be said."""
        return [*self.hardened, *(name for _, *names in self.against for name in names)]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        ours = matching(arms, self.hardened)
        at = self.strengths or tuple(tests) or (0.0,)
        rows: list[Row] = []
        deciding: list[str] = []
        for place, (title, *names) in enumerate(self.against):
            theirs = matching(arms, names)
            pairs = [(s, best(ours, s), best(theirs, s)) for s in at]
            gaps = [difference(left, right, s, self.margin) for s, left, right in pairs]
            words = verdict(gaps)
            for (s, left, right), gap, word in zip(pairs, gaps, words, strict=True):
                note = f"best of {len(ours)} against best of {len(theirs)}"
                if left.equivalent is not None:
                    note += f"; as large as gaussian-filter-max {left.equivalent[:, left.index(s)].mean():.3g}"
                rows.append(Row(title, f"{s:g}", left.name, right.name, gap, word, note, left.unit))
            if place == 0:
                deciding = list(words)
        return Judgement(agree(deciding), tuple(rows))
