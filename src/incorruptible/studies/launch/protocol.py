"""What an engine and a worker of it can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Worker(Protocol):
    """One copy of a command, at work somewhere.

    `fault` is what the engine knows of its end and the command cannot say, such as that its machine
    is gone; "" elsewhere.
    """

    fault: str

    def poll(self) -> int | None:
        """The exit code, negative for the number of the signal that killed it; None while it is at
        work.
        """

    def leave(self) -> None:
        """Ask it with SIGTERM to come to an end."""

    def kill(self) -> None:
        """End it without asking."""


class Engine(Protocol):
    """Starts copies of a command."""

    def start(self, command: Sequence[str], log: Path) -> Worker:
        """Start a copy, whose stdout and stderr are appended to `log`."""

    def close(self) -> None:
        """Kill what is still at work, and give back what the engine itself holds."""
