"""Workers as Ray actors, on this machine or on a cluster."""

from __future__ import annotations

import importlib
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import UserError
from .process import launch
from .protocol import Worker

_PATIENCE = (
    15.0  # seconds for a cluster to answer; Ray's own are two minutes, and then it ends the process
)
_QUIET = {"logging_level": logging.CRITICAL, "log_to_driver": False, "include_dashboard": False}


class Ray:
    """Starts workers as Ray actors of `threads` cores and `gpus` GPUs each, which watch over a
    process.

    Without an address Ray is started for the time on this machine; "auto" and "host:port" name a
    cluster. Its nodes must see the working directory and the log at the same path, and have the
    same Python.
    """

    def __init__(self, threads: int, gpus: float = 0, address: str | None = None) -> None:
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise UserError(
                f"gpus {gpus:g}: a part of one, such as .25, or a whole number would do."
            )
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError:
            raise UserError("the ray engine needs Ray: pip install 'incorruptible[ray]'") from None
        self.threads = threads
        self._started: list[_Actor] = []
        self._folder: str | None = None
        # Until 2.60 Ray hides all GPUs from actors that ask for none, and warns that it will not.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        before = signal.getsignal(signal.SIGTERM)
        if address is None:
            # Otherwise Ray writes a token into the home directory, and clusters begun later want
            # it, too.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            # Under /tmp, because the path of a socket may have no more than 107 characters.
            self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
            # No core is booked, so that Ray starts no idle workers and as many of ours as are asked
            # for.
            self._ray.init(
                "local", num_cpus=0, object_store_memory=100 << 20, _temp_dir=self._folder, **_QUIET
            )
        else:
            _probe(address)
            self._ray.init(address, **_QUIET)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray put its own in its place
        if address is None and gpus > self._ray.cluster_resources().get("GPU", 0):
            self.close()
            raise UserError(f"gpus {gpus:g}: Ray sees fewer on this machine.")
        self._remote = self._ray.remote(
            num_cpus=threads if address else 0,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=2,
        )(_Remote)

    def start(self, command: Sequence[str], log: Path) -> Worker:
        """Start a copy of `command` once there is room for it; its stdout and stderr are appended
        to `log`.
        """
        log = log.absolute()
        worker = _Actor(
            self._ray, self._remote.remote(list(command), log, self.threads, Path.cwd()), log
        )
        self._started.append(worker)
        return worker

    def close(self) -> None:
        """Kill what is still at work, and leave Ray, or stop the one of this machine."""
        left = [worker for worker in self._started if worker.poll() is None]
        for worker in left:
            worker.kill()
        if left:
            self._ray.wait([worker.ended for worker in left], num_returns=len(left), timeout=5)
        for worker in left:
            # Whoever asks Ray later would start it again.
            worker.code = worker.poll() or -signal.SIGKILL
        self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Remote:
    """What runs in the process of an actor: `wait` in one thread, `send` in another."""

    def __init__(self, command: Sequence[str], log: Path, threads: int, folder: Path) -> None:
        self.process = launch(command, log, threads, folder=folder)

    def pid(self) -> int:
        return self.process.pid

    def wait(self) -> int:
        return self.process.wait()

    def send(self, number: int) -> None:
        self.process.send_signal(number)


class _Actor:
    def __init__(self, ray: Any, actor: Any, log: Path) -> None:
        self.code: int | None = None
        self.fault = ""
        self._ray = ray
        self._actor = actor
        self._log = log
        self._begun = actor.pid.remote()
        self.ended = actor.wait.remote()

    def poll(self) -> int | None:
        if self.code is None and self._ray.wait([self.ended], timeout=0)[0]:
            try:
                self.code = self._ray.get(self.ended)
            except (
                self._ray.exceptions.RayError
            ) as error:  # the actor's process or its machine died, or it could not start
                self.code = -signal.SIGKILL
                self.fault = f"Ray: {' '.join(str(error).split())}"
                with suppress(OSError), self._log.open("a") as file:
                    print(self.fault, file=file)
            self._actor = None  # which ends the actor, so that its cores are free
        return self.code

    def leave(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is not None:
            return
        # On a busy machine the news of its start comes late.
        if self._ray.wait([self._begun], timeout=2)[0]:
            self._actor.send.remote(number)
        else:
            self._ray.kill(self._actor)  # it still waits for room


# What a process of its own tries: it writes into a file what Ray raises, for Ray and others print
# on stderr as they like.
_ATTEMPT = f"""
import json, sys
from pathlib import Path
import ray
try:
    ray.init(sys.argv[1], **{_QUIET!r})
except Exception as error:
    Path(sys.argv[2]).write_text(json.dumps(str(error)))
    raise
"""


def _probe(address: str) -> None:
    """See in another process whether a cluster answers, because `ray.init` cannot be told to give
    up.
    """
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "error.json"
        try:
            done = subprocess.run(
                [sys.executable, "-c", _ATTEMPT, address, note],
                capture_output=True,
                timeout=_PATIENCE,
            )
            if done.returncode == 0:
                return
            printed, cause = done.stderr, _raised(note) or f"exit code {done.returncode}"
        except subprocess.TimeoutExpired as error:
            printed, cause = error.stderr or b"", f"nothing within {error.timeout:g} s"
    # Ray's part in C++ asks again and again for minutes, and only prints why. The word may stand
    # anywhere.
    if b"InvalidAuthToken" in printed:
        raise UserError(
            f"The Ray cluster at {address!r} wants its token: set RAY_AUTH_MODE=token, see 'ray "
            "get-auth-token'."
        )
    raise UserError(
        f"No Ray cluster at {address!r} ({cause}): give the address that 'ray start --head' told, "
        "or none for this machine."
    )


def _raised(note: Path) -> str:
    """What Ray raised, in one line; "" where it raised nothing."""
    try:
        return " ".join(str(json.loads(note.read_text())).split())
    except (OSError, ValueError):
        return ""
