"""The house: imports go down only, the door is light, and every room says what it is for."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import incorruptible
from waiting import HANG

PACKAGE = Path(incorruptible.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [path.relative_to(PACKAGE).as_posix() for path in FILES]

# Bottom up; a room is a module or a folder. It may import from lower floors and, inside a folder, from itself.
FLOORS: list[set[str]] = [
    {"renamed", "version"},
    {"errors"},
    {"files", "randomness", "specs", "statistics", "weights"},
    {"pacbayes", "plots", "schedules", "tasks"},
    {"corruptions"},
    {"evaluation", "objectives"},
    {"bridges", "certificates", "landscape", "optim"},
    {"training"},
    {"integrations", "runs"},
    {"diagnostics"},
    {"studies"},
    {"reports"},
    {"cli"},
    {"__main__"},
]
MOST_ROOMS = 32  # a newcomer has to find hers
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING"


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every node, also inside functions; imports that only type checkers run are left out."""
    yield node
    children = node.orelse if isinstance(node, ast.If) and for_types_only(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from statements(child)


def imported(tree: ast.AST, module: str) -> Iterator[tuple[str, int]]:
    """The rooms that `module`, a dotted name whose last part is the file, imports, each with its line."""
    for node in statements(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            names = [f"{source}.{alias.name}" for alias in node.names] if source == "incorruptible" else [source]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "incorruptible":
                yield rest.split(".")[0] or "incorruptible", node.lineno


def dotted(path: Path) -> str:
    return ".".join(["incorruptible", *path.relative_to(PACKAGE).with_suffix("").parts])


def trespasses(tree: ast.AST, module: str) -> list[str]:
    room = module.split(".")[1]
    return [
        f"{module}:{line} imports {other}"
        for other, line in imported(tree, module)
        if other != room and FLOOR.get(other, len(FLOORS)) >= FLOOR[room]
    ]


def test_every_room_is_on_one_floor() -> None:
    assert Counter(room for floor in FLOORS for room in floor) == Counter(
        {room_of(path) for path in FILES} - {"__init__"}
    )


def test_the_rooms_can_be_counted() -> None:
    assert len(FLOOR) <= MOST_ROOMS


def named(path: Path) -> str:
    """The dotted name by which a file is imported, without that of the package: "" for the package's own file."""
    return ".".join(part for part in path.relative_to(PACKAGE).with_suffix("").parts if part != "__init__")


MODULES = {named(path): path for path in FILES}


def taken(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """The files whose names `path` imports, also inside functions; `from .room import name` takes from a file of that name, or
    else from the room's own."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    found = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            each = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(["incorruptible", *here[: len(here) - node.level]]) if node.level else ""
            each = [".".join(filter(None, (base, node.module, alias.name))) for alias in node.names]
        else:
            continue
        for name in each:
            head, _, rest = name.partition(".")
            if head == "incorruptible":
                found.add(rest if rest in modules else rest.rpartition(".")[0])
    return found


def circles(arrows: Mapping[str, set[str]]) -> list[str]:
    """What is left of a graph once everything that leads to no circle is taken away."""
    left = dict(arrows)
    while ends := [one for one, others in left.items() if not any(other in left for other in others)]:
        for one in ends:
            del left[one]
    return sorted(left)


def test_no_circle_among_files() -> None:
    """Inside packages too, and in imports that stand in functions."""
    arrows = {name: taken(path, MODULES) for name, path in MODULES.items()}
    assert {other for others in arrows.values() for other in others} <= MODULES.keys()
    assert circles(arrows) == []


def test_a_circle_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    texts = {
        "__init__.py": "",
        "low.py": "def late():\n    from .room import high",
        "room/__init__.py": "from .high import High",
        "room/high.py": "from ..low import late",
        "room/aside.py": "from . import high\nfrom .high import High",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    modules = {named(path): path for path in map(tmp_path.joinpath, texts)}
    arrows = {name: taken(path, modules) for name, path in modules.items()}
    assert arrows == {
        "": set(),
        "low": {"room.high"},
        "room": {"room.high"},
        "room.high": {"low"},
        "room.aside": {"room.high"},
    }
    assert circles(arrows) == ["low", "room", "room.aside", "room.high"]


@pytest.mark.parametrize("path", [path for path in FILES if path != PACKAGE / "__init__.py"], ids=IDS[1:])
def test_imports_go_down(path: Path) -> None:
    assert trespasses(ast.parse(path.read_text()), dotted(path)) == []


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("incorruptible.objectives.base", "from ..weights.arrays import Array", []),
        ("incorruptible.weights.arrays", "from ..objectives.base import Point", ["objectives"]),
        ("incorruptible.weights.arrays", "from ..randomness.streams import Draw", ["randomness"]),
        ("incorruptible.optim", "from . import errors, runs", ["runs"]),
        ("incorruptible.weights.arrays", "from .. import errors, runs", ["runs"]),
        ("incorruptible.weights.arrays", "import incorruptible.cli", ["cli"]),
        ("incorruptible.weights.arrays", "import incorruptible as inc", ["incorruptible"]),
        ("incorruptible.weights.arrays", "from incorruptible.errors import UserError", []),
        ("incorruptible.weights.arrays", "from incorruptible.training.trainer import Trainer", ["training"]),
        ("incorruptible.weights.arrays", "def late():\n    from ..reports import report", ["reports"]),
        ("incorruptible.weights.arrays", "if TYPE_CHECKING:\n    from ..reports import report", []),
        (
            "incorruptible.weights.arrays",
            "if TYPE_CHECKING:\n    pass\nelse:\n    from ..reports import report",
            ["reports"],
        ),
        ("incorruptible.weights.arrays", "import torch\nfrom torch import nn", []),
        ("incorruptible.tasks.digits", "from .protocol import Task\nfrom .networks.mlp import mlp", []),
        ("incorruptible.tasks.digits", "from ..objectives.sam import SAM", ["objectives"]),
        ("incorruptible.tasks.__init__", "from .digits import Digits\nfrom ..runs import train", ["runs"]),
    ],
)
def test_the_rule_sees_what_it_must(module: str, line: str, found: list[str]) -> None:
    assert [text.split(" imports ")[1] for text in trespasses(ast.parse(line), module)] == found


HEAVY = {"torch", "numpy", "scipy", "matplotlib", "pydantic", "safetensors", "rich", "transformers", "plotly", "ray"}
DOORS = [  # what is run, and what of HEAVY it may import
    ("import incorruptible", set()),
    ("import incorruptible; dir(incorruptible), incorruptible.UserError, incorruptible.__version__", set()),
    ("import incorruptible.cli", set()),
    ("import sys; sys.argv[1:] = ['--version']; import incorruptible.__main__", set()),
    ("import sys; sys.argv[1:] = ['--help']; import incorruptible.__main__", set()),
    # typer itself looks for pydantic as soon as there is a command to run
    ("import sys; sys.argv[1:] = ['measure', '--help']; import incorruptible.__main__", {"pydantic"}),
    ("import incorruptible.files.records", {"numpy"}),
    ("import incorruptible.statistics", {"numpy"}),
    ("import incorruptible.statistics.curves", {"numpy"}),
    ("import incorruptible.diagnostics.mechanism", {"numpy"}),
    ("import incorruptible.studies.leases, incorruptible.studies.launch", {"numpy"}),
    ("import incorruptible.studies.status", {"numpy"}),
    ("import incorruptible.studies.results", {"numpy"}),
    ("import incorruptible.pacbayes", {"numpy"}),
    ("import incorruptible.reports", {"numpy"}),
]


@pytest.mark.parametrize(("line", "allowed"), DOORS)
def test_the_door_is_light(line: str, allowed: set[str], tmp_path: Path) -> None:
    """Nothing heavy is imported before there is work for it: torch alone takes seconds."""
    note = tmp_path / "modules.json"  # into a file: what is imported may print as it likes
    listed = "import atexit, json, pathlib, sys\n"
    listed += f"atexit.register(lambda: pathlib.Path({str(note)!r}).write_text(json.dumps(sorted(sys.modules))))\n"
    subprocess.run([sys.executable, "-c", f"{listed}{line}"], capture_output=True, check=True, timeout=HANG)
    modules = {name.split(".")[0] for name in json.loads(note.read_text())}
    assert "incorruptible" in modules
    assert modules & HEAVY <= allowed


def test_the_face_is_what_its_one_table_says() -> None:
    assert incorruptible._HOMES["measure"] == "evaluation" and incorruptible._HOMES["Draw"] == "randomness.streams"
    rooms = {name for name, home in incorruptible._HOMES.items() if not home}
    assert rooms == {"optim"} <= set(FLOOR)
    assert set(incorruptible.__all__) == incorruptible._HOMES.keys() - rooms
    assert dir(incorruptible) == incorruptible.__all__ == sorted(incorruptible.__all__)


def test_no_name_of_the_face_is_a_room() -> None:
    """Importing a room sets it as an attribute of the package: `incorruptible.name` would then be the module."""
    assert not set(incorruptible.__all__) & set(FLOOR)


@pytest.mark.parametrize("name", [name for name in incorruptible.__all__ if name != "__version__"])
def test_every_name_of_the_face_is_at_home(name: str) -> None:
    thing = getattr(incorruptible, name)
    home = importlib.import_module(f"incorruptible.{incorruptible._HOMES[name]}")
    assert getattr(home, name) is thing
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert thing.__doc__


def test_type_checkers_see_each_name_as_public() -> None:
    """The checker of a user's code takes a name for public if the table imports it `as` itself."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (table,) = [node for node in tree.body if isinstance(node, ast.If) and for_types_only(node)]
    names = [alias for node in table.body for alias in node.names]
    assert len(names) == len(incorruptible._HOMES)
    assert [alias.name for alias in names if alias.asname != alias.name] == []


def test_a_room_of_the_face_is_there_when_it_is_asked_for() -> None:
    """In a process of its own, for here the room may have been imported before."""
    line = (
        "import sys, incorruptible as inc; assert 'torch' not in sys.modules; print(inc.optim.SAMOptimizer.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True, timeout=HANG)
    assert done.stdout == "incorruptible.optim\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'incorruptible' has no attribute 'gaussian'"):
        _ = incorruptible.gaussian


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_public_thing_says_what_it_is(path: Path) -> None:
    """Modules, and what is public in them, begin with a sentence."""
    tree = ast.parse(path.read_text())
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    things = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    silent = [
        getattr(node, "name", "the module")
        for node in [tree, *things]
        if not (ast.get_docstring(node) or "").split("\n\n")[0].rstrip().endswith((".", ":", "?"))
    ]
    assert silent == []
