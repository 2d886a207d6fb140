"""Where one of two ranks crashes, the test that started them ends; nobody waits for a timeout."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.outcomes import Failed

from two_ranks import two_ranks


def forever() -> None:
    """As a rank waits for one that does not come."""
    threading.Event().wait()


def waiting(rank: int, folder: Path) -> None:
    if rank == 0:
        forever()
    raise ValueError("seven")


def slow_to_end(rank: int, folder: Path) -> None:
    """The rank that crashes would wait for the other when Python ends."""
    atexit.register(forever)
    waiting(rank, folder)


def killed(rank: int, folder: Path) -> None:
    if rank == 0:
        forever()
    os.kill(os.getpid(), signal.SIGKILL)


def left(rank: int, folder: Path) -> None:
    if rank == 0:
        forever()
    raise SystemExit("no more")


def following(rank: int, folder: Path) -> None:
    """Rank 0 notices that rank 1 is gone, as gloo does, and raises an error of its own."""
    if rank == 1:
        raise ValueError("seven")
    while not (folder / "crash").is_file() or "seven" not in (folder / "crash").read_text():
        pass
    raise RuntimeError("Connection closed by peer")


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (waiting, "rank 1 crashed:.*ValueError: seven"),
        (slow_to_end, "rank 1 crashed:.*ValueError: seven"),
        (following, "rank 1 crashed:.*ValueError: seven"),
        (left, "rank 1 crashed:.*SystemExit: no more"),
        (killed, "^rank 1 ended with exit code -9, and left no reason$"),
    ],
)
def test_a_rank_that_crashes_ends_both(run: Callable[[int, Path], None], says: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=f"(?s){says}") as raised:
        two_ranks(run, tmp_path)
    assert "closed by peer" not in str(raised.value)


def fine(rank: int, folder: Path) -> None:
    (folder / str(rank)).touch()


def test_two_ranks_that_are_done(tmp_path: Path) -> None:
    two_ranks(fine, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
