"""Images as bytes, augmented and normalised a batch at a time, on the device that trains.

Relies on: normalised pixels are (p / 255 - mean) / std for a byte p. Keeps: the augmentation of an
epoch follows from the name of its order alone, not from the device or the size of a batch; the
bytes themselves never change.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import key
from .batches import Batches

SHARE = 0.25  # all pixels stay on a GPU for good if they take at most this share of its free memory


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training images, made anew in each epoch and for each image.

    They are made in this order:

    - `crop`: the image is moved by up to `crop` pixels each way, uniformly, and uncovered pixels
      are black (zero padding and a crop, as in He et al. 2016).
    - `flip`: the image is mirrored left to right with probability 1/2.
    - `cutout`: a square with a side of `cutout` pixels becomes the mean colour. Its centre is
      anywhere on the image, so that the square may reach over the edge (DeVries and Taylor 2017,
      arXiv 1708.04552).

    Raises `UserError` for a negative `crop` or `cutout`.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            if getattr(self, name) < 0:
                raise UserError(
                    f"{name}={getattr(self, name)}: the number of pixels must not be negative."
                )

    def drawn(self, count: int, height: int, width: int, order: tuple[str | int, ...]) -> Tensor:
        """Draws whole numbers [count, 5]. They are, for each image, the rows and the columns by
        which it is moved, whether it is mirrored, and the row and the column of the square's
        centre.
        """
        source = torch.Generator().manual_seed(key(*order, "augmentation"))
        most = (2 * self.crop + 1, 2 * self.crop + 1, 2, height, width)
        return torch.stack([torch.randint(one, (count,), generator=source) for one in most], 1)

    def moved(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """Returns the pixels [b, c, h, w], of any type, after crop and flip. `drawn` [b, 5] is on
        the same device.
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
    """Pixels [n, c, h, w] in bytes and labels [n], with the mean [c] and standard deviation [c], of
    pixels in [0, 1], that normalise them.

    `batches` gives float32 images in channels-last memory, less the mean and divided by the
    standard deviation, with their labels. `augmentation` is applied only where the caller asks for
    it, which is in training.
    """

    pixels: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    augmentation: Augmentation = Augmentation()

    def __len__(self) -> int:
        return len(self.labels)

    def identity(self) -> tuple[object, ...]:
        """Everything that decides the values of the images, for fingerprints."""
        return self.pixels, self.labels, self.mean, self.std, repr(self.augmentation)

    def first(self, count: int) -> Images:
        """The first `count` images, without augmentation."""
        return Images(self.pixels[:count], self.labels[:count], self.mean, self.std)

    def batches(
        self,
        size: int,
        order: tuple[str | int, ...] | None = None,
        device: torch.device | None = None,
        augmented: bool = False,
    ) -> Batches:
        """Batches of `size` images in `order`, made on `device`. With `augmented`, the
        augmentation's random numbers follow from `order` too.
        """
        return _Batches(self, size, order, device or torch.device("cpu"), augmented)


class _Batches(Batches):
    """Batches [images, labels] that are the same whatever was drawn before."""

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
        # A byte p becomes (p / 255 - mean) / std = p * scale + shift.
        scale, shift = 1 / (255 * self.images.std), -self.images.mean / self.images.std
        scale, shift = (one.to(self.device)[None, :, None, None] for one in (scale, shift))
        pixels, labels = (self.taken(tensor, places) for tensor in self.tensors)
        drawn = (
            None if self.drawn is None else self.drawn[places].to(self.device, non_blocking=True)
        )
        return [self._made(pixels, drawn, scale, shift), labels]

    def taken(self, tensor: Tensor, places: Tensor | slice) -> Tensor:
        """The rows of `tensor` at `places`, on the device that trains."""
        found = tensor[places.to(tensor.device) if isinstance(places, Tensor) else places]
        if found.device == self.device:
            return found
        # memory must be pinned for a copy to a GPU that does not wait
        return (found.pin_memory() if self.device.type == "cuda" else found).to(
            self.device, non_blocking=True
        )

    def _made(self, pixels: Tensor, drawn: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
        """Normalised images in channels-last memory, augmented if `drawn` is given."""
        augmentation = self.images.augmentation
        if drawn is not None:
            pixels = augmentation.moved(pixels, drawn)
        made = torch.empty_like(pixels, dtype=torch.float32, memory_format=torch.channels_last)
        made.copy_(pixels).mul_(scale).add_(shift)
        if drawn is not None and augmentation.cutout:
            # 0 is the mean colour after normalisation
            made.masked_fill_(augmentation.covered(drawn, *pixels.shape[2:]), 0)
        return made


def _on(images: Images, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns pixels and labels, on the GPU for good if they take a small part of its memory."""
    pair = images.pixels, images.labels
    if device.type != "cuda":
        return pair
    kept: dict[str, tuple[Tensor, Tensor]] = images.__dict__.setdefault("_kept", {})
    if str(device) not in kept:
        free, _ = torch.cuda.mem_get_info(device)
        fits = images.pixels.numel() <= SHARE * free
        kept[str(device)] = (images.pixels.to(device), images.labels.to(device)) if fits else pair
    return kept[str(device)]
