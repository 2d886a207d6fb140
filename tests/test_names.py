"""One word for one thing: old names are gone and answered, and no two things share a name."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import nn

import incorruptible as inc
from incorruptible import corruptions, renamed
from incorruptible.cli import app
from incorruptible.errors import UserError, unknown
from typing_commands import Type, typing
from waiting import HANG

PACKAGE = Path(inc.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "renamed.py")
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in FILES}

# Identifiers that are nowhere in the package any more: in no definition, attribute, argument or import.
GONE = {
    *(
        "Mistake",
        "Mistakes",
        "Socket",
        "Site",
        "WholeChips",
        "Bench",
        "Remembered",
        "Precise",
        "Spare",
        "Walk",
        "Ground",
    ),
    *(
        "Hosted",
        "Board",
        "Fit",
        "Plan",
        "Design",
        "Chips",
        "Hardening",
        "turns",
        "walk",
        "struck",
        "placeless",
        "shelves",
    ),
    *("read_chip", "read_parts", "read_stacked", "ground_of", "most_of"),
}
# Files and rooms that are imported from no more; the words themselves are free.
ROOMS = {
    *(
        "courses",
        "watching",
        "surveying",
        "failing",
        "telling",
        "measuring",
        "sequential",
        "reading",
        "sharing",
        "socket",
    ),
    *("remembered", "sensitivities", "auditing", "translating", "placing", "swapping", "banked", "drawing", "engines"),
    *(
        "definition",
        "planning",
        "running",
        "working",
        "supervising",
        "estimating",
        "board",
        "places",
        "hosting",
        "ground",
    ),
    *(
        "making",
        "withstanding",
        "shortfalls",
        "giving",
        "site",
        "counting",
        "stacking",
        "stacked",
        "struck",
        "catalogues",
    ),
}
# Arguments and fields that have another name now, with the rooms in which the old word still means what it says.
ARGUMENTS = {
    "draws": (
        "landscape",
        "diagnostics",
        "pacbayes",
        "training/recipe.py",
        "cli/landscape.py",
    ),  # random draws in training
    "most": ("randomness", "studies/rules/shortfall.py"),  # of the numbers in a block; an entry of that rule
    "without": (),
    "precision": (),
    "spare": ("corruptions/storages/integers.py",),  # levels that a code has to spare
}


def identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.ImportFrom(names=names):
                yield from (alias.name for alias in names)
            case _:
                pass


def rooms(tree: ast.AST) -> set[str]:
    """Every part of the package's modules that are imported from."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("incorruptible")):
            found |= set((node.module or "").split("."))
        elif isinstance(node, ast.Import):
            found |= {
                part for one in node.names if one.name.startswith("incorruptible") for part in one.name.split(".")
            }
    return found


@pytest.mark.parametrize("path", TREES)
def test_no_old_identifier_is_left(path: str) -> None:
    assert set(identifiers(TREES[path])) & GONE == set()
    assert (rooms(TREES[path]) | set(Path(path).with_suffix("").parts)) & ROOMS == set()


def test_an_old_identifier_would_be_seen() -> None:
    lines = "from .errors import Mistake", "def f(x): return x.Plan", "class Site: ...", "f(turns=1)", "x: Walk = 1"
    assert {name for line in lines for name in identifiers(ast.parse(line))} & GONE == {
        *("Mistake", "Plan", "Site", "turns", "Walk")
    }
    assert rooms(ast.parse("from ..measuring.site import x\nimport incorruptible.board")) & ROOMS == {
        "measuring",
        "site",
        "board",
    }


