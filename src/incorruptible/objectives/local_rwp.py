"""Random weight perturbation by local reparameterisation: each example meets noise of its own,
drawn in the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..corruptions import Corrupted, Gaussian, as_corruption
from ..errors import UserError
from ..randomness.streams import Draw
from ..weights.arrays import Array
from ..weights.swap import replaced
from .base import Point, PointSteps

__all__ = ["LocalRWP"]


@dataclass(frozen=True)
class LocalRWP:
    """g at outputs W x + s m_f |x| z: what Gaussian error of W makes of one vector x, drawn anew
    for each example; one pass.

    For E_fj = s m_f z_fj and one x, the outputs (W + E) x are independent and normal, with mean W x
    and standard deviation s m_f |x|; so b x out numbers are drawn in place of out x in, and b chips
    are looked at in place of one (Kingma, Salimans and Welling, arXiv 1506.02557, section 2.2). m_f
    is that of the clean weights, held fixed as by `RWP`; |x| is differentiated through, for the
    size of the noise moves with the layers below (its slope at x = 0 is taken to be 0).

    The mean of the gradient is that of `RWP`, E g(w + e), where the loss is a mean over examples
    that do not see each other; its variance is another, for errors are not shared within a batch.
    BatchNorm in training mode lets examples see each other: there the mean loss is another one too.

    Weights of nn.Linear layers are drawn so; all other arrays (convolutions, attention's in_proj,
    biases by request) are perturbed by one draw for the whole batch, as by `RWP`. Raises
    `UserError` for a corruption that is no `Gaussian`, for a model without Linear layers in arrays,
    and in a pass for such a layer that is not called exactly once on [b, in], with the same b in
    each layer, or whose weight is tied: there one error acts on several vectors at once, and
    outputs drawn apart would be others in distribution. What is flattened to [b * tokens, in] in
    front of all these layers looks like examples. In a graph of torch.compile the noise would be
    lost, and that is refused as well. Computing a pass again in backward (activation checkpointing)
    meets the same numbers.

    By hand: W = (3, 4) under gaussian-filter-max at s = 0.1, x = (2, 0): the output is 6 + 0.1 * 4
    * 2 z = 6 + 0.8 z.
    """

    corruption: Gaussian = field(metadata={"inner": True, "named": True})

    passes: ClassVar[int] = 1
    clean: ClassVar[bool] = False
    unit: ClassVar[str] = "the corruption's"
    source: ClassVar[str] = "Kingma, Salimans and Welling 2015, arXiv 1506.02557"

    def __post_init__(self) -> None:
        object.__setattr__(self, "corruption", as_corruption(self.corruption))
        if not isinstance(self.corruption, Gaussian):
            raise UserError(
                f"local-rwp({self.corruption}): Gaussian error with a scale for each filter is "
                f"needed, gaussian-filter-max, say; rwp({self.corruption}) takes any corruption."
            )

    def __str__(self) -> str:
        return f"local-rwp({self.corruption})"

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> PointSteps:
        yield Point(None, inside=lambda model: self._drawn(model, arrays, strength, draw))

    @contextmanager
    def _drawn(
        self, model: nn.Module, arrays: Sequence[Array], strength: float, draw: Draw
    ) -> Iterator[None]:
        """The outputs of Linear layers are noisy, and the other arrays hold other values, until the
        block is left.
        """
        layers = self._layers(model, arrays)
        others = [array for array in arrays if array not in layers]
        seen = _Pass(self)
        with ExitStack() as stack:
            stack.callback(seen.end)
            stack.enter_context(replaced(others, Corrupted(self.corruption, strength, draw)))
            for array, layer in layers.items():
                std = self.corruption.std(array).flatten() * strength
                hook = _noisy(array.name, std if strength else None, draw, seen)
                # before hooks of others, which see what the layer puts out, as under `RWP`
                stack.callback(
                    layer.register_forward_hook(hook, prepend=True, with_kwargs=True).remove
                )
            yield
        seen.check(layers)

    def _layers(self, model: nn.Module, arrays: Sequence[Array]) -> dict[Array, nn.Module]:
        """The Linear layer of each array that is the weight of one."""
        owners: dict[int, list[tuple[str, nn.Module]]] = {}
        for module in model.modules():
            for name, parameter in module._parameters.items():
                owners.setdefault(id(parameter), []).append((name, module))
        found = {}
        for array in arrays:
            own = owners.get(id(array.parameter), [])
            linear = [module for name, module in own if name == "weight" and _is_linear(module)]
            if linear and array.axis != 1:
                if len(own) > 1:
                    raise self.unfit(
                        array.name, f"{len(own)} layers share it, and one error acts on them all"
                    )
                found[array] = linear[0]
        if not found:
            raise UserError(
                f"{self}: no array here is the weight of a Linear layer: use "
                f"rwp({self.corruption})."
            )
        return found

    def uncompiled(self) -> UserError:
        """What to answer to torch.compile."""
        return UserError(
            f"{self}: a graph of torch.compile holds no noise that changes from pass to pass: "
            f"leave it out (--compile), or use rwp({self.corruption})."
        )

    def unfit(self, name: str, why: str) -> UserError:
        """What to answer where the array of that name cannot be looked at so, with the ways out."""
        return UserError(
            f"{self}: {name}: {why}; use rwp({self.corruption}), or leave it out: --protect "
            f"{name}, select(model, protect=({name!r},))."
        )


Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Tensor], Tensor | None]


def _is_linear(module: nn.Module) -> bool:
    # a subclass may have a forward of its own, whose outputs nobody knows
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def _noisy(name: str, std: Tensor | None, draw: Draw, seen: _Pass) -> Hook:
    """A forward hook that adds std |x| z to the outputs of the layer of array `name`; without `std`
    it looks on alone.
    """

    # a function: where the model is copied during the pass, the copy's hook ends with the pass, too
    def hook(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> Tensor | None:
        if torch.compiler.is_compiling():
            seen.compiled = True
            return None
        if not seen.open:
            return None
        x: Tensor = args[0] if args else kwargs["input"]
        seen.call(name, x)
        if std is None:
            return None
        z = draw.of(name).normal(output.detach(), tag="output").mul_(std)
        length = torch.linalg.vector_norm(x.to(z.dtype), dim=1, keepdim=True)
        return output.add((length * z).to(output.dtype))

    return hook


class _Pass:
    """Which layers were called in one forward pass, and on how many rows."""

    def __init__(self, objective: LocalRWP) -> None:
        self.objective = objective
        self.rows: dict[str, int] = {}
        self.open = True
        self.compiled = False

    def call(self, name: str, x: Tensor) -> None:
        """Note a call on x. Raises `UserError` where rows of x are not examples, one each."""
        if x.dim() != 2:
            raise self.objective.unfit(
                name, f"its layer got {list(x.shape)}, where [b, in] is needed"
            )
        # This is a backward pass, in which activation checkpointing computes the forward pass again.
        if torch._C._current_graph_task_id() != -1:
            return
        if name in self.rows:
            raise self.objective.unfit(
                name, "its layer was called twice in one pass, and one error acts on both"
            )
        self.rows[name] = len(x)
        first, rows = next(iter(self.rows.items()))
        if rows != len(x):
            raise self.objective.unfit(
                name,
                f"its layer got {len(x)} rows, and that of {first} {rows}: they are no examples",
            )

    def end(self) -> None:
        """Hooks that a copy of the model took along do nothing from here on."""
        self.open = False

    def check(self, layers: Iterable[Array]) -> None:
        """Raises `UserError` where noise was left out: in a compiled graph, or in a layer that was
        never called.
        """
        if self.compiled:
            raise self.objective.uncompiled()
        for array in layers:
            if array.name not in self.rows:
                why = (
                    "its layer was not called (the weight is used by itself, or a compiled graph "
                    "skips hooks)"
                )
                raise self.objective.unfit(array.name, why)
