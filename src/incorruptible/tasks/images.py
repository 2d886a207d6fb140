"""Classification of images from files or the Hugging Face hub, on any network for images.

The task is written `images(parquet:PATH):network=resnet8`. Images are decoded once and kept as
bytes; a fixed, stratified order decides which of them are used for training and validation, so a
smaller number of images is always a part of a larger one.

Relies on: `stratified` gives the same order for the same labels. Keeps: training and validation
images are different ones; mean and standard deviation come from the training images that are used,
and from no other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..specs.grammar import Spec, split, write
from .data import Augmentation, Images
from .data.decoded import decoded
from .data.order import stratified
from .networks import IMAGES as NETWORKS
from .networks import image_network
from .protocol import NamedTask, Task, constant_loss

BATCH = 250  # images that are measured at once; a batch of this size stays in a processor's cache
FEWEST = 2


@dataclass(frozen=True)
class ImageTask(NamedTask):
    """Labelled images on a network for images: `images(hf:uoft-cs/cifar100):network=resnet8`.

    - `data` is `hf:OWNER/NAME`, `parquet:PATH` or `folder:PATH`. Its images are decoded once
      (`data.decoded`).
    - `network` is one of `networks.IMAGES`, or a folder of transformers (`networks.image_network`).
    - `validation` is the number of images for validation. Where the data have no validation part,
      they are the last training images of a fixed order in which classes come evenly.
    - `train` takes the first so many of the other training images, and `test` so many test images;
      0 takes all.
    - `crop`, `flip`, `cutout`: in each epoch, every training image is moved by up to `crop` pixels,
      mirrored with probability 1/2 (`flip`), and loses a square of `cutout` pixels.
    - `image` and `label` name the columns of tables. `size` scales all images to size x size; 0
      leaves them as they are.

    Pixels are normalised channel by channel, by the mean and standard deviation of the training
    images that are used.
    """

    data: str = field(metadata={"inner": True, "named": True})
    network: str = "resnet8"
    train: int = 0
    validation: int = 5000
    test: int = 0
    crop: int = 4
    flip: bool = True
    cutout: int = 0
    image: str = ""
    label: str = ""
    size: int = 0

    def __post_init__(self) -> None:
        if os.sep not in self.network:  # a folder is opened only when the network is made
            image_network(self.network)
        for name in ("train", "validation", "test", "size"):
            if getattr(self, name) < 0:
                raise UserError(
                    f"images: {name}={getattr(self, name)}: the number must not be negative."
                )
        Augmentation(self.crop, self.flip, self.cutout)

    def __str__(self) -> str:
        return write("images", self, self.data)

    def absolute(self) -> ImageTask:
        """Returns the same task, with paths that are found from any folder."""
        network = (
            self.network
            if self.network in NETWORKS
            else str(Path(self.network).expanduser().resolve())
        )
        return replace(self, data=absolute_data(self.data), network=network)

    @property
    def portable(self) -> str:
        """The task's text without data, and with "transformers" in place of a network's folder."""
        bare = write("images", self)
        own = os.sep in self.network
        return re.sub(r"network=[^:]*", "network=transformers", bare) if own else bare

    def task(self) -> Task:
        """Returns the model and data, ready to use. Raises `UserError` for data that are not there
        or are too few.
        """
        found = decoded(self.data, self.image, self.label, self.size)
        pixels, labels = found.parts["train"]
        order = stratified(labels, "images", "train")
        kept = None
        if "validation" not in found.parts:
            if self.validation >= len(order) - FEWEST:
                raise UserError(
                    f"images: validation={self.validation}: the training part has {len(order):,} "
                    "images; keep fewer."
                )
            kept, order = (
                order[len(order) - self.validation :],
                order[: len(order) - self.validation],
            )
        if self.train > len(order):
            raise UserError(
                f"images: train={self.train}: {len(order):,} images are left for training after "
                "those for validation."
            )
        chosen = order[: self.train or len(order)]
        train = pixels[chosen]
        mean, std = _normal(train)

        def part(
            some: tuple[Tensor, Tensor],
            which: Tensor | None,
            augmentation: Augmentation | None = None,
        ) -> Images:
            """The images of a part, all of them or those at the places `which`."""
            images, own = some if which is None else (some[0][which], some[1][which])
            return Images(images, own, mean, std, augmentation or Augmentation())

        augmentation = Augmentation(self.crop, self.flip, self.cutout)
        test = self._tested(found.parts["test"], "test", self.test)
        validation = (
            self._tested(
                found.parts["validation"],
                "validation",
                min(self.validation, len(found.parts["validation"][1])),
            )
            if kept is None
            else kept
        )
        channels, height, width = pixels.shape[1:]
        network = image_network(self.network)
        shape = {"channels": channels, "classes": len(found.classes), "size": (height, width)}
        classes = (
            f"{len(found.classes)} classes, {sha256(repr(found.classes).encode()).hexdigest()[:16]}"
        )
        return Task(
            partial(_channels_last, network, shape),
            test=part(found.parts["test"], test),
            train=Images(train, labels[chosen], mean, std, augmentation),
            validation=part(found.parts["train" if kept is not None else "validation"], validation),
            reference=constant_loss(labels[chosen]),
            name=self.portable,
            blank=partial(_channels_last, network.blank, shape),
            origin="; ".join(filter(None, (classes, network.origin))),
            batch=BATCH,
        )

    def _tested(self, part: tuple[Tensor, Tensor], name: str, count: int) -> Tensor | None:
        """Returns the places of the `count` images of a part to test on; None means all images."""
        size = len(part[1])
        if count > size:
            raise UserError(f"images: {name}={count}: the data have only {size:,} such images.")
        return stratified(part[1], "images", name)[:count] if 0 < count < size else None


def _channels_last(make: Callable[..., nn.Module], shape: dict[str, Any]) -> nn.Module:
    """Makes a network and lays its weights out as the images are laid out."""
    made: nn.Module = make(**shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return made


def _normal(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean [c] and standard deviation [c] of each channel of `pixels` [n, c, h, w],
    which are bytes, as shares of 255. A constant channel gets the standard deviation 1.
    """
    # counting the 256 values of a byte is exact, and makes no float copy of the images
    counts = torch.stack(
        [torch.bincount(one.flatten(), minlength=256) for one in pixels.unbind(1)]
    ).double()
    values, total = torch.arange(256, dtype=torch.float64) / 255, counts.sum(1)
    mean = counts @ values / total
    std = (counts @ values**2 / total - mean**2).clamp_min(0).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()


def absolute_data(data: str) -> str:
    """Returns `data` in a form that is found from any folder."""
    kind, colon, path = data.partition(":")
    return (
        f"{kind}{colon}{Path(path).expanduser().resolve()}"
        if kind in ("parquet", "folder") and path
        else data
    )


def needing_data(text: str | Spec) -> bool:
    """Whether `text` is an `images` task that names no data yet.

    >>> needing_data("images:network=resnet18"), needing_data("images(parquet:here)")
    (True, False)
    """
    spec = split(text)
    return spec.name == "images" and spec.inner is None


def with_data(text: str, data: str) -> str:
    """Returns the text of the task `text` on `data`, such as the command line's `--data`, with the
    path made absolute.

    >>> with_data("images:network=resnet18", "hf:uoft-cs/cifar100")
    'images(hf:uoft-cs/cifar100):network=resnet18'
    """
    spec = split(text)
    if spec.name != "images":
        raise UserError(
            f"{text} brings its own data; --data is for the task images (images:network=resnet8)."
        )
    _, _, rest = (
        text.partition(f"({spec.inner})") if spec.inner is not None else text.partition("images")
    )
    return f"images({absolute_data(data)}){rest}"
