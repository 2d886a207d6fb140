"""Model and data under one name: the package's digits, and tasks of the user's own."""

from __future__ import annotations

import hashlib
import importlib
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from incorruptible import tasks
from incorruptible.errors import UserError
from incorruptible.tasks import Task, batches, load
from incorruptible.tasks.data import Batches, digits, fingerprint
from incorruptible.tasks.data.batches import named_randomness

OWN = """
import torch
from incorruptible import Task

task = Task(model=lambda: torch.nn.Linear(4, 2), test=(torch.zeros(6, 4), torch.zeros(6, dtype=torch.long)))


def make():
    return task


def broken():
    raise RuntimeError("no data\\nat all")


def other():
    return 3


number = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


@pytest.mark.parametrize(("split", "sizes"), [("small", [500, 300, 997]), ("full", [1000, 200, 597])])
def test_digits_are_split_into_equal_classes(split: str, sizes: list[int]) -> None:
    parts = digits(split)
    assert list(parts) == ["train", "validation", "test"]
    whole = torch.bincount(torch.cat([labels for _, labels in parts.values()]))
    assert whole.sum() == 1797
    for (images, labels), size in zip(parts.values(), sizes, strict=True):
        assert images.shape == (size, 1, 8, 8) and labels.shape == (size,)
        assert (torch.bincount(labels) - size * whole / 1797).abs().max() <= 2
    train = parts["train"][0]
    assert abs(float(train.mean())) < 1e-6
    for images, _ in parts.values():
        sixteenths = 16 * (images - train.min())  # pixels are whole numbers from 0 to 16, less one mean
        torch.testing.assert_close(sixteenths, sixteenths.round(), atol=1e-4, rtol=0)
        assert (images.min(), images.max()) == (train.min(), train.min() + 1)


@pytest.mark.parametrize("split", ["small", "full"])
def test_both_splits_cut_one_order_that_never_changes(split: str) -> None:
    """The checksum of all labels in their order: runs of one version must be comparable with those of the next."""
    parts = digits(split)
    labels = torch.cat([labels for _, labels in parts.values()]).to(torch.uint8)
    assert hashlib.sha256(labels.numpy().tobytes()).hexdigest()[:16] == "e8b85d87a96465ae"
    pixels = torch.cat([images for images, _ in parts.values()]).flatten(1)
    shades = (16 * (pixels - pixels.min())).round().to(torch.uint8)
    assert len({shade.numpy().tobytes() for shade in shades}) == 1797  # no image is in two parts


def test_the_names_of_digits() -> None:
    assert tasks.canonical("digits:split=small:network=conv") == "digits:network=conv"
    assert tasks.load("digits:network=conv").name == "digits:network=conv"
    conv, mlp = tasks.load("digits:network=conv").model(), tasks.load("digits").model()
    x = digits()["test"][0][:2]
    assert conv(x).shape == mlp(x).shape == (2, 10)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in conv.modules())
    with pytest.raises(UserError, match="No split 'big'"):
        digits("big")


@pytest.mark.parametrize("name", ["task", "make"])
def test_a_task_of_ones_own(own: Path, name: str) -> None:
    task = tasks.load(f"{own}:{name}")
    assert isinstance(task, Task) and task.test[0].shape == (6, 4)
    assert task.name == f"{own}:{name}"
    assert task.source == hashlib.sha256(OWN.encode()).hexdigest()[:16]
    assert tasks.canonical(f"{own}:{name}") == f"{own}:{name}"


def test_a_task_in_a_module(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = own.parent / "ownpackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(OWN)
    monkeypatch.syspath_prepend(own.parent)
    assert tasks.load("ownpackage.inner:make").test[0].shape == (6, 4)


def test_a_file_may_import_its_neighbours(own: Path) -> None:
    (own.parent / "neighbour_of_own.py").write_text(OWN)
    own.write_text("from neighbour_of_own import task\n")
    assert tasks.load(f"{own}:task").test[0].shape == (6, 4)


def test_a_file_runs_as_python_runs_it(own: Path) -> None:
    checks = "assert f.__annotations__ == {'x': int} and __name__ != '__main__' and __file__.endswith('own.py')"
    own.write_text(f"{OWN}\ndef f(x: int): ...\n{checks}\n")
    assert tasks.load(f"{own}:task").model().out_features == 2


def test_a_file_changed_within_a_second_is_read_anew(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python keeps compiled files by size and second; what runs must be what the run's identity hashes."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for classes in (2, 3, 4):
        own.write_text(OWN.replace("Linear(4, 2)", f"Linear(4, {classes})"))
        assert tasks.load(f"{own}:task").model().out_features == classes
    assert [path.name for path in own.parent.iterdir()] == ["own.py"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere.py:task", "nowhere.py: no such file.*FILE.py:NAME"),
        ("no.such_module:task", "no.such_module cannot be imported: ModuleNotFoundError"),
        ("{own}:taks", "No task in .*own.py 'taks' here. Did you mean 'task'?"),
        ("{own}:broken", r"calling broken\(\) raised RuntimeError: no data$"),
        ("{own}:other", "is int; an incorruptible.Task"),
        ("{own}:number", "is int; an incorruptible.Task"),
        ("{empty}:task", "nothing there is a task"),
        ("{syntax}:task", "syntax.py cannot be run: SyntaxError"),
        ("{raises}:task", "raises.py cannot be run: ValueError: at import"),
        ("{exits}:task", "exits.py cannot be run: SystemExit"),
        ("digts", "Did you mean 'digits'?"),
        ("digits:netwrok=conv", "Did you mean 'network'?"),
    ],
)
def test_what_is_no_task_is_refused(own: Path, text: str, says: str) -> None:
    contents = {
        "empty": "",
        "syntax": "def (",
        "raises": "raise ValueError('at import\\nand more')",
        "exits": "raise SystemExit(0)",
    }
    for name, content in contents.items():
        (own.parent / f"{name}.py").write_text(content)
    places = {name: own.parent / f"{name}.py" for name in ("own", *contents)}
    with pytest.raises(UserError, match=says):
        tasks.load(text.format(**places))


def test_a_part_that_the_task_lacks_is_named(own: Path) -> None:
    with pytest.raises(UserError, match=r"own.py:task has no train data: give the Task train="):
        tasks.load(f"{own}:task").part("train")


def test_the_order_of_batches_depends_on_its_name_alone() -> None:
    data = torch.arange(10), torch.arange(10) * 2

    def seen(size: int, order: Any) -> list[int]:
        batches = list(Batches(data, size, order))
        assert all(torch.equal(2 * x, y) for x, y in batches) and len(batches) == len(Batches(data, size, order))
        return torch.cat([x for x, _ in batches]).tolist()

    torch.manual_seed(0)
    first = seen(4, (3, "order", 7))
    torch.manual_seed(1)
    assert seen(3, (3, "order", 7)) == first != seen(4, (3, "order", 8))
    assert sorted(first) == seen(4, None) == list(range(10)) != first
    assert [len(x) for x, _ in Batches(data, 4)] == [4, 4, 2]
    again = Batches(data, 4, (0,))
    assert [x.tolist() for x, _ in again] == [x.tolist() for x, _ in again]


def test_whatever_makes_its_own_batches_is_left_alone() -> None:
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(4, 2)), 2)
    assert tasks.batches(loader, 64) is loader
    assert isinstance(tasks.batches((torch.zeros(4),), 2), Batches)


def _drawn() -> tuple[float, float, float]:
    """A number from each generator that a task's code may use."""
    return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002


