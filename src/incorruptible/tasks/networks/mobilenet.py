"""MobileNetV2 for 32x32 images: inverted residuals around depthwise convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from ...errors import UserError
from .initial import he_normal

# Expansion, channels, blocks and first stride of each stage, from table 2 of the paper, but with
# stride 1 where 24 channels begin.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _layer(
    fan_in: int, fan_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution without bias, BatchNorm and ReLU6."""
    conv = nn.Conv2d(
        fan_in, fan_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(fan_out), nn.ReLU6()]


class Inverted(nn.Module):
    """An inverted residual: a 1x1 convolution to `expansion` times the channels, a 3x3 one on each
    channel by itself, and a 1x1 one back without ReLU. The input is added if the shapes agree.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * fan_in
        layers = _layer(fan_in, inner) if expansion > 1 else []
        layers += [*_layer(inner, inner, 3, stride, groups=inner), *_layer(inner, fan_out)[:-1]]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and fan_in == fan_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def _rounded(size: float) -> int:
    """The nearest multiple of 8, or the next one if rounding down would lose more than a tenth."""
    near = max(8, int(size + 4) // 8 * 8)
    return near + 8 if near < 0.9 * size else near


def mobilenet_v2(channels: int = 3, classes: int = 10, width: float = 1.0) -> nn.Sequential:
    """MobileNetV2 with depthwise convolutions, for 32x32 images, 2.24M parameters.

    Source: Sandler et al. 2018, arXiv 1801.04381, table 2. Strides are 1 in the stem and where 24
    channels begin, so that 4x4 pixels are left of 32x32, and there is no dropout. `width`
    multiplies all channels (the last 1280 only above 1), rounded to multiples of 8. Raises
    `UserError` unless `width` is positive.
    """
    if not width > 0:
        raise UserError(
            f"width={width:g}: a positive factor for the paper's channels is needed, such as 1 or "
            "0.5."
        )
    fan_in, last = _rounded(32 * width), _rounded(1280 * max(1.0, width))
    layers = _layer(channels, fan_in, 3)
    for expansion, wide, depth, stride in STAGES:
        for i in range(depth):
            layers.append(Inverted(fan_in, _rounded(wide * width), 1 if i else stride, expansion))
            fan_in = _rounded(wide * width)
    layers += [
        *_layer(fan_in, last),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(last, classes),
    ]
    model = nn.Sequential(*layers)
    he_normal(model)
    return model
