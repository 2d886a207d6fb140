"""Two processes with a rank each, and what each of them left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing

__all__ = ["two_ranks"]

PATIENCE = 180  # seconds until a run counts as hung


def two_ranks(run: Callable[[int, Path], None], folder: Path) -> list[dict[str, Any]]:
    """What `run(rank, folder)`, called in a process of its own for each rank, saved as `folder/RANK.pt`."""
    if not (distributed.is_available() and distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    processes = multiprocessing.start_processes(run, (folder,), nprocs=2, join=False, start_method="spawn")
    end = time.monotonic() + PATIENCE
    try:
        while not processes.join(timeout=max(0.0, end - time.monotonic())):
            assert time.monotonic() < end, f"the two ranks are not done after {PATIENCE} s: one waits for the other"
    finally:
        for process in processes.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]
