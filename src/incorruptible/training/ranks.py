"""Gradients that DistributedDataParallel did not see, averaged over its ranks as it would have done."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from ..errors import Mistake

__all__ = ["averaged", "synced"]


def synced(ranks: DistributedDataParallel) -> bool:
    """Whether gradients are to be averaged now: not inside the caller's own `no_sync`."""
    return bool(ranks.require_backward_grad_sync)


def averaged(ranks: DistributedDataParallel) -> None:
    """Every `.grad` becomes its mean over the ranks; where no rank has one it stays None, and a rank without one counts as 0.

    One collective call for each dtype and device, whatever a rank has or lacks, so that none waits for another. A hook that was
    registered for DDP's own communication is not asked. Raises `Mistake` for sparse gradients.
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
                    raise Mistake(
                        f"{name}: its gradient is sparse, which is not averaged over ranks: use sparse=False."
                    )
                parts.append(torch.zeros_like(parameter).flatten() if grad is None else grad.flatten())
            there = torch.tensor([float(p.grad is not None) for _, p in members], dtype=dtype, device=device)
            flat = torch.cat([there, *parts]).div_(size)  # divided first, as DDP does: a sum could overflow 16 bits
            distributed.all_reduce(flat, distributed.ReduceOp.SUM, ranks.process_group)
            _put(members, flat)
    # the next pass brings the buffers of rank 0 to all, as after a pass that DDP synchronises
    ranks.require_forward_param_sync = True


def _put(members: list[tuple[str, Tensor]], flat: Tensor) -> None:
    there, rest = flat[: len(members)], flat[len(members) :]
    sizes = [parameter.numel() for _, parameter in members]
    for (_, parameter), found, mean in zip(members, there.tolist(), torch.split(rest, sizes), strict=True):
        if parameter.grad is not None:
            parameter.grad.copy_(mean.view_as(parameter))
        elif found:
            parameter.grad = mean.view_as(parameter).clone()
