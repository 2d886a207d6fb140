"""The conditions of a run: machine, versions, commit, date, and the load of the machine."""

from __future__ import annotations

import datetime
import os
import platform
from typing import Any

import torch

from incorruptible.files.provenance import made

from .peers import versions

__all__ = ["conditions", "load"]


def load() -> float | None:
    """How many processes ran or waited to run, on average over the last minute; None if the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def conditions() -> dict[str, Any]:
    """The conditions as plain data, to keep beside the numbers."""
    return {
        **made(),
        "system": platform.platform(),
        "memory_gib": _memory(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "peers": versions(),
    }


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
