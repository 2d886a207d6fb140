"""A study on Ray: the same numbers as with local workers, also where one of them is killed in the middle of a run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from incorruptible.studies.leases import Leases
from waiting import HANG

pytest.importorskip("ray")

STUDY = """
question = "Do workers on Ray find the same?"
seeds = 2

[recipe]
task = "digits"
epochs = 120
probe = { draws = 0 }

[test]
corruptions = "gaussian-filter-max:0,0.2"
draws = 2

[selection]
draws = 2

[[arms]]
name = "rwp {strength}"
objective = "rwp(gaussian-filter-max)"
strength = [0.1, 0.2, 0.3]
"""


def start(*words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "incorruptible", *map(str, words)]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=HANG)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.slow
def test_ray_finds_what_local_workers_find_though_one_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(STUDY)
    finished(start("study", file, "--home", tmp_path / "local", "--workers", "1", "--threads", "1"))
    home = tmp_path / "ray"
    running = start("study", file, "--home", home, "--engine", "ray", "--workers", "2", "--threads", "1")
    victim = killed = 0
    while running.poll() is None and not victim:
        with Leases(home / "leases") as leases:
            busy = [one for one in leases.holders() if one.alive and one.facts]
        victim = busy[0].pid if busy else 0
        time.sleep(0.05)
    if victim:
        time.sleep(0.3)  # it has just begun; a run takes two seconds
        os.kill(victim, signal.SIGKILL)
        killed = victim
    _, err = finished(running)
    assert killed, "no worker was seen in the middle of a run"
    assert re.search(r"a worker died \(signal 9, before it could say why\); another takes its place", err), err
    found = [
        finished(start("results", file, "--home", where, "--json"))[0]
        for where in (tmp_path / "local", tmp_path / "ray")
    ]
    assert found[0] == found[1] and '"finished": 6' in found[0]
