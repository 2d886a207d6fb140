"""A network for images by its name in the catalogue, or from a folder that `transformers` wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Protocol

from torch import nn

from ...errors import UserError, unknown
from .local import local_model


class ImageNetwork(Protocol):
    """Makes a network for images and a number of `classes`. `size` is the height and width of an
    image, one number if they are equal.
    """

    @property
    def origin(self) -> str:
        """What the network was made from, if this is a file, which a `Task` takes as its `origin`."""

    def __call__(self, *, channels: int, classes: int, size: int | tuple[int, int]) -> nn.Module:
        """Returns the network with fresh weights from torch's global generator, or with those of a
        folder.
        """

    def blank(self, *, channels: int, classes: int, size: int | tuple[int, int]) -> nn.Module:
        """Returns the network for weights that are loaded into it at once, as `Task.blank` does."""


@dataclass(frozen=True)
class _Catalogued:
    """A network of the catalogue, called with those of `channels`, `classes` and `size` that it
    takes.
    """

    make: Callable[..., nn.Module]
    origin: str = ""

    def __call__(self, *, channels: int, classes: int, size: int | tuple[int, int]) -> nn.Module:
        takes = signature(self.make).parameters
        height, width = (size, size) if isinstance(size, int) else size
        # an mlp takes pixels in a row, and is made with two hidden layers of 128
        if "widths" in takes:
            return self.make(channels * height * width, 128, 128, classes)
        if "size" in takes and height != width:
            raise UserError(
                f"images of {height}x{width}: {self.make.__name__} takes square ones only."
            )
        shape = {"channels": channels, "classes": classes, "size": height}
        return self.make(**{name: value for name, value in shape.items() if name in takes})

    def blank(self, *, channels: int, classes: int, size: int | tuple[int, int]) -> nn.Module:
        return self(channels=channels, classes=classes, size=size)


def chosen(text: str, catalogue: Mapping[str, Callable[..., nn.Module]]) -> ImageNetwork:
    """Returns the network of the catalogue that `text` names, or `local_model(text, "images")` for
    a folder or a `.json` file.

    A name in the catalogue goes before a folder of the same name. Raises `UserError` for a text
    that is neither.
    """
    if text in catalogue:
        return _Catalogued(catalogue[text])
    path = Path(text).expanduser()
    if not (os.sep in text or path.is_dir() or path.suffix == ".json"):
        raise UserError(
            f"{unknown('network', text, catalogue)} Or name a folder that holds a config.json of "
            "transformers."
        )
    return local_model(path, "images")
