"""A task of the user's own, from `FILE.py:NAME` or `package.module:NAME`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from ..errors import Mistake, unknown
from .protocol import Task

__all__ = ["is_user_task", "load_user_task"]

_OWN = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)|(?P<module>[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_]\w*)")


def is_user_task(text: str) -> bool:
    """Whether `text` has the form of a user's own task."""
    return _OWN.fullmatch(text) is not None


def load_user_task(text: str) -> Task:
    """The task that `text` names: a `Task`, or a function without arguments that returns one.

    Raises `Mistake` for a file or module that is not there or cannot be run, a name that it lacks, and for anything else
    that stands under the name.
    """
    match = _OWN.fullmatch(text)
    assert match is not None
    name = match["name"] or match["attribute"]
    module = _from_file(Path(match["file"])) if match["file"] else _from_module(match["module"])
    if not hasattr(module, name):
        choices = [
            own
            for own, value in vars(module).items()
            if not own.startswith("_") and (isinstance(value, Task) or callable(value))
        ]
        raise unknown(f"task in {match['file'] or match['module']}", name, choices or ["(nothing there is a task)"])
    task = getattr(module, name)
    if callable(task) and not isinstance(task, Task):
        try:
            task = task()
        except Mistake:
            raise
        except Exception as problem:
            raise Mistake(
                f"{text}: calling {name}() raised {type(problem).__name__}: {_first_line(problem)}"
            ) from problem
    if not isinstance(task, Task):
        raise Mistake(
            f"{text} is {type(task).__name__}; an incorruptible.Task, or a function without arguments that returns one, is needed."
        )
    source = Path(module.__file__).read_bytes() if module.__file__ else b""
    return replace(task, name=task.name or text, source=hashlib.sha256(source).hexdigest()[:16])


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise Mistake(f"{path}: no such file; a task is written FILE.py:NAME or package.module:NAME.")
    name = f"incorruptible_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up by name
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        # not by the loader: it may run what Python compiled earlier within the same second, and the source is hashed
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)
    except Mistake:
        raise
    except (Exception, SystemExit) as problem:
        raise Mistake(f"{path} cannot be run: {type(problem).__name__}: {_first_line(problem)}") from problem
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _from_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as problem:
        raise Mistake(f"{name} cannot be imported: {type(problem).__name__}: {_first_line(problem)}") from problem


def _first_line(problem: BaseException) -> str:
    return str(problem).strip().split("\n")[0]
