"""Where work happens: the same results here and in processes of their own."""

from __future__ import annotations

import os
import signal

import pytest

from incorruptible import engines
from incorruptible.errors import Mistake


def squared(job: int) -> tuple[int, str, int]:
    return job * job, os.environ.get("OMP_NUM_THREADS", ""), os.getpid()


def dying(job: int) -> int:
    if job == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def failing(job: int) -> int:
    raise ValueError(f"job {job}")


def test_processes_give_what_here_gives_with_threads_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    here = {job: result[0] for job, result in engines.work(squared, range(7), 1)}
    found = dict(engines.work(squared, range(7), 2))
    assert {job: result[0] for job, result in found.items()} == here == {job: job * job for job in range(7)}
    assert {result[1] for result in found.values()} == {"3"}
    assert os.getpid() not in {result[2] for result in found.values()}
    assert os.environ["OMP_NUM_THREADS"] == "5" and "MKL_NUM_THREADS" not in os.environ


def test_a_killed_worker_is_said_to_be_dead() -> None:
    with pytest.raises(engines.WorkerDied, match="same command again"):
        list(engines.local(dying, range(3), 1))


def test_an_error_comes_back_as_it_was_raised() -> None:
    with pytest.raises(ValueError, match="job 0"):
        list(engines.local(failing, range(1), 1))


def test_no_workers_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="workers 0"):
        engines.work(squared, [1], 0)


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= engines.cores() <= (os.cpu_count() or 1)
