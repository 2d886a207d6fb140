"""Networks of the field, by name. Calling one makes a network with fresh weights from torch's
global generator.

Networks for images (except `mlp`) take `channels` and `classes`; networks for sequences take
`length`. `image_network` finds a network for images by its name, or in a folder of transformers,
and makes all of them callable in the same way.

>>> resnet8(channels=1, classes=10)[0][0]
Conv2d(1, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
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
# called with a length; without one, each has its own
SEQUENCES: dict[str, Callable[..., nn.Module]] = {
    "transformer": transformer,
    "deep-transformer": deep_transformer,
}
CATALOGUE: dict[str, Callable[..., nn.Module]] = {**IMAGES, **SEQUENCES}


def image_network(text: str) -> ImageNetwork:
    """Returns the network for images that `text` names: `resnet8`, or a folder with a `config.json`
    of transformers. Raises `UserError` for a text that names neither.

    >>> image_network("mlp")(channels=3, classes=10, size=8)[1]
    Linear(in_features=192, out_features=128, bias=True)
    """
    return chosen(text, IMAGES)
