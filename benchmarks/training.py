"""Training steps, compared with plain SGD: the networks, and the ways to take a step that each network is given."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle

from torch import Tensor

from incorruptible.errors import UserError

from .steps import Kind, Step, chosen
from .timing import Variant, Work
from .workloads import NETWORKS, Network

__all__ = ["TRAINED", "training"]

BATCHES = 8  # different batches in turn, so that the data of a step are not always in the cache

# The steps that each network takes (None: all), and how many in a row are timed at once, so that a run lasts 50 ms or more.
TRAINED: dict[str, tuple[int, tuple[str, ...] | None]] = {
    "mlp": (10, None),
    "resnet20": (1, None),
    "resnet18": (1, ("sgd", "rwp-exact", "rwp-banked", "sam", "rwp-by-hand")),
    "vit": (1, None),
}


def training(name: str) -> Work:
    """The steps of the network called `name`. Each has its own copy of model and optimiser."""
    network = NETWORKS[name]
    steps, kinds = TRAINED[name]
    variants, absent = [], []
    for way, kind, lacks in chosen(kinds):
        if lacks is None:
            try:
                variants.append(_variant(way, kind, network, steps))
            except UserError as problem:
                lacks = str(problem)  # a network that this kind of step does not support
            except Exception as problem:
                if kind.peer is None:
                    raise
                lacks = f"{kind.peer} fails: {problem}"  # whatever another version of it may raise
        if lacks is not None:
            absent.append(f"{way}: {lacks}")
    unit = f"times a plain SGD step, {network.what} b{network.batch}"
    return Work(f"training-{name}", unit, variants, absent, {"network": network.what, "batch": network.batch})


def _variant(name: str, kind: Kind, network: Network, steps: int) -> Variant:
    step, data = kind.make(network().train()), cycle(network.batches(BATCHES))
    step(*next(data))  # some peers refuse a network only now
    return Variant(name, kind.what, partial(_run, step, data, steps), steps, kind.cost, kind.slow)


def _run(step: Step, data: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
    for _ in range(steps):
        step(*next(data))
