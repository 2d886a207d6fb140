"""Images as bytes, augmented and normalised a batch at a time, on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import key
from .batches import Batches

__all__ = ["Augmentation", "Images"]

SHARE = 0.25  # of a GPU's free memory that all pixels may take, to lie there for good


@dataclass(frozen=True)
class Augmentation:
    """What happens to each training image anew in each epoch, in this order; every image draws
    numbers of its own.

    `crop`: it is moved by up to so many pixels each way, evenly, and what is uncovered is black
    (zero padding and a crop, as of He et al. 2016). `flip`: it is mirrored left to right with
    probability 1/2. `cutout`: a square of so many pixels a side, its centre anywhere on the image,
    becomes the mean colour (DeVries and Taylor 2017, arXiv 1708.04552; it may reach over the edge).
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            if getattr(self, name) < 0:
                raise UserError(
                    f"{name}={getattr(self, name)}: a number of pixels that is not negative is "
                    "needed."
                )

    def drawn(self, count: int, height: int, width: int, order: tuple[str | int, ...]) -> Tensor:
        """Whole numbers [count, 5], for each image: rows and columns moved by, mirrored or not,
        centre of the square.
        """
        source = torch.Generator().manual_seed(key(*order, "augmentation"))
        most = (2 * self.crop + 1, 2 * self.crop + 1, 2, height, width)
        return torch.stack([torch.randint(one, (count,), generator=source) for one in most], 1)

    def moved(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """Pixels [b, c, h, w] of any type after crop and flip, by numbers [b, 5] on the same
        device.
        """
        b, _, h, w = pixels.shape
        if self.crop:
            p = self.crop
            padded = pixels.new_zeros(b, pixels.shape[1], h + 2 * p, w + 2 * p)
            padded[:, :, p : p + h, p : p + w] = pixels
            windows = padded.unfold(2, h, 1).unfold(3, w, 1)  # [b, c, 2p + 1, 2p + 1, h, w], a view
            pixels = windows[torch.arange(b, device=pixels.device), :, drawn[:, 0], drawn[:, 1]]
        if self.flip:
            pixels = torch.where(drawn[:, 2].bool()[:, None, None, None], pixels.flip(3), pixels)
        return pixels

    def covered(self, drawn: Tensor, height: int, width: int) -> Tensor:
        """Which pixels [b, 1, h, w] the square covers."""
        low = self.cutout // 2
        rows = torch.arange(height, device=drawn.device) - drawn[:, 3, None] + low
        columns = torch.arange(width, device=drawn.device) - drawn[:, 4, None] + low
        inside = [(one >= 0) & (one < self.cutout) for one in (rows, columns)]
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels [n, c, h, w] in bytes and labels [n], with the mean and standard deviation [c] that
    normalise them, in [0, 1].

    `batches` gives what networks take: float32 images in channels-last memory, less the mean and
    divided by the standard deviation, with labels. `augmentation` is applied where that is asked
    for, in training alone.
    """

    pixels: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    augmentation: Augmentation = Augmentation()

    def __len__(self) -> int:
        return len(self.labels)

    def identity(self) -> tuple[object, ...]:
        """What decides their values, for fingerprints."""
        return self.pixels, self.labels, self.mean, self.std, repr(self.augmentation)

    def first(self, count: int) -> Images:
        """The first `count` of them, unaltered by any augmentation."""
        return Images(self.pixels[:count], self.labels[:count], self.mean, self.std)

    def batches(
        self,
        size: int,
        order: tuple[str | int, ...] | None = None,
        device: torch.device | None = None,
        augmented: bool = False,
    ) -> Batches:
        """Batches of `size` in `order`, made on `device`; with `augmented` each epoch's numbers
        follow from `order` too.
        """
        return _Batches(self, size, order, device or torch.device("cpu"), augmented)


class _Batches(Batches):
    """As `Batches`: [images, labels], the same whatever came before."""

    def __init__(
        self,
        images: Images,
        size: int,
        order: tuple[str | int, ...] | None,
        device: torch.device,
        augmented: bool,
    ) -> None:
        super().__init__(_on(images, device), size, order)
        self.images, self.device = images, device
        self.drawn: Tensor | None = None
        if augmented and images.augmentation != Augmentation():
            height, width = images.pixels.shape[2:]
            self.drawn = images.augmentation.drawn(len(images), height, width, order or ("epoch",))

    def at(self, places: Tensor | slice) -> list[Tensor]:
        # a pixel p becomes (p / 255 - mean) / std = p * scale + shift
        scale, shift = 1 / (255 * self.images.std), -self.images.mean / self.images.std
        scale, shift = (one.to(self.device)[None, :, None, None] for one in (scale, shift))
        pixels, labels = (self.taken(tensor, places) for tensor in self.tensors)
        drawn = (
            None if self.drawn is None else self.drawn[places].to(self.device, non_blocking=True)
        )
        return [self._made(pixels, drawn, scale, shift), labels]

    def taken(self, tensor: Tensor, places: Tensor | slice) -> Tensor:
        found = tensor[places.to(tensor.device) if isinstance(places, Tensor) else places]
        if found.device == self.device:
            return found
        return (found.pin_memory() if self.device.type == "cuda" else found).to(
            self.device, non_blocking=True
        )

    def _made(self, pixels: Tensor, drawn: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
        augmentation = self.images.augmentation
        if drawn is not None:
            pixels = augmentation.moved(pixels, drawn)
        made = torch.empty_like(pixels, dtype=torch.float32, memory_format=torch.channels_last)
        made.copy_(pixels).mul_(scale).add_(shift)
        if drawn is not None and augmentation.cutout:
            made.masked_fill_(augmentation.covered(drawn, *pixels.shape[2:]), 0)
        return made


def _on(images: Images, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels and labels, on the GPU for good where they take a small part of it."""
    pair = images.pixels, images.labels
    if device.type != "cuda":
        return pair
    kept: dict[str, tuple[Tensor, Tensor]] = images.__dict__.setdefault("_kept", {})
    if str(device) not in kept:
        free, _ = torch.cuda.mem_get_info(device)
        fits = images.pixels.numel() <= SHARE * free
        kept[str(device)] = (images.pixels.to(device), images.labels.to(device)) if fits else pair
    return kept[str(device)]
