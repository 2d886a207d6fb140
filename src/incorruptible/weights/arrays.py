"""Which tensors of a network live in hardware arrays, and how each one is read as [filter, fan-in].

A *filter* is the weights that one output sees: a row of a Linear's weight, or the kernel of one
output channel of a convolution. The *fan-in* is the number of weights of a filter. Many corruptions
scale their errors with the largest weight or the norm of a filter, so the layout decides the noise.
`select` chooses the arrays by the type of their module; norms, biases and embeddings stay digital
unless they are named in `also`.

Relies on: `Array.value` shares its memory with the model's parameter. Keeps: arrays come in the
order of `model.named_parameters()`; a tensor that two modules share appears once, under its first
name; names carry no prefix of DistributedDataParallel or torch.compile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import NotFinite, UserError, renamed_arguments, unknown


@dataclass(frozen=True, eq=False)
class Array:
    """One tensor in hardware.

    `name` is the name of the parameter in the model. `parameter` is the model's own tensor, which
    is changed in place while other values stand in the array. `axis` is the dimension that counts
    filters; None means that the whole tensor is one filter. With `groups` > 1 (grouped transposed
    convolutions, tensors of experts) dimension 0 is cut into `groups` blocks, and each block has
    filters of its own.
    """

    name: str
    parameter: Tensor
    axis: int | None = 0
    groups: int = 1

    @property
    def value(self) -> Tensor:
        """The weights without gradient, in the parameter's own memory."""
        return self.parameter.data

    def reduce(self, how: Callable[..., Tensor], value: Tensor | None = None) -> Tensor:
        """Returns `how(value, dim=..., keepdim=True)` over the fan-in of each filter, broadcastable
        to `value`.

        `value` is a tensor of the array's shape; without it, the weights are reduced.
        """
        value = self.value if value is None else value
        if self.axis is None:
            return how(value, dim=tuple(range(value.dim())), keepdim=True)
        if self.groups == 1:
            return how(
                value, dim=tuple(d for d in range(value.dim()) if d != self.axis), keepdim=True
            )
        # the filters of a block are those of one group only, so each group is reduced by itself;
        # afterwards every index of dimension 0 gets the numbers of its group
        blocks = value.reshape(self.groups, -1, *value.shape[1:])
        kept = how(
            blocks, dim=tuple(d for d in range(1, blocks.dim()) if d != self.axis + 1), keepdim=True
        )
        return kept.expand(-1, blocks.shape[1], *kept.shape[2:]).flatten(0, 1)

    def peak(self) -> Tensor:
        """max|W_f| of each filter, broadcastable to the value."""
        # The largest and the smallest weight give max|W| without the tensor |W|, which is as large
        # as the array. Noise that scales with the filter asks for the peak at every draw.
        if self.value.is_contiguous() and self.axis == 0:
            return torch.maximum(
                self.reduce(torch.amax), self.reduce(torch.amin).neg_()
            ).abs_()  # abs_ makes 0 of -0, which a filter of zeros gives
        return self.reduce(torch.amax, self.value.abs())

    def norm(self) -> Tensor:
        """||W_f||_2 of each filter, broadcastable to the value."""
        return self.reduce(torch.linalg.vector_norm)

    @property
    def filters(self) -> int:
        """The number of filters in the array."""
        return 1 if self.axis is None else int(self.value.shape[self.axis]) * self.groups

    @property
    def pattern(self) -> str:
        """The text that names this array in `also`: its name, followed by the layout if it holds
        experts.
        """
        layouts = [layout for layout, axis in LAYOUTS.items() if axis == self.axis]
        experts = self.groups > 1 and self.value.dim() == 3 and self.groups == self.value.shape[0]
        return f"{self.name}:{layouts[0]}" if experts and layouts else self.name


# How a tensor of experts is laid out, as written behind its name in `also`, with the dimension of
# the outputs. Each expert is a block, whose filters have their own scale.
LAYOUTS = {"expert-out-in": 1, "expert-in-out": 2}


class SurveyedParameter(NamedTuple):
    """A parameter of a model with its array, or with the reason why it has none."""

    name: str
    module: str
    parameter: Tensor
    array: Array | None
    reason: str


# where the filters of a parameter lie: the fields `axis` and `groups` of its `Array`
class _Place(NamedTuple):
    axis: int | None
    groups: int = 1


def _weights(*names: str, axis: int = 0) -> Callable[[nn.Module], dict[str, _Place]]:
    """The rule for modules whose weights have these names, with the filters along `axis`."""
    return lambda module: {name: _Place(axis) for name in names}


