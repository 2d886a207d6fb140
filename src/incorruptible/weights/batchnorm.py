"""BatchNorm's running statistics and all other buffers that a forward pass moves.

Three things are done with them. `Statistics` notes and restores all buffers, so that a look at
other weights leaves no trace. `fold_batchnorm` merges a BatchNorm into the layer before it.
`recalibrate_batchnorm` computes the running statistics anew for the weights that are in place.

Relies on: buffers of booleans are masks that no forward pass changes. Keeps: a restored buffer is
the same tensor in the same storage, unless a pass in inference mode made it; names of modules stay,
so the noise of an array, which is keyed by its name, stays too; after an error the statistics are
as before.
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

_NORMS = nn.modules.batchnorm._NormBase
_TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_FOLDABLE = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | _TRANSPOSED


class Statistics:
    """All that a forward pass may change besides weights: running statistics of BatchNorm and of
    norms of the user's own, the ranges that observers of fake quantisation have seen, vectors of
    spectral norms, counters. `take` notes their values, and `put` writes them back.

    Every buffer counts except buffers of booleans, which are masks: they are large and do not
    change.
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
        """Returns each buffer together with a copy of its values."""
        found = [buffers.get(name) for buffers, name in self._places]
        return [(one, None if one is None else one.detach().clone()) for one in found]

    def put(self, taken: list[tuple[Tensor | None, Tensor | None]]) -> None:
        """Puts the buffers that `take` returned back in place, with their values, in the same
        storage.
        """
        with torch.no_grad():
            for (buffers, name), (buffer, held) in zip(self._places, taken, strict=True):
                if buffers.get(name) is not buffer:  # a pass may have assigned another tensor
                    buffers[name] = buffer
                if buffer is not None and held is not None:
                    # The buffer was made in inference mode, and cannot be written to outside of
                    # that mode.
                    if buffer.is_inference():
                        buffers[name] = held
                        continue
                    # an observer begins with no channels, and resizes its buffers
                    if buffer.shape != held.shape:
                        buffer.resize_(held.shape)
                    buffer.copy_(held)

    def moved(self, taken: list[tuple[Tensor | None, Tensor | None]]) -> bool:
        """Whether any buffer is another tensor, or holds other values, than `take` returned."""
        now = [buffers.get(name) for buffers, name in self._places]
        return any(
            one is not buffer
            or (one is not None and held is not None and not torch.equal(one, held))
            for one, (buffer, held) in zip(now, taken, strict=True)
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts the model in evaluation mode for the length of a block. Afterwards each module is in its
    own mode again, so that a part which was frozen in evaluation mode stays frozen.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """Returns a copy of `model` in which every BatchNorm that directly follows a convolution or a
    Linear is folded into this layer.

    The filter w_f becomes w_f gamma_f / sqrt(var_f + eps), and the bias takes the rest, exactly.
    The BatchNorm becomes an Identity, so the names, and with them the noise of each chip, stay. In
    evaluation mode the copy computes the same function as the model.

    Folding changes the noise as follows. Noise that scales with the filter (filter-max,
    filter-norm, multiplicative) folds along with the weights: on each chip alike where gamma is
    positive, and in distribution where gamma is negative. Noise with an absolute, sqrtmax or layer
    scale does not, so a folded and an unfolded model differ under such noise.

    A BatchNorm stays where it follows something else, where the layer or the BatchNorm is called
    more than once, where the weights are read elsewhere in the model, and where the layer is
    parametrised. The output of a Linear is taken to be [b, features]. Raises `UserError` if
    torch.fx cannot trace the model, and if there is nothing to fold.
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
    # a module that is called twice, or whose weight is read elsewhere, would change in both places
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
            # on [b, channels, features] this BatchNorm counts channels, not the Linear's outputs
            continue
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
    """Folds `norm` into the weight and the bias of `layer`, in place."""
    # torch's own fuse_conv_bn_eval fails for grouped transposed convolutions, and its
    # fuse_linear_bn_eval for a BatchNorm with affine=False. The factor is computed in float64 and
    # rounded once at the end.
    assert norm.running_mean is not None and norm.running_var is not None
    growth = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        growth = growth * norm.weight.detach()
    before = 0.0 if layer.bias is None else layer.bias.detach()
    bias = (before - norm.running_mean) * growth
    if norm.bias is not None:
        bias = bias + norm.bias.detach()
    weight = layer.weight.detach()
    # The weight is [in, out / groups, ...], and the inputs of one group lie next to each other.
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
    """Computes the running statistics of BatchNorm anew for the weights that are in place, as the
    plain average over `batches`.

    `forward(model, batch)` runs the model; no labels are needed. Meanwhile only the BatchNorm
    modules are in training mode: torch's `swa_utils.update_bn` would switch dropout on as well.
    Raises `UserError` if the model has no BatchNorm with running statistics, or if there is no
    batch. After any error the statistics are as before.
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
                norm.momentum, norm.training = None, True  # momentum None means the plain average
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
