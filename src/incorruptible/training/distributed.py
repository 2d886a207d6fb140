"""The processes of one training, as torchrun starts them: who is who, what they agree on, and
gradients averaged over them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError

__all__ = ["ALONE", "PATIENCE", "RankGroup", "averaged", "joined", "launched", "promised", "synced"]


# ---- Gradients that DistributedDataParallel did not see, averaged over its ranks as it would have
# done


def synced(ranks: DistributedDataParallel) -> bool:
    """Whether gradients are to be averaged now: not inside the caller's own `no_sync`."""
    return bool(ranks.require_backward_grad_sync)


def averaged(ranks: DistributedDataParallel) -> None:
    """Every `.grad` becomes its mean over the ranks; where no rank has one it stays None, and a
    rank without one counts as 0.

    One collective call for each dtype and device, whatever a rank has or lacks, so that none waits
    for another. A hook that was registered for DDP's own communication is not asked. Raises
    `UserError` for sparse gradients.
    """
    named = [
        (name, parameter)
        for name, parameter in ranks.module.named_parameters()
        if parameter.requires_grad and name not in ranks.parameters_to_ignore
    ]
    groups: dict[tuple[torch.dtype, torch.device], list[tuple[str, Tensor]]] = {}
    for name, parameter in named:
        groups.setdefault((parameter.dtype, parameter.device), []).append((name, parameter))
    size = distributed.get_world_size(ranks.process_group)
    with torch.no_grad():
        for (dtype, device), members in groups.items():
            parts = []
            for name, parameter in members:
                grad = parameter.grad
                if grad is not None and grad.is_sparse:
                    raise UserError(
                        f"{name}: its gradient is sparse, which is not averaged over ranks: use "
                        "sparse=False."
                    )
                parts.append(
                    torch.zeros_like(parameter).flatten() if grad is None else grad.flatten()
                )
            there = torch.tensor(
                [float(p.grad is not None) for _, p in members], dtype=dtype, device=device
            )
            # Divided first, as DDP does: a sum could overflow 16 bits.
            flat = torch.cat([there, *parts]).div_(size)
            distributed.all_reduce(flat, distributed.ReduceOp.SUM, ranks.process_group)
            _put(members, flat)
    # the next pass brings the buffers of rank 0 to all, as after a pass that DDP synchronises
    ranks.require_forward_param_sync = True


def _put(members: list[tuple[str, Tensor]], flat: Tensor) -> None:
    there, rest = flat[: len(members)], flat[len(members) :]
    sizes = [parameter.numel() for _, parameter in members]
    for (_, parameter), found, mean in zip(
        members, there.tolist(), torch.split(rest, sizes), strict=True
    ):
        if parameter.grad is not None:
            parameter.grad.copy_(mean.view_as(parameter))
        elif found:
            parameter.grad = mean.view_as(parameter).clone()


# ---- The processes of one training, as torchrun starts them: who is who, and what they agree on

# How long a process waits for the others; one that dies is noticed at once.
PATIENCE = timedelta(minutes=10)
# The variables that torchrun sets. Where one is missing, another program has set the others.
_TORCHRUN = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
)


@dataclass(frozen=True)
class RankGroup:
    """This process among `size` that train one network, and the device that it works on.

    What it is asked must be asked by all at the same place; alone it answers at once.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0

    def any(self, yes: bool) -> bool:
        """Whether one of them says yes."""
        return bool(self._reduced(torch.tensor([int(yes)]), distributed.ReduceOp.MAX)[0])

    def alike(self, number: int) -> bool:
        """Whether all of them came with the same number."""
        most, least = self._reduced(
            torch.tensor([number, -number]), distributed.ReduceOp.MAX
        ).tolist()
        return bool(most == -least)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all of them."""
        return (
            values
            if self.size == 1
            else self._reduced(values.clone(), distributed.ReduceOp.SUM) / self.size
        )

    def wait(self) -> None:
        """Until all are here."""
        self.any(True)

    def _reduced(self, values: Tensor, how: distributed.ReduceOp.RedOpType) -> Tensor:
        if self.size > 1:
            values = values.to(self.device)
            distributed.all_reduce(values, how)
        return values


ALONE = RankGroup()


def launched() -> bool:
    """Whether torchrun, or what sets the same variables, started this process."""
    return all(name in os.environ for name in _TORCHRUN)


def promised(ranks: int, typed: str = "incorruptible train TASK") -> int:
    """This process's rank, where as many were started as `ranks` says. Raises `UserError` with the
    line to type where not.
    """
    started = int(os.environ["WORLD_SIZE"]) if launched() else 1
    if started == ranks:
        return int(os.environ["RANK"]) if launched() else 0
    came = (
        f"torchrun started {started} processes"
        if launched()
        else "this is one process, without torchrun"
    )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", started)) if ranks == 1 else ranks
    line = f"torchrun --nproc-per-node {here} -m {typed}"
    more = "" if "--ranks" in typed else f" --ranks {started if ranks == 1 else ranks}"
    raise UserError(f"{came}, and --ranks promises {ranks}: {line}{more}")


@contextmanager
def joined(ranks: int, device: str | torch.device) -> Iterator[RankGroup]:
    """The group of this process for the length of a training: nccl between GPUs, one for each
    process, gloo between processors.

    A group that the caller has started is used, and left as it is. Raises `UserError` where `ranks`
    are not there.
    """
    device = torch.device(device)
    if ranks == 1:
        yield RankGroup(device=device)
        return
    own = not (distributed.is_available() and distributed.is_initialized())
    if own:
        promised(ranks)
    elif distributed.get_world_size() != ranks:
        raise UserError(
            f"ranks={ranks}, and the process group that is there has "
            f"{distributed.get_world_size()}."
        )
    device = _place(device, int(os.environ.get("LOCAL_RANK", 0)))
    if own:
        gpu = device.type == "cuda"
        distributed.init_process_group(
            "nccl" if gpu else "gloo", timeout=PATIENCE, device_id=device if gpu else None
        )
    try:
        yield RankGroup(distributed.get_rank(), ranks, device)
    except BaseException:
        # Nccl would wait here for those who still work; the process's end is its own.
        if own and device.type != "cuda":
            distributed.destroy_process_group()
        raise
    if own:
        # DDP objects lie in reference cycles. Left alone, they would keep gloo's threads alive until
        # Python ends, and there the threads abort the process.
        gc.collect()
        distributed.destroy_process_group()


def _place(device: torch.device, local: int) -> torch.device:
    """The device of the process that is the `local`-th on its machine."""
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {str(device)!r}: several ranks work on cpu or cuda.")
    if not distributed.is_available():
        raise UserError("this torch has no torch.distributed: train with --ranks 1.")
    if device.type == "cpu":
        return device
    if device.index is not None:
        raise UserError(f"device {str(device)!r}: each rank takes a GPU of its own: --device cuda.")
    count = torch.cuda.device_count()
    if local >= count:
        raise UserError(
            f"rank {local} of this machine has no GPU, there are {count}: start {count or 'none'} "
            "here."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
