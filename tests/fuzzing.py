"""Mutations of the documents' own command lines, and of the files that commands read; seeded, so that a case has a number."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from incorruptible.runs import MeasurePlan, measured, train
from incorruptible.studies.plan import Tasks, begin
from incorruptible.studies.spec import load
from incorruptible.studies.worker import work
from incorruptible.tasks import load as load_task
from incorruptible.training.recipe import Probe, Recipe
from small_data import SMALL_DATA

__all__ = ["harm", "lines", "mutated", "readers", "world"]

ROOT = Path(__file__).parents[1]
TASK = f"""{SMALL_DATA}
def model():
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

task = Task(model, train=part(128), validation=part(48), test=part(64))
"""
STUDY = """
question = "Does noise in training help?"
seeds = 2
[recipe]
task = "mine.py:task"
epochs = 1
[recipe.probe]
draws = 0
[test]
corruptions = ["gaussian-filter-max:0,0.2"]
draws = 2
[selection]
draws = 2
[[arms]]
name = "sgd"
[[arms]]
name = "rwp {strength}"
objective = "rwp(gaussian-filter-max)"
strength = [0.1]
[[claims]]
name = "ahead"
text = "noise in training is of use"
rule = "ahead"
left = "rwp *"
right = "sgd"
"""
RUN = "runs/trained/RUN"


def world(folder: Path) -> str:
    """What the commands work on, in the current `folder`: a task, its weights, a study that is finished, a table of cells. Returns the
    name of a run's folder, on which something was measured."""
    (folder / "mine.py").write_text(TASK)
    (folder / "mine.toml").write_text(STUDY)
    shutil.copy(ROOT / "tests" / "data" / "cells.csv", folder / "cells.csv")
    task = load_task("mine.py:task")
    run = train(Recipe("mine.py:task", epochs=1, probe=Probe(draws=0)), folder / "runs" / "trained", task=task)
    measured(run, MeasurePlan("gaussian-filter-max:0,0.1", chips=2), task)
    weights = {name: value.clone() for name, value in run.model(task).state_dict().items()}
    save_file(weights, folder / "w.safetensors")
    torch.save(weights, folder / "w.pt")
    plan = begin(
        load("mine.toml"),
        Path("runs"),
        threads=1,
        device=None,
        overrides={"seeds": None, "epochs": None},
        tasks=Tasks(),
    )
    assert work(plan, Tasks())
    return run.folder.name


# ---- Command lines

# What a document names, and what stands for it here. Nothing here reaches the network, and the networks are tiny.
_NAMES = [
    (r"runs/trained/[0-9a-f]{12}|RUN", RUN),
    (r"(digits|bytes|images|examples/own_model\.py)(:.*)?", "mine.py:task"),
    (r"theory|hardware|transformer|cifar10-resnet8|.*\.toml", "mine.toml"),
    (r"/shared/runs", "runs"),
    (r".*\.(safetensors|pt)", "w.safetensors"),
]


