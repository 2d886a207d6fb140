"""A network and data of your own as a task: a small recurrent network tells which of four
frequencies a noisy signal has.

    incorruptible train examples/own_model.py:task
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import incorruptible as inc

LENGTH, FREQUENCIES = 32, 4


class Listener(nn.Module):
    """A convolution, then a GRU over its outputs, then the class from the last state of the GRU."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.ear = nn.Conv1d(1, width, kernel_size=4, stride=4)
        self.memory = nn.GRU(width, width, batch_first=True)
        self.answer = nn.Linear(width, FREQUENCIES)

    def forward(self, x: Tensor) -> Tensor:
        heard = self.ear(x[:, None]).relu().transpose(1, 2)
        _, last = self.memory(heard)
        logits: Tensor = self.answer(last[0])
        return logits


def signals(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Signals [n, LENGTH] and their classes [n]. A signal is a sine of 1 to 4 periods with a random
    phase, in noise of standard deviation .5.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % FREQUENCIES
    phase = torch.rand(n, 1, generator=draw)
    time = torch.arange(LENGTH) / LENGTH
    clean = torch.sin(2 * torch.pi * ((labels[:, None] + 1) * time + phase))
    return clean + 0.5 * torch.randn(n, LENGTH, generator=draw), labels


def task() -> inc.Task:
    """The task that `incorruptible train`, `measure` and `audit` work on."""
    return inc.Task(
        Listener,
        train=signals(1000, seed=0),
        validation=signals(500, seed=1),
        test=signals(500, seed=2),
    )