def _transposed(module: nn.Module) -> dict[str, _Place]:
    """The rule for transposed convolutions: the weight is [in, out / groups, ...], so filters lie
    along dimension 1, and the inputs of each group follow one another in dimension 0.
    """
    return {"weight": _Place(1, int(module.groups))}  # type: ignore[arg-type]


def _recurrent(module: nn.Module) -> dict[str, _Place]:
    """The rule for recurrent layers, whose weights have a name for each layer and direction."""
    # torch's own list of names: weight norm, for example, replaces weight_hh_l0 by weight_hh_l0_g
    # and weight_hh_l0_v among the parameters, and neither of these two is a weight
    names: list[str] = module._flat_weights_names  # type: ignore[assignment]
    return {name: _Place(0) for name in names if name.startswith("weight_")}


# the first type of which a module is an instance decides
_PLACES: dict[type[nn.Module], Callable[[nn.Module], dict[str, _Place]]] = {
    nn.Linear: _weights("weight"),
    nn.Bilinear: _weights("weight"),
    nn.Conv1d: _weights("weight"),
    nn.Conv2d: _weights("weight"),
    nn.Conv3d: _weights("weight"),
    nn.ConvTranspose1d: _transposed,
    nn.ConvTranspose2d: _transposed,
    nn.ConvTranspose3d: _transposed,
    nn.MultiheadAttention: _weights(
        "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"
    ),
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
    """The weights of a module that belong in hardware, by name, and where their filters lie."""
    for kind, rule in _PLACES.items():
        if isinstance(module, kind):
            return rule(module)
    # The Conv1D of transformers is a linear layer whose weight is [fan-in, out]. It is known by its
    # name, so that transformers stays an optional dependency. All classes of the module are
    # searched for the name, because a parametrised Conv1D is a ParametrizedConv1D.
    if hasattr(module, "nf") and any(kind.__name__ == "Conv1D" for kind in type(module).__mro__):
        return {"weight": _Place(1)}
    return {}


def unwrapped(model: nn.Module) -> nn.Module:
    """Returns the model inside DistributedDataParallel, DataParallel and torch.compile, whose
    parameter names carry no prefix.
    """
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def _refuse_parametrised(name: str, module: nn.Module, protect: Sequence[str]) -> list[str]:
    """Raises `UserError` for a weight that is computed from other parameters, unless `protect`
    keeps the weight digital. Returns the names of the weights that `protect` matched.
    """
    aside: list[str] = []
    where = f'model.get_submodule("{name}")' if name else "model"  # model.0 is no Python expression
    for weight in _places(module):
        full = f"{name}.{weight}" if name else weight
        if any(fnmatchcase(full, pattern) for pattern in protect):
            aside.append(full)
            continue
        if hasattr(module, "weight_fake_quant"):
            raise UserError(
                f"{full} goes through a fake quantiser before it is used, so that errors would be "
                "quantised as well: convert the model first, or keep this weight digital: "
                f"protect=({full!r},)."
            )
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
            f"{name or 'model'}.{weight} is computed from other parameters and cannot be held in "
            f"an array; keep it digital with protect=({full!r},), or compute it for good first: "
            f"{line}"
        )
    return aside


def _refuse_wrapped(name: str, parameter: Tensor) -> None:
    """Raises `UserError` for a tensor that stands for other tensors (as torchao's quantised weights
    do): no value can be put in its place.
    """
    if hasattr(parameter, "__tensor_flatten__"):
        raise UserError(
            f"{name} is a {type(parameter.data).__name__}, which keeps its weights in other "
            "tensors, so that errors cannot be put into it: take the model as it was before it "
            f"was quantised, or keep this weight digital: protect=({name!r},)."
        )


def refuse_sharded(model: nn.Module) -> None:
    """Raises `UserError` if FSDP (1 or 2) has cut the weights of `model` into shards."""
    # The classes are known by name, because importing torch.distributed.fsdp takes as long as
    # everything else in this function.
    kinds = {kind.__name__ for module in model.modules() for kind in type(module).__mro__}
    kinds |= {type(parameter).__name__ for parameter in model.parameters()}
    if kinds & {"FullyShardedDataParallel", "FSDPModule", "DTensor"}:
        raise UserError(
            "under FSDP each rank holds shards of the weights, but the scale of a filter needs "
            "the whole filter: train with DistributedDataParallel(model), and measure an "
            "unsharded model into which the full state_dict was loaded."
        )


