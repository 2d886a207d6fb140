"""A text is taken apart once: where it enters the program."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from incorruptible.specs import grammar
from typing_commands import typing

STORED = "stored(crossbar:levels=16|drop|fixed(stuck:at=max):0.01):compensation=global"


@pytest.fixture
def taken_apart(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each text was taken apart. `split` calls `parted` once for each text, with a colon."""
    counts: Counter[str] = Counter()
    parted = grammar.parted

    def counted(text: str, mark: str) -> list[str]:
        counts[text] += mark == ":"
        return parted(text, mark)

    monkeypatch.setattr(grammar, "parted", counted)
    return counts


def once(*texts: str) -> Counter[str]:
    return Counter(texts)


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["gaussian-filter-max:0,.1"], ["gaussian-filter-max:0,.1"]),
        (["pcm-joshi", "--time", "1d,1y"], ["pcm-joshi"]),
        (["quantised:bits=4"], ["quantised:bits=4"]),
        (
            ["mixture(lognormal:unbiased=true):.1,.2:low=.5"],
            ["mixture(lognormal:unbiased=true):.1,.2:low=.5", "lognormal:unbiased=true"],
        ),
        (
            [f"{STORED}:.1"],
            [f"{STORED}:.1", "crossbar:levels=16", "drop", "fixed(stuck:at=max):0.01", "stuck:at=max"],
        ),
        (
            ["lognormal:.1", "--corruption", "dropconnect:.1", "--read-noise", "gaussian-absolute:.01"],
            ["lognormal:.1", "dropconnect:.1", "gaussian-absolute:.01"],
        ),
    ],
)
def test_measure_takes_each_text_apart_once(
    words: list[str],
    texts: list[str],
    taken_apart: Counter[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / "task.py"
    weights.write_text(
        "import torch\nfrom incorruptible import Task\n"
        "made = torch.nn.Linear(6, 2)\n"
        "task = Task(lambda: made, test=(torch.randn(20, 6), torch.arange(20) % 2))\n"
    )
    task = f"{weights}:task"
    said = typing(monkeypatch, capsys)("measure", task, "--corruption", *words, "--chips", 2, "--json")
    assert said.code == 0, said.err
    assert taken_apart == once(task, *texts)


def test_train_takes_each_text_apart_once(
    taken_apart: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    objective, strength = f"rwp(mixture({STORED}))", "reversed(linear:0:.1)"
    words = ("--objective", objective, "--strength", strength, "--epochs", 1, "--home", tmp_path)
    said = typing(monkeypatch, capsys)("train", "digits:train=50", *words)
    assert said.code == 0, said.err
    inner = ["crossbar:levels=16", "drop", "fixed(stuck:at=max):0.01", "stuck:at=max"]
    assert taken_apart == once(
        "digits:train=50", objective, f"mixture({STORED})", STORED, *inner, strength, "linear:0:.1"
    )


def test_measure_takes_the_recipe_of_a_run_apart_once(
    taken_apart: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_ = typing(monkeypatch, capsys)
    words = ("--objective", "rwp(lognormal)", "--strength", "linear:0:0.1", "--epochs", 1, "--home", tmp_path)
    assert type_("train", "digits:train=50", *words).code == 0
    (run,) = (tmp_path / "trained").iterdir()
    taken_apart.clear()
    said = type_("measure", run, "--corruption", "multiplicative:.1", "--chips", 2)
    assert said.code == 0, said.err
    assert taken_apart == once("digits:train=50", "rwp(lognormal)", "lognormal", "linear:0:0.1", "multiplicative:.1")
