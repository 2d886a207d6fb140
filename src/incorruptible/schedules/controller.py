"""What a controller is: it computes the strength of the next step from the losses of this one."""

from __future__ import annotations

from typing import NamedTuple, Protocol

State = dict[str, float]


class Seen(NamedTuple):
    """The losses of one optimiser step: at the perturbed weights, and at the clean weights where
    the objective visits them (SAM, mixed RWP, RandBET), else None.

    Each is the sum over micro-batches and the mean over ranks. It is not finite where the step was
    skipped. No pass is added for it.
    """

    loss: float
    clean_loss: float | None = None


class Controller(Protocol):
    """A rule that computes a new state from the losses of a step. A state is a dictionary of plain
    numbers; `state["strength"]` is the strength of the next step.

    A controller is stateless itself: its state travels through `next`, is saved with a run, and
    resumes to the same bits. Where a controller makes single steps at the clean weights,
    `state["held"]` is the strength of the other steps. A controller may have a method
    `remark(before, after)`, which is called after each step with the two states and returns a
    sentence for the user, or None. It may have `cap`, the largest strength that it gives.
    """

    def start(self) -> State:
        """The state before the first step."""

    def next(self, progress: float, seen: Seen, state: State) -> State:
        """The state for the step at `progress` in [0, 1]. The step before was made under `state`
        and had the losses `seen`.
        """