def arguments(tree: ast.AST) -> set[str]:
    """Names of arguments of functions, fields of classes, and properties."""
    found = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found |= {
                one.target.id
                for one in node.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            }
            found |= {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("path", TREES)
def test_no_argument_or_field_has_an_old_name(path: str) -> None:
    left = {name for name, rooms in ARGUMENTS.items() if not path.startswith(rooms or ("nowhere",))}
    assert arguments(TREES[path]) & left == set()


def test_no_two_classes_share_a_name() -> None:
    """Nor does an alias of a type share one with a class."""
    names: list[str] = []
    for tree in TREES.values():
        names += [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        names += [
            node.targets[0].id
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and re.fullmatch(r"_?[A-Z][a-z]\w*", node.targets[0].id)
        ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


# what is written about it


@pytest.mark.parametrize(
    "path",
    [
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "examples").glob("*.py")),
    ],
    ids=lambda path: path.name,
)
def test_docs_and_examples_use_the_new_names(path: Path) -> None:
    # what a benchmark printed stays as it was printed
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("- not measured:"))
    assert re.findall(r"--(?:mean-within|precision|yield)\b", text) == []
    text = re.sub(r"## incorruptible landscape.*?(?=\n## |\Z)", "", text, flags=re.S)  # a look takes draws
    assert [line for line in text.splitlines() if "--draws" in line and "landscape" not in line] == []
    assert re.findall(r"incorruptible sensitivity [^`\n]*--protect", text) == []
    assert re.findall(r"\bMistakes?\b|inc\.Chips|inc\.Precise|(?<![a-z])Hardening\(|optim\.SAM\b|without=", text) == []
    old = "|".join(re.escape(name) for name in renamed.MODULES)
    assert re.findall(rf"incorruptible\.(?:{old})(?![\w])", text) == []


# how old names are answered


@pytest.mark.parametrize(
    ("room", "old", "new"), [(r, o, n) for r, each in renamed.NAMES.items() for o, n in each.items()]
)
def test_an_old_name_is_answered(room: str, old: str, new: str) -> None:
    module = importlib.import_module(f"incorruptible.{room}".rstrip("."))
    assert hasattr(module, new)
    with pytest.raises(ImportError, match=f"{old} was renamed to .*{new}$"):
        getattr(module, old)
    with pytest.raises(ImportError, match=f"{old} was renamed to .*{new}$"):
        exec(f"from {module.__name__} import {old}")


@pytest.mark.parametrize(("old", "new"), renamed.MODULES.items())
def test_an_old_room_is_answered(old: str, new: str) -> None:
    importlib.import_module(f"incorruptible.{new}")
    with pytest.raises(ModuleNotFoundError, match=f"incorruptible.{old} was renamed to incorruptible.{new}"):
        importlib.import_module(f"incorruptible.{old}")


def test_other_names_are_unknown_as_ever() -> None:
    assert not hasattr(inc, "Mistaken") and not hasattr(inc.optim, "SGD")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'incorruptible\.mesuring'"):
        importlib.import_module("incorruptible.mesuring")


