"""What a study has found so far: arms as arrays, the table, comparisons and verdicts; without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError, unknown
from ..files import records
from ..pacbayes.gaussian import Displacement
from ..schedules import parse as parse_strength
from ..schedules import peak
from ..specs.grammar import strip_paths
from ..statistics import Difference, Interval, agree, crossed, verdict
from . import ranges
from .evidence import Arm, EvidenceRow, Judgement, Lacking, Verdict, difference
from .folder import ENDS, End, Folder, StudyJob, at_checkpoint, matches
from .ranges import Whole
from .rules import CATALOGUE as RULES

__all__ = [
    "COLUMNS",
    "ArmCell",
    "ArmResult",
    "arms",
    "compare",
    "conclude",
    "findings",
    "listed",
    "mean",
    "missing",
    "rows",
    "summary",
]

COLUMNS = (
    *("arm", "noise", "strength", "mean", "low", "high", "sd_over_chips", "validation_mean"),
    *("share_of_chips_that_reach", "seeds", "chips"),
)


class ArmCell(NamedTuple):
    """One arm at one test strength: the mean score over seeds, chips and examples with its 95% interval over crossed seeds and
    examples, its spread over chips (averaged over seeds), the share of chips that reach the required score, seeds, chips."""

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
    """One arm under one noise: its cells, strength by strength, and the whole range where there is one."""

    arm: str
    noise: str
    cells: list[ArmCell]
    whole: Whole | None


def findings(folder: Folder, first: Sequence[Arm] | None = None) -> Iterator[ArmResult]:
    """Every arm with at least two finished seeds, under every noise. `first` are those under the first noise, where the caller
    has read them already."""
    required = folder.plan["definition"]["test"]["required"]
    sign = _sign(folder)
    for place, noise in enumerate(folder.plan["noises"]):
        for arm in first if place == 0 and first is not None else arms(folder, place, whole=False, table=True):
            each = arm.chips.std(2, ddof=1).mean(0)
            cells = []
            for k, strength in enumerate(arm.strengths):
                reached = None
                if required is not None:
                    reached = float((sign * arm.chips[:, k] >= sign * required).mean())
                validation = float(arm.validation[:, k].mean())
                seeds, chips = len(arm.chips), arm.chips.shape[2]
                found = arm.name, noise["corruption"], strength, mean(arm, strength), float(each[k])
                cells.append(ArmCell(*found, validation, reached, seeds, chips))
            yield ArmResult(arm.name, noise["corruption"], cells, ranges.whole(arm, noise["corruption"]))


def rows(folder: Folder, first: Sequence[Arm] | None = None) -> Iterator[ArmCell]:
    """The cells of `findings`, one after the other."""
    return (cell for found in findings(folder, first) for cell in found.cells)


def listed(folder: Folder) -> list[list[Any]]:
    """The cells of `findings` as a table under `COLUMNS`."""
    return [
        [c.arm, c.noise, c.strength, c.interval.estimate, c.interval.low, c.interval.high, c.spread, c.validation]
        + ["" if c.reached is None else c.reached, c.seeds, c.chips]
        for c in rows(folder)
    ]


def mean(arm: Arm, strength: float) -> Interval:
    """Mean test score at that strength, with the interval over crossed seeds and examples."""
    return crossed(arm.test[:, arm.index(strength)]).interval


def arms(folder: Folder, noise: int = 0, *, whole: bool = True, table: bool = False) -> list[Arm]:
    """The arms under the study's noise of that number, in the file's order: with all seeds finished where `whole`, else with
    at least two. `table` reads only what the table needs.

    Raises `UserError` for a file that is torn or altered; the study makes it anew.
    """
    ends = folder.ends()
    found = []
    for place, design in enumerate(folder.arms):
        jobs = sorted((job for job in folder.jobs if job.arm == place), key=lambda job: job.seed)
        done = [job for job in jobs if ends.get(job.name) == "finished"]
        if len(done) >= (len(jobs) if whole else 2):
            places = (None, *design["recipe"].get("checkpoints", ()))
            found += [_arm(folder, design, done, noise, table, at) for at in places]
    return found


def _arm(
    folder: Folder, design: dict[str, Any], jobs: Sequence[StudyJob], noise: int, table: bool, at: float | None
) -> Arm:
    outcomes = [folder.outcome(job, "finished") for job in jobs]

    def read(part: str) -> list[dict[str, Any]]:
        plan = f"{noise} {part}"
        return files(at_checkpoint(plan, at)) if plan in folder.plan["plans"] else []

    def files(what: str) -> list[dict[str, Any]]:
        found = [outcome["measures"][what] for outcome in outcomes]
        return [records.read_arrays(folder.home / name, digest) for name, digest in found]

    def stack(found: Sequence[dict[str, Any]], what: str) -> Any:
        return np.array([one[what] for one in found], dtype=np.float64)

    test, validation = read("test"), read("validation")
    train = [] if table else read("train")
    bounds = folder.plan.get("bounds", False) and not table and at is None  # training went on from a checkpoint
    moved = files("displacement") if bounds else []
    runs = [] if table or at is not None else [records.read(folder.trained(job) / "run.json") for job in jobs]
    schedule = design["recipe"]["strength"]
    return Arm(
        name=at_checkpoint(design["name"], at),
        kind=design["method"],
        schedule=schedule.split(":")[0].split("(")[0],
        peak=peak(parse_strength(schedule)),
        strengths=tuple(folder.plan["noises"][noise]["strengths"]),
        test=stack(test, "score by example"),
        test_loss=np.empty(0) if table else stack(test, "loss by example"),
        validation=stack(validation, "score").mean(2),
        chips=stack(test, "score"),
        train_loss=stack(train, "loss by example") if train else None,
        train=stack(train, "score").mean(2) if train else None,
        metrics=tuple(run["metrics"] for run in runs),
        at_peak=tuple(run["at_peak"] for run in runs),
        train_score=stack(train, "score by example") if bounds else None,
        train_bounded=stack(train, "bounded by example") if bounds else None,
        displacement=tuple(_displacement(one) for one in moved),
        seen=int(moved[0]["seen"][0]) if moved else 0,
        role=design["role"] if at is None else "checkpoint",
        sign=_sign(folder),
        unit="points" if folder.plan["score"]["unit"] == "fraction" else folder.plan["score"]["unit"],
        task=strip_paths(design["recipe"]["task"]),
        held="; ".join(
            f"{what} {' '.join(patterns)}"
            for key, what in (("also", "in arrays too:"), ("protect", "digital:"))
            if (patterns := design["recipe"].get(key))
        ),
        equivalent=stack(test, "equivalent") if all("equivalent" in one for one in test) else None,
    )


def _displacement(arrays: dict[str, Any]) -> Displacement:
    parts = {name: array for name, array in arrays.items() if name not in ("seen", "elsewhere")}
    return Displacement(**parts, elsewhere=float(arrays["elsewhere"][0]))


def missing(folder: Folder) -> dict[str, dict[str, int]]:
    """For each arm that is not whole: how many of its seeds are waiting, failed or diverged."""
    ends = folder.ends()
    found: dict[str, dict[str, int]] = {}
    for job in folder.jobs:
        end: End | str = ends.get(job.name, "waiting")
        if end != "finished":
            counts = found.setdefault(folder.arms[job.arm]["name"], {})
            counts[end] = counts.get(end, 0) + 1
    return found


def conclude(folder: Folder, found: Sequence[Arm]) -> list[Verdict]:
    """The verdict of each claim, on whole arms under the noises that it is about, which is the study's first unless it says so;
    "undecided", and why, where an arm is lacking. `found` are the arms under the first."""
    lacking = missing(folder)
    under = {0: found}
    verdicts = []
    for claim in folder.plan["definition"]["claims"]:
        rule = RULES[claim["rule"]](**{key: _tuples(value) for key, value in claim["fields"].items()})
        rows: list[EvidenceRow] = []
        words = []
        for place, noise in enumerate(folder.plan["noises"]):
            if not matches(noise["corruption"], claim.get("on", ())) and (place or claim.get("on")):
                continue
            if place not in under:
                under[place] = arms(folder, place)
            try:
                judged = rule(under[place], [s for s in noise["strengths"] if s > 0])
            except (Lacking, UserError) as problem:
                judged = Judgement(
                    "undecided", (EvidenceRow(claim["rule"], "-", "-", "-", None, "undecided", f"{problem}"),)
                )
            words.append(judged.word)
            rows += [_under(row, noise["corruption"]) if claim.get("on") else row for row in judged.rows]
        if lacking and rows:
            note = "left out, for not all seeds are finished: " + ", ".join(lacking)
            rows.append(EvidenceRow(claim["rule"], "-", "-", "-", None, "", note))
        verdicts.append(Verdict(claim["name"], claim["text"], agree(words), tuple(rows)))
    return verdicts


def _under(row: EvidenceRow, corruption: str) -> EvidenceRow:
    return replace(row, question=f"{row.question}, {corruption}")


def compare(found: Sequence[Arm], left: str, right: str) -> list[tuple[Arm, Arm, float, Difference, str]]:
    """Paired differences of every arm that `left` matches to every one that `right` does, at every test strength, and a word
    for each after Holm's correction over all of them. Raises `UserError` where nothing matches."""
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
    return [(*triple, gap, word) for triple, gap, word in zip(triples, differences, verdict(differences), strict=True)]


