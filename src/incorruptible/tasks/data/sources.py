"""The Python sources of the standard library: text that every Python installation carries."""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from pathlib import Path

import numpy as np
import torch

from ...errors import UserError
from ...randomness.streams import key

PARTS = ("train", "validation", "test")
# Some distributions leave these folders out, pip fills some of them, and the files below were
# written for one machine.
_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "ensurepip",
}
_MACHINES = ("_sysconfigdata", "sitecustomize", "usercustomize")


def folder() -> Path:
    """The folder of this interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def sources(root: Path | None = None) -> dict[str, dict[str, bytes]]:
    """Returns for each part the standard library's files by name, sorted: 8 of 10 for training, 1
    for validation, 1 for test.

    The part of a file follows from a hash of its name below `root` alone. Tests are left out, as
    are modules that some distributions do without (`tkinter`, `idlelib`, ...) or that describe one
    machine. Raises `UserError` if there is no file.
    """
    root = folder() if root is None else root
    found: dict[str, dict[str, bytes]] = {part: {} for part in PARTS}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if (
            _LEFT_OUT & set(name.parts)
            or name.parts[0].startswith("config-")
            or name.name.startswith(_MACHINES)
        ):
            continue
        found[_part(name.as_posix())][name.as_posix()] = path.read_bytes()
    if not any(found.values()):
        raise UserError(
            f"{root} holds no .py files: this Python carries no sources of its standard library."
        )
    return found


def _part(name: str) -> str:
    """The part of the file `name`: 8 of 10 hashes are train, one is validation, one is test."""
    place = key("bytes", "part", name) % 10
    return "train" if place < 8 else PARTS[place - 7]


def origin(found: dict[str, dict[str, bytes]]) -> str:
    """The version of Python, the number of files, and a hash of their names and contents."""
    digest = hashlib.sha256()
    whole = sorted(pair for files in found.values() for pair in files.items())
    for name, text in whole:
        digest.update(f"{name} {len(text)} ".encode() + text)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {len(whole)} files, {digest.hexdigest()[:16]}"


def windows(files: dict[str, bytes], length: int, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bytes of `files` one after another, and the places [n] at which windows begin
    that hold `length` bytes and the byte after them.

    No window reaches over the end of a file, and no byte is predicted twice. The windows are
    shuffled by the name `order`.
    """
    text = np.frombuffer(b"".join(files.values()), np.uint8)
    ends = np.cumsum([len(one) for one in files.values()])
    starts = [
        # a window needs one byte more than `length`, so the last one starts before end - length
        np.arange(end - len(one), end - length, length)
        for end, one in zip(ends, files.values(), strict=True)
    ]
    each = np.concatenate(starts) if starts else np.zeros(0, np.int64)
    source = torch.Generator().manual_seed(key("bytes", "order", order))
    return text, each[torch.randperm(len(each), generator=source).numpy()]
