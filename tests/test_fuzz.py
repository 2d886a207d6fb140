"""Whatever is typed and whatever became of a file: an answer or one clear line, nothing written where nothing should be, no hang."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from torch import nn

from fuzzing import RUN, harm, lines, mutated, readers, world
from incorruptible.studies import run as studies
from typing_commands import Said, Type, typing
from waiting import HANG

QUICK, ALL = 25, 250  # of each kind
CASES = [pytest.param(number, marks=[pytest.mark.slow] if number >= QUICK else []) for number in range(ALL)]
PASSES = 300  # forward passes of a network after which a command counts as at work, and Ctrl-C ends it
LINES = lines()
# What only looks, and so writes nothing unless it is told where to.
LOOKING = {"audit", "results", "status", "compare", "list", "device"}


class World(NamedTuple):
    """A folder to work in, within another one that holds nothing else, and a copy that is never worked in."""

    folder: Path
    whole: Path
    run: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("fuzz")
    here, whole = root / "outside" / "here", root / "whole"
    here.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        run = world(here)
    shutil.copytree(here, whole)
    yield World(here, whole, run)


@pytest.fixture
def type_(made: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Type]:
    """Types in the world as it was made. What computes for long is stopped as by Ctrl-C, and no worker is started."""
    shutil.rmtree(made.folder)
    shutil.copytree(made.whole, made.folder)
    monkeypatch.chdir(made.folder)
    monkeypatch.setenv("COLUMNS", "100")
    passes, forward = 0, nn.Sequential.forward

    def counted(self: nn.Sequential, *inputs: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes > PASSES:
            raise KeyboardInterrupt
        return forward(self, *inputs)

    def no_worker(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    def hangs(*_: Any) -> None:
        pytest.fail(f"it did not end within {HANG:g} s")

    monkeypatch.setattr(nn.Sequential, "forward", counted)
    monkeypatch.setattr(studies, "CATALOGUE", dict.fromkeys(studies.CATALOGUE, no_worker))  # neither processes nor Ray
    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(int(HANG))
    yield typing(monkeypatch, capsys)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def listing(folder: Path) -> dict[str, int]:
    """Every file and folder below one that holds the world's, with sizes."""
    return {str(path.relative_to(folder)): path.stat().st_size if path.is_file() else 0 for path in folder.rglob("*")}


def check(said: Said, words: list[str], before: dict[str, int], after: dict[str, int]) -> None:
    """The promises: a documented exit code; a mistake is told on stderr alone and leaves nothing; an answer is written where it was
    asked for, below the folder of runs, or below results/."""
    assert said.code in (0, 1, 2, 130), said
    written = {name for name in after if name not in before or before[name] != after[name]}
    assert before.keys() <= after.keys()
    if said.code == 2:
        assert said.out == "" and said.err.strip(), said
        assert not written, written
    elif said.code == 1:
        assert said.out or said.err.strip()
    asked = [word.rpartition("=")[2] for word in words]
    stems = tuple(f"here/{Path(word).with_suffix('')}" for word in asked if Path(word).name)
    looks = words[0] in LOOKING if words else True
    roots = ("results",) if looks else ("here/runs", "here/results")
    assert all(name.startswith((*roots, *stems)) or name in roots for name in written), written


@pytest.mark.parametrize("number", CASES)
def test_whatever_is_typed(number: int, made: World, type_: Type) -> None:
    chance = random.Random(f"words {number}")
    words = mutated([word.replace(RUN, f"runs/trained/{made.run}") for word in chance.choice(LINES)], chance)
    before = listing(made.folder.parent)
    check(type_(*words), words, before, listing(made.folder.parent))


@pytest.mark.parametrize("number", CASES)
def test_whatever_became_of_a_file(number: int, made: World, type_: Type) -> None:
    chance = random.Random(f"files {number}")
    reading = readers(made.run)
    pattern = chance.choice(list(reading))
    file = chance.choice(sorted(path for path in made.folder.glob(pattern) if path.is_file()))
    words = chance.choice(reading[pattern])
    harm(file, chance)
    before = listing(made.folder.parent)
    check(type_(*words), words, before, listing(made.folder.parent))


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "LONG"],
        ["results", "LONG.toml"],
        ["train", "mine.py:task", "--epochs", "1", "--home", "LONG"],
        ["audit", "mine.py:task", "--weights", "LONG.pt"],
    ],
    ids=lambda words: words[0] if isinstance(words, list) else None,
)
def test_a_name_that_is_too_long_is_one_short_line(words: list[str], made: World, type_: Type) -> None:
    said = type_(*(word.replace("LONG", "a" * 5000) for word in words))
    assert said.code == 2 and said.out == "" and len(said.err.splitlines()) == 1
    assert "File name too long" in said.err and len(said.err) < 200


def test_the_documents_own_lines_are_found() -> None:
    assert len(LINES) >= 40 and {"train", "measure", "certify", "study", "device", "landscape"} <= {
        one[0] for one in LINES
    }
    assert not any("hf:" in word or "--data" in word for words in LINES for word in words)
