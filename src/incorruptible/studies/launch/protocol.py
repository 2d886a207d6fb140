"""The protocols of engines and of the workers that they start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Worker(Protocol):
    """One copy of a command, at work somewhere.

    `fault` is what the engine knows about the worker's end and the command cannot say, such as that
    its machine is gone; otherwise "".
    """

    fault: str

    def poll(self) -> int | None:
        """The exit code, or minus the number of the signal that killed the worker; None while the
        worker is at work.
        """

    def leave(self) -> None:
        """Ask the worker to leave, by SIGTERM."""

    def kill(self) -> None:
        """End the worker without asking."""


class Engine(Protocol):
    """Starts copies of a command."""

    def start(self, command: Sequence[str], log: Path) -> Worker:
        """Start a copy of `command`, whose stdout and stderr are appended to `log`."""

    def close(self) -> None:
        """Kill the workers that are still at work, and release what the engine itself holds."""
