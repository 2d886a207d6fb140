"""The list of faults fits the source, row by row, and a list that does not is named; the script itself is run by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import mutate

ROWS = mutate.read()


def written(folder: Path, *rows: dict[str, object]) -> Path:
    """A list of its own."""
    file = folder / "faults.toml"
    file.write_text("\n".join(f"[[fault]]\n{_entries(row)}" for row in rows))
    return file


def _entries(row: dict[str, object]) -> str:
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in row.items())


ROW = {
    "file": "optim.py",
    "before": "self.skipped += 1",
    "after": "self.skipped += 2",
    "tests": ["tests/test_optim.py"],
}


def test_every_row_still_fits() -> None:
    """Each text occurs once in its file, the fault leaves Python, and its tests exist."""
    mutate.check(ROWS)


def test_the_list_is_spread_over_the_rooms() -> None:
    rooms = {row.file.partition("/")[0] for row in ROWS}
    assert len(ROWS) >= 150
    assert rooms >= {
        *("weights", "randomness", "optim.py", "schedules", "corruptions", "specs", "files"),
        *("statistics", "evaluation", "certificates", "pacbayes", "training", "runs.py", "studies", "integrations"),
        *("landscape", "tasks", "cli"),
    }
    assert sum(bool(row.equivalent) for row in ROWS) <= 0.1 * len(ROWS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"before": "self.skipped += 9"}, "row 1 (optim.py): 'self.skipped += 9' occurs 0 times; once is needed."),
        ({"before": "self"}, "times; once is needed."),
        ({"file": "optimum.py"}, "row 1: there is no file src/incorruptible/optimum.py."),
        ({"after": "self.skipped +="}, "row 1 (optim.py): with the fault it is no Python"),
        ({"after": "self.skipped += 1"}, "row 1 (optim.py): a change, and tests that should see it, are needed."),
        ({"tests": []}, "row 1 (optim.py): a change, and tests that should see it, are needed."),
        ({"tests": ["tests/test_optim.py::test_nobody"]}, "there is no test tests/test_optim.py::test_nobody."),
        ({"tests": ["tests/test_optimum.py"]}, "there is no test tests/test_optimum.py."),
        ({"line": 3}, "row 1: unknown: line."),
    ],
)
def test_a_row_that_does_not_fit_is_named(
    change: dict[str, object], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, {**ROW, **change})
    assert mutate.main(["--list", "--faults", str(file), "--keep", str(tmp_path / "kept.json")]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and says in line
    assert not (tmp_path / "kept.json").exists()


def test_a_row_that_lacks_something_or_comes_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(mutate.Unfit, match="row 1: lacks after, tests"):
        mutate.read(written(tmp_path, {"file": "optim.py", "before": "x"}))
    with pytest.raises(mutate.Unfit, match=r"row 2 \(optim.py\) says the same as row 1"):
        mutate.read(written(tmp_path, ROW, ROW))


def test_what_is_known_is_listed_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three of four that are not equivalent are killed: less than 95%, and the exit code says so; nothing is run."""
    others = [{**ROW, "after": f"self.skipped += {n}"} for n in range(3, 7)]
    file = written(tmp_path, ROW, *others[:-1], {**others[-1], "equivalent": "nobody counts"})
    kept = tmp_path / "kept.json"
    ends = ["killed", "killed", "survived", "killed", "survived"]
    known = {mutate.key(row): {"end": end, "by": ""} for row, end in zip(mutate.read(file), ends, strict=True)}
    kept.write_text(json.dumps(known))
    words = ["--faults", str(file), "--keep", str(kept)]
    assert mutate.main([*words, "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ends
    assert mutate.main(words) == 1
    out = capsys.readouterr().out
    assert "5 faults, 1 of them equivalent: 3 of 4 killed (75.0%), 1 survived: optim.py: self.skipped += 1" in out
    assert "equivalent: nobody counts" in out and "no test sees it" in out
    kept.write_text(json.dumps({key: {"end": "killed", "by": ""} for key in known}))
    assert mutate.main(words) == 0


def test_an_outcome_belongs_to_the_fault_its_file_and_its_tests(tmp_path: Path) -> None:
    (row,) = mutate.read(written(tmp_path, ROW))
    home = tmp_path / "home"
    for name, text in (("src/incorruptible/optim.py", "self.skipped += 1"), ("tests/test_optim.py", "")):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    before = mutate.key(row, home)
    assert mutate.key(row, home) == before
    (home / "tests" / "test_optim.py").write_text("pass")
    after = mutate.key(row, home)
    (home / "src" / "incorruptible" / "optim.py").write_text("self.skipped += 1  # counted")
    assert len({before, after, mutate.key(row, home)}) == 3
    assert row.mutated(home) == "self.skipped += 2  # counted"