def summary(folder: Folder) -> dict[str, Any]:
    """Everything that was found, as plain data: no path, host, time or duration in it."""
    definition = folder.plan["definition"]
    ends = folder.ends()
    cells: dict[str, list[dict[str, Any]]] = {}
    spans: dict[str, list[dict[str, Any]]] = {}
    first = arms(folder, whole=False) if definition["claims"] else None
    for found in findings(folder, first):
        for cell in found.cells:
            low, estimate, high = cell.interval
            one = {"noise": cell.noise, "strength": cell.strength, "mean": estimate, "low": low, "high": high}
            one |= {"sd_over_chips": cell.spread, "validation_mean": cell.validation}
            one |= {"share_of_chips_that_reach": cell.reached, "seeds": cell.seeds, "chips": cell.chips}
            cells.setdefault(cell.arm, []).append(one)
        if found.whole is not None:
            spans.setdefault(found.arm, []).append(found.whole.plain())
    complete = [arm for arm in first or () if len(arm.test) == len(definition["seeds"])]
    return {
        "study": definition["name"],
        "title": definition["title"],
        "question": definition["question"],
        "score": folder.plan["score"],
        "required": definition["test"]["required"],
        "noises": folder.plan["noises"],
        "seeds": definition["seeds"],
        "jobs": {end: sum(ends.get(job.name) == end for job in folder.jobs) for end in ENDS}
        | {"all": len(folder.jobs)},
        "claims": {one.claim: one.plain() for one in conclude(folder, complete)} if complete else {},
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


def _portable(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without its seed, and without the folders in which files and images of the user's own lie."""
    found = {key: value for key, value in recipe.items() if key != "seed"}
    found["task"] = strip_paths(found["task"])
    if found["start"]:
        found["start"] = found["start"].replace("\\", "/").rpartition("/")[2]
    return found


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _sign(folder: Folder) -> int:
    return -1 if folder.plan["score"]["higher_is_better"] is False else 1
