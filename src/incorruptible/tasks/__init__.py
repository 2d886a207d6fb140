"""Model, data and score under one name: those of the package, and the user's own."""

from __future__ import annotations

from typing import Any

from ..data import batches
from ..errors import Mistake
from ..grammar import build, split
from .bytes import Bytes
from .digits import Digits
from .protocol import Task
from .user import absolute, is_user_task, load_user_task

__all__ = ["CATALOGUE", "Task", "absolute", "batches", "canonical", "is_user_task", "load"]

CATALOGUE: dict[str, Any] = {"digits": Digits, "bytes": Bytes}


def load(text: str) -> Task:
    """The task that `text` names: `digits:network=conv`, `mine.py:task` or `package.module:task`.

    >>> load("digits").test[0].shape
    torch.Size([997, 1, 8, 8])
    """
    if split(text).name not in CATALOGUE and is_user_task(text):
        return load_user_task(text)
    if text.endswith(".py"):
        raise Mistake(f"{text!r}: which task in it? Write {text}:NAME.")
    task: Task = build("task", text, CATALOGUE).task()
    return task


def canonical(text: str) -> str:
    """`text` as the catalogue writes it; a task of the user's own as it came."""
    if split(text).name not in CATALOGUE and is_user_task(text):
        return text
    return str(build("task", text, CATALOGUE))