def test_the_answer_comes_without_torch() -> None:
    line = (
        "import sys\ntry:\n    from incorruptible import Mistake\nexcept ImportError as told:\n"
        "    print(told, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True, timeout=HANG)
    assert done.stdout == "incorruptible.Mistake was renamed to incorruptible.UserError False\n"


MODEL = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
DATA = torch.zeros(6, 4), torch.zeros(6, dtype=torch.long)
NOISE = inc.Gaussian("filter-max")
CALLS: dict[str, Any] = {
    "measure(chips=...)": lambda: inc.measure(MODEL, inc.accuracy, DATA, NOISE, [0.1], draws=2, seed=0),
    "measure_until(half_width=...)": lambda: inc.measure_until(
        MODEL, inc.accuracy, DATA, NOISE, [0.1], precision=0.1, seed=0
    ),
    "measure_until(max_chips=...)": lambda: inc.measure_until(
        MODEL, inc.accuracy, DATA, NOISE, [0.1], half_width=0.1, most=9, seed=0
    ),
    "measure_mean(max_chips=...)": lambda: inc.measure_mean(
        MODEL, inc.accuracy, DATA, NOISE, [0.1], half_width=0.1, most=9, seed=0
    ),
    "certify(min_yield=...)": lambda: inc.certify(
        MODEL, inc.accuracy, DATA, NOISE, [0.1], accuracy=0.9, share=0.9, seed=0
    ),
    "certify(chips=...)": lambda: inc.certify(MODEL, inc.accuracy, DATA, NOISE, [0.1], accuracy=0.9, draws=9, seed=0),
    "sensitivity(what_if_digital=...)": lambda: inc.sensitivity(
        MODEL, inc.accuracy, DATA, NOISE, 0.1, chips=2, seed=0, protect=["0.*"]
    ),
    "select(protect=...)": lambda: inc.select(MODEL, without=["0.*"]),
    "audit(protect=...)": lambda: inc.audit(MODEL, NOISE, 0.1, without=["0.*"]),
    "replaced(pool=...)": lambda: inc.replaced(inc.select(MODEL), None, spare=None),
    "Recipe(autocast=...)": lambda: inc.Recipe("digits", precision="bf16"),
    "Sampling(chips=...)": lambda: inc.Sampling(NOISE, [0.1], draws=2, seed=0),
}


@pytest.mark.parametrize("new", CALLS)
def test_an_old_argument_is_answered(new: str) -> None:
    with pytest.raises(UserError, match=f" was renamed to {re.escape(new)}"):
        CALLS[new]()


def test_a_corruption_of_ones_own_that_bounds_itself_by_the_old_name_is_answered() -> None:
    class Rate:
        unit, formula, source, most = "share", "w", "here", 1.0

    with pytest.raises(UserError, match=r"Rate\.most was renamed to Rate\.max_strength"):
        corruptions.traits(Rate())


def test_unknown_knows_old_entries() -> None:
    assert str(unknown("entry", "draws", ["chips", "seed"])) == "No entry 'draws' here: it was renamed to 'chips'."
    assert "renamed" not in str(unknown("entry", "draws", ["images", "every"]))


VERBS = typer.main.get_command(app)


@pytest.mark.parametrize(
    ("verb", "old", "new"), [(v, o, n) for v, each in renamed.FLAGS.items() for o, n in each.items()]
)
def test_an_old_option_is_read_and_answered(verb: str, old: str, new: str) -> None:
    command: Any = VERBS.commands[verb]  # type: ignore[attr-defined]
    commands = list(command.commands.values()) if hasattr(command, "commands") else [command]
    options = {option for one in commands for parameter in one.params for option in parameter.opts}
    assert set(new.split()) <= options and old not in options
    words, said = renamed.respelled([verb, "RUN", old, "3"])
    assert words == [verb, "RUN", *new.split(), "3"] and said == [f"{verb} {old} was renamed to {new}"]


OWN = """
import torch
from incorruptible import Task

x = torch.arange(12.0).view(6, 2)
network = torch.nn.Linear(2, 2)
task = Task(lambda: network, test=(x, (x[:, 0] > 4).long()))
"""


def test_what_is_typed_is_recorded_as_it_is_called_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_: Type = typing(monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    words = ("measure", "own.py:task", "--corruption", "gaussian-filter-max:.1", "--draws", "3", "--out", "found.json")
    said = type_(*words)
    assert said.code == 0
    assert "incorruptible: measure --draws was renamed to --chips; the old name works for one release." in said.err
    assert "--chips 3" in Path("found.json").read_text() and "--draws" not in Path("found.json").read_text()


def test_nothing_else_is_respelled() -> None:
    words = (
        ["landscape", "RUN", "--draws", "3"],
        ["train", "digits", "--protect", "--draws"],
        ["measure", "--", "--draws"],
        ["--help"],
        [],
    )
    for each in words:
        assert renamed.respelled(each) == (each, [])


def test_the_answers_go_together() -> None:
    """Every module that answers old names says so by the same function."""
    for room in renamed.NAMES:
        module = importlib.import_module(f"incorruptible.{room}".rstrip("."))
        assert "missing" in inspect.getsource(module)
