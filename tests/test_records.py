"""Results on disk: whole or not at all, and checked."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from incorruptible.errors import UserError, disk_failed
from incorruptible.files import records

DATA = {"name": "naïve", "rows": [{"s": 0.1, "n": 3}, {}], "none": None, "yes": True}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "one.json"


def files(path: Path) -> list[str]:
    return [one.name for one in path.parent.iterdir()]


def test_what_is_written_is_read(path: Path) -> None:
    records.write(path, DATA)
    assert records.read(path) == DATA
    assert files(path) == ["one.json"]
    assert path.stat().st_mode & 0o777 == 0o644
    assert json.loads(path.read_text())["format"] == records.FORMAT


def test_numbers_become_what_json_can_hold(path: Path) -> None:
    odd = {
        "nan": float("nan"),
        "inf": [float("inf"), -float("inf")],
        "array": np.array([[1.5, np.nan]]),
        "number": np.float32(0.5),
        "count": np.int64(3),
        "tuple": (1, 2),
        7: "key",
    }
    records.write(path, odd)
    assert records.read(path) == {
        "nan": None,
        "inf": [None, None],
        "array": [[1.5, None]],
        "number": 0.5,
        "count": 3,
        "tuple": [1, 2],
        "7": "key",
    }
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()


def test_a_file_torn_anywhere_is_noticed(path: Path) -> None:
    records.write(path, DATA)
    whole = path.read_bytes()
    for length in range(len(whole.rstrip())):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=path.name):
            records.read(path)


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_a_byte_altered_anywhere_is_noticed(path: Path, flip: int) -> None:
    records.write(path, DATA)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        with pytest.raises(UserError, match=path.name):
            records.read(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"format": 2, "checksum": "?"}', "newer version.*reads format 1"),
        ('{"format": "pdf"}', "no record of this package"),
        ('{"format": null}', "no record of this package"),
        ('{"name": 1}', "no record of this package"),
        ("[1, 2]", "no record of this package"),
        ('{"format": 1, "name": 1}', "does not match its checksum"),
        ("", "torn"),
    ],
)
def test_what_is_not_ours_is_refused(path: Path, text: str, says: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path.name}.*{says}"):
        records.read(path)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        records.read(path)
    with pytest.raises(UserError, match="no such file"):
        records.read_arrays(path, "")


def test_a_write_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write(path, DATA)

    def half(temporary: Path) -> None:
        temporary.write_text('{"form')
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        records.write_atomically(path, half)
    assert records.read(path) == DATA and files(path) == ["one.json"]

    def refuse(*args: Any) -> None:
        raise OSError("not today")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="not today"):
        records.write(path, {"other": 1})
    assert records.read(path) == DATA and files(path) == ["one.json"]


DISK = {
    "full": (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
    "broken": (OSError(errno.EIO, "Input/output error"), errno.EIO),
    "full, says torch": (RuntimeError("unexpected pos 64 vs 0: No space left on device"), errno.ENOSPC),
}


@pytest.mark.parametrize("which", DISK)
@pytest.mark.parametrize("step", ["fill", "fsync"])
def test_an_error_of_the_disk_names_the_file(
    step: str, which: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing to an open file does not say which; and a file that is named already keeps its name."""
    problem, number = DISK[which]
    problem = type(problem)(*problem.args)  # a fresh one, for the last one may have got a name

    def fail(*_: object) -> None:
        raise problem

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError) as raised:
        records.write_atomically(path, fail if step == "fill" else Path.touch)
    assert (raised.value.errno, raised.value.filename) == (number, str(path)) and disk_failed(raised.value)
    assert list(path.parent.iterdir()) == []


def test_an_error_that_names_another_file_keeps_its_name(path: Path) -> None:
    def fill(temporary: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/elsewhere")

    with pytest.raises(OSError, match="/elsewhere"):
        records.write_atomically(path, fill)


def test_what_cannot_be_written_as_json_leaves_nothing(path: Path) -> None:
    with pytest.raises(TypeError):
        records.write(path, {"a": object()})
    assert not path.exists()


def test_identity_names_the_value_and_not_its_order() -> None:
    assert records.identity({"b": 1, "a": [2.5, None]}) == records.identity({"a": [2.5, None], "b": 1})
    assert records.identity({"a": 1}) == "015abd7f5cc5"  # sha256 of {"a":1}: names of folders must outlive versions
    values: list[Any] = [
        {"a": 1},
        {"a": "1"},
        {"a": 1.5},
        {"a": None},
        {"a": [1]},
        {"b": 1},
        {},
        {"a": [1, 2]},
        {"a": [2, 1]},
    ]
    assert len({records.identity(value) for value in values}) == len(values)


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    strided = np.arange(12.0).reshape(3, 4).T  # not contiguous
    arrays = {
        "x": strided,
        "nan": np.array([np.nan, -0.0]),
        "n": np.array([1, 2], dtype=np.int32),
        "none": np.zeros((0, 2)),
    }
    checksum = records.write_arrays(file, arrays)
    assert checksum == records.checksum(file)
    back = records.read_arrays(file, checksum)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_altered_arrays_are_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    checksum = records.write_arrays(file, {"x": np.arange(5.0)})
    whole = file.read_bytes()
    for altered in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        file.write_bytes(altered)
        with pytest.raises(UserError, match=r"a\.safetensors does not match its checksum"):
            records.read_arrays(file, checksum)


def test_a_newer_record_is_refused_by_name(tmp_path: Path) -> None:
    """Not as a torn one, which would be made again in its place."""
    records.write(tmp_path / "one.json", {"a": 1})
    text = (tmp_path / "one.json").read_text()
    (tmp_path / "one.json").write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(records.Newer, match="newer version"):
        records.read(tmp_path / "one.json")
