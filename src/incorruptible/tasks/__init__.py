"""Model, data and score under one name: those of the package, and the user's own."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from ..errors import UserError
from ..specs.grammar import build, split, strip_paths
from .bytes import Bytes
from .data import batches
from .digits import Digits
from .images import ImageTask, absolute_data, needing_data, with_data
from .protocol import Task
from .user import absolute as absolute_user_task
from .user import is_user_task, load_user_task

__all__ = [
    "CATALOGUE",
    "Task",
    "absolute",
    "absolute_data",
    "batches",
    "canonical",
    "is_user_task",
    "load",
    "needing_data",
    "portable",
    "with_data",
]

CATALOGUE: dict[str, Any] = {"digits": Digits, "bytes": Bytes, "images": ImageTask}


def load(text: str) -> Task:
    """The task that `text` names: `digits:network=conv`, `images(parquet:PATH)`, `mine.py:task` or
    `package.module:task`.

    >>> load("digits").test[0].shape
    torch.Size([997, 1, 8, 8])
    """
    if split(text).name not in CATALOGUE and is_user_task(text):
        return load_user_task(text)
    if text.endswith(".py"):
        raise UserError(f"{text!r}: which task in it? Write {text}:NAME.")
    task: Task = _built(text).task()
    return task


def canonical(text: str) -> str:
    """`text` as the catalogue writes it; a task of the user's own as it came."""
    if split(text).name not in CATALOGUE and is_user_task(text):
        return text
    return str(_built(text))


def absolute(text: str) -> str:
    """`text` as it is found again from any folder: a task of the user's own by its file's full
    path, and so the data of images.
    """
    if is_user_task(text) and split(text).name not in CATALOGUE:
        return absolute_user_task(text)
    return str(_built(text).absolute()) if split(text).name == "images" else text


def portable(text: str) -> str:
    """What of a canonical `text` identifies a run: no folder, and of a task of the user's own its
    name alone.

    >>> portable("images(parquet:/data/cifar10):network=resnet18"), portable("mine.py:task"), portable("digits")
    ('images:network=resnet18', 'task', 'digits')
    """
    own = split(text).name not in CATALOGUE and is_user_task(text)
    return text.rpartition(":")[2] if own else strip_paths(text)


def _built(text: str) -> Any:
    if needing_data(text):
        raise UserError(
            f"{text} needs to know which: --data hf:uoft-cs/cifar100, parquet:PATH or folder:PATH."
        )
    name = split(text).name
    if name not in CATALOGUE and not get_close_matches(name, CATALOGUE, n=1, cutoff=0.5):
        # bert-base-uncased, say: the name of a network somewhere else
        raise UserError(
            f"{text!r} is no task here: a network of your own, or of another library, is made by a "
            "function of yours, which is named FILE.py:NAME, with --weights where it does not "
            f"load its own; the tasks here are {', '.join(sorted(CATALOGUE))}."
        )
    return build("task", text, CATALOGUE, str)
