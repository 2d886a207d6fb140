"""The same corruption at another time since programming."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from ..errors import UserError
from ..specs.durations import Seconds, seconds
from .protocol import Corruption

_Thing = TypeVar("_Thing")


def at_time(corruption: Corruption, time: str | float) -> Corruption:
    """`corruption` with every `time` in it set to `time`, the times of its faults included. Raises
    `UserError` where the corruption has no time.

    >>> from .devices import PCMJoshi
    >>> str(at_time(PCMJoshi(compensation="global"), "1d"))
    'pcm-joshi:time=1d:compensation=global'
    """
    found, set_ = _with_time(corruption, seconds(time))
    if not set_:
        raise UserError(
            f"{corruption} has no time: its error is the same at {seconds(time)} as at once."
        )
    return found


def _with_time(thing: _Thing, time: Seconds) -> tuple[_Thing, bool]:
    if isinstance(thing, tuple):
        pairs = [_with_time(one, time) for one in thing]
        return tuple(one for one, _ in pairs), any(set_ for _, set_ in pairs)  # type: ignore[return-value]
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        return thing, False
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if field.name == "time":
            changed["time"] = time
        else:
            inner, set_ = _with_time(value, time)
            if set_:
                changed[field.name] = inner
    return (dataclasses.replace(thing, **changed), True) if changed else (thing, False)
