"""The time that the command line takes to answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from .rows import PROCESSOR, WALL, Row, median

__all__ = ["COMMANDS", "start_up"]

COMMANDS = {
    "help": ("incorruptible --help", ("-m", "incorruptible", "--help")),
    "import": ("import incorruptible", ("-c", "import incorruptible")),
    "python": ("an empty Python program", ("-c", "")),
}


def start_up(runs: int) -> list[Row]:
    """Wall time and processor time in seconds, of `runs` processes for each command, in turns."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for number in range(runs + 1):
        for name, (_, words) in COMMANDS.items():
            took = _once(words)
            if number:  # the first run only fills the cache of the disk
                seen[name].append(took)
    rows = []
    for name, (what, _) in COMMANDS.items():
        for place, clock in enumerate((WALL, PROCESSOR)):
            values = [took[place] for took in seen[name]]
            low, middle, high = median(values)
            rows.append(Row("start-up", f"{name}/{clock}", what, "seconds", low, middle, high, runs, clock))
    return rows


def _once(words: Sequence[str]) -> tuple[float, float]:
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    took = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
    if child.returncode:
        raise RuntimeError(f"python {' '.join(words)}: exit {child.returncode}")
    return took, usage.ru_utime + usage.ru_stime
