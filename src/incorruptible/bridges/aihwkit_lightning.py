"""Our networks as networks of aihwkit-lightning, to go on training them there or to put them on
IBM's hardware.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn

from ..errors import UserError, renamed_arguments
from ..weights.arrays import unwrapped
from .peers import layers, lightning, put

_KINDS = {
    nn.Linear: "AnalogLinear",
    nn.Conv1d: "AnalogConv1d",
    nn.Conv2d: "AnalogConv2d",
    nn.Conv3d: "AnalogConv3d",
}


@renamed_arguments(without="protect")
def to_aihwkit_lightning(
    model: nn.Module, config: Any = None, *, protect: Iterable[str] = ()
) -> nn.Module:
    """Returns a copy of `model` with the layers of aihwkit-lightning, with our weights in them. The
    digital rest stays as it is.

    `config` is a TorchInferenceRPUConfig. The default has neither noise nor converters, so that the
    copy computes the same function as the model. aihwkit-lightning applies noise in training mode
    only. Parameters keep their names; weights that two layers share become separate. Weights that
    `protect` names stay digital. Raises `UserError` if aihwkit-lightning is not installed, and for
    layers that it does not have: subclasses, grouped and some dilated convolutions, padding other
    than zeros.
    """
    modules, configs = lightning("nn", "simulator.configs")
    made = copy.deepcopy(unwrapped(model))
    done: dict[int, nn.Module] = {}
    for layer in layers(made, _KINDS, "aihwkit-lightning", protect):
        # a layer that stands in several places is converted once
        if id(layer.module) not in done:
            kind = _KINDS[type(layer.module)]
            _plain_padding(layer.name, layer.module)
            own = configs.TorchInferenceRPUConfig() if config is None else copy.deepcopy(config)
            try:
                done[id(layer.module)] = getattr(modules, kind).from_digital(layer.module, own)
            except (ValueError, AssertionError) as problem:
                raise UserError(
                    f"aihwkit-lightning refuses {layer.name} ({kind}): {problem}"
                ) from problem
            done[id(layer.module)].train(layer.module.training)
        made = put(made, layer.name, done[id(layer.module)])
    return made


def _plain_padding(name: str, layer: nn.Module) -> None:
    """Writes the padding "same" and "valid" as numbers, the only form that aihwkit-lightning reads.
    Raises `UserError` for a convolution that it would compute wrongly.
    """
    if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return
    if not isinstance(layer, nn.Conv2d) and max(layer.dilation) > 1:
        raise UserError(
            f"aihwkit-lightning has no dilated {type(layer).__name__}: {name}; keep it digital "
            "with protect=."
        )
    if isinstance(layer.padding, str):
        whole = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        if layer.padding == "same" and any(one % 2 for one in whole):
            raise UserError(
                f"aihwkit-lightning pads both sides alike, but {name} has an even kernel and "
                "padding 'same', which pads one side more; keep it digital with protect=."
            )
        layer.padding = tuple(one // 2 if layer.padding == "same" else 0 for one in whole)


def noisy_configuration(strength: float) -> Any:
    """A TorchInferenceRPUConfig whose noise in training is our `gaussian-filter-max` at `strength`
    (AddNormalPerChannel in aihwkit-lightning). Strength 0 is no noise.

    There are no tiles: a filter is one slice, so its largest weight is max|W_f|. Raises `UserError`
    for a strength that is negative or not finite.
    """
    configs, enums = lightning("simulator.configs", "simulator.parameters.enums")
    if not 0 <= strength < float("inf"):
        raise UserError(f"noise {strength:g}: a finite strength of at least 0 is needed.")
    config = configs.TorchInferenceRPUConfig()
    if strength:
        config.modifier.noise_type = enums.WeightNoiseInjectionType.ADD_NORMAL_PER_CHANNEL
        config.modifier.std_dev = strength
    return config
