"""Records: results as JSON and as arrays, written whole or not at all, and checked when they are
read.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "found.json"
>>> write(path, {"mean": 0.5})
>>> read(path)
{'mean': 0.5}

Relies on: renaming a file within a folder is atomic. Keeps: at every moment, also if a process or
the machine dies, a path has its old content or the whole new one. A file that was altered is never
taken for a result: JSON carries its checksum, and arrays are read against a checksum that the
caller noted. Equal values have equal identities on every machine and in every version. This module
does not import torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

FORMAT = 1

# Fields that were renamed, each with the key that files keep for it. The keys enter the identities
# of runs and measurements, so they stay as they were first written: a new key would give every
# existing run another name. In files of the user's own both spellings are read.
KEPT = {"autocast": "precision", "chips": "draws"}

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Unreadable(UserError):
    """A file of results that does not exist, is torn or altered, or has a newer format."""


class Newer(Unreadable):
    """A record that a newer version of this package wrote. It is never replaced."""


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: arrays as lists, numbers that are not finite as null."""
    if isinstance(value, dict):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def recorded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same values under the keys that files keep.

    >>> recorded({"chips": 20, "seed": 0})
    {'draws': 20, 'seed': 0}
    """
    return {KEPT.get(name, name): value for name, value in fields.items()}


def current(record: Mapping[str, Any]) -> dict[str, Any]:
    """The same values under the names of today's fields. If a field stands there under both names,
    the later value counts.

    >>> current({"draws": 20, "seed": 0})
    {'chips': 20, 'seed': 0}
    """
    names = {key: name for name, key in KEPT.items()}
    return {names.get(key, key): value for key, value in record.items()}


def identity(value: Any) -> str:
    """Twelve hexadecimal digits that name a plain value. Equal values have equal names.

    >>> identity({"b": 1, "a": [2.5, None]}) == identity({"a": [2.5, None], "b": 1})
    True
    """
    return _digest(plain(value))


def _digest(value: Any) -> str:
    """The `identity` of a value that is plain already."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()[:12]


def checksum(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the disk in this block become an `OSError` that names the file `path`.

    By themselves they often do not: an error of writing to an open file has no name, and numpy,
    torch and safetensors raise errors of their own for a full disk.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno is None and _full(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from problem
        if problem.errno is not None and problem.filename is None:
            problem.filename = str(path)
        raise
    except Exception as problem:
        if "No space left" in str(problem) or _full(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from problem
        raise


def _full(path: Path) -> bool:
    """Whether the disk of `path` has less than 64 KB left."""
    return shutil.disk_usage(path.parent).free < 65536


def write_atomically(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file beside `path`, then rename that file to `path`. A reader
    sees the old file or the whole new one. Raises `OSError` if the disk fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            fill(temporary)
            # The content must be on the disk before the name is, and the name before the caller
            # goes on: otherwise a crash of the machine could leave an empty file under the name.
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)  # mkstemp makes files that nobody else may read
            temporary.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text`, whole or not at all."""

    def fill(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, fill)


def write(path: Path, data: dict[str, Any]) -> None:
    """Write `data` as JSON with the format's number and a checksum, whole or not at all."""
    body = plain(data)
    envelope = {"format": FORMAT, "checksum": identity(body), **body}
    write_text(path, json.dumps(envelope, indent=1, allow_nan=False) + "\n")


def read(path: str | Path) -> dict[str, Any]:
    """Read a record that `write` wrote. Raises `Unreadable` for a file that does not exist, is torn
    or altered, or has a newer format.
    """
    return _record(path, _content(path))


def check(path: str | Path, expected: str | None) -> None:
    """Raises `Unreadable` where `read` would. `expected` is the sha256 that was noted when the file
    was known to be whole. A file with this sha256 is not parsed, which makes this ten times as fast
    as `read`.
    """
    content = _content(path)
    if hashlib.sha256(content).hexdigest() != expected:
        _record(path, content)


def _content(path: str | Path) -> bytes:
    try:
        # Not by a Path, because making one costs as much as opening the file. Without a buffer,
        # which would only be filled and copied from.
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except FileNotFoundError:
        raise Unreadable(f"{path}: no such file.") from None


def _record(path: str | Path, content: bytes) -> dict[str, Any]:
    """The data of the record in `content`. Raises `Unreadable` for a record that is not whole."""
    try:
        data = json.loads(content.decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise Unreadable(f"{path} is torn or not JSON: delete it, and it is made again.") from None
    if (
        not isinstance(data, dict)
        or not isinstance(version := data.pop("format", None), int)
        or version < 1
    ):
        raise Unreadable(f"{path} is no record of this package.")
    if version > FORMAT:
        raise Newer(
            f"{path} was written by a newer version, and this one reads format {FORMAT}: update "
            "incorruptible."
        )
    if data.pop("checksum", None) != _digest(data):
        raise Unreadable(
            f"{path} does not match its checksum: it was altered; delete it, and it is made again."
        )
    return data


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> str:
    """Write named arrays as safetensors, whole or not at all; returns the checksum."""
    from safetensors.numpy import save_file

    tight = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomically(
        path, lambda temporary: save_file(tight, temporary, metadata={"format": str(FORMAT)})
    )
    return checksum(path)


def read_arrays(
    path: str | Path, expected: str, only: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Read arrays that `write_arrays` wrote. Raises `Unreadable` for a file that does not exist or
    does not match the checksum `expected`.

    With `only`, just the arrays of these names that the file has. These arrays are views of the
    file's bytes: nothing is copied, and they cannot be written to.
    """
    content = _arrays(path, expected)
    if only is not None:
        return _views(content, only)
    from safetensors.numpy import load

    arrays: dict[str, NDArray[Any]] = load(content)
    return arrays


_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
}
_DTYPES |= {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}


def _views(content: bytes, only: Collection[str]) -> dict[str, NDArray[Any]]:
    begin = 8 + int.from_bytes(content[:8], "little")
    places = _places(content[8:begin])
    return {
        name: np.ndarray(shape, dtype, content, begin + first)
        for name, (shape, dtype, first) in places.items()
        if name in only
    }


@lru_cache(maxsize=64)  # the many files of a study share a few headers
def _places(header: bytes) -> dict[str, tuple[tuple[int, ...], str, int]]:
    """Shape, type and first byte of each array in a file of safetensors.

    Such a file is eight bytes with the length of the header, the header in JSON, and the numbers.
    """
    found = json.loads(header.decode())
    found.pop("__metadata__", None)
    return {
        name: (tuple(one["shape"]), _DTYPES[one["dtype"]], one["data_offsets"][0])
        for name, one in found.items()
    }


def check_arrays(path: str | Path, expected: str) -> None:
    """Raises `Unreadable` where `read_arrays` would, without making arrays."""
    _arrays(path, expected)


def _arrays(path: str | Path, expected: str) -> bytes:
    content = _content(path)
    if hashlib.sha256(content).hexdigest() != expected:
        raise Unreadable(
            f"{path} does not match its checksum: it was altered; delete it, and it is made again."
        )
    return content
