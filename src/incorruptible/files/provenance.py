"""The provenance of a result: the command, the versions, the commit and the machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from ..version import __version__


def made(device: str = "cpu") -> dict[str, str]:
    """The provenance as plain data: the command line, versions, the package's commit ("" outside a
    checkout), the machine, and the name of the device.
    """
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "incorruptible": __version__,
        "commit": commit(),
        **{name: _version(name) for name in ("torch", "numpy")},
        "python": platform.python_version(),
        "machine": machine(),
        "device": device,
    }


@lru_cache(maxsize=1)
def machine() -> str:
    """System, architecture, processor and number of cores, but not the machine's own name."""
    name = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(errors="replace").splitlines()
        name = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name
        )
    parts = [f"{platform.system()} {platform.machine()}", name, f"{os.cpu_count()} cores"]
    return ", ".join(part for part in parts if part)


@lru_cache(maxsize=1)  # because each call starts three processes
def commit() -> str:
    """The commit of the checkout from which this package runs, with a + if files of the package
    have changed since; "" if the package does not run from a checkout.
    """
    here = Path(__file__).resolve()
    package = here.parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(package), *words],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout.strip()

    try:
        if not git("ls-files", "--", str(here)):
            return ""  # the package is installed in an environment inside another checkout
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", "--", str(package)) else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def _version(name: str) -> str:
    module = sys.modules.get(name)
    return str(module.__version__) if module is not None else metadata.version(name)
