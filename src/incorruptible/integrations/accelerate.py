"""A `Hardener` for training loops that are written with accelerate.

Relies on: `accelerator.sync_gradients` is True exactly at the end of a step of the optimiser, also
at the end of a loader. Keeps: the loss that the caller gives is divided by the number of
micro-batches exactly once, as `accelerator.backward` would do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError
from ..objectives.base import Objective
from ..schedules import Controller, Schedule
from ..training import Hardener
from ..weights.arrays import Array
from .callback import sharded


class AcceleratedHardener(Hardener):
    """A `Hardener` that asks `accelerator` how to call backward, for the scale of its gradients,
    and when a step ends.

        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        steps = epochs * math.ceil(len(loader) / accelerator.gradient_accumulation_steps)
        robust = AcceleratedHardener(
            accelerator, model, RWP(Gaussian("filter-max")), Quadratic(0, 0.1), steps=steps, seed=0
        )
        accelerator.register_for_checkpointing(robust)
        ...
        with accelerator.accumulate(model):
            robust.backward(lambda: F.cross_entropy(model(x), y))  # was: accelerator.backward(loss)
            optimizer.step()

    As with `accelerator.backward`, the loss is that of one micro-batch and is divided here by their
    number. `model` is the one that `accelerator.prepare` returned. Everything else is as in
    `Hardener`; the guard against losses that are not finite is off if accelerate has a scaler of
    its own.

    Raises `UserError` under FSDP, DeepSpeed, Megatron-LM, XLA and for models in pieces, and under
    several processes for a model that is not prepared.
    """

    def __init__(
        self,
        accelerator: Any,
        model: nn.Module,
        objective: Objective,
        strength: Schedule | Controller,
        *,
        steps: int,
        seed: int,
        arrays: Sequence[Array] | None = None,
        batchnorm: str | None = None,
        guard: bool | None = None,
        noise: str = "exact",
    ) -> None:
        checked_accelerator(accelerator)
        inner = getattr(model, "_orig_mod", model)
        if accelerator.num_processes > 1 and not isinstance(inner, DistributedDataParallel):
            raise UserError(
                f"{type(inner).__name__} is not what accelerator.prepare returned, so the "
                "processes could not be told apart: call model = accelerator.prepare(model) first."
            )
        self._accelerator = accelerator
        scaler = accelerator.scaler
        super().__init__(
            model,
            objective,
            strength,
            steps=steps,
            seed=seed,
            accumulate=accelerator.gradient_accumulation_steps,
            arrays=arrays,
            # accelerator.backward would divide the loss once more: `backward` below has divided it
            # already, so that objectives and controllers see the loss that counts
            backward=None if scaler is None else lambda loss: scaler.scale(loss).backward(),
            scale=None if scaler is None else scaler.get_scale,
            batchnorm=batchnorm,
            guard=guard,
            noise=noise,
        )

    def backward(self, closure: Callable[[], Tensor]) -> Tensor:
        """As `Hardener.backward`. The returned loss is divided by the number of micro-batches."""

        def divided() -> Tensor:
            loss = closure()
            return loss / self.accumulate if isinstance(loss, Tensor) else loss

        loss = super().backward(divided)
        self._finish()
        return loss

    @contextmanager
    def perturbed(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """As `Hardener.perturbed`. Give the result of `look(loss)` to `accelerator.backward`, which
        divides it by the number of micro-batches.
        """
        with super().perturbed() as look:

            def undivided(loss: Tensor) -> Tensor:
                look(loss.detach() / self.accumulate)
                return loss

            yield undivided
        self._finish()

    def _finish(self) -> None:
        """Ends the step of the `Hardener` if accelerate ends its own."""
        # this is True at the end of a loader as well, however few micro-batches were accumulated by
        # then
        if self._accelerator.sync_gradients:
            self.finish_step()


def checked_accelerator(accelerator: Any) -> None:
    """Raises `UserError` if accelerate cuts the weights into pieces, or makes its steps outside of
    torch.
    """
    if not hasattr(accelerator, "distributed_type"):
        raise UserError(
            f"{accelerator!r} is no Accelerator: accelerator = accelerate.Accelerator() makes one."
        )
    kind = str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type))
    cut = getattr(accelerator, "parallelism_config", None)
    if cut is not None and cut.total_size > cut.dp_replicate_size:
        kind = "parallelism_config"
    if kind != "NO" and not kind.startswith("MULTI_"):
        raise sharded(
            f"accelerate with {kind}",
            "one process and with DDP: accelerate launch --multi_gpu (or --cpu) FILE.py",
        )
