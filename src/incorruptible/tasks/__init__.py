"""Model, data and score under one name: those of the package, and the user's own."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from ..errors import UserError
from ..specs.grammar import build, split
from .bytes import Bytes
from .data import batches
from .digits import Digits
from .images import ImageTask, absolute_data, needing_data, with_data
from .protocol import NamedTask, Task
from .user import UserTask, is_user_task

__all__ = [
    "CATALOGUE",
    "NamedTask",
    "Task",
    "absolute_data",
    "batches",
    "canonical",
    "is_user_task",
    "load",
    "needing_data",
    "parse",
    "with_data",
]

CATALOGUE: dict[str, Callable[..., NamedTask]] = {
    "digits": Digits,
    "bytes": Bytes,
    "images": ImageTask,
}


def parse(text: str) -> NamedTask:
    """The task that `text` names, not loaded yet: `digits:network=conv`, `images(parquet:PATH)`,
    `mine.py:task` or `package.module:task`.

    Raises `UserError` for a text that names no task, and for `images` without data.

    >>> str(parse("digits:split=small:network=conv")), parse("/home/me/mine.py:task").portable
    ('digits:network=conv', 'task')
    """
    spec = split(text)
    if spec.name not in CATALOGUE and is_user_task(text):
        return UserTask(text)
    if text.endswith(".py"):
        raise UserError(f"{text!r}: which task in it? Write {text}:NAME.")
    if needing_data(spec):
        raise UserError(
            f"{text} needs to know which: --data hf:uoft-cs/cifar100, parquet:PATH or folder:PATH."
        )
    if spec.name not in CATALOGUE and not get_close_matches(spec.name, CATALOGUE, cutoff=0.5):
        # bert-base-uncased, say: the name of a network somewhere else
        raise UserError(
            f"{text!r} is no task here: a network of your own, or of another library, is made by a "
            "function of yours, which is named FILE.py:NAME, with --weights where it does not "
            f"load its own; the tasks here are {', '.join(sorted(CATALOGUE))}."
        )
    task: NamedTask = build("task", spec, CATALOGUE, str)
    return task


def load(text: str) -> Task:
    """The task that `text` names, with its data.

    >>> load("digits").test[0].shape
    torch.Size([997, 1, 8, 8])
    """
    return parse(text).task()


def canonical(text: str) -> str:
    """`text` as the catalogue writes it; a task of the user's own as it came."""
    return str(parse(text))
