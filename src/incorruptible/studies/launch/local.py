"""Workers as processes of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .process import launch
from .protocol import Worker


class Local:
    """Starts workers as processes of this machine, of `threads` threads each. Workers for the
    `device` "cpu" see no GPU.
    """

    def __init__(self, threads: int, device: str = "cpu") -> None:
        self.threads = threads
        # The GPU is hidden, because a context of CUDA takes some hundred MB of its memory, even in
        # a process that computes nothing there.
        self._environment = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
        self._started: list[_Process] = []

    def start(self, command: Sequence[str], log: Path) -> Worker:
        """Start a copy of `command`, whose stdout and stderr are appended to `log`."""
        worker = _Process(launch(command, log, self.threads, environment=self._environment))
        self._started.append(worker)
        return worker

    def close(self) -> None:
        """Kill the workers that are still at work."""
        for worker in self._started:
            worker.kill()
            worker.process.wait()


class _Process:
    fault = ""  # the exit code of a process of this machine says everything

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def poll(self) -> int | None:
        return self.process.poll()

    def leave(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()