def lines() -> list[list[str]]:
    """The words of each command line in the documents, once."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found: dict[tuple[str, ...], None] = {}
    for page in pages:
        for line in re.findall(r"(?:^|`)\$? ?incorruptible ([a-z][^`\n#]+)", page.read_text(), re.M):
            try:
                words = shlex.split(line.replace(" &", ""))
            except ValueError:
                continue  # a quotation that goes on in the next line
            found[tuple(_here(words))] = None
    return [list(words) for words in found]


def _here(words: list[str]) -> list[str]:
    kept = []
    for before, word in zip(["", *words], words, strict=False):
        if "--data" in (before, word):
            continue
        for pattern, name in _NAMES:
            if re.fullmatch(pattern, word):
                word = name
                break
        kept.append(word)
    return kept


ODD = [
    "",
    " ",
    "0",
    "-1",
    "1e400",
    "-inf",
    "nan",
    "9" * 25,
    "1e-320",
    "0x10",
    "1_000",
    "é",
    "🤖",
    "‮",
    "a" * 5000,
    "None",
    "[]",
    "{}",
]
ODD += [
    "%s",
    "..",
    ".",
    "/",
    "\n",
    "-",
    "--",
    "=",
    ":",
    "(",
    "|",
    "*",
    "a=b",
    "--debugger",
    "mine.py",
    "cells.csv",
    "mine.py:nothing",
]


def mutated(words: list[str], chance: random.Random) -> list[str]:
    """The words after one to three mutations."""
    words = list(words)
    for _ in range(chance.choice([1, 1, 2, 3])):
        place = chance.randrange(len(words))
        chance.choice(_WORDS)(words, place, chance)
        words = words or [""]
    return words


def _drop(words: list[str], place: int, chance: random.Random) -> None:
    del words[place]


def _again(words: list[str], place: int, chance: random.Random) -> None:
    words.insert(chance.randrange(len(words) + 1), words[place])


def _swap(words: list[str], place: int, chance: random.Random) -> None:
    other = chance.randrange(len(words))
    words[place], words[other] = words[other], words[place]


def _replace(words: list[str], place: int, chance: random.Random) -> None:
    words[place] = chance.choice(ODD)


def _cut(words: list[str], place: int, chance: random.Random) -> None:
    words[place] = words[place][: chance.randrange(len(words[place]) + 1)]


def _number(words: list[str], place: int, chance: random.Random) -> None:
    words[place] = re.sub(r"\d*\.?\d+", lambda _: chance.choice(ODD[2:10]), words[place], count=chance.choice([0, 1]))


def _letter(words: list[str], place: int, chance: random.Random) -> None:
    at = chance.randrange(len(words[place]) + 1)
    words[place] = words[place][:at] + chance.choice(":,.=()|- é0") + words[place][at + chance.choice([0, 1]) :]


_WORDS: list[Callable[[list[str], int, random.Random], None]] = [_drop, _again, _swap, _replace, _cut, _number, _letter]


# ---- Files


def readers(run: str) -> dict[str, list[list[str]]]:
    """Patterns of files, each with commands that read such a file."""
    own = f"runs/trained/{run}"
    looks = ["--corruption", "gaussian-filter-max:0,.1", "--chips", "2"]
    of_run = [["measure", own, *looks], ["audit", own], ["train", "mine.py:task", "--epochs", "1", "--from", own]]
    of_study = [["results", "mine.toml"], ["status", "mine.toml"], ["compare", "mine.toml", "--arms", "rwp *", "sgd"]]
    return {
        "mine.toml": [["study", "mine.toml", "--dry-run"], *of_study],
        "w.safetensors": [["measure", "mine.py:task", "--weights", "w.safetensors", *looks]],
        "w.pt": [
            ["measure", "mine.py:task", "--weights", "w.pt", *looks],
            ["audit", "mine.py:task", "--weights", "w.pt"],
        ],
        "cells.csv": [["device", "measured:file=cells.csv"]],
        f"{own}/*.*": of_run,
        f"{own}/*/*": [["measure", own, *looks]],
        "runs/studies/*/study.json": of_study,
        "runs/studies/*/outcomes/*": of_study,
    }


def harm(file: Path, chance: random.Random) -> str:
    """Do one thing to a file that no command would do; says which."""
    content = file.read_bytes()
    kinds = ["truncated", "flipped", "emptied", "deleted", "a folder", "garbage"]
    kinds += 6 * [
        {".json": "changed", ".toml": "words", ".csv": "words", ".pt": "other weights"}.get(file.suffix, "flipped")
    ]
    if file.name == "w.safetensors":
        kinds += 6 * ["other weights"]
    kind = chance.choice(kinds)
    if kind == "truncated":
        file.write_bytes(content[: chance.randrange(len(content))])
    elif kind == "flipped":
        at = chance.randrange(len(content))
        file.write_bytes(content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :])
    elif kind == "emptied":
        file.write_bytes(b"")
    elif kind == "deleted":
        file.unlink()
    elif kind == "a folder":
        file.unlink()
        file.mkdir()
    elif kind == "garbage":
        file.write_bytes(bytes(chance.randrange(256) for _ in range(200)))
    elif kind == "words":
        words = re.split(r"(\W+)", content.decode())
        words[chance.randrange(len(words))] = chance.choice([*ODD, "inf", "true", "1979-05-27", '"x"', "[1]", "0.5"])
        file.write_text("".join(words))
    elif kind == "other weights":
        _reweigh(file, chance)
    else:
        _change(file, chance)
    return kind


def _change(file: Path, chance: random.Random) -> None:
    """Delete or replace something anywhere in a record."""
    record = json.loads(file.read_bytes())
    at: Any = record
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = chance.choice(keys)
        below = at[key]
        if not isinstance(below, dict | list) or not below or chance.random() < 0.4:
            break
        at = below
    if chance.random() < 0.4:
        del at[key]
    else:
        at[key] = chance.choice([None, True, -1, 1e300, "", "x", [], {}, [1], {"a": 1}, "é" * 500])
    file.write_text(json.dumps(record, indent=1))


def _reweigh(file: Path, chance: random.Random) -> None:
    """Weights of another shape, type, name or number, or something else than weights."""
    weights = torch.load(file, weights_only=True) if file.suffix == ".pt" else load_file(file)
    name = chance.choice(sorted(weights))
    value = weights[name]
    others: list[Any] = [
        value.double(),
        value.half(),
        value.to(torch.int64),
        value > 0,
        value.to(torch.complex64),
        value * torch.nan,
    ]
    others += [
        value[:1].clone(),
        value[None],
        value.new_zeros(()),
        value.new_zeros((0, 3)),
        value * 1e38 * 1e3,
        value.to_sparse(),
    ]
    kind = chance.choice(["value", "value", "value", "lost", "more", "renamed", "object"])
    if kind == "value":
        weights[name] = chance.choice(others)
    elif kind == "lost":
        del weights[name]
    elif kind == "more":
        weights["more"] = value.clone()
    elif kind == "renamed":
        weights[f"module.{name}"] = weights.pop(name)
    if file.suffix == ".pt":
        odd = chance.choice(
            [[], 3, "text", None, {"a": 1}, {1: value}, value, {"state_dict": weights}, nn.Linear(2, 2)]
        )
        torch.save(odd if kind == "object" else weights, file)
    elif not any(one.is_sparse for one in weights.values()):
        save_file({name: one.contiguous() for name, one in weights.items()}, file)
