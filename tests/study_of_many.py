"""A finished study of as many runs as one likes, made up: files as a real one leaves them, without training anything."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from incorruptible.files import records
from incorruptible.studies.folder import Folder, StudyJob
from incorruptible.studies.plan import Tasks, begin
from incorruptible.studies.spec import load

STRENGTHS = "0,0.05,0.1,0.2,0.3,0.4"
EXAMPLES = {"test": 997, "validation": 360}


def study_of_many(home: Path, arms: int = 250, seeds: int = 8, draws: int = 20) -> Path:
    """The TOML file of a study of `arms` x `seeds` runs, all of them finished below `home`."""
    half = arms // 2
    home.mkdir(parents=True, exist_ok=True)
    file = home / "many.toml"
    file.write_text(
        f"""
question = "How long does it take to look at many runs?"
seeds = {seeds}
[recipe]
task = "digits"
[test]
corruptions = "gaussian-filter-max:{STRENGTHS}"
draws = {draws}
required = 0.85
[[arms]]
name = "plain {{lr}}"
method = "plain"
lr = {[round(0.001 * (place + 1), 3) for place in range(arms - half)]}
[[arms]]
name = "rwp {{strength}}"
method = "rwp"
objective = "rwp(gaussian-filter-max)"
strength = {[round(0.001 * (place + 1), 3) for place in range(half)]}
[[claims]]
name = "ahead"
text = "noise in training is of use"
rule = "ahead"
left = "rwp 0.001"
right = "plain 0.001"
"""
    )
    frame: dict[str, Any] = {"threads": 1, "device": "cpu"}
    folder = begin(load(str(file)), home, overrides={"seeds": None, "epochs": None}, tasks=Tasks(), **frame)
    (folder.path / "outcomes").mkdir()
    for place, job in enumerate(folder.jobs):
        _finish(folder, job, np.random.default_rng(place), draws)
    return file


def _finish(folder: Folder, job: StudyJob, source: np.random.Generator, draws: int) -> None:
    run = folder.trained(job)
    (run / "measures").mkdir(parents=True)
    epochs = [
        {"step": 17 * e, "epoch": e, "loss": 2 / e, "strength": 0.1, "lr": 0.05, "skipped": 0} for e in range(1, 41)
    ]
    _note(run / "run.json", {"recipe": folder.arms[job.arm]["recipe"], "metrics": epochs, "at_peak": None})
    (run / "weights.safetensors").write_bytes(source.bytes(64))
    measures = {}
    strengths = len(STRENGTHS.split(","))
    for key in folder.plan["plans"]:
        examples = EXAMPLES[key.split()[1]]
        right = source.random((strengths, examples), dtype=np.float32)
        score = right.mean(1, keepdims=True) + source.normal(0, 0.01, (strengths, draws))
        arrays = {
            "score": score,
            "loss": 2 - score,
            "score by example": right,
            "loss by example": 2 - right,
        }
        content = save(arrays, {"format": "1"})
        path = run / "measures" / f"{key.replace(' ', '-')}.safetensors"
        path.write_bytes(content)
        measures[key] = [str(path.relative_to(folder.home)), hashlib.sha256(content).hexdigest()]
    files = {
        str(one.relative_to(folder.home)): records.checksum(one)
        for one in (run / "run.json", run / "weights.safetensors")
    }
    found = {
        "arm": folder.arms[job.arm]["name"],
        "seed": job.seed,
        "run": job.run,
        "files": {**files, **dict(measures.values())},
        "measures": measures,
        "seconds": {"train": 1.0, "measure": 1.0},
    }
    _note(folder.path / "outcomes" / f"{job.name}.finished.json", found)


def _note(path: Path, data: dict[str, Any]) -> None:
    """What `records.write` writes, without waiting for the disk 8,000 times."""
    path.write_text(json.dumps({"format": records.FORMAT, "checksum": records.identity(data), **data}, indent=1) + "\n")


if __name__ == "__main__":
    study_of_many(Path(sys.argv[1]), *map(int, sys.argv[2:]))
