"""Which tensors live in hardware arrays, and how to see each one as [filter, fan-in].

A *filter* is what one output sees: the row of a Linear, the kernel of a convolution's output channel. Selection is by
module type; norms, biases and embeddings stay digital unless they are asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import UserError, renamed_arguments, unknown

__all__ = ["Array", "SurveyedParameter", "refuse_sharded", "select", "survey", "unwrapped"]


@dataclass(frozen=True, eq=False)
class Array:
    """One tensor in hardware.

    `parameter` is the model's own, changed in place while other values stand there; `axis` is the dimension that counts
    filters; with `groups` > 1 (grouped transposed convolutions) dimension 0 is cut into that many blocks, each of which
    has filters of its own.
    """

    name: str
    parameter: Tensor
    axis: int | None = 0
    groups: int = 1

    @property
    def value(self) -> Tensor:
        """The weights, without gradient, on the parameter's own storage."""
        return self.parameter.data

    def reduce(self, how: Callable[..., Tensor], value: Tensor | None = None) -> Tensor:
        """`how(value, dim=..., keepdim=True)` over the fan-in of each filter, broadcastable to the value."""
        value = self.value if value is None else value
        if self.axis is None:
            return how(value, dim=tuple(range(value.dim())), keepdim=True)
        if self.groups == 1:
            return how(value, dim=tuple(d for d in range(value.dim()) if d != self.axis), keepdim=True)
        blocks = value.reshape(self.groups, -1, *value.shape[1:])
        kept = how(blocks, dim=tuple(d for d in range(1, blocks.dim()) if d != self.axis + 1), keepdim=True)
        return kept.expand(-1, blocks.shape[1], *kept.shape[2:]).flatten(0, 1)

    def peak(self) -> Tensor:
        """max|W_f| of each filter, broadcastable to the value."""
        if self.value.is_contiguous() and self.axis == 0:  # without |W|, which is as large as the array
            return torch.maximum(self.reduce(torch.amax), self.reduce(torch.amin).neg_()).abs_()  # -0 is 0
        return self.reduce(torch.amax, self.value.abs())

    def norm(self) -> Tensor:
        """||W_f||_2 of each filter, broadcastable to the value."""
        return self.reduce(torch.linalg.vector_norm)

    @property
    def filters(self) -> int:
        """How many filters there are."""
        return 1 if self.axis is None else int(self.value.shape[self.axis]) * self.groups


class SurveyedParameter(NamedTuple):
    """A parameter of a model: in an array, or not, and why not."""

    name: str
    module: str
    parameter: Tensor
    array: Array | None
    reason: str


class _Place(NamedTuple):
    axis: int | None
    groups: int = 1


def _weights(*names: str, axis: int = 0) -> Callable[[nn.Module], dict[str, _Place]]:
    return lambda module: {name: _Place(axis) for name in names}


def _transposed(module: nn.Module) -> dict[str, _Place]:
    return {"weight": _Place(1, int(module.groups))}  # type: ignore[arg-type]


def _recurrent(module: nn.Module) -> dict[str, _Place]:
    # torch's own list: a parametrised weight is no parameter any more, and its weight_hh_l0_g is no weight
    names: list[str] = module._flat_weights_names  # type: ignore[assignment]
    return {name: _Place(0) for name in names if name.startswith("weight_")}


