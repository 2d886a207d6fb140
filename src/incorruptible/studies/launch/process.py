"""The process of one worker: its number of threads is fixed, Ctrl-C in the terminal does not reach
it, and it ends soon after its parent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PARENT = "INCORRUPTIBLE_PARENT"
_LOOK = 1.0  # seconds between two looks whether the parent still exists
_GRACE = 30.0  # seconds in which a worker without a parent may write a checkpoint


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(workers: int) -> int:
    """The number of threads for each of that many workers, so that no more threads run than there
    are cores: more of them would take up to ten times the time.
    """
    return max(1, cores() // workers)


def launch(
    command: Sequence[str],
    log: Path,
    threads: int,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in `folder`, with `threads` threads; its output is appended to `log`.

    The process is in a group of its own, so Ctrl-C in the terminal reaches the supervisor only,
    which then asks the workers to leave.
    """
    pinned = dict.fromkeys(_THREADS, str(threads))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **pinned, **(environment or {}), _PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def watch_parent() -> None:
    """Let this process end soon after the engine that started it, even if the engine was killed: it
    gets SIGTERM, and 30 seconds later SIGKILL.

    Does nothing in a process that no engine started.
    """
    # Removed from the environment, because a process that this one starts has another parent.
    parent = os.environ.pop(_PARENT, None)
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
