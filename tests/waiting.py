"""Tests wait for events. No test asks how long something took: a machine that others use may be ten times slower than usual."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["HANG", "until"]

T = TypeVar("T")

HANG = 600.0  # seconds after which something counts as hung; only a defect ever waits that long


def until(happened: Callable[[], T]) -> T:
    """Wait until `happened()` is true, and return its value; an `AssertionError` where that never comes."""
    end = time.monotonic() + HANG
    while not (value := happened()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return value