_PLACES: dict[type[nn.Module], Callable[[nn.Module], dict[str, _Place]]] = {
    nn.Linear: _weights("weight"),
    nn.Bilinear: _weights("weight"),
    nn.Conv1d: _weights("weight"),
    nn.Conv2d: _weights("weight"),
    nn.Conv3d: _weights("weight"),
    nn.ConvTranspose1d: _transposed,
    nn.ConvTranspose2d: _transposed,
    nn.ConvTranspose3d: _transposed,
    nn.MultiheadAttention: _weights("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _weights("weight_ih", "weight_hh"),
}
_KNOWN_DIGITAL = (
    nn.Embedding,
    nn.EmbeddingBag,
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def _places(module: nn.Module) -> dict[str, _Place]:
    for kind, rule in _PLACES.items():
        if isinstance(module, kind):
            return rule(module)
    # transformers' Conv1D is a linear layer whose weight is [fan-in, out]; known by name, so that transformers stays optional,
    # and by the name of any of its classes: a parametrised one is a ParametrizedConv1D
    if hasattr(module, "nf") and any(kind.__name__ == "Conv1D" for kind in type(module).__mro__):
        return {"weight": _Place(1)}
    return {}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, DataParallel and torch.compile, whose names carry no prefix."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def _refuse_parametrised(name: str, module: nn.Module) -> None:
    where = f'model.get_submodule("{name}")' if name else "model"  # model.0 would be no Python
    for weight in _places(module):
        if parametrize.is_parametrized(module, weight):
            line = f'torch.nn.utils.parametrize.remove_parametrizations({where}, "{weight}")'
        elif f"{weight}_orig" in module._parameters and f"{weight}_mask" in module._buffers:
            line = f'torch.nn.utils.prune.remove({where}, "{weight}")'
        elif f"{weight}_orig" in module._parameters:
            line = f'torch.nn.utils.remove_spectral_norm({where}, "{weight}")'
        elif f"{weight}_g" in module._parameters:
            line = f'torch.nn.utils.remove_weight_norm({where}, "{weight}")'
        else:
            continue
        raise UserError(
            f"{name or 'model'}.{weight} is computed from other parameters and cannot be held in an array; first: {line}"
        )


def refuse_sharded(model: nn.Module) -> None:
    """Raises `UserError` for a model whose weights FSDP (1 or 2) has cut into shards."""
    # known by name: importing torch.distributed.fsdp takes as long as everything else here
    kinds = {kind.__name__ for module in model.modules() for kind in type(module).__mro__}
    kinds |= {type(parameter).__name__ for parameter in model.parameters()}
    if kinds & {"FullyShardedDataParallel", "FSDPModule", "DTensor"}:
        raise UserError(
            "under FSDP each rank holds shards of the weights, and a filter's scale needs whole ones: train with "
            "DistributedDataParallel(model), and measure an unsharded model with the full state_dict in it."
        )


def _reason(module: nn.Module, parameter: Tensor) -> str:
    kind = type(module).__name__
    if isinstance(module, _KNOWN_DIGITAL):
        return f"{kind} stays digital"
    if parameter.dim() <= 1:
        return f"a bias, scale or vector of {kind}"
    return f"no rule for {kind}: name it in also=(...) to include it"


def survey(model: nn.Module, also: Iterable[str] = (), protect: Iterable[str] = ()) -> list[SurveyedParameter]:
    """Every parameter of `model`, with the array that it becomes or the reason why it does not.

    `also` and `protect` are patterns (as of a shell) over parameter names: `also=("*.bias",)`, `protect=("head.*",)`.
    A tied tensor appears once, under its first name, and is selected if any of its owners is. Whether a parameter
    requires a gradient does not matter: frozen weights sit on the chip too. Raises `UserError` for parametrised weights, for
    sharded ones (FSDP), for lazy ones that no batch has shaped yet, and for a pattern that matches nothing.
    """
    model = unwrapped(model)
    refuse_sharded(model)
    also, protect = tuple(also), tuple(protect)
    found: dict[int, SurveyedParameter] = {}
    names: dict[str, int] = {}
    for prefix, module in model.named_modules():
        _refuse_parametrised(prefix, module)
        places = _places(module)
        for own, parameter in module._parameters.items():
            if parameter is None:
                continue
            name = f"{prefix}.{own}" if prefix else own
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise UserError(f"{name} has no shape yet: run one batch through the model first.")
            names[name] = id(parameter)
            before = found.get(id(parameter))
            first = before.name if before else name
            place = places.get(own)
            asked = any(fnmatchcase(name, pattern) for pattern in also)
            if place is None and asked:
                place = _Place(0 if parameter.dim() > 1 else None)
            if not parameter.is_floating_point():
                entry = SurveyedParameter(
                    first, type(module).__name__, parameter, None, f"holds {parameter.dtype}, not floats"
                )
            elif parameter.numel() == 0:
                entry = SurveyedParameter(first, type(module).__name__, parameter, None, "empty")
            elif place is None:
                entry = SurveyedParameter(first, type(module).__name__, parameter, None, _reason(module, parameter))
            else:
                entry = SurveyedParameter(first, type(module).__name__, parameter, Array(first, parameter, *place), "")
            if before is None or (before.array is None and entry.array is not None):
                found[id(parameter)] = entry
    for patterns, what in ((also, "also"), (protect, "protect")):
        for pattern in patterns:
            hits = {names[name] for name in names if fnmatchcase(name, pattern)}
            if not hits:
                raise unknown("parameter", pattern, names)
            if what == "protect":
                for one in hits:
                    found[one] = found[one]._replace(array=None, reason=f"left out by {pattern!r}")
    return list(found.values())


@renamed_arguments(without="protect")
def select(model: nn.Module, also: Iterable[str] = (), protect: Iterable[str] = ()) -> list[Array]:
    """The arrays of `model`; see `survey` for the patterns. Raises `UserError` if there is none.

    >>> [array.name for array in select(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), protect=("2.*",))]
    ['0.weight']
    """
    found = survey(model, also, protect)
    arrays = [one.array for one in found if one.array is not None]
    if not arrays and any(one.reason.startswith("left out by") for one in found):
        raise UserError(
            f"every weight of {type(unwrapped(model)).__name__} is left out by {', '.join(map(repr, protect))}."
        )
    if not arrays:
        kinds = ", ".join(sorted({one.module for one in found})) or "no parameters at all"
        raise UserError(
            f"{type(unwrapped(model)).__name__} has no weight to perturb: it holds {kinds}; name some with also=(...)."
        )
    return arrays
