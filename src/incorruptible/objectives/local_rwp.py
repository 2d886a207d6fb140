"""Random weight perturbation by local reparameterisation: the noise of the weights is drawn in the
outputs of Linear layers, separately for each example.

Relies on: each Linear layer in arrays is called once in a forward pass, on one row for each
example; `_Pass` checks this and refuses anything else.
Keeps: hooks are removed and other arrays restored when the pass ends, also after an error; a
forward pass that activation checkpointing repeats draws the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..corruptions import Corrupted, Gaussian
from ..errors import UserError
from ..randomness.streams import Draw
from ..weights.arrays import Array
from ..weights.swap import replaced
from .base import OfCorruption, Point, PointSteps


@dataclass(frozen=True)
class LocalRWP(OfCorruption):
    """`RWP` for Gaussian error, with a separate draw for each example: the gradient with outputs
    W x + s m_f |x| z of every Linear layer, where z is standard normal.

    Choose it for networks of Linear layers where a batch should see many draws at once. Costs one
    pass. With the error E_fj = s m_f z_fj of the weights and one vector x, the outputs (W + E) x
    are independent and normal, with mean W x and standard deviation s m_f |x|. So b x out numbers
    are drawn in place of out x in, and each of the b examples meets a draw of its own (Kingma,
    Salimans and Welling, arXiv 1506.02557, section 2.2). m_f is the scale of filter f of the clean
    weights and is held fixed, as by `RWP`. |x| is differentiated through, because the size of the
    noise moves with the layers below (the slope of |x| at x = 0 is taken to be 0).

    Where the loss is a mean over examples that do not see each other, the gradient has the mean of
    `RWP`'s, E g(w + e). Its variance differs, because examples do not share an error. BatchNorm in
    training mode lets examples see each other; there the mean gradient differs too.

    Only the weights of nn.Linear layers are treated so. All other arrays (convolutions, attention's
    in_proj, biases by request) are perturbed by one draw for the whole batch, as by `RWP`.

    Raises `UserError` for a corruption that is not `Gaussian`, and for a model without a Linear
    layer in arrays. Raises it in a pass where such a layer is not called exactly once, its input is
    not [b, in] with the same b in every layer, or its weight is tied: there one error of the
    weights acts on several vectors at once, and separate draws would have another distribution.
    Inputs that are flattened to [b * tokens, in] in front of every such layer cannot be told from
    examples. Also raises it under torch.compile, in whose graph the noise would be lost.

    By hand: W = (3, 4) under gaussian-filter-max at s = 0.1, x = (2, 0): the output is 6 + 0.1 * 4
    * 2 z = 6 + 0.8 z.
    """

    corruption: Gaussian = field(metadata={"inner": True, "named": True})

    passes: ClassVar[int] = 1
    clean: ClassVar[bool] = False
    source: ClassVar[str] = "Kingma, Salimans and Welling 2015, arXiv 1506.02557"

    def __post_init__(self) -> None:
        super().__post_init__()
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
        """Inside this context the outputs of Linear layers are noisy, and the other arrays hold
        perturbed values. Raises `UserError` at its end where a layer's noise was left out.
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
                # Prepended, so that hooks of others see the noisy output, as they do under `RWP`.
                stack.callback(
                    layer.register_forward_hook(hook, prepend=True, with_kwargs=True).remove
                )
            yield
        seen.check(layers)

    def _layers(self, model: nn.Module, arrays: Sequence[Array]) -> dict[Array, nn.Module]:
        """Each array that is the weight of a Linear layer, with that layer. Raises `UserError`
        where several layers share the weight, or no array is one.
        """
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
        """The error that refuses torch.compile."""
        return UserError(
            f"{self}: a graph of torch.compile holds no noise that changes from pass to pass: "
            f"leave out torch.compile (--compile), or use rwp({self.corruption})."
        )

    def unfit(self, name: str, why: str) -> UserError:
        """The error for an array whose layer does not fit, which names the ways out."""
        return UserError(
            f"{self}: {name}: {why}; use rwp({self.corruption}), or protect this array: --protect "
            f"{name}, select(model, protect=({name!r},))."
        )


Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Tensor], Tensor | None]


def _is_linear(module: nn.Module) -> bool:
    # A subclass may have a forward of its own, and then its outputs need not be W x.
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def _noisy(name: str, std: Tensor | None, draw: Draw, seen: _Pass) -> Hook:
    """A forward hook that adds std |x| z to the outputs of the layer of array `name`. Without `std`
    (at strength 0) it only notes the call.
    """

    # A closure over `seen`: where the model is copied during the pass, the copy's hook shares
    # `seen` and so does nothing once the pass has ended.
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
        """Note that the layer of array `name` was called on x. Raises `UserError` where the rows
        of x cannot be the examples.
        """
        if x.dim() != 2:
            raise self.objective.unfit(
                name, f"its layer got {list(x.shape)}, where [b, in] is needed"
            )
        # Inside a backward pass (-1 means outside) activation checkpointing repeats the forward
        # pass, which is not a second call.
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
                f"its layer got {len(x)} rows, and that of {first} {rows}: rows are not examples",
            )

    def end(self) -> None:
        """End the pass: from here on, hooks of a copy of the model do nothing."""
        self.open = False

    def check(self, layers: Iterable[Array]) -> None:
        """Raise `UserError` where noise was left out: in a compiled graph, or in a layer that was
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
