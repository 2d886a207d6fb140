"""Do hardened networks withstand a corruption better than others do?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import UserError
from ...statistics import agree
from ..evidence import MARGIN, Arm, EvidenceRow, Judgement, Lacking, duel, matching, named


@dataclass(frozen=True)
class Withstands:
    """Compares the best arm of `hardened` with the best arm of each entry of `against`.

    The comparison is made at each test strength above 0, or at 0 where the corruption has no other
    strength.

    Each entry of `against` is a title and names of arms, in which * stands for anything. Validation
    under this very corruption chooses both arms. `networks` are beginnings of names, such as
    "conv: "; each network is compared for itself.

    The first entry of `against` decides. The others have rows with words of their own, and the row
    of an entry whose arms are not finished says so. Intervals are over crossed seeds and examples,
    words come after Holm's correction over the strengths of one title and one network, and
    "equivalent" means a difference within `margin`. Each row notes the gaussian-filter-max strength
    whose error is as large, averaged over the seeds of the hardened arm.
    """

    hardened: tuple[str, ...]
    against: tuple[tuple[str, ...], ...]
    networks: tuple[str, ...] = ("",)
    strengths: tuple[float, ...] = ()
    margin: float = MARGIN

    def __post_init__(self) -> None:
        titles = [one[0] if one else "" for one in self.against]
        if not self.hardened or not self.networks:
            raise UserError(
                "hardened and networks: at least one each is needed, even if it is the empty "
                "beginning"
            )
        if (
            not titles
            or not all(len(one) > 1 for one in self.against)
            or len(set(titles)) < len(titles)
        ):
            raise UserError(
                'against: lists of a title, each its own, and names are needed: [["plain training", "sgd"]]'
            )

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""
        names = [*self.hardened, *(name for _, *names in self.against for name in names)]
        return [network + name for network in self.networks for name in names]

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        rows: list[EvidenceRow] = []
        deciding: list[str] = []
        strengths = self.strengths or tests or (0.0,)
        for network in self.networks:
            ours = matching(arms, *(network + name for name in self.hardened))
            for place, (title, *names) in enumerate(self.against):
                try:
                    theirs = matching(arms, *(network + name for name in names))
                except Lacking as problem:
                    if not place:
                        raise
                    rows.append(
                        EvidenceRow(
                            f"{network}{title}", "-", "-", "-", None, "undecided", str(problem)
                        )
                    )
                    continue
                own = duel(f"{network}{title}", ours, theirs, strengths, self.margin)
                deciding += [] if place else [row.word for row in own]
                rows += [
                    replace(row, note=_note(row.left, s, ours, theirs))
                    for row, s in zip(own, strengths, strict=True)
                ]
        return Judgement(agree(deciding), tuple(rows))


def _note(name: str, strength: float, ours: Sequence[Arm], theirs: Sequence[Arm]) -> str:
    """Of how many arms each side is the best, and the plain noise that is as strong."""
    note = f"best of {len(ours)} against best of {len(theirs)}"
    left = named(ours, name)
    if left.equivalent is None:
        return note
    equivalent = left.equivalent[:, left.index(strength)].mean()
    return f"{note}; as large as gaussian-filter-max {equivalent:.3g}"
