"""Ways to take one training step: by this package, by hand, and by peers. Each way is one function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import incorruptible as inc
from incorruptible import bridges, objectives
from incorruptible.errors import UserError

from .peers import PEERS

__all__ = ["KINDS", "Kind", "Step"]

Step = Callable[[Tensor, Tensor], Any]
NOISE, RHO = 0.05, 0.05
ENDLESS = 10**9  # optimiser steps: the strength is constant, and no benchmark reaches the end
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4


@dataclass(frozen=True)
class Kind:
    """`make` gives a model its optimiser and returns the step. One step costs about as much as `cost` plain steps."""

    what: str
    make: Callable[[nn.Module], Step]
    cost: float = 1.0
    slow: bool = False
    peer: str | None = None


def sgd(model: nn.Module) -> torch.optim.SGD:
    """The optimiser that all ways share."""
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    """The loss that all ways share."""
    return F.cross_entropy(model(x), y)


def plain(model: nn.Module) -> Step:
    """The plain step: zero_grad, forward, backward, step. All others are compared with this one."""
    optimizer = sgd(model)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        loss_of(model, x, y).backward()
        optimizer.step()

    return step


def hardened(model: nn.Module, *, objective: str, strength: float, **options: Any) -> Step:
    """The plain step with a `Hardener` around the backward pass."""
    optimizer = sgd(model)
    robust = inc.Hardener(model, objectives.parse(objective), inc.Constant(strength), steps=ENDLESS, seed=0, **options)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        robust.backward(lambda: loss_of(model, x, y))
        optimizer.step()

    return step


def rwp_by_hand(model: nn.Module) -> Step:
    """Random weight perturbation, in the code that one would write by hand: clone, randn, backward, copy back."""
    optimizer = sgd(model)
    weights = [array.parameter for array in inc.select(model)]

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        kept = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight in weights:
                peak = weight.abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.dim() - 1))
                weight.add_(torch.randn_like(weight) * peak, alpha=NOISE)
        loss_of(model, x, y).backward()
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)
        optimizer.step()

    return step


def rwp_at_least(model: nn.Module) -> Step:
    """The least that random weight perturbation by max|W_f| can cost with a bank of noise. Everything that can be left out is.

    Every step uses the same signs and windows of the bank, and all views are made beforehand. Two passes over the weights find the
    peaks, and one pass writes perturbed weights into other memory; then the storages are exchanged. No error is caught, and the
    loss is not looked at.
    """
    if not hasattr(torch.UntypedStorage, "_swap_data_ptr_"):
        raise UserError("this torch cannot exchange the memory of storages.")
    optimizer, numbers = sgd(model), torch.randn(1 << 15)
    weights = [array.value for array in inc.select(model)]
    others = [torch.empty_like(weight) for weight in weights]
    flat = [weight.flatten(1) for weight in weights]
    high, low, std = (torch.empty(sum(map(len, weights)), 1) for _ in range(3))
    peaks = [one.split_with_sizes([len(weight) for weight in weights]) for one in (high, low, std)]
    windows = []
    for rows, other, scale in zip(flat, others, peaks[2], strict=True):
        count, width = rows.shape
        size = next(n for n in range(count, 0, -1) if count % n == 0 and (n == 1 or n * width <= len(numbers)))
        shape = (count // size, size, width)
        window = numbers.as_strided(shape, (0, width, 1)) if size * width <= len(numbers) else torch.randn(shape)
        windows.append((rows.view(shape), window, scale.view(*shape[:2], 1), other.view(shape)))
    storages = [
        (weight.untyped_storage(), other.untyped_storage()) for weight, other in zip(weights, others, strict=True)
    ]

    def exchange() -> None:
        for one, other in storages:
            one._swap_data_ptr_(other)  # type: ignore[attr-defined]

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        for rows, above, below in zip(flat, *peaks[:2], strict=True):
            torch.amax(rows, 1, True, out=above)
            torch.amin(rows, 1, True, out=below)
        torch.maximum(high, low.neg_(), out=std).mul_(NOISE)
        for start, window, scale, out in windows:
            torch.addcmul(start, window, scale, out=out)
        exchange()
        loss_of(model, x, y).backward()
        exchange()
        optimizer.step()

    return step


def sam_by_hand(model: nn.Module) -> Step:
    """Sharpness-aware minimisation over all parameters, in the code that one would write by hand."""
    optimizer = sgd(model)
    weights = list(model.parameters())

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        loss_of(model, x, y).backward()
        with torch.no_grad():
            kept = [weight.clone() for weight in weights]
            grads: list[Any] = [weight.grad for weight in weights]
            norm = torch.stack([grad.norm() for grad in grads]).norm()
            for weight, grad in zip(weights, grads, strict=True):
                weight.add_(grad * (RHO / (norm + 1e-12)))
        optimizer.zero_grad()
        loss_of(model, x, y).backward()
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)
        optimizer.step()

    return step


def sam_of_pytorch_optimizer(model: nn.Module) -> Step:
    """pytorch_optimizer.SAM around torch's SGD."""
    optimizer = (
        PEERS["pytorch_optimizer"]
        .bring()
        .SAM(model.parameters(), torch.optim.SGD, rho=RHO, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    )

    def step(x: Tensor, y: Tensor) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = loss_of(model, x, y)
            torch.autograd.backward(loss)
            return loss

        closure()
        optimizer.step(closure)

    return step


def rwp_of_aihwkit_lightning(model: nn.Module) -> Step:
    """The model in aihwkit-lightning's layers with AddNormalPerChannel, our gaussian-filter-max; no converters."""
    return plain(bridges.to_aihwkit_lightning(model, bridges.noisy_configuration(NOISE)).train())


def _ours(what: str, objective: str, strength: float = NOISE, cost: float = 1.0, **rest: Any) -> Kind:
    options = rest.pop("options", {})
    return Kind(what, partial(hardened, objective=objective, strength=strength, **options), cost, **rest)


NOISY = "gaussian-filter-max"
KINDS: dict[str, Kind] = {
    "sgd": Kind("plain SGD", plain),
    "control": Kind("plain SGD again", plain),
    "plain": _ours("Plain through Hardener", "plain", slow=True),
    "rwp-exact": _ours("RWP, exact noise", f"rwp({NOISY})", cost=1.3),
    "rwp-banked": _ours("RWP, banked noise", f"rwp({NOISY})", cost=1.2, options={"noise": "banked"}),
    "local-rwp": _ours("local RWP", f"local-rwp({NOISY})", cost=1.2, slow=True),
    "sam": _ours("SAM", "sam", RHO, 2.1),
    "asam": _ours("ASAM", "asam", RHO, 2.2, slow=True),
    "mixed-rwp": _ours("mixed RWP, two passes", f"mixed-rwp({NOISY})", cost=2.3, slow=True),
    "rwp-sam": _ours("RWP and SAM", f"rwp-sam({NOISY})", RHO, 2.5, slow=True),
    "rwp-by-hand": Kind("RWP by hand", rwp_by_hand, 1.3, slow=True),
    "rwp-at-least": Kind("RWP from a bank, what it costs at the least", rwp_at_least, 1.2, slow=True),
    "sam-by-hand": Kind("SAM by hand", sam_by_hand, 2.1, slow=True),
    "sam-pytorch-optimizer": Kind(
        "pytorch_optimizer's SAM", sam_of_pytorch_optimizer, 2.1, slow=True, peer="pytorch_optimizer"
    ),
    "rwp-aihwkit-lightning": Kind(
        "aihwkit-lightning, AddNormalPerChannel", rwp_of_aihwkit_lightning, 9, slow=True, peer="aihwkit-lightning"
    ),
}


def chosen(names: tuple[str, ...] | None = None) -> Iterator[tuple[str, Kind, str | None]]:
    """Each kind of step with its name, and the reason why it cannot be taken here; None if it can."""
    for name in names or KINDS:
        kind = KINDS[name]
        peer = None if kind.peer is None else PEERS[kind.peer]
        yield name, kind, None if peer is None or peer.bring() is not None else peer.lacks()