@pytest.mark.parametrize("fails", [False, True])
def test_a_name_decides_what_is_random_and_leaves_no_trace(fails: bool) -> None:
    """All three generators are named by it, and go on afterwards as if nothing had been drawn, even after an error."""
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index] # noqa: NPY002
    seen = []
    for name in (("a", 0), ("a", 0), ("a", 1), ("b", 0)):
        with suppress(KeyError), named_randomness(*name):
            seen.append(_drawn())
            if fails:
                raise KeyError
    assert seen[0] == seen[1] and all(len({each[k] for each in seen}) == 3 for k in range(3))
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[2])
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index] # noqa: NPY002


def test_a_fingerprint_is_of_what_the_data_hold() -> None:
    x, y = torch.arange(6.0).reshape(2, 3), torch.tensor([0, 1])
    own = fingerprint((x, y))
    assert fingerprint([x.clone(), y.clone()]) == own
    assert fingerprint((x.T.contiguous().T, y)) == own  # where and how it lies does not matter
    others = [(x + 1, y), (x.reshape(3, 2), y), (x.double(), y), (y, x), (x,), None, [1, 2], [1, 2, 3]]
    assert len({own, *map(fingerprint, others)}) == 1 + len(others)


def test_a_loader_is_identified_by_its_examples() -> None:
    def loader(x: torch.Tensor, size: int = 4, shuffle: bool = False) -> DataLoader:
        return DataLoader(TensorDataset(x, torch.arange(len(x))), batch_size=size, shuffle=shuffle)

    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    marks = [fingerprint(one) for one in (loader(x), loader(x + 1), loader(x, 6), loader(x, shuffle=True))]
    assert len(set(marks)) == 4 and fingerprint(loader(x.clone())) == marks[0]


@pytest.mark.slow
def test_what_a_task_imports_is_part_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "own_nets.py").write_text("import torch\nnet = lambda: torch.nn.Linear(2, 2)\n")
    (tmp_path / "mine_too.py").write_text(
        "import torch, incorruptible as inc\n"
        "def task():\n    from own_nets import net\n    return inc.Task(net, test=(torch.eye(2), torch.arange(2)))\n"
    )
    code = f"from incorruptible.tasks import load; print(load({str(tmp_path / 'mine_too.py')!r} + ':task').source)"

    def source() -> str:
        return subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True).stdout

    before = source()
    assert source() == before
    (tmp_path / "own_nets.py").write_text("import torch\nnet = lambda: torch.nn.Linear(2, 2, bias=False)\n")
    assert source() != before


