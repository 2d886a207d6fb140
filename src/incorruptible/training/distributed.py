"""The processes of one training, as torchrun starts them: which rank this one is, what all of them
agree on, and gradients averaged over them.

Relies on: every rank makes the same collective calls in the same order. So whatever decides about a
call (a loss that is not finite, a request to leave) is agreed on by all ranks first.
Keeps: after `averaged` all ranks hold the same gradients. A process group of the caller's is used
and left as it is. One that is made here is destroyed here, except after an error under nccl.
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

# ---- Averaging gradients that did not pass through DistributedDataParallel, as it would have done


def synced(ranks: DistributedDataParallel) -> bool:
    """Whether gradients are to be averaged now, which is so outside of `no_sync`."""
    return bool(ranks.require_backward_grad_sync)


def averaged(ranks: DistributedDataParallel) -> None:
    """Replace every `.grad` by its mean over the ranks. A rank whose `.grad` is None counts as 0;
    where it is None on all ranks, it stays None.

    Makes one collective call for each dtype and device, whichever gradients a rank has, so that all
    ranks make the same calls. A communication hook that was registered with DDP is not called.
    Raises `UserError` for sparse gradients.
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
            # Divided before the sum, as DDP does, because a sum could overflow 16 bits.
            flat = torch.cat([there, *parts]).div_(size)
            distributed.all_reduce(flat, distributed.ReduceOp.SUM, ranks.process_group)
            _put(members, flat)
    # With this flag the next forward pass copies the buffers of rank 0 to all ranks, as after a
    # pass that DDP synchronises.
    ranks.require_forward_param_sync = True


def _put(members: list[tuple[str, Tensor]], flat: Tensor) -> None:
    """Write the means in `flat` to the `.grad` of `members`. `flat` begins with one number for each
    member, which is 0 where no rank had a gradient.
    """
    there, rest = flat[: len(members)], flat[len(members) :]
    sizes = [parameter.numel() for _, parameter in members]
    for (_, parameter), found, mean in zip(
        members, there.tolist(), torch.split(rest, sizes), strict=True
    ):
        if parameter.grad is not None:
            parameter.grad.copy_(mean.view_as(parameter))
        elif found:
            parameter.grad = mean.view_as(parameter).clone()


# ---- The processes of one training, as torchrun starts them

# How long a process waits for the others. A process that dies is noticed at once.
PATIENCE = timedelta(minutes=10)
# The variables that torchrun sets. Where one of them is missing, another program set the others.
_TORCHRUN = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
)


@dataclass(frozen=True)
class RankGroup:
    """This process, `rank` of `size` that train one network, and its device.

    The methods `any`, `alike`, `mean` and `wait` are collective: all processes must call them at
    the same place. With size 1 they answer at once.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def any(self, yes: bool) -> bool:
        """Whether at least one process gives true."""
        return bool(self._reduced(torch.tensor([int(yes)]), distributed.ReduceOp.MAX)[0])

    def alike(self, number: int) -> bool:
        """Whether all processes give the same number."""
        most, least = self._reduced(
            torch.tensor([number, -number]), distributed.ReduceOp.MAX
        ).tolist()
        return bool(most == -least)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all processes."""
        return (
            values
            if self.size == 1
            else self._reduced(values.clone(), distributed.ReduceOp.SUM) / self.size
        )

    def wait(self) -> None:
        """Wait until all processes have made this call."""
        self.any(True)

    def _reduced(self, values: Tensor, how: distributed.ReduceOp.RedOpType) -> Tensor:
        if self.size > 1:
            values = values.to(self.device)
            distributed.all_reduce(values, how)
        return values


ALONE = RankGroup()


def launched() -> bool:
    """Whether torchrun, or another program that sets the same variables, started this process."""
    return all(name in os.environ for name in _TORCHRUN)


def promised(ranks: int, typed: str = "incorruptible train TASK") -> int:
    """The rank of this process. Raises `UserError` with the command line to type where another
    number of processes than `ranks` was started.
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
    """A context that gives this process's `RankGroup` for one training, over nccl with one GPU for
    each process, or over gloo on processors.

    A process group that the caller has initialised is used and left as it is. Raises `UserError`
    where it, or torchrun, has another number of processes than `ranks`.
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
            f"ranks={ranks}, and the process group of this program has "
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
        # After an error, nccl would wait here for the ranks that still work. There the group ends
        # with the process.
        if own and device.type != "cuda":
            distributed.destroy_process_group()
        raise
    if own:
        # DDP objects are in reference cycles, so they wait for the garbage collector. Left alone,
        # they would keep gloo's threads alive until Python ends, and there the threads abort the
        # process.
        gc.collect()
        distributed.destroy_process_group()


def _place(device: torch.device, local: int) -> torch.device:
    """The device of the process with local rank `local` on its machine: the CPU, or the GPU of that
    number. Raises `UserError` where it has none.
    """
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {str(device)!r}: several ranks can train on cpu or cuda only.")
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
