"""Workers as Ray actors, on this machine or on a cluster.

An actor holds the cores and GPUs that Ray gives to a worker, and watches over the worker's process.

Relies on: if an actor or its machine dies, Ray answers a call to the actor with a `RayError`.
Keeps: this process's own handler for SIGTERM, and one process for each worker. Ray never restarts
an actor by itself, since the supervisor starts another worker.
"""

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

# Seconds for a cluster to answer. Ray itself waits for two minutes, and then ends the process.
_PATIENCE = 15.0
_QUIET = {"logging_level": logging.CRITICAL, "log_to_driver": False, "include_dashboard": False}


class Ray:
    """Starts workers as Ray actors of `threads` cores and `gpus` GPUs each.

    Without an `address` Ray is started on this machine, until `close`. "auto" and "host:port" name
    a cluster, whose nodes must have the same Python, and see the working directory and the log
    under the same paths. Raises `UserError` if Ray is not installed, if the cluster does not
    answer, and for more GPUs than this machine has.
    """

    def __init__(self, threads: int, gpus: float = 0, address: str | None = None) -> None:
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise UserError(
                f"gpus {gpus:g}: a part of one GPU, such as .25, or a whole number is needed."
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
            # Otherwise Ray writes a token into the home directory, and clusters that are started
            # later ask for this token too.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            # Under /tmp, because the path of a socket may have no more than 107 characters.
            self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
            # With no cores to give away, Ray starts no idle workers of its own. Our actors ask for
            # no cores here, so as many of them start as are asked for.
            self._ray.init(
                "local", num_cpus=0, object_store_memory=100 << 20, _temp_dir=self._folder, **_QUIET
            )
        else:
            _probe(address)
            self._ray.init(address, **_QUIET)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray has put its own handler in place of it
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
        """Start a copy of `command` once the cluster has room. Its stdout and stderr are appended
        to `log`.
        """
        log = log.absolute()
        worker = _Actor(
            self._ray, self._remote.remote(list(command), log, self.threads, Path.cwd()), log
        )
        self._started.append(worker)
        return worker

    def close(self) -> None:
        """Kill the workers that are still at work, and leave the cluster, or stop the Ray of this
        machine.
        """
        left = [worker for worker in self._started if worker.poll() is None]
        for worker in left:
            worker.kill()
        if left:
            self._ray.wait([worker.ended for worker in left], num_returns=len(left), timeout=5)
        for worker in left:
            # The exit code is settled now, because a later question to Ray would start Ray again.
            worker.code = worker.poll() or -signal.SIGKILL
        self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Remote:
    """The actor: `wait` runs in one thread of its process, and `send` in another."""

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
            except self._ray.exceptions.RayError as error:
                # The actor's process or its machine died, or the actor could not start.
                self.code = -signal.SIGKILL
                self.fault = f"Ray: {' '.join(str(error).split())}"
                with suppress(OSError), self._log.open("a") as file:
                    print(self.fault, file=file)
            self._actor = None  # ends the actor, so that its cores are free again
        return self.code

    def leave(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is not None:
            return
        # On a busy machine the message that the actor has started comes late.
        if self._ray.wait([self._begun], timeout=2)[0]:
            self._actor.send.remote(number)
        else:
            self._ray.kill(self._actor)  # the actor still waits for room, and has no process


# The program of the process that tries to reach a cluster. It writes into a file what Ray raises,
# because Ray and other libraries print anything on stderr.
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
    """Find out in another process whether a cluster answers, because `ray.init` cannot be told to
    give up. Raises `UserError` if it does not answer.
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
    # The C++ part of Ray tries again for minutes, and only prints the reason, among other lines.
    if b"InvalidAuthToken" in printed:
        raise UserError(
            f"The Ray cluster at {address!r} needs its token: set RAY_AUTH_MODE=token, see 'ray "
            "get-auth-token'."
        )
    raise UserError(
        f"No Ray cluster at {address!r} ({cause}): give the address that 'ray start --head' "
        "printed, or none for this machine."
    )


def _raised(note: Path) -> str:
    """What Ray raised, in one line; "" where it raised nothing."""
    try:
        return " ".join(str(json.loads(note.read_text())).split())
    except (OSError, ValueError):
        return ""
