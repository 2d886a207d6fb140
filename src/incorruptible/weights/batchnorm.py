"""Running statistics and other buffers: kept from moving; those of BatchNorm folded away, or
computed anew for other weights.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import UserError

__all__ = ["Statistics", "evaluating", "fold_batchnorm", "recalibrate_batchnorm"]

_NORMS = nn.modules.batchnorm._NormBase
_TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_FOLDABLE = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | _TRANSPOSED


class Statistics:
    """What a forward pass may move besides weights: running statistics of BatchNorm and of norms of
    one's own, the ranges that observers of fake quantisation have seen, vectors of spectral norms,
    counters. `take` notes it, `put` writes it back.

    Everything that is a buffer counts, but for masks (buffers of booleans), which are large and
    stand still.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self.modules = [m for m in modules if isinstance(m, _NORMS) and m.running_mean is not None]
        self._places = [
            (module._buffers, name)
            for module in modules
            for name, buffer in module._buffers.items()
            if buffer is not None and buffer.dtype != torch.bool
        ]

    def take(self) -> list[tuple[Tensor | None, Tensor | None]]:
        """Every buffer, and a copy of what it holds."""
        found = [buffers.get(name) for buffers, name in self._places]
        return [(one, None if one is None else one.detach().clone()) for one in found]

    def put(self, taken: list[tuple[Tensor | None, Tensor | None]]) -> None:
        """Put the buffers that were taken in place, with what they held, in the same storage."""
        with torch.no_grad():
            for (buffers, name), (buffer, held) in zip(self._places, taken, strict=True):
                if buffers.get(name) is not buffer:  # a pass may assign another tensor
                    buffers[name] = buffer
                if buffer is not None and held is not None:
                    # Made by a pass in inference mode, outside of which it cannot be written to.
                    if buffer.is_inference():
                        buffers[name] = held
                        continue
                    if buffer.shape != held.shape:  # observers begin with no channels, and grow
                        buffer.resize_(held.shape)
                    buffer.copy_(held)

    def moved(self, taken: list[tuple[Tensor | None, Tensor | None]]) -> bool:
        """Whether anything is other than it was taken."""
        now = [buffers.get(name) for buffers, name in self._places]
        return any(
            one is not buffer
            or (one is not None and held is not None and not torch.equal(one, held))
            for one, (buffer, held) in zip(now, taken, strict=True)
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model.eval()` for a while; afterwards each module is in its own mode again (a frozen part
    stays frozen).
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy of `model` in which every BatchNorm that directly follows a convolution or Linear is
    folded into it.

    w_f becomes w_f gamma_f / sqrt(var_f + eps) and the bias takes the rest, exactly; the BatchNorm
    becomes an Identity, so names, and with them the chips of a draw, stay as they were. In eval
    mode the copy computes what the model does, and under noise that scales with the filter
    (filter-max, filter-norm, multiplicative) the noise folds along: chip by chip where gamma is
    positive, in distribution where it is negative; under absolute, sqrtmax and layer scales it does
    not, so the two policies differ there. Modules that are called more than once or whose weights
    are read elsewhere, parametrised layers, and BatchNorms behind something else stay. A Linear's
    output is taken to be [b, features]. Raises `UserError` where torch.fx cannot trace the model or
    nothing folds.
    """
    model = copy.deepcopy(model).eval()
    try:
        graph = fx.symbolic_trace(model).graph
    except Exception as problem:
        reason = str(problem).strip().split("\n")[0]
        raise UserError(
            f"torch.fx cannot trace {type(model).__name__} ({reason}); measure it as-is or "
            "recalibrated."
        ) from problem
    modules = dict(model.named_modules())
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    calls.update(
        str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"
    )
    folded = 0
    for node in graph.nodes:
        before = node.args[0] if node.args else None
        if (
            node.op != "call_module"
            or not isinstance(before, fx.Node)
            or before.op != "call_module"
        ):
            continue
        norm, layer = modules[str(node.target)], modules[str(before.target)]
        alone = len(before.users) == 1 and calls[str(node.target)] == calls[str(before.target)] == 1
        if (
            not isinstance(norm, nn.modules.batchnorm._BatchNorm)
            or norm.running_mean is None
            or not alone
        ):
            continue
        if not isinstance(layer, _FOLDABLE) or "weight" not in layer._parameters:
            continue
        if isinstance(layer, nn.Linear) and layer.out_features != norm.num_features:
            continue  # on [b, channels, features] the BatchNorm counts channels
        _fold(layer, norm)
        parent, _, last = str(node.target).rpartition(".")
        setattr(model.get_submodule(parent), last, nn.Identity())
        folded += 1
    if not folded:
        raise UserError(
            f"{type(model).__name__} has no BatchNorm that directly follows a convolution or "
            "Linear: nothing to fold."
        )
    return model


def _fold(layer: _FOLDABLE, norm: nn.modules.batchnorm._BatchNorm) -> None:
    # torch's own fuse_conv_bn_eval fails for grouped transposed convolutions, fuse_linear_bn_eval
    # for affine=False
    assert norm.running_mean is not None and norm.running_var is not None
    growth = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        growth = growth * norm.weight.detach()
    before = 0.0 if layer.bias is None else layer.bias.detach()
    bias = (before - norm.running_mean) * growth
    if norm.bias is not None:
        bias = bias + norm.bias.detach()
    weight = layer.weight.detach()
    # [in, out / groups, ...], the inputs of a group side by side.
    if isinstance(layer, _TRANSPOSED):
        blocks = weight.reshape(layer.groups, -1, *weight.shape[1:])
        each = growth.reshape(layer.groups, 1, -1, *[1] * (weight.dim() - 2))
        new = (blocks * each).flatten(0, 1)
    else:
        new = weight * growth.reshape(-1, *[1] * (weight.dim() - 1))
    layer.weight = nn.Parameter(new.to(weight.dtype), layer.weight.requires_grad)
    layer.bias = nn.Parameter(bias.to(weight.dtype), layer.bias is None or layer.bias.requires_grad)


def recalibrate_batchnorm(
    model: nn.Module, batches: Iterable[Any], forward: Callable[[nn.Module, Any], Any]
) -> None:
    """Compute the running statistics anew, as the plain average over `batches`, for the weights
    that are in place.

    `forward(model, batch)` runs the model. Only BatchNorm modules are in training mode meanwhile;
    torch's `swa_utils.update_bn` would switch dropout on as well. No labels are needed. Raises
    `UserError` without BatchNorm and without a batch; after any error the statistics are what they
    were.
    """
    statistics = Statistics(model)
    norms, taken, came = statistics.modules, statistics.take(), False
    if not norms:
        raise UserError(
            f"{type(model).__name__} has no BatchNorm with running statistics to recalibrate."
        )
    momenta = [norm.momentum for norm in norms]
    with evaluating(model), torch.no_grad():
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum, norm.training = None, True  # None: cumulative average
            for batch in batches:
                forward(model, batch)
                came = True
            if not came:
                raise UserError("there is no batch to compute the running statistics from.")
        except BaseException:
            statistics.put(taken)
            raise
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
