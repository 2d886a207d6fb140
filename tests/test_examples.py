"""The examples outside the package: what docs/how-to/models.md tells a user to type is typed, and the tables are made again."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest

from typing_commands import typing

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "models.md").read_text()


def test_a_network_and_data_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, fine-tuned from there, measured and audited by the lines of the page; every line works on the run before it."""
    block = re.findall(r"```sh\n(.*?)```", PAGE.split("## A network and data of your own")[1], re.S)[0]
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    type_, run, found = typing(monkeypatch, capsys), "", []
    for line in block.splitlines():
        command, *words = shlex.split(line)
        assert command == "incorruptible"
        said = type_(*(run if word == "RUN" else word for word in words), "--json")
        assert said.code == 0, said.err
        found.append(json.loads(said.out))
        run = found[-1].get("folder", run)
    plain, tuned, measured, audited = found
    assert plain["recipe"]["start"] is None and plain["folder"] in tuned["recipe"]["start"]
    assert tuned["recipe"]["objective"] == "rwp(gaussian-filter-max)" and tuned["folder"] == run
    assert [len(values) for values in measured["values"]] == [25] * 3
    assert measured["rows"][0]["mean"] > 0.9 and measured["rows"][2]["mean"] > 0.8  # of four classes
    held = [row["name"] for row in audited["rows"] if not row["reason"]]
    assert held == ["ear.weight", "memory.weight_ih_l0", "memory.weight_hh_l0", "answer.weight"]
    assert len(audited["rows"]) == 8


def test_the_table_of_the_page_is_what_its_script_prints() -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'incorruptible[models]'")
    if f"transformers {transformers.__version__}" not in PAGE:
        pytest.skip(f"the page is about another version of transformers than {transformers.__version__}")
    assert runpy.run_path(str(ROOT / "scripts" / "audit_models.py"))["table"]() in PAGE
