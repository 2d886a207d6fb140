"""What a study has found, the slow and obvious way: everything is read as often as it is needed, and nothing is shared."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from incorruptible.errors import UserError
from incorruptible.files import records
from incorruptible.pacbayes.gaussian import Displacement
from incorruptible.schedules import parse, peak
from incorruptible.specs.grammar import strip_paths
from incorruptible.statistics import crossed
from incorruptible.studies import ranges
from incorruptible.studies.evidence import Arm
from incorruptible.studies.folder import Folder, StudyJob, at_checkpoint
from incorruptible.studies.results import COLUMNS, conclude

Cell = dict[str, Any]


def arrays(folder: Folder, job: StudyJob, what: str) -> dict[str, Any]:
    name, digest = folder.outcome(job, "finished")["measures"][what]
    records.read_arrays(folder.home / name, digest)
    return load_file(folder.home / name)


def finished(folder: Folder, place: int) -> list[StudyJob]:
    jobs = sorted((job for job in folder.jobs if job.arm == place), key=lambda job: job.seed)
    return [job for job in jobs if folder.ends().get(job.name) == "finished"]


def arms(folder: Folder, noise: int, least: int) -> list[Arm]:
    """The arms with so many finished seeds, all that is in their files read at once."""
    found = []
    for place, design in enumerate(folder.arms):
        if len(jobs := finished(folder, place)) >= least:
            found += [arm(folder, design, jobs, noise, at) for at in (None, *design["recipe"].get("checkpoints", ()))]
    return found


def arm(folder: Folder, design: dict[str, Any], jobs: list[StudyJob], noise: int, at: float | None) -> Arm:
    for job in jobs:
        folder.outcome(job, "finished")

    def stack(part: str, what: str) -> Any:
        each = [arrays(folder, job, at_checkpoint(f"{noise} {part}", at))[what] for job in jobs]
        return np.array(each, dtype=np.float64)

    test, validation = stack("test", "score by example"), stack("validation", "score").mean(2)
    train, bounds = "0 train" in folder.plan["plans"], folder.plan.get("bounds", False) and at is None
    more: dict[str, Any] = {}
    if train:
        more |= {"train_loss": stack("train", "loss by example"), "train": stack("train", "score").mean(2)}
    if bounds:
        moved = [arrays(folder, job, "displacement") for job in jobs]
        names = ("layer", "count", "peak", "start", "square")
        more["displacement"] = tuple(
            Displacement(**{name: one[name] for name in names}, elsewhere=float(one["elsewhere"][0])) for one in moved
        )
        more["seen"] = int(moved[0]["seen"][0])
        more["train_score"] = stack("train", "score by example")
        more["train_bounded"] = stack("train", "bounded by example")
    if at is None:
        runs = [records.read(folder.trained(job) / "run.json") for job in jobs]
        more["metrics"], more["at_peak"] = (tuple(run[name] for run in runs) for name in ("metrics", "at_peak"))
    recipe, score = design["recipe"], folder.plan["score"]
    return Arm(
        name=at_checkpoint(design["name"], at),
        kind=design["method"],
        schedule=recipe["strength"].split(":")[0].split("(")[0],
        peak=peak(parse(recipe["strength"])),
        strengths=tuple(folder.plan["noises"][noise]["strengths"]),
        test=test,
        test_loss=stack("test", "loss by example"),
        validation=validation,
        chips=stack("test", "score"),
        role=design["role"] if at is None else "checkpoint",
        sign=-1 if score["higher_is_better"] is False else 1,
        unit="points" if score["unit"] == "fraction" else score["unit"],
        task=strip_paths(recipe["task"]),
        equivalent=stack("test", "equivalent"),
        **more,
    )


def cells(folder: Folder) -> list[tuple[str, Cell]]:
    """Every arm at every strength under every noise, with the arm's name."""
    required = folder.plan["definition"]["test"]["required"]
    found: list[tuple[str, Cell]] = []
    for place, noise in enumerate(folder.plan["noises"]):
        for one in arms(folder, place, 2):
            for k, strength in enumerate(one.strengths):
                low, mean, high = crossed(one.test[:, k]).interval
                chips, reached = one.chips[:, k], None
                if required is not None:
                    reached = float((one.sign * chips >= one.sign * required).mean())
                cell = {"noise": noise["corruption"], "strength": strength, "mean": mean, "low": low, "high": high}
                cell |= {"sd_over_chips": float(chips.std(1, ddof=1).mean())}
                cell |= {"validation_mean": float(one.validation[:, k].mean())}
                cell |= {"share_of_chips_that_reach": reached, "seeds": len(chips), "chips": chips.shape[1]}
                found.append((one.name, cell))
    return found


def table(folder: Folder) -> str:
    """What `results --csv` prints."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, cell in cells(folder):
        writer.writerow({"arm": name, **{key: "" if value is None else value for key, value in cell.items()}})
    return out.getvalue()


def summary(folder: Folder) -> str:
    """What `results --json` prints."""
    definition = folder.plan["definition"]
    seeds, ends = len(definition["seeds"]), folder.ends()
    complete = arms(folder, 0, seeds)
    found = cells(folder)
    spans = [
        (one.name, span.plain())
        for place, noise in enumerate(folder.plan["noises"])
        for one in arms(folder, place, 2)
        if (span := ranges.whole(one, noise["corruption"])) is not None
    ]

    def of(name: str) -> dict[str, Any]:
        return {
            "results": [cell for arm, cell in found if arm == name],
            "over_range": [span for arm, span in spans if arm == name],
        }

    said = {
        "study": definition["name"],
        "title": definition["title"],
        "question": definition["question"],
        "score": folder.plan["score"],
        "required": definition["test"]["required"],
        "noises": folder.plan["noises"],
        "seeds": definition["seeds"],
        "jobs": {
            **{end: sum(one == end for one in ends.values()) for end in ("finished", "diverged", "failed")},
            "all": len(folder.jobs),
        },
        "claims": {one.claim: one.plain() for one in conclude(folder, complete)} if complete else {},
        "arms": [
            {
                **{key: design[key] for key in ("name", "method", "role")},
                "recipe": {key: value for key, value in design["recipe"].items() if key != "seed"},
                **of(design["name"]),
                "checkpoints": [
                    {"at": at, **of(at_checkpoint(design["name"], at))}
                    for at in design["recipe"].get("checkpoints", ())
                ],
            }
            for design in definition["arms"]
        ],
    }
    return json.dumps(records.plain(said), indent=1, allow_nan=False) + "\n"


def answer(what: str, folder: Folder) -> tuple[int, str]:
    """Exit code and stdout of `results` with --csv or --json, or the message for a mistake."""
    try:
        return 0, {"--csv": table, "--json": summary}[what](folder)
    except UserError as problem:
        return 2, str(problem)
