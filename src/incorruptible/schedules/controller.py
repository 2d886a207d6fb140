"""A closed loop: what a step saw decides how strong the next one is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Controller", "Seen", "State"]

State = dict[str, float]


class Seen(NamedTuple):
    """What one optimiser step computed anyway: its loss at the perturbed weights, and at the clean
    ones where the objective visits them (SAM, mixed RWP); each the sum over micro-batches, and the
    mean over ranks. Not finite where a step blew up.
    """

    loss: float
    clean_loss: float | None = None


class Controller(Protocol):
    """Plain numbers in, plain numbers out: `state["strength"]` is the strength of the step that
    comes next.

    A controller keeps nothing itself, so that its state is saved with a run and resumes to the same
    bits. Where it makes single steps at the clean weights, `state["held"]` is the strength that
    training is at. It may have a method `remark(before, after)`, which gives a sentence that the
    user should read, or None, after each step.
    """

    def start(self) -> State:
        """The state before the first step."""
        ...

    def next(self, progress: float, seen: Seen, state: State) -> State:
        """The state for the step at `progress` in [0, 1], after a step that saw `seen` under
        `state`.
        """
        ...
