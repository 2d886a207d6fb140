"""Language modelling of bytes: a small transformer on the sources of Python's standard library."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError, unknown
from ..specs.grammar import write
from .data.sources import origin, sources, windows
from .networks import SEQUENCES as NETWORKS
from .protocol import NamedTask, Task, constant_loss
from .scores import bits_per_byte

LONGEST = 256  # attention over a batch of 1,024 windows of 256 bytes takes a gigabyte
SIZES = {"validation": 256, "test": 512}


@dataclass(frozen=True)
class Bytes(NamedTask):
    """Python's standard library, each byte predicted from the bytes before it:
    `bytes:length=128`.

    `network` is "transformer" (2 blocks of width 64) or "deep-transformer" (6 blocks). The training
    data are `train` windows of `length` bytes from 8 of 10 .py files. 256 validation windows and
    512 test windows come from 1 of 10 files each. A hash of a file's name decides to which part it
    belongs.

    The score is bits per byte, the mean over the positions of a window: less is better. The version
    of Python and a fingerprint of all its files are part of a run's identity, so runs under another
    Python are other runs.
    """

    network: str = "transformer"
    train: int = 2048
    length: int = 64

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise unknown("network", self.network, NETWORKS)
        if self.train < 1:
            raise UserError(
                f"bytes: train={self.train}: at least 1 window is needed; 2048 are usual."
            )
        if not 2 <= self.length <= LONGEST:
            raise UserError(
                f"bytes: length={self.length}: 2 to {LONGEST} bytes are possible; 64 are usual."
            )

    def __str__(self) -> str:
        return write("bytes", self)

    def task(self) -> Task:
        """Returns the model and data, ready to use. Raises `UserError` if the standard library has
        fewer windows than are needed, or has no sources.
        """
        found = sources()
        train = self._part(found["train"], "train", self.train)
        validation, test = (self._part(found[part], part, size) for part, size in SIZES.items())
        make = partial(NETWORKS[self.network], self.length)
        return Task(
            make,
            test=test,
            train=train,
            validation=validation,
            score=bits_per_byte,
            reference=constant_loss(train[1]),
            name=str(self),
            blank=make,
            origin=origin(found),
        )

    def _part(self, files: dict[str, bytes], part: str, size: int) -> tuple[Tensor, Tensor]:
        """Returns windows of bytes [size, length], and the bytes that follow each of them
        [size, length].
        """
        text, starts = windows(files, self.length, part)
        if size > len(starts):
            raise UserError(
                f"bytes: {size} {part} windows of {self.length} bytes are needed, but this "
                f"Python's library has only {len(starts)}."
            )
        # each window takes one more byte than its length: the last byte is only predicted
        rows = text[starts[:size, None] + np.arange(self.length + 1)]
        whole = torch.from_numpy(rows.astype(np.int64))
        return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()