def refuse_offloaded(model: nn.Module) -> None:
    """Raises `UserError` for a parameter on the meta device, where it has a shape and no values."""
    for name, parameter in unwrapped(model).named_parameters():
        if parameter.is_meta:
            raise UserError(
                f"{name} is on the meta device and has no values: it is offloaded, or no weights "
                "were loaded yet; load the whole model into memory first (without device_map, or "
                "with model.to_empty and the weights)."
            )


def refuse_not_finite(model: nn.Module) -> None:
    """Raises `NotFinite`, a `UserError`, if a parameter or a buffer of `model` holds numbers that
    are not finite.
    """
    network = unwrapped(model)
    for kind, tensors in (
        ("parameter", network.named_parameters()),
        ("buffer", network.named_buffers()),
    ):
        for name, tensor in tensors:
            if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta:
                continue
            # The sum is cheap and not finite if any number is not. A sum of finite numbers may
            # overflow too, so only a sum that is not finite has every number looked at.
            if not bool(tensor.detach().sum().isfinite()) and (
                count := int((~tensor.detach().isfinite()).sum())
            ):
                raise NotFinite(
                    f"the {kind} {name} holds {count} of {tensor.numel()} numbers that are not "
                    "finite: the answers of such a network have no meaning, with or without "
                    "errors; load other weights."
                )


def _reason(module: nn.Module, parameter: Tensor) -> str:
    """Says why a parameter without a rule has no array."""
    kind = type(module).__name__
    if isinstance(module, _KNOWN_DIGITAL):
        return f"{kind} stays digital"
    if parameter.dim() <= 1:
        return f"a bias, scale or vector of {kind}"
    # the positions of a transformer are [1, n, d], and no experts
    if parameter.dim() == 3 and len(parameter) > 1:
        return (
            f"no rule for {kind}: name it in also=(...), a tensor of experts with its layout, as "
            "in 'NAME:expert-out-in'"
        )
    return f"no rule for {kind}: name it in also=(...) to include it"


def _asked(also: Iterable[str]) -> list[tuple[str, str]]:
    """Splits each entry of `also` into its pattern and its layout, which is empty if none was
    written. Raises `UserError` for an unknown layout.
    """
    asked = []
    for written in also:
        pattern, _, layout = written.partition(":")
        if ":" in written and layout not in LAYOUTS:
            raise unknown("layout", layout, LAYOUTS)
        asked.append((pattern, layout))
    return asked


def _of_experts(name: str, module: nn.Module, parameter: Tensor, layout: str) -> _Place:
    """Returns where the filters lie in a tensor that has no rule and was named in `also`. Raises
    `UserError` if the tensor seems to hold experts and was named without a layout, or if a tensor
    with a layout has not three dimensions.
    """
    if layout and parameter.dim() != 3:
        shape = "x".join(map(str, parameter.shape))
        raise UserError(
            f"{name}:{layout}: a layout needs three dimensions, but the shape of {name} is "
            f"{shape}; name it without a layout."
        )
    if layout:
        return _Place(LAYOUTS[layout], int(parameter.shape[0]))
    kinds = f"{type(module).__name__} {name}".lower()
    if parameter.dim() == 3 and ("expert" in kinds or "moe" in kinds):
        raise UserError(
            f"{name} holds experts, and its shape does not tell which dimension holds their "
            f"outputs: name it with its layout, {name}:expert-out-in or {name}:expert-in-out (the "
            "last two dimensions, as the forward pass multiplies them)."
        )
    return _Place(0 if parameter.dim() > 1 else None)