# What stands in one_task.py, and which of the files beside it count.
FILES = {
    "one_net.py": "import one_deep",
    "one_deep.py": "",
    "one_odd.py": "print 'of another Python'",
    "one_script.py": "import one_task, one_plot",
    "one_plot.py": "",
    "one_lib/__init__.py": "from .inner import net\n__all__ = ['net', 'more']",
    "one_lib/inner.py": "from . import shared\n\ndef net():\n    from .. import beyond\n",
    "one_lib/shared.py": "",
    "one_lib/more.py": "",
    "one_lib/unused.py": "",
    "one_spaces/part.py": "from .other import x",
    "one_spaces/other.py": "x = 1",
}
LIB = ["one_lib/__init__.py", "one_lib/inner.py", "one_lib/shared.py"]
IMPORTS = {
    "none": ("import random, torch.nn", []),
    "one, and its own": ("import one_net", ["one_net.py", "one_deep.py"]),
    "in a function": ("def f():\n    import one_deep", ["one_deep.py"]),
    "a package": ("from one_lib import net", LIB),
    "everything of a package": ("from one_lib import *", [*LIB, "one_lib/more.py"]),
    "a module of a package": ("import one_lib.more", [*LIB, "one_lib/more.py"]),
    "a module from a package": ("from one_lib import more as m", [*LIB, "one_lib/more.py"]),
    "a folder without __init__": ("from one_spaces import part", ["one_spaces/part.py", "one_spaces/other.py"]),
    "by name": ("import importlib\nimportlib.import_module('one_deep')", ["one_deep.py"]),
    "one or the other": ("try:\n    import absent\nexcept ImportError:\n    import one_deep", ["one_deep.py"]),
    "of another Python": ("def f():\n    import one_odd", ["one_odd.py"]),
    "for a type checker": ("import typing\nif typing.TYPE_CHECKING:\n    import one_net", []),
    "as a script": ("if __name__ == '__main__':\n    import one_plot\nelse:\n    import one_deep", ["one_deep.py"]),
    "in a circle": ("def f():\n    import one_script", ["one_script.py", "one_task.py", "one_plot.py"]),
}


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Modules that a test loads from its own folder are not there in the next test."""
    before = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before[0]:
        if "one_" in name:
            del sys.modules[name]
    sys.path[:] = before[1]


@pytest.mark.parametrize("loaded", [False, True], ids=["fresh", "loaded by others"])
@pytest.mark.parametrize("what", IMPORTS)
def test_only_what_a_task_imports_counts(what: str, loaded: bool, tmp_path: Path, forgotten: None) -> None:
    """Whatever other modules of its folder this process has loaded; and each file that counts, counts."""
    text, expected = IMPORTS[what]
    for name, source in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    (tmp_path / "one_task.py").write_text(f"{OWN}\n{text}\n")
    if loaded:
        sys.path.insert(0, str(tmp_path))
        for name in ("one_net", "one_script", "one_lib.unused"):
            importlib.import_module(name)
    named = f"{tmp_path / 'one_task.py'}:task"
    before = load(named).source
    parts = {name: (tmp_path / name).read_bytes() for name in sorted(expected, key=lambda name: module_of(name))}
    content = b"".join(name.encode() + source for name, source in parts.items())
    assert before == hashlib.sha256((tmp_path / "one_task.py").read_bytes() + content).hexdigest()[:16]
    for name in FILES:
        with (tmp_path / name).open("a") as file:
            file.write("# more\n")
        assert (load(named).source != before) == (name in expected), name
        before = load(named).source


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_packages_that_a_task_lies_in_count_where_they_lie_in_its_folder(tmp_path: Path, forgotten: None) -> None:
    """And what is installed below the folder does not, for it has a version."""
    (tmp_path / "one_package" / "inner").mkdir(parents=True)
    files = ["one_package/__init__.py", "one_package/inner/__init__.py", "one_package/inner/net.py"]
    for name in files:
        (tmp_path / name).write_text("")
    (tmp_path / "one_package" / "inner" / "tasks.py").write_text(f"from . import net\n{OWN}")
    site = tmp_path / "one_package" / "inner" / "lib" / "site-packages"
    site.mkdir(parents=True)
    (site / "one_installed.py").write_text("")
    sys.path[:0] = [str(tmp_path), str(site)]
    before = load("one_package.inner.tasks:task").source
    for name, counts in zip(files, (False, True, True), strict=True):
        (tmp_path / name).write_text("import one_installed\n")
        assert (load("one_package.inner.tasks:task").source != before) == counts
        before = load("one_package.inner.tasks:task").source
    (site / "one_installed.py").write_text("x = 1\n")
    assert load("one_package.inner.tasks:task").source == before


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Task(torch.nn.Linear(2, 2), test=[]), "model=lambda: Linear"),
        (lambda: batches((torch.eye(3), torch.arange(2)), 2), "as many labels as inputs"),
        (lambda: batches(TensorDataset(torch.eye(3)), 2), "DataLoader"),
        (lambda: load("mine.py"), "mine.py:NAME"),
    ],
)
def test_the_natural_wrong_forms_are_answered(made: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        made()
