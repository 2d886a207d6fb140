"""How the source reads: functions that fit on a page, lines of 100 columns, and one table of a recipe's entries."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

from incorruptible.cli.train import ENTRIES
from incorruptible.training.recipe import Recipe
from scripts.measure_code import MOST_LINES, MOST_PARAMETERS, ROOT, WIDEST, measure_code

PACKAGE = ROOT / "src" / "incorruptible"
SMALL = '''"""A module."""

import os  # for nothing


class Box:
    """A box.

    It holds things.
    """

    def put(self, thing, *more, where=None, **rest):
        """Put a thing in."""
        # twice, to be sure
        one = thing
        return one


def measure(a, b, debug):
    def inner(x):
        return x

    return inner(a)
'''


def test_the_package_keeps_to_its_limits() -> None:
    code = measure_code(PACKAGE)
    assert len(code.files) > 200 and len(code.functions) > 1000  # it was really looked at
    assert [one.place for one in code.too_many_parameters] == []
    assert [one.place for one in code.too_long] == []
    assert (MOST_PARAMETERS, MOST_LINES, WIDEST) == (12, 70, 100)
    assert code.width <= WIDEST


def test_what_is_counted(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "small.py").write_text(SMALL)
    code = measure_code(tmp_path)
    assert code.lines == len(SMALL.splitlines()) and code.comment_lines == 2
    assert (code.docstring_lines, sorted(code.docstrings)) == (6, [2, 4, 5])
    # import, class, def, assignment, return; def, def, return, return
    assert code.statements == 9
    found = {one.place.split()[-1]: (one.parameters, one.lines, one.verb) for one in code.functions}
    assert found == {"put": (4, 4, False), "measure": (3, 5, True), "inner": (1, 2, False)}
    assert code.width == max(map(len, SMALL.splitlines()))


def test_a_function_beyond_a_limit_is_named(tmp_path: Path) -> None:
    many = ", ".join(f"p{k}" for k in range(MOST_PARAMETERS + 1))
    long = "\n".join(f"    x = {k}" for k in range(MOST_LINES))
    (tmp_path / "a.py").write_text(f"def wide({many}): ...\n\n\ndef long():\n{long}\n")
    code = measure_code(tmp_path)
    assert [one.place for one in code.too_many_parameters] == ["a.py:1 wide"]
    assert [one.place for one in code.too_long] == ["a.py:4 long"]


def test_every_entry_of_a_recipe_can_be_typed() -> None:
    """All but the task, which is an argument, and the probe, which a file of a recipe may hold."""
    own = {field.name for field in fields(Recipe)} - {"task", "probe"}
    assert sorted(entry.name for entry in ENTRIES) == sorted(own)


def test_modules_of_more_than_100_lines_say_what_they_rely_on_or_keep() -> None:
    lacking = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        if len(path.read_text().splitlines()) > 100 and not re.search(r"\b(Relies on|Keeps):", said):
            lacking.append(path.relative_to(ROOT / "src").as_posix())
    assert lacking == ["incorruptible/__init__.py"]  # a table of names, which says so where it stands


def test_rooms_open_with_a_paragraph_and_an_example() -> None:
    for path in sorted((ROOT / "src").rglob("__init__.py")):
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert len(said.split()) >= 25 and re.search(r"^(?:>>>|    \S)", said, re.M), path