def survey(
    model: nn.Module, also: Iterable[str] = (), protect: Iterable[str] = ()
) -> list[SurveyedParameter]:
    """Lists every parameter of `model`, with the array that it becomes or the reason why it has
    none.

    `also` and `protect` are patterns, as in a shell, over parameter names: `also=("*.bias",)` puts
    further parameters into arrays, and `protect=("head.*",)` keeps parameters digital. A tensor of
    experts, [E, out, in] or [E, in, out], is named with its layout, as in
    `also=("*.down_proj:expert-out-in",)`, and the filters of each expert have their own scale.

    A tensor that two modules share appears once, under its first name, and becomes an array if one
    of its modules puts it into one. Whether a parameter requires a gradient does not matter: frozen
    weights are on the chip too. A weight that is computed from others (parametrised, or behind a
    fake quantiser) may be named in `protect`, and stays digital.

    Raises `UserError` for a computed weight that is not protected, for weights in shards (FSDP),
    for a lazy module that no batch has shaped yet, and for a pattern that matches nothing.
    """
    model = unwrapped(model)
    refuse_sharded(model)
    named, protect = _asked(also), tuple(protect)
    found: dict[int, SurveyedParameter] = {}
    names: dict[str, int] = {}
    aside: list[str] = []
    for prefix, module in model.named_modules():
        aside += _refuse_parametrised(prefix, module, protect)
        places = _places(module)
        for own, parameter in module._parameters.items():
            if parameter is None:
                continue
            name = f"{prefix}.{own}" if prefix else own
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise UserError(f"{name} has no shape yet: run one batch through the model first.")
            names[name] = id(parameter)
            # a tensor that several modules share keeps its first name, and the array that any of
            # them gives it
            before = found.get(id(parameter))
            first = before.name if before else name
            place = places.get(own)
            asked = next((layout for pattern, layout in named if fnmatchcase(name, pattern)), None)
            if place is None and asked is not None:
                place = _of_experts(name, module, parameter, asked)
            if place is not None and not any(fnmatchcase(name, pattern) for pattern in protect):
                _refuse_wrapped(name, parameter)
            if not parameter.is_floating_point():
                entry = SurveyedParameter(
                    first,
                    type(module).__name__,
                    parameter,
                    None,
                    f"holds {parameter.dtype}, not floats",
                )
            elif parameter.numel() == 0:
                entry = SurveyedParameter(first, type(module).__name__, parameter, None, "empty")
            elif place is None:
                entry = SurveyedParameter(
                    first, type(module).__name__, parameter, None, _reason(module, parameter)
                )
            else:
                entry = SurveyedParameter(
                    first, type(module).__name__, parameter, Array(first, parameter, *place), ""
                )
            if before is None or (before.array is None and entry.array is not None):
                found[id(parameter)] = entry
    for patterns, what in (([pattern for pattern, _ in named], "also"), (protect, "protect")):
        for pattern in patterns:
            hits = {names[name] for name in names if fnmatchcase(name, pattern)}
            if not hits and not any(fnmatchcase(name, pattern) for name in aside):
                raise unknown("parameter", pattern, names)
            if what == "protect":
                for one in hits:
                    found[one] = found[one]._replace(array=None, reason=f"left out by {pattern!r}")
    return list(found.values())


class PackedWeight(NamedTuple):
    """A weight that a quantised layer keeps packed and not as a parameter: no error can be put into
    such a weight.
    """

    name: str
    module: str
    shape: tuple[int, ...]


def packed_weights(model: nn.Module) -> list[PackedWeight]:
    """The weights that torch's quantised layers (`torch.ao.nn.quantized`, dynamic or static) keep
    packed, outside the parameters.
    """
    found = []
    for prefix, module in unwrapped(model).named_modules():
        if ".nn.quantized" not in type(module).__module__:
            continue
        weight = getattr(module, "weight", None)
        each = getattr(module, "get_weight", None)
        held = {"weight": weight()} if callable(weight) else each() if callable(each) else {}
        for own, tensor in held.items():
            found.append(
                PackedWeight(
                    f"{prefix}.{own}" if prefix else own, type(module).__name__, tuple(tensor.shape)
                )
            )
    return found


def share_in(arrays: Sequence[Array], model: nn.Module) -> float:
    """The share of all weights of `model` that is in `arrays`, between 0 and 1.

    All weights are the parameters, shared ones counted once, and the packed weights. Vectors
    (biases, the scales of norms) do not count, unless they are in an array.
    """
    held = {id(array.parameter): array.parameter.numel() for array in arrays}
    whole = {
        id(parameter): parameter.numel()
        for parameter in unwrapped(model).parameters()
        if parameter.dim() > 1
    } | held
    beside = sum(math.prod(one.shape) for one in packed_weights(model))
    return sum(held.values()) / max(1, sum(whole.values()) + beside)


@renamed_arguments(without="protect")
def select(model: nn.Module, also: Iterable[str] = (), protect: Iterable[str] = ()) -> list[Array]:
    """Returns the arrays of `model`; `survey` explains the patterns.

    Raises `UserError` if there is no array, if a parameter is on the meta device, and whenever
    `survey` does.

    >>> [array.name for array in select(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), protect=("2.*",))]
    ['0.weight']
    """
    refuse_offloaded(model)
    found = survey(model, also, protect)
    arrays = [one.array for one in found if one.array is not None]
    if not arrays and any(one.reason.startswith("left out by") for one in found):
        raise UserError(
            f"every weight of {type(unwrapped(model)).__name__} is left out by "
            f"{', '.join(map(repr, protect))}."
        )
    if not arrays:
        kinds = ", ".join(sorted({one.module for one in found})) or "no parameters at all"
        raise UserError(
            f"{type(unwrapped(model)).__name__} has no weight to perturb: it holds {kinds}; name "
            "some with also=(...)."
        )
    return arrays
