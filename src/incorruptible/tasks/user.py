"""A task of the user's own, named `FILE.py:NAME` or `package.module:NAME`.

Keeps: the hash of a task's source covers its file and all files in its folder that it imports, and
the code that runs is exactly the code that was hashed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from ..errors import UserError, unknown
from .imports import imported
from .protocol import NamedTask, Task

_OWN = re.compile(
    r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)|(?P<module>[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_]\w*)"
)


def is_user_task(text: str) -> bool:
    """Whether `text` has the form of a user's own task, `FILE.py:NAME` or `package.module:NAME`."""
    return _OWN.fullmatch(text) is not None


@dataclass(frozen=True)
class UserTask(NamedTask):
    """A user's own task by its text, of the form that `is_user_task` knows."""

    text: str

    def __str__(self) -> str:
        return self.text

    def task(self) -> Task:
        return load_user_task(self.text)

    def absolute(self) -> UserTask:
        """Returns `FILE.py:NAME` with the full path of the file. The task of a module stays as it
        is.
        """
        file, colon, name = self.text.rpartition(".py:")
        return UserTask(f"{Path(f'{file}.py').resolve()}:{name}") if colon else self

    @property
    def portable(self) -> str:
        """The name alone. The hash of the task's source (`Task.source`) identifies the run too."""
        return self.text.rpartition(":")[2]


def load_user_task(text: str) -> Task:
    """Returns the task that `text` names: a `Task`, or the result of a function without arguments
    that returns one.

    Raises `UserError` for a file or module that is not there or cannot be run, for a name that is
    not in it, and if the name stands for anything else than a task.
    """
    match = _OWN.fullmatch(text)
    assert match is not None
    name = match["name"] or match["attribute"]
    module = _from_file(Path(match["file"])) if match["file"] else _from_module(match["module"])
    if not hasattr(module, name):
        # tasks and functions that the file itself defines, for the answer
        own = [
            one
            for one, value in vars(module).items()
            if isinstance(value, Task)
            or (
                callable(value)
                and not isinstance(value, type)
                and getattr(value, "__module__", "") == module.__name__
            )
        ]
        raise unknown(
            f"task in {match['file'] or match['module']}",
            name,
            own or ["(nothing there is a task)"],
        )
    task = getattr(module, name)
    if callable(task) and not isinstance(task, Task):
        try:
            task = task()
        except UserError:
            raise
        except Exception as problem:
            raise UserError(
                f"{text}: calling {name}() raised {type(problem).__name__}: {_first_line(problem)}"
            ) from problem
    if not isinstance(task, Task):
        raise UserError(
            f"{text} is {type(task).__name__}; an incorruptible.Task, or a function without "
            "arguments that returns one, is needed."
        )
    return replace(task, name=task.name or text, source=_source(module))


def _source(module: ModuleType) -> str:
    """A hash of the module's source and of every source in its folder or below that the module
    imports, directly or through other such sources.
    """
    if not module.__file__:
        return "built-in"
    path = Path(module.__file__).resolve()
    digest = hashlib.sha256(path.read_bytes())
    for _, file in sorted(imported(module, path.parent).items()):
        digest.update(str(file.relative_to(path.parent)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _from_file(path: Path) -> ModuleType:
    """Runs the file as a module, and returns the module. Raises `UserError` if it is missing or
    fails.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; a task is written FILE.py:NAME or package.module:NAME."
        )
    name = f"incorruptible_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look up the module of a class by its name
    # The folder stays in the path, because functions of the task may import their neighbours later.
    if str(path.parent.resolve()) not in sys.path:
        sys.path.insert(0, str(path.parent.resolve()))
    try:
        # Python's loader is not used: it may run bytecode that was compiled from an earlier version
        # of the file within the same second, while the new source is hashed.
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)
    except UserError:
        raise
    except (Exception, SystemExit) as problem:
        raise UserError(
            f"{path} cannot be run: {type(problem).__name__}: {_first_line(problem)}"
        ) from problem
    return module


def _from_module(name: str) -> ModuleType:
    """Imports the module. Raises `UserError` if that fails."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:  # where `python -m` looks too
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except Exception as problem:
        raise UserError(
            f"{name} cannot be imported: {type(problem).__name__}: {_first_line(problem)}"
        ) from problem


def _first_line(problem: BaseException) -> str:
    return str(problem).strip().split("\n")[0]
