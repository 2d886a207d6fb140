"""How a study was made: its recipes as text, and the machines and versions of its runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..files import records
from ..studies.folder import Folder


def how_made(folder: Folder) -> list[tuple[str, str]]:
    """Pairs of a name and a value: seeds, runs, versions, commits, machines and time.

    The runs recorded them. Where runs differ, each value has the number of its runs.
    """
    definition, frame = folder.plan["definition"], folder.plan["frame"]
    ends = folder.ends()
    done = [job for job in folder.jobs if ends.get(job.name) == "finished"]
    made = [records.read(folder.trained(job) / "run.json")["made"] for job in done]
    seconds = sum(sum(folder.outcome(job, "finished")["seconds"].values()) for job in done)
    test, selection = definition["test"], definition["selection"]
    policies = (
        test["batchnorm"] if isinstance(test["batchnorm"], str) else ", ".join(test["batchnorm"])
    )
    facts = [
        ("Seeds", ", ".join(map(str, definition["seeds"]))),
        ("Runs", f"{len(done)} finished of {len(folder.jobs)}"),
        ("Test chips", f"{test['draws']}, seed {test['seed']}; BatchNorm {policies}"),
        ("Validation chips", f"{selection['draws']}, seed {selection['seed']}"),
        ("Threads and device of a run", f"{frame['threads']}, {frame['device']}"),
    ]
    names = {
        "incorruptible": "incorruptible",
        "commit": "Commit",
        "torch": "torch",
        "numpy": "numpy",
        "python": "Python",
    }
    for key, title in {**names, "machine": "Machine", "device": "Device"}.items():
        counts = Counter(one.get(key) or "not known" for one in made)
        said = [
            value if len(counts) == 1 else f"{value} ({count} runs)"
            for value, count in counts.most_common()
        ]
        facts.append((title, "; ".join(said)))
    return [*facts, ("Work", f"{seconds / 60:.1f} minutes of one worker, all runs together")]


def recipe_text(arm: dict[str, Any]) -> str:
    """An arm's recipe as TOML, for `incorruptible train --recipe`."""
    out, tables = [], []
    for key, value in records.current(arm["recipe"]).items():
        if isinstance(value, dict):
            tables += ["", f"[{key}]", *(f"{name} = {_toml(one)}" for name, one in value.items())]
        elif value not in (None, [], ()) and key != "seed":
            out.append(f"{key} = {_toml(value)}")
    return "\n".join([*out, *tables])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
