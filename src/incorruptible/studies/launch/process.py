"""One process of a worker: with its threads pinned, out of reach of Ctrl-C, and gone when its
parent is.
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
_LOOK = 1.0  # seconds
_GRACE = 30.0  # seconds to write a checkpoint in


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(workers: int) -> int:
    """Threads for each of that many workers: more threads than cores cost up to ten times the
    time.
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
    """Start `command` in `folder`, in a process group of its own: Ctrl-C in the terminal is for
    whoever supervises.
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
    """Have this process end soon after the engine that started it, even if that was killed:
    SIGTERM, later SIGKILL.

    Nothing happens in a process that no engine started.
    """
    parent = os.environ.pop(_PARENT, None)  # whatever this process starts has another parent
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
