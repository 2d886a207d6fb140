"""Two processes with a rank each, and what each of them left; where one crashes, both end at once, with the reason of the first."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from waiting import HANG

__all__ = ["PATIENCE", "saved_by_two_ranks", "two_ranks"]

# How long a rank waits for the other in one collective call: for where both wait for each other, and neither has crashed.
PATIENCE = timedelta(seconds=HANG)


def saved_by_two_ranks(run: Callable[[int, Path], None], folder: Path) -> list[dict[str, Any]]:
    """What `run(rank, folder)`, called in a process of its own for each rank, saved as `folder/RANK.pt`.

    `run` makes its process group with `PATIENCE` as the timeout.
    """
    import torch  # not above: processes that need no torch import this file, too

    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    two_ranks(run, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def two_ranks(run: Callable[[int, Path], None], folder: Path) -> None:
    """Call `run(rank, folder)` in a process of its own for each rank, and wait until both are done.

    Fails with the traceback of the rank that crashed first. The other one is killed then: it would wait until its own timeout for a
    rank that does not come.
    """
    context = get_context("spawn")
    processes = [context.Process(target=_rank, args=(run, rank, folder), daemon=True) for rank in (0, 1)]
    for process in processes:
        process.start()
    try:
        waiting = {process.sentinel: rank for rank, process in enumerate(processes)}
        while waiting:
            for sentinel in wait(list(waiting)):
                rank = waiting.pop(sentinel)
                processes[rank].join()
                if (code := processes[rank].exitcode) != 0:
                    pytest.fail(_reason(rank, code, folder / "crash"), pytrace=False)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _rank(run: Callable[[int, Path], None], rank: int, folder: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run(rank, folder)
    except BaseException:
        # Only the first one: the other rank then misses this one, and raises an error about a closed connection.
        with suppress(FileExistsError), (folder / "crash").open("x") as file:
            file.write(f"rank {rank} crashed:\n{traceback.format_exc()}")
        os._exit(1)  # at once, for Python's own end may wait for the other rank, in threads of gloo
    os._exit(0)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _reason(rank: int, code: int | None, crash: Path) -> str:
    """What the rank that crashed first said; of one that could say nothing, how it ended."""
    return crash.read_text() if crash.is_file() else f"rank {rank} ended with exit code {code}, and left no reason"
