"""Networks of the field, by name; a call makes one with fresh weights from torch's global
generator.

Those for images, but for `mlp`, take `channels` and `classes`; those for sequences a `length`.
`image_network` finds one for images by name or in a folder of transformers', and calls all alike.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .conv import small_conv
from .images import ImageNetwork, chosen
from .local import LocalModel, local_model
from .mlp import mlp
from .mobilenet import mobilenet_v2
from .resnet import cifar_resnet, resnet8, resnet18, resnet20, resnet50, resnet56
from .transformer import deep_transformer, transformer
from .vit import vit
from .wide_resnet import wide_resnet, wrn_16_4, wrn_28_10

__all__ = [
    "CATALOGUE",
    "IMAGES",
    "SEQUENCES",
    "ImageNetwork",
    "LocalModel",
    "cifar_resnet",
    "deep_transformer",
    "image_network",
    "local_model",
    "mlp",
    "mobilenet_v2",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet50",
    "resnet56",
    "small_conv",
    "transformer",
    "vit",
    "wide_resnet",
    "wrn_16_4",
    "wrn_28_10",
]

IMAGES: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "conv": small_conv,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "wrn-16-4": wrn_16_4,
    "wrn-28-10": wrn_28_10,
    "mobilenet-v2": mobilenet_v2,
    "vit": vit,
}
# these are asked for a length, and have one of their own without
SEQUENCES: dict[str, Callable[..., nn.Module]] = {
    "transformer": transformer,
    "deep-transformer": deep_transformer,
}
CATALOGUE: dict[str, Callable[..., nn.Module]] = {**IMAGES, **SEQUENCES}


def image_network(text: str) -> ImageNetwork:
    """The network for images that `text` names: `resnet8`, or a folder that holds a `config.json`
    of transformers.

    >>> image_network("mlp")(channels=3, classes=10, size=8)[1]
    Linear(in_features=192, out_features=128, bias=True)
    """
    return chosen(text, IMAGES)
