"""`measure --half-width H --subsample`, as its users type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from typing_commands import Type, typing

OWN = """
import torch
from torch import nn
from incorruptible import Task

x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
task = Task(lambda: nn.Linear(6, 3), test=(x, x[:, :3].argmax(1)))
"""
MEASURE = ["measure", "own.py:task", "--weights", "w.safetensors", "--corruption", "gaussian-filter-max:0,.5"]
MEAN = [*MEASURE, "--half-width", ".05", "--subsample"]


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


def test_the_mean_within_a_half_width(type_: Type, here: Path) -> None:
    said = type_(*MEAN, "--figure", "f.png", "--out", "m.json")
    assert (said.code, said.err) == (0, "") and (here / "f.svg").is_file()
    assert "within 0.05" in said.out and "all the same" in said.out and "not reached" not in said.out
    kept, printed = json.loads((here / "m.json").read_text()), json.loads(type_(*MEAN, "--json").out)
    assert kept["rows"] == printed["rows"]
    clean, noisy = printed["rows"]
    assert clean["chips"] == 1 and noisy["chips"] > 4 and noisy["high"] - noisy["low"] <= 0.1
    assert noisy["images"] == 400 and noisy["sd_from"] == "whole chips"  # making a chip costs more than reading 400
    plain = json.loads(type_(*MEASURE, "--chips", str(noisy["chips"]), "--json").out)
    assert plain["values"][1] == printed["values"][1]


def test_few_images_of_each_chip(type_: Type) -> None:
    found = json.loads(type_(*MEAN, "--images", "20", "--confidence", ".8", "--json").out)
    row = found["rows"][1]
    assert row["images"] == 20 and row["sd_from"] == "components" and found["confidence"] == 0.8
    assert row["lowest"] is None and row["components"]["interaction"] > 0
    few = type_(*MEAN, "--images", "20", "--chips", "16")
    assert few.code == 0 and "not reached" in few.out and "at most 16 chips" in few.out


MISTAKES = {
    "no half-width": ([*MEASURE, "--subsample"], "--subsample goes with --half-width"),
    "images alone": ([*MEASURE, "--images", "20"], "goes with --subsample"),
    "too many images": ([*MEAN, "--images", "500"], "images=400 are whole chips"),
    "confidence alone": ([*MEASURE, "--confidence", ".9"], "goes with --half-width"),
    "reads": ([*MEAN, "--reads", "3"], "reads each chip once"),
    "times": (
        [*MEASURE[:-1], "pcm-joshi:1", "--half-width", ".02", "--subsample", "--time", "1s,1d"],
        "--half-width stops at one time",
    ),
    "a half-width of nothing": ([*MEASURE, "--half-width", "0", "--subsample"], "for example 0.0025"),
    "a confidence in per cent": ([*MEAN, "--confidence", "95"], "for example 0.95"),
    "few draws": ([*MEAN, "--chips", "3"], "at least 16"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_gets_one_line_and_leaves_nothing(case: str, type_: Type, here: Path) -> None:
    words, says = MISTAKES[case]
    before = sorted(here.rglob("*"))
    said = type_(*words)
    assert (said.code, said.out) == (2, "") and sorted(here.rglob("*")) == before
    (line,) = said.err.splitlines()
    assert line.startswith("incorruptible: ") and says in line
