"""How a training uses its device: 16-bit arithmetic, compilation, and the parts that a batch is cut
into.

Relies on: the loss of a part is a mean over its examples, so that means of parts, weighted by their
shares, give the mean of the batch.
Keeps: weights, gradients and perturbation stay in fp32. Parts are contiguous, in the order of the
examples, and together hold each example once (apart from parts of share 0).
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError
from ..tasks.scores import each_tensor
from .distributed import RankGroup


class Precision:
    """The arithmetic of forward and backward passes: "fp32", or autocast to "bf16" or "fp16".
    Weights, their perturbation and gradients stay in fp32.

    Choose "bf16" on GPUs that have it; "fp16" also runs on older ones. Under fp16 the loss is
    scaled before backward, and a step whose gradients overflow is left out and counted in
    `skipped`. Raises `UserError` for a device without autocast.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.kind = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        if self.kind is not None and not torch.amp.is_autocast_available(device.type):
            raise UserError(
                f"autocast {name!r}: torch has no autocast for {device.type}; use fp32."
            )
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None
        self.skipped = 0

    @property
    def hooks(self) -> dict[str, Any]:
        """The options `backward` and `scale` for a `Hardener`; none without a loss scaler."""
        if self.scaler is None:
            return {}
        return {"backward": self._backward, "scale": self.scaler.get_scale}

    def _backward(self, loss: Tensor) -> None:
        assert self.scaler is not None
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def mean(self, losses: Callable[[], Tensor]) -> Tensor:
        """The mean of the losses of the examples, which `losses` computes under autocast. The mean
        is taken in 32 bits or more.
        """
        if self.kind is None:
            return losses().mean()
        with torch.autocast(self.device.type, self.kind):
            found = losses()
        return found.to(torch.promote_types(found.dtype, torch.float32)).mean()

    def step(self, optimizer: torch.optim.Optimizer, model: nn.Module, clip: float | None) -> None:
        """One step of the optimiser, with the norm of the whole gradient bounded by `clip`. Under
        fp16 the gradients are divided by the loss scale before they are clipped.
        """
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        if self.scaler is None:
            optimizer.step()
            return
        before = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        self.skipped += self.scaler.get_scale() < before

    def decay(self, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
        """One step of the learning rate's schedule, also where the optimiser's step was left
        out.
        """
        with warnings.catch_warnings():
            # If the scaler leaves out the very first step, torch warns of a wrong order of calls.
            if self.scaler is not None:
                warnings.filterwarnings(
                    "ignore", r"Detected call of `lr_scheduler.step\(\)`", UserWarning
                )
            schedule.step()

    def state(self) -> dict[str, Any]:
        """What a stopped training needs of this object: nothing without a loss scaler."""
        return (
            {}
            if self.scaler is None
            else {"scaler": self.scaler.state_dict(), "overflows": self.skipped}
        )

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which may hold other entries too."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
            self.skipped = state["overflows"]


def called(model: nn.Module, compiled: bool, device: torch.device, group: RankGroup) -> nn.Module:
    """The module that the loss calls in place of `model`: `model` itself, or its compiled or
    data-parallel wrapper, which has the same parameters.

    Raises `UserError` where a compiler is needed and missing.
    """
    network: Any = model
    if compiled:
        _check_compiler(device)
        network = torch.compile(model)
    if group.size > 1:
        network = DistributedDataParallel(
            network, device_ids=[device] if device.type == "cuda" else None
        )
    return network  # type: ignore[no-any-return]


def _check_compiler(device: torch.device) -> None:
    """Raise `UserError` where torch.compile lacks its compiler. Left to itself, torch would say so
    in pages of text at the first step.
    """
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise UserError(
                "compiled: torch.compile needs Triton on a GPU: pip install triton, or leave "
                "--compile out."
            )
        return
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise UserError(
            f"compiled: torch.compile needs a C++ compiler, and there is no {name!r}: install it, "
            "set CXX, or leave --compile out."
        )


def part(batch: Any, index: int, count: int) -> tuple[Any, float]:
    """The `index`-th of `count` parts of a batch, and the part's share of the examples. Parts
    follow the order of the examples and are as equal in size as possible.

    Where the batch has fewer examples than parts, some parts would be empty. They get the last
    example instead, with share 0. Raises `UserError` for
    a batch that holds anything but tensors of one length.

    >>> part([torch.arange(5)], 0, 2), part([torch.arange(5)], 1, 2)
    (([tensor([0, 1])], 0.4), ([tensor([2, 3, 4])], 0.6))
    """
    if count == 1:
        return batch, 1.0
    lengths = set(_lengths(batch, count))
    if len(lengths) != 1:
        raise UserError(
            f"a batch holds tensors of {sorted(lengths)} examples: that cannot be cut into {count} "
            "parts."
        )
    (n,) = lengths
    start, stop = index * n // count, (index + 1) * n // count
    if start == stop:
        return each_tensor(batch, lambda one: one[n - 1 :]), 0.0
    return each_tensor(batch, lambda one: one[start:stop]), (stop - start) / n


def _lengths(batch: Any, count: int) -> Iterator[int]:
    if isinstance(batch, Tensor) and batch.dim():
        yield len(batch)
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _lengths(value, count)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from _lengths(value, count)
    else:
        what = "a number" if isinstance(batch, Tensor) else type(batch).__name__
        raise UserError(
            f"a batch holds {what}, which cannot be cut into {count} parts: give tensors that "
            "count examples in their first dimension."
        )
