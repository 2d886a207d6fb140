"""The tutorial and the page Extending are typed as they stand, and do what they say."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?![\w.])")


def bare(answer: str) -> str:
    """The words of an answer: without fingerprints, numbers and the width that numbers take."""
    answer = re.sub(r"\b[0-9a-f]{12}\b", "HASH", answer)
    answer = re.sub(r"\d+ of (\d+) chips", r"N of \1 chips", answer)
    answer = re.sub(r"^( *\d+ +\d+) +\d+ ", r"\1 N ", answer, flags=re.M)  # the good among the chips
    return re.sub(r"\s+", " ", NUMBER.sub("0.0", answer))


def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    """Word by word; numbers to 2 points or a twentieth, for other processors and versions of torch round otherwise."""
    script = runpy.run_path(str(ROOT / "scripts" / "tutorial.py"))
    typed = list(script["typed"](script["PAGE"].read_text(), tmp_path))
    assert [one.code for one in typed if one.command.startswith("incorruptible certify")] == [1, 0]
    assert all(one.code == 0 for one in typed if "certify" not in one.command)
    assert len(typed) >= 7
    for one in typed:
        assert bare(one.said) == bare(one.shown), one.command
        for said, shown in zip(NUMBER.findall(one.said), NUMBER.findall(one.shown), strict=True):
            assert float(said) == pytest.approx(float(shown), rel=0.05, abs=0.02), one.command


def patched(text: str, lines: str) -> str:
    """`text` with each line of `lines` that begins with + after the line that stands before it."""
    for before, new in re.findall(r"^ (.*)\n\+(.*)$", lines, re.M):
        assert text.count(f"{before}\n") == 1, before
        text = text.replace(f"{before}\n", f"{before}\n{new}\n")
    return text


def test_a_corruption_is_added_by_the_page_alone(tmp_path: Path) -> None:
    """One file and one row, into a copy; its promises are tested there, and a fault in it is seen."""
    page = (ROOT / "docs" / "extending.md").read_text()
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "data").mkdir(parents=True)
    for name in ("pyproject.toml", "tests/test_corruptions.py", "tests/data/cells.csv"):
        shutil.copy(ROOT / name, tmp_path / name)
    files = re.findall(r'```python title="([^"]+)"\n(.*?)```', page, re.S)
    rows = re.findall(r'```diff title="([^"]+)"\n(.*?)```', page, re.S)
    assert len(files) == len(rows) == 1
    (name, text), (table, lines) = files[0], rows[0]
    (tmp_path / name).write_text(text)
    (tmp_path / table).write_text(patched((tmp_path / table).read_text(), lines))

    def promises() -> subprocess.CompletedProcess[str]:
        command = re.search(r"^python (-m pytest .*)$", page, re.M)
        assert command is not None
        words = [sys.executable, *command[1].split(), "-vv"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    sound = promises()
    assert sound.returncode == 0, sound.stdout
    assert int(re.findall(r"(\d+) passed", sound.stdout)[0]) >= 20
    (tmp_path / name).write_text(text.replace("self.active**0.5", "self.active"))
    unsound = promises()
    assert unsound.returncode == 1 and "test_the_stated_moments_hold" in unsound.stdout
