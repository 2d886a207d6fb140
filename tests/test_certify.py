"""`certify` and `measure --half-width`, as their users type them: exit 0 is a promise, 1 a refusal, 2 a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from incorruptible.corruptions import parse
from incorruptible.files import records
from typing_commands import Type, typing

OWN = """
import torch
from torch import nn
from incorruptible import Task, cross_entropy

x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
y = x[:, :3].argmax(1)


def plain(model, batch):
    return torch.ones(len(batch[1]))


task = Task(lambda: nn.Linear(6, 3), test=(x, y), train=(x, y))
surprised = Task(lambda: nn.Linear(6, 3), test=(x, y), score=cross_entropy)
nameless = Task(lambda: nn.Linear(6, 3), test=(x, y), score=plain)
shuffled = Task(
    lambda: nn.Linear(6, 3),
    test=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=100, shuffle=True),
)
"""
NOISE = "gaussian-filter-max"
WEIGHTS = ["--weights", "w.safetensors"]
CERTIFY = ["certify", "own.py:task", *WEIGHTS, "--corruption"]
GOOD = [*CERTIFY, f"{NOISE}:.01", "--accuracy", ".9"]
BAD = [*CERTIFY, f"{NOISE}:.9", "--accuracy", ".9"]
MEASURE = ["measure", "own.py:task", *WEIGHTS, "--corruption", f"{NOISE}:0,.1"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: a task of their own, and weights that are right everywhere."""
    (tmp_path / "own.py").write_text(OWN)
    save_file({"weight": torch.eye(6)[:3].contiguous(), "bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def type_(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Types commands in the user's folder."""
    return typing(monkeypatch, capsys)


def test_a_promise(type_: Type) -> None:
    said = type_(*GOOD)
    assert said.code == 0
    assert said.err.startswith("61 chips at each strength: the fewest") and "29 where none does" in said.err
    text = " ".join(said.out.split())
    assert "With confidence 0.95, at least 0.9 of all chips reach an accuracy of 0.9 or more" in text
    assert "(400 examples)" in text and "61 of 61 chips" in text and "certified" in said.out.splitlines()[-2]
    assert all(len(line) <= 110 for line in said.out.splitlines())


def test_a_refusal(type_: Type) -> None:
    said = type_(*BAD)
    assert said.code == 1 and said.out.startswith("Refused:")
    found = json.loads(type_(*BAD, "--json").out)
    assert found["granted"] is False and found["certified_strength"] is None
    lower = f"{found['steps'][0]['holds'] - 5e-5:.4f}"
    assert type_(*BAD[:-1], lower).code == 0  # what the refusal says does hold


def test_a_certified_strength(type_: Type, here: Path) -> None:
    words = [*CERTIFY, f"{NOISE}:.9,.01,.02,2", "--accuracy", ".9", "--chips", "40", "--min-yield", ".8"]
    said = type_(*words, "--out", "new/signed.json")
    assert (said.code, said.err) == (0, "") and "0.02 is the certified strength" in " ".join(said.out.split())
    assert "not tested, after a failure: 2" in said.out
    kept = records.read(here / "new" / "signed.json")
    assert kept["certified_strength"] == 0.02 and kept["yield"] == 0.8 and kept["steps"][0]["n"] == 40
    assert kept["sentence"].startswith("With confidence 0.95, at least 0.8") and kept["command"].startswith(
        "incorruptible certify"
    )
    assert "force" in type_(*words, "--out", "new/signed.json").err
    assert type_(*words, "--out", "new/signed.json", "--force", "--json").code == 0


def test_fresh_and_population(type_: Type) -> None:
    fresh = type_(*GOOD, "--fresh", "--json")
    assert (fresh.code, fresh.err) == (0, "") and json.loads(fresh.out)["steps"][0]["n"] == 400
    assert type_(*BAD, "--fresh").code == 1
    found = json.loads(type_(*GOOD, "--population", "--json").out)
    assert found["granted"] and found["population"]["threshold"] > 0.9
    assert parse(found["ground"]["corruption"]) == parse(NOISE)


def test_part_and_protection(type_: Type) -> None:
    found = json.loads(type_(*GOOD, "--part", "train", "--also", "bias", "--json").out)
    assert found["part"] == "train" and found["ground"]["arrays"] == ["weight", "bias"]
    said = type_(*GOOD, "--protect", "*")
    assert (said.code, said.out) == (2, "") and said.err.endswith("every weight of Linear is left out by '*'.\n")


MISTAKES: dict[str, tuple[list[str], str]] = {
    "percent": ([*GOOD[:-1], "90"], "for example 0.9"),
    "percent sign": ([*GOOD[:-1], "90%"], "for example 0.9"),
    "small percent": ([*GOOD[:-1], "0.9%"], "for example 0.009"),
    "word": ([*GOOD[:-1], "high"], "'high' is no number"),
    "nothing": ([*GOOD[:-1], "0"], "between 0 and 1"),
    "percent of confidence": ([*GOOD, "--confidence", "95"], "for example 0.95"),
    "full confidence": ([*GOOD, "--confidence", "1"], "between 0 and 1"),
    "full yield": ([*GOOD, "--min-yield", "1"], "between 0 and 1"),
    "too few chips": ([*GOOD, "--chips", "28"], "at least 29 are needed, 61 where 2 may fail"),
    "too few examples": ([*GOOD[:-1], ".9999", "--fresh"], "at least 29956 are needed"),
    "too few for the population": ([*GOOD[:-1], ".99", "--population"], "400 examples are too few"),
    "fresh chips": ([*GOOD, "--fresh", "--chips", "99"], "leave out --min-yield, --chips and --population"),
    "no strength": ([*CERTIFY, NOISE, "--accuracy", ".9"], "strengths are missing"),
    "no accuracy": ([*CERTIFY, f"{NOISE}:.1"], "--accuracy"),
    "nats": (["certify", "own.py:surprised", *WEIGHTS, *GOOD[4:]], "in nats"),
    "no direction": (["certify", "own.py:nameless", *WEIGHTS, *GOOD[4:]], "inc.Score('plain'"),
    "no part": ([*GOOD, "--part", "tset"], "Did you mean 'test'?"),
    "training data": ([*GOOD, "--part", "train", "--population"], "did not train the network"),
    "fresh training data": ([*GOOD, "--part", "train", "--fresh"], "did not train the network"),
    "fresh and shuffled": (["certify", "own.py:shuffled", *WEIGHTS, *GOOD[4:], "--fresh"], "shuffle=False"),
    "population and shuffled": (["certify", "own.py:shuffled", *WEIGHTS, *GOOD[4:], "--population"], "shuffle=False"),
    "no JSON": ([*GOOD, "--out", "x.txt"], ".json"),
    "precision in points": ([*MEASURE, "--half-width", "25"], "as a fraction"),
    "precision of nats": (["measure", "own.py:surprised", *MEASURE[2:], "--half-width", ".01"], "in nats"),
    "confidence alone": ([*MEASURE, "--confidence", ".9"], "goes with --half-width"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_gets_one_line_and_leaves_nothing(case: str, type_: Type, here: Path) -> None:
    words, says = MISTAKES[case]
    before = sorted(here.rglob("*"))
    said = type_(*words)
    assert (said.code, said.out) == (2, "") and sorted(here.rglob("*")) == before
    (line,) = said.err.splitlines()
    assert line.startswith("incorruptible: ") and says in line


def test_measuring_to_a_precision(type_: Type, here: Path) -> None:
    said = type_(*MEASURE, "--half-width", ".05", "--figure", "f.png")
    assert (said.code, said.err) == (0, "") and (here / "f.svg").is_file()
    assert "confidence 0.95" in said.out and "valid whenever one stops" in said.out and "not reached" not in said.out
    found = json.loads(type_(*MEASURE, "--half-width", ".05", "--json").out)
    chips = [row["chips"] for row in found["rows"]]
    assert chips[0] == 1 < chips[1] and [len(values) for values in found["values"]] == chips
    plain = json.loads(type_(*MEASURE, "--chips", str(chips[1]), "--json").out)
    assert plain["values"][1] == found["values"][1]
    assert len(plain["new_chips_and_examples"]) == 2
    few = type_(*MEASURE, "--half-width", ".01", "--chips", "5")
    assert few.code == 0 and "not reached" in few.out


def test_shuffled_data_are_measured_without_levels(type_: Type) -> None:
    said = type_("measure", "own.py:shuffled", *MEASURE[2:])
    assert said.code == 0 and "between chips" not in said.out
    assert type_("certify", "own.py:shuffled", *WEIGHTS, *GOOD[4:]).code == 0
