"""Where workers run. An *engine* starts copies of a command, on this machine (`Local`) or through
Ray (`Ray`), and knows nothing of what the command does.

    worker = Local().start(["incorruptible", "worker", "mine.toml"], Path("worker.log"))
    worker.poll()  # None while it works, then its exit code
"""

from __future__ import annotations

from collections.abc import Callable

from .local import Local
from .process import cores, share, watch_parent
from .protocol import Engine, Worker
from .ray import Ray

__all__ = ["CATALOGUE", "Engine", "Local", "Ray", "Worker", "cores", "share", "watch_parent"]

CATALOGUE: dict[str, Callable[..., Engine]] = {"local": Local, "ray": Ray}
