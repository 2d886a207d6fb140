"""Images that are decoded once and kept as bytes, which later runs map into memory.

Decoding takes far longer than reading bytes. `decoded` therefore writes the pixels of a source as
numpy arrays into a cache folder, whose name is a hash of the source's files and options.

Relies on: a file that changes gets another size or another time of change. Keeps: the cache folder
appears complete or not at all, also if two processes decode at once: each writes into a folder of
its own, which is then renamed. Images come in the order of their source.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from ...errors import UserError
from ...files import records
from .pictures import EXTRA, Part, Pictures, pictures

_LAYOUT = 1  # the version of the folder's layout, which is part of the key
_AHEAD = 512  # images that are decoded or wait to be written at one time


@dataclass(frozen=True)
class Decoded:
    """The names of the classes, and for each part the pixels [n, c, h, w] in bytes and the labels
    [n].
    """

    classes: tuple[str, ...]
    parts: dict[str, tuple[Tensor, Tensor]]


def folder() -> Path:
    """The folder of decoded images: $INCORRUPTIBLE_CACHE, or `incorruptible` in the user cache."""
    own = os.environ.get("INCORRUPTIBLE_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "incorruptible"


class _Coloured(Exception):
    """A coloured image came after grey ones: the grey ones must get three channels too."""


def decoded(source: str, image: str = "", label: str = "", size: int = 0) -> Decoded:
    """Returns the images of `source`, which `pictures` opens, in their own size or scaled to `size`
    x `size`.

    They are decoded the first time. Later they are found again by the names, sizes and times of
    change of the source's files. Grey images have one channel if all are grey, and else three, as
    all others. Raises `UserError` for images of different sizes if no `size` is given, and for a
    file that is no image.
    """
    opened = pictures(source, image, label)
    place = folder() / "images" / _key(source, opened, image, label, size)
    if not (place / "about.json").is_file():
        _decode(source, opened, place, size)
    try:
        about = records.read(place / "about.json")
        parts = {
            name: (_mapped(place / f"{name}.pixels.npy"), _mapped(place / f"{name}.labels.npy"))
            for name in about["parts"]
        }
    except (OSError, ValueError, KeyError) as problem:
        raise _torn(place, problem) from None
    return Decoded(tuple(about["classes"]), parts)


def _torn(place: Path, problem: Exception) -> UserError:
    """The error for a cache folder that cannot be read."""
    return UserError(
        f"{place} is torn ({type(problem).__name__}): delete it, and the next run makes it again."
    )


def _key(source: str, opened: Pictures, image: str, label: str, size: int) -> str:
    """A hash of all that decides the pixels: the kind of source, the options, and the files."""
    digest = hashlib.sha256(repr((_LAYOUT, source.partition(":")[0], image, label, size)).encode())
    for file in opened.files:
        found = file.stat()
        digest.update(repr((str(file.resolve()), found.st_size, found.st_mtime_ns)).encode())
    return digest.hexdigest()[:24]


def _mapped(file: Path) -> Tensor:
    """The array in `file`, of which memory holds only what is read. What is written to the array
    stays in this process.
    """
    return torch.from_numpy(np.load(file, mmap_mode="c"))


def _decode(source: str, opened: Pictures, place: Path, size: int) -> None:
    """Decodes all images into a work folder beside `place`, and then renames it to `place`."""
    sys.stderr.write(
        f"decoding {sum(part.size for part in opened.parts.values()):,} images of {source}, once\n"
    )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as problem:
        raise UserError(
            f"{place.parent} cannot be written ({problem.strerror}); name another folder: "
            "INCORRUPTIBLE_CACHE=PATH."
        ) from None
    try:
        try:
            classes = _write(source, opened, work, size)
        except _Coloured:
            classes = _write(source, opened, work, size, coloured=True)
        records.write(work / "about.json", {"classes": classes, "parts": list(opened.parts)})
        try:
            work.replace(place)
        except OSError as problem:
            if not (place / "about.json").is_file():  # if it is there, another process was faster
                raise _torn(place, problem) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(
    source: str, opened: Pictures, work: Path, size: int, coloured: bool = False
) -> list[str]:
    """Writes every part, and returns the names of the classes. Raises `_Coloured` at the first
    coloured image after grey ones.
    """
    shape: tuple[int, int, int] | None = None
    most = -1
    for name, part in opened.parts.items():
        if part.size == 0:
            raise UserError(f"{source}: the part {name} holds no image.")
        pixels: Any = None
        labels = np.empty(part.size, np.int64)
        for row, (one, number) in enumerate(_each(part, size)):
            if len(one) == 1 and (coloured or (shape is not None and shape[0] == 3)):
                one = one.repeat(3, 0)  # a grey image among coloured ones gets three equal channels
            elif len(one) == 3 and shape is not None and shape[0] == 1:
                raise _Coloured
            shape = _same(shape, one, source)
            if pixels is None:
                pixels = _opened(work / f"{name}.pixels.npy", (part.size, *shape))
            pixels[row], labels[row] = one, number
        if labels.min() < 0:
            raise UserError(
                f"{source}: some images of the part {name} have no label ({labels.min()})."
            )
        most = max(most, int(labels.max()))
        pixels.flush()
        with records.naming(work / f"{name}.labels.npy"):
            np.save(work / f"{name}.labels.npy", labels)
    classes = list(opened.classes) or [str(number) for number in range(most + 1)]
    if most >= len(classes):
        raise UserError(f"{source}: a label is {most}, and there are only {len(classes)} classes.")
    return classes


def _opened(file: Path, shape: tuple[int, ...]) -> Any:
    """Opens a new array of bytes in `file`, and reserves the disk space now: a disk that fills up
    under a mapped file would end the process by a signal.
    """
    with records.naming(file):
        found = open_memmap(file, "w+", np.uint8, shape)
        if hasattr(os, "posix_fallocate"):
            with file.open("rb+") as opened:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return found


def _same(shape: tuple[int, int, int] | None, one: np.ndarray, source: str) -> tuple[int, int, int]:
    """Returns the shape of the image `one`. Raises `UserError` if it is not `shape`, that of the
    others.
    """
    found = (one.shape[0], one.shape[1], one.shape[2])
    if shape is not None and found != shape:
        sizes = " and ".join(f"{w} x {h} pixels" for _, h, w in (shape, found))
        raise UserError(f"{source}: images differ, {sizes}; scale all of them: images:size=32.")
    return found


def _each(part: Part, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """The images in their order, decoded by as many threads as there are cores (16 at most)."""
    library = _library()
    waiting: deque[tuple[Future[np.ndarray], int]] = deque()
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        try:
            # at most _AHEAD images wait at a time, so that memory stays bounded
            for encoded, number in part.rows():
                waiting.append((threads.submit(_image, library, encoded, size), number))
                if len(waiting) >= _AHEAD:
                    found, own = waiting.popleft()
                    yield found.result(), own
            while waiting:
                found, own = waiting.popleft()
                yield found.result(), own
        finally:
            for found, _ in waiting:
                found.cancel()


def _image(library: Any, encoded: bytes | Path, size: int) -> np.ndarray:
    """One image as bytes [c, h, w]: one channel if it is grey, else three."""
    try:
        with library.open(encoded if isinstance(encoded, Path) else BytesIO(encoded)) as opened:
            if opened.mode.startswith(("I", "F")):
                raise UserError(
                    f"an image has pixels of mode {opened.mode}; 8 bits for each channel are "
                    "needed."
                )
            image = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
    except OSError as problem:
        where = encoded if isinstance(encoded, Path) else "an image"
        raise UserError(f"{where} cannot be decoded: {type(problem).__name__}.") from None
    if size:
        image = image.resize((size, size), library.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _library() -> Any:
    """Pillow's module of images. Raises `UserError` if Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError(f"images need Pillow: {EXTRA}") from None
    return Image
