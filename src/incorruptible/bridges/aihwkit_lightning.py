"""Our networks for aihwkit-lightning, whose layers can go on being trained or be put on IBM's
hardware.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn

from ..errors import UserError, renamed_arguments
from ..weights.arrays import unwrapped
from .peers import layers, lightning, put

__all__ = ["noisy_configuration", "to_aihwkit_lightning"]

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
    """A copy of `model` with aihwkit-lightning's layers, our weights in them, and the digital rest
    as it is.

    `config` is its TorchInferenceRPUConfig; the default has neither noise nor converters, so that
    the copy computes what the model does. Parameters keep their names; tied ones become separate.
    Weights that `protect` names stay digital. aihwkit-lightning applies noise in training mode
    only. Raises `UserError` where it is not installed and for weights and layers that it has none
    for: subclasses, grouped and some dilated convolutions, padding other than zeros.
    """
    modules, configs = lightning("nn", "simulator.configs")
    made = copy.deepcopy(unwrapped(model))
    done: dict[int, nn.Module] = {}
    for layer in layers(made, _KINDS, "aihwkit-lightning", protect):
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
    """Padding "same" and "valid" as numbers, which is all that aihwkit-lightning reads; what it
    reads wrongly is refused.
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
                f"aihwkit-lightning pads both sides alike: {name} has an even kernel and padding "
                "'same'."
            )
        layer.padding = tuple(one // 2 if layer.padding == "same" else 0 for one in whole)


def noisy_configuration(strength: float) -> Any:
    """Its TorchInferenceRPUConfig whose training noise is our `gaussian-filter-max` at that
    strength: AddNormalPerChannel.

    Without tiles: a filter is one slice, so that its largest weight is max|W_f|. Strength 0 is no
    noise.
    """
    configs, enums = lightning("simulator.configs", "simulator.parameters.enums")
    if not 0 <= strength < float("inf"):
        raise UserError(f"noise {strength:g}: a finite strength of at least 0 is needed.")
    config = configs.TorchInferenceRPUConfig()
    if strength:
        config.modifier.noise_type = enums.WeightNoiseInjectionType.ADD_NORMAL_PER_CHANNEL
        config.modifier.std_dev = strength
    return config
