"""Types a command as a user does, in this process, and says what it answered."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from incorruptible.cli import run

__all__ = ["Said", "Type", "typing"]


class Said(NamedTuple):
    code: int
    out: str
    err: str


Type = Callable[..., Said]


def typing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """A function that types; no answer holds escape codes, for this is no terminal, nor a traceback."""

    def typed(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["incorruptible", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            run()
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err and "Traceback" not in err
        assert isinstance(caught.value.code, int)
        return Said(caught.value.code, out, err)

    return typed
