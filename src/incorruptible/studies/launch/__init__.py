"""Where workers run: an engine starts copies of a command, and knows nothing of what they do."""

from __future__ import annotations

from collections.abc import Callable

from .local import Local
from .process import cores, share, watch_parent
from .protocol import Engine, Worker
from .ray import Ray

__all__ = ["CATALOGUE", "Engine", "Local", "Ray", "Worker", "cores", "share", "watch_parent"]

CATALOGUE: dict[str, Callable[..., Engine]] = {"local": Local, "ray": Ray}
