"""What the documents say is so."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch

from incorruptible import corruptions, objectives, schedules
from incorruptible.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "results").rglob("*.md")),
]


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def test_readme_example_runs_and_hardens() -> None:
    torch.manual_seed(0)
    scope: dict[str, object] = {}
    example, file = _blocks(ROOT / "README.md", "python")
    assert "def task():" in file
    exec(example, scope)
    robust = scope["robust"]
    assert robust.step == robust.steps == 80  # type: ignore[attr-defined]
    assert robust.strength == 0.1  # type: ignore[attr-defined]


def test_the_readme_fits_on_a_screen_or_three() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


def test_the_table_of_corruptions_lists_every_one() -> None:
    table = (ROOT / "docs" / "reference" / "corruptions.md").read_text().split("##")[0]
    rows = set(re.findall(r"^\| `([a-z-]+)", table, re.M))
    expected = {name if not name.startswith("uniform") else "uniform-" for name in corruptions.CATALOGUE}
    assert rows == expected


def test_training_page_writes_every_objective_and_schedule() -> None:
    rows = [
        line for line in (ROOT / "docs" / "how-to" / "objectives.md").read_text().splitlines() if line.startswith("|")
    ]
    written = re.findall(r"`([a-z-]+(?:\([^`)]*\))?(?::[^`]*)?)`", "\n".join(rows))
    parsed = {"objectives": set(), "schedules": set()}
    for one in written:
        name = one.split("(")[0].split(":")[0]
        if name in objectives.CATALOGUE:
            objectives.parse(one)
            parsed["objectives"].add(name)
        if name in schedules.CATALOGUE:
            schedules.parse(one)
            parsed["schedules"].add(name)
    assert parsed["objectives"] == set(objectives.CATALOGUE)
    assert parsed["schedules"] == set(schedules.CATALOGUE)


def test_the_pages_that_follow_from_the_source_are_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "reference_pages.py"))
    stale = [
        name
        for name, make in script["PAGES"].items()
        if script["made"](name, make) != (script["REFERENCE"] / name).read_text()
    ]
    assert stale == [], "python scripts/reference_pages.py writes them anew"


def test_the_site_has_every_page_and_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="pip install 'incorruptible[docs]'")
    said = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0 and "WARNING" not in said.stderr, said.stderr
    in_nav = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert in_nav == {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert (tmp_path / "repository" / "results" / "index.html").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_figures_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / unquote(target)).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_verbs_and_options_that_exist(page: Path) -> None:
    import typer

    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for line in re.findall(r"(?:^|`)incorruptible ([^`\n#]+)", page.read_text(), re.M):
        verb, *words = shlex.split(line.replace("'", " "))
        assert verb in verbs, line
        command = verbs[verb]
        while hasattr(command, "commands") and words:
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            assert not word.startswith("--") or word in options, (word, line)


def test_the_lines_of_what_is_not_supported_are_those_of_the_source() -> None:
    sources = [re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in (ROOT / "src").rglob("*.py")]
    source = re.sub(r"\{[^{}\n]*\}", "...", "\n".join(sources))
    rows = [line for line in (ROOT / "docs/reference/limits.md").read_text().splitlines() if line.startswith("| ")]
    lines = [row.split(" | ")[1].split("`")[1] for row in rows if "`" in row.split(" | ")[1]]
    assert len(lines) == len([row for row in rows if not row.startswith("| what ")]) >= 20
    assert [line for line in lines if line not in source] == []
