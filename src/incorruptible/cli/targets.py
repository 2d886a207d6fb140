"""What a verb works on: a run's folder, or a task with weights; and where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Mistake, unknown

if TYPE_CHECKING:
    from torch import nn

    from ..tasks import Task

__all__ = ["check_part", "device_of", "target_of"]

_PARTS = ("test", "validation", "train")


def check_part(part: str) -> None:
    """A `Mistake` unless data of that name may exist."""
    if part not in _PARTS:
        raise unknown("part of the data", part, _PARTS)


def device_of(name: str) -> str:
    """`name`, if torch knows that device and this machine has it."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown("device", name, ["cpu", "cuda", "cuda:0", "mps"]) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Mistake(f"device {name!r}: this torch sees no CUDA GPU; use --device cpu.")
    try:
        torch.zeros(1, device=device).add_(1).cpu()
    except (RuntimeError, NotImplementedError, AssertionError):
        raise Mistake(f"device {name!r} cannot be used with this torch; use --device cpu.") from None
    return name


def target_of(target: str, weights: Path | None, seed: int, untrained: bool = False) -> tuple[Task, nn.Module]:
    """The task and network that a run's folder, or a task with weights, stands for; `untrained` does without weights."""
    import torch

    from .. import tasks
    from ..runs import open_run
    from ..streams import key
    from ..training import load_weights

    if Path(target).is_dir() or (os.sep in target and ".py:" not in target):
        done = open_run(Path(target))
        task = done.task()
        model = done.model(task)
    else:
        task = tasks.load(target)
        if weights is None and not untrained and not tasks.is_user_task(target):
            raise Mistake(
                f"{target} has no weights yet: give --weights FILE, or a run's folder (incorruptible train {target})."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "weights") >> 1)
            model = task.model()
        if not isinstance(model, torch.nn.Module):
            raise Mistake(f"{target}: model() gave {type(model).__name__}; a torch.nn.Module is needed.")
    if weights is not None:
        load_weights(model, weights)
    return task, model
