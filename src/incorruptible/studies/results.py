"""The results of a study so far: the table, comparisons, verdicts and the summary.

Relies on: `outcomes` gives arms whose files match their checksums. Keeps: equal studies give equal
results to the bit, whatever the order in which runs were done; no path, host, time or duration
enters the summary. A table holds the arrays of one arm at a time. This module does not import
torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError, unknown
from ..files import records
from ..specs.grammar import strip_paths
from ..statistics import Difference, Interval, agree, crossed, crossed_each, verdict
from . import ranges
from .evidence import Arm, EvidenceRow, Judgement, Lacking, Verdict, difference
from .folder import ENDS, End, Folder, at_checkpoint, matches
from .outcomes import Outcomes
from .ranges import Whole
from .rules import CATALOGUE as RULES

COLUMNS = (
    *("arm", "noise", "strength", "mean", "low", "high", "sd_over_chips", "validation_mean"),
    *("share_of_chips_that_reach", "seeds", "chips"),
)


class ArmCell(NamedTuple):
    """One arm at one test strength.

    `interval` is the mean score over seeds, chips and examples, with its 95% interval over crossed
    seeds and examples. `spread` is the standard deviation over chips, averaged over seeds, and
    `reached` the share of chips that reach the required score (None without one). `seeds` and
    `chips` are counts.
    """

    arm: str
    noise: str
    strength: float
    interval: Interval
    spread: float
    validation: float
    reached: float | None
    seeds: int
    chips: int


class ArmResult(NamedTuple):
    """One arm under one noise: its cells, strength by strength, and its results over the whole
    range of strengths, if several were tested.
    """

    arm: str
    noise: str
    cells: list[ArmCell]
    whole: Whole | None


def findings(
    folder: Folder,
    outcomes: Outcomes | None = None,
    *,
    check: Collection[int] = (),
    whole: bool = True,
) -> Iterator[ArmResult]:
    """Every arm with at least two finished seeds, under every noise.

    `outcomes` are those of the folder, if the caller has them. The arrays of an arm are dropped
    once the arm is done, so a study of any size needs the memory of one arm. Under the noises whose
    numbers are in `check`, files that a table does not need are checked too. Without `whole` the
    results over the whole range are left out, which otherwise take a fifth of the time.

    Raises `UserError` for a file that is torn or altered; the study makes that file anew.
    """
    outcomes = outcomes or Outcomes(folder)
    required = folder.plan["definition"]["test"]["required"]
    for place, noise in enumerate(folder.plan["noises"]):
        for arm in outcomes.arms(place):
            yield _result(arm, noise["corruption"], required, whole)
            if place in check:
                arm.check()
            arm.drop()


def _result(arm: Arm, noise: str, required: float | None, whole: bool) -> ArmResult:
    chips = arm.chips
    strengths, seeds = len(arm.strengths), len(chips)
    reached: list[float | None] = [None] * strengths
    if required is not None:
        reached = (arm.sign * chips >= arm.sign * required).mean((0, 2)).tolist()
    found = zip(
        arm.strengths,
        crossed_each(np.moveaxis(arm.test, 1, 0)),
        chips.std(2, ddof=1).mean(0).tolist(),
        np.ascontiguousarray(arm.validation.T).mean(1).tolist(),
        reached,
        strict=True,
    )
    cells = [ArmCell(arm.name, noise, *one, seeds, chips.shape[2]) for one in found]
    return ArmResult(arm.name, noise, cells, ranges.whole(arm, noise) if whole else None)


def rows(folder: Folder, outcomes: Outcomes | None = None) -> Iterator[ArmCell]:
    """The cells of `findings`, one after the other."""
    return (cell for found in findings(folder, outcomes, whole=False) for cell in found.cells)


def listed(folder: Folder) -> list[list[Any]]:
    """The cells of `findings` as a table under `COLUMNS`."""
    return [
        [
            c.arm,
            c.noise,
            c.strength,
            c.interval.estimate,
            c.interval.low,
            c.interval.high,
            c.spread,
            c.validation,
        ]
        + ["" if c.reached is None else c.reached, c.seeds, c.chips]
        for c in rows(folder)
    ]


def mean(arm: Arm, strength: float) -> Interval:
    """Mean test score at that strength, with the interval over crossed seeds and examples."""
    return crossed(arm.test[:, arm.index(strength)]).interval


def arms(folder: Folder, noise: int = 0, *, whole: bool = True) -> list[Arm]:
    """The arms under the study's noise number `noise` (from 0), in the file's order, with all their
    arrays: the arms whose seeds have all finished if `whole`, else those with two finished seeds.

    Raises `UserError` for a file that is torn or altered; the study makes that file anew.
    """
    outcomes = Outcomes(folder)
    found = []
    for arm in outcomes.whole(noise) if whole else outcomes.arms(noise):
        found.append(arm.loaded())
        arm.drop()
    return found


def missing(folder: Folder, ends: Mapping[str, End] | None = None) -> dict[str, dict[str, int]]:
    """For each arm whose seeds have not all finished: how many seeds are waiting, failed or
    diverged. `ends` are those of the folder, if the caller has them.
    """
    ends = folder.ends() if ends is None else ends
    found: dict[str, dict[str, int]] = {}
    for job in folder.jobs:
        end: End | str = ends.get(job.name, "waiting")
        if end != "finished":
            counts = found.setdefault(folder.arms[job.arm]["name"], {})
            counts[end] = counts.get(end, 0) + 1
    return found


def conclude(
    folder: Folder, found: Sequence[Arm], outcomes: Outcomes | None = None
) -> list[Verdict]:
    """The verdict of each claim, on arms whose seeds have all finished.

    A claim is about the study's first noise, unless it names others with `on`. If an arm that the
    claim needs is not finished, the verdict is "undecided", with the reason. `found` are the arms
    under the first noise; `outcomes` are those of the folder, if the caller has them. Raises
    `UserError` for a file that is torn or altered.
    """
    lacking = missing(folder, outcomes.ends if outcomes else None)
    under = {0: found}
    verdicts = []
    for claim in folder.plan["definition"]["claims"]:
        rule = RULES[claim["rule"]](
            **{key: _tuples(value) for key, value in claim["fields"].items()}
        )
        rows: list[EvidenceRow] = []
        words = []
        for place in _places(folder, claim):
            noise = folder.plan["noises"][place]
            if place not in under:
                under[place] = outcomes.whole(place) if outcomes else arms(folder, place)
            try:
                judged = rule(under[place], [s for s in noise["strengths"] if s > 0])
            except records.Unreadable:
                raise  # a damaged file is an error, and leaves no claim undecided
            except (Lacking, UserError) as problem:
                judged = Judgement(
                    "undecided",
                    (EvidenceRow(claim["rule"], "-", "-", "-", None, "undecided", f"{problem}"),),
                )
            words.append(judged.word)
            rows += [
                _under(row, noise["corruption"]) if claim.get("on") else row for row in judged.rows
            ]
        if lacking and rows:
            note = "left out, for not all seeds are finished: " + ", ".join(lacking)
            rows.append(EvidenceRow(claim["rule"], "-", "-", "-", None, "", note))
        verdicts.append(Verdict(claim["name"], claim["text"], agree(words), tuple(rows)))
    return verdicts


def _places(folder: Folder, claim: Mapping[str, Any]) -> list[int]:
    """The numbers of the noises that a claim is about."""
    patterns = claim.get("on", ())
    if not patterns:
        return [0]
    return [
        at
        for at, noise in enumerate(folder.plan["noises"])
        if matches(noise["corruption"], patterns)
    ]


def _under(row: EvidenceRow, corruption: str) -> EvidenceRow:
    return replace(row, question=f"{row.question}, {corruption}")


def compare(
    found: Sequence[Arm], left: str, right: str
) -> list[tuple[Arm, Arm, float, Difference, str]]:
    """Paired differences between each arm that `left` matches and each arm that `right` matches, at
    every test strength: both arms, the strength, the difference, and a word for it after Holm's
    correction over all rows. Raises `UserError` if nothing matches.
    """
    sides = []
    for pattern in (left, right):
        side = [arm for arm in found if arm.name == pattern or fnmatchcase(arm.name, pattern)]
        if not side:
            raise unknown("finished arm", pattern, [arm.name for arm in found])
        sides.append(side)
    triples = [(a, b, s) for a in sides[0] for b in sides[1] if a is not b for s in a.strengths]
    if not triples:
        raise UserError(f"{left!r} and {right!r} are one and the same arm.")
    differences = [difference(a, b, s) for a, b, s in triples]
    return [
        (*triple, gap, word)
        for triple, gap, word in zip(triples, differences, verdict(differences), strict=True)
    ]


def summary(folder: Folder) -> dict[str, Any]:
    """All results as plain data, without any path, host, time or duration.

    Raises `UserError` for a file that is torn or altered; the study makes that file anew.
    """
    definition = folder.plan["definition"]
    outcomes = Outcomes(folder)
    verdicts, problem = _verdicts(folder, outcomes)
    cells: dict[str, list[dict[str, Any]]] = {}
    spans: dict[str, list[dict[str, Any]]] = {}
    for found in findings(
        folder,
        outcomes,
        check={at for one in definition["claims"] for at in (0, *_places(folder, one))},
    ):
        for cell in found.cells:
            low, estimate, high = cell.interval
            one = {
                "noise": cell.noise,
                "strength": cell.strength,
                "mean": estimate,
                "low": low,
                "high": high,
            }
            one |= {"sd_over_chips": cell.spread, "validation_mean": cell.validation}
            one |= {
                "share_of_chips_that_reach": cell.reached,
                "seeds": cell.seeds,
                "chips": cell.chips,
            }
            cells.setdefault(cell.arm, []).append(one)
        if found.whole is not None:
            spans.setdefault(found.arm, []).append(found.whole.plain())
    if problem is not None:
        raise problem
    ended = Counter(outcomes.ends.get(job.name) for job in folder.jobs)
    return {
        "study": definition["name"],
        "title": definition["title"],
        "question": definition["question"],
        "score": folder.plan["score"],
        "required": definition["test"]["required"],
        "noises": folder.plan["noises"],
        "seeds": definition["seeds"],
        "jobs": {end: ended[end] for end in ENDS} | {"all": len(folder.jobs)},
        "claims": {one.claim: one.plain() for one in verdicts},
        "arms": [
            {
                **{key: arm[key] for key in ("name", "method", "role")},
                "recipe": _portable(arm["recipe"]),
                "results": cells.get(arm["name"], []),
                "over_range": spans.get(arm["name"], []),
                "checkpoints": [
                    {"at": at, "results": cells.get(name, []), "over_range": spans.get(name, [])}
                    for at in arm["recipe"].get("checkpoints", ())
                    for name in (at_checkpoint(arm["name"], at),)
                ],
            }
            for arm in definition["arms"]
        ],
    }


def _verdicts(
    folder: Folder, outcomes: Outcomes
) -> tuple[list[Verdict], records.Unreadable | None]:
    """The verdicts, and the first file that could not be read for them.

    Claims are judged before the table is made, because the table drops the arrays that claims have
    read: in this order each file is opened once. The error for a damaged file is returned and not
    raised, because the table may meet another damaged file first, and the first one in the study's
    order is the one to name.
    """
    complete = outcomes.whole() if folder.plan["definition"]["claims"] else []
    try:
        return (conclude(folder, complete, outcomes) if complete else []), None
    except records.Unreadable as problem:
        return [], problem


def _portable(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without its seed, and without the folders of files and images of the user's own,
    which differ from machine to machine.
    """
    found = {key: value for key, value in recipe.items() if key != "seed"}
    found["task"] = strip_paths(found["task"])
    if found["start"]:
        found["start"] = found["start"].replace("\\", "/").rpartition("/")[2]
    return found


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
