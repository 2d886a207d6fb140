"""Tasks: a network, its data and its score, under one name that can be typed.

The package has three tasks: `digits` (small images that travel with the package), `bytes` (text
that every Python carries) and `images` (files or the Hugging Face hub). A task of the user's own is
a Python object, named by its file: `mine.py:task`. A task's text, such as `digits:network=conv`,
names its options, and `load` turns the text into a `Task`.

>>> task = load("digits:network=conv")
>>> len(task.test[1]), task.score.name
(997, 'accuracy')
"""

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
    "UserTask",
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
    """Returns the task that `text` names, not loaded yet: `digits:network=conv`,
    `images(parquet:PATH)`, `mine.py:task` or `package.module:task`.

    Raises `UserError` for a text that names no task, and for `images` without data.

    >>> str(parse("digits:split=small:network=conv")), parse("/home/me/mine.py:task").portable
    ('digits:network=conv', 'task')
    """
    spec = split(text)
    if spec.name not in CATALOGUE and is_user_task(text):
        return UserTask(text)
    if text.endswith(".py"):
        raise UserError(f"{text!r} is a file, and may hold several tasks: write {text}:NAME.")
    if needing_data(spec):
        raise UserError(
            f"{text} names no images: add --data hf:uoft-cs/cifar100, parquet:PATH or folder:PATH."
        )
    if spec.name not in CATALOGUE and not get_close_matches(spec.name, CATALOGUE, cutoff=0.5):
        # The text is like no name here: the user may have meant a network of another library, such
        # as bert-base-uncased.
        raise UserError(
            f"{text!r} is no task here; the tasks here are {', '.join(sorted(CATALOGUE))}. For a "
            "network of your own or of another library, write a function that returns a Task and "
            "name it FILE.py:NAME; add --weights if the function does not load the weights."
        )
    return build("task", spec, CATALOGUE, str)


def load(text: str) -> Task:
    """Returns the task that `text` names, with its data.

    Raises `UserError` for a text that names no task, and where the data cannot be had.

    >>> load("digits").test[0].shape
    torch.Size([997, 1, 8, 8])
    """
    return parse(text).task()


def canonical(text: str) -> str:
    """Returns `text` in the catalogue's own spelling; the text of a user's own task stays."""
    return str(parse(text))
