"""What a result says it was made with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "incorruptible"
ASK = "from incorruptible.files.provenance import commit; print(commit())"


def test_the_commit_is_marked_where_any_room_of_the_package_was_changed(tmp_path: Path) -> None:
    package = tmp_path / "src" / "incorruptible"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".gitignore").write_text("__pycache__/\n")

    def git(*words: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    def said() -> str:
        surroundings = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        asked = [sys.executable, "-c", ASK]
        return subprocess.run(asked, env=surroundings, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    assert said() == ""  # a checkout that does not hold the package
    git("add", ".")
    git("commit", "-qm", "all")
    commit = git("rev-parse", "--short=12", "HEAD").strip()
    assert said() == commit
    (tmp_path / "notes.txt").write_text("beside the package\n")
    assert said() == commit
    for room in ("version.py", "files/records.py", "evaluation/results.py"):
        changed = package / room
        before = changed.read_text()
        changed.write_text(before + "\n")
        assert said() == commit + "+", room
        changed.write_text(before)
    assert said() == commit
