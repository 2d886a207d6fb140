"""A strength that tunes itself: up while training can bear it, down where it cannot, and down again as learning ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..errors import UserError
from ..specs.grammar import write
from .controller import Seen, State

__all__ = ["Auto"]

WINDOW = 0.02  # of training: over which the loss is averaged
PATIENCE = 0.1  # of training: how long the first strength may wait for the loss to come below its budget


@dataclass(frozen=True)
class Auto:
    """Held at a loss budget that falls with the learning rate.

    With L the running mean of the perturbed loss over the last 2% of training, U the loss of a predictor that knows nothing, and

        B(p) = budget * U * (1 + cos(pi p)) / 2,

    the strength s goes, at progress p, by d ln s / dp = rate * clip((B - L) / B, -1, 1): up where the loss is below the budget,
    down where it is above. It begins at `first`, and waits until L first comes below B, a tenth of training at most; then it falls,
    to a tenth of `first` at the least, until it has. So it takes training in which the loss does come below the budget. U must be
    given, by `classes` (U = ln classes, for balanced ones) or as `reference`: the initial loss would not do for fine-tuning.

    The budget falls as a cosine learning rate does, so training is hard while it can still learn and easy at the end: the
    strength climbs to what the network can bear, then falls. The last weights do well under weak and medium noise, earlier ones
    (`Recipe.checkpoints`) under strong noise. Where the test strength is known, `cap` bounds the strength (twice the test
    strength, say), and from half of training on it does not fall below `end` (the test strength itself), or what it was at half
    if that is less. The strength is the objective's: a corruption's, or SAM's rho. Meant for gradients clipped at 1. What was
    tried besides, and lost: docs/auto.md.

    Raises `UserError` for neither or both of `classes` and `reference`, and for values out of range.

    >>> auto = Auto(classes=10)
    >>> state = auto.next(0.01, Seen(loss=0.0), auto.start())  # as far below the budget as can be: e^(12 * 0.01)
    >>> print(f"{state['strength']:.4f}")
    0.0564
    """

    name: ClassVar[str] = "auto"
    classes: int | None = None
    reference: float | None = None
    cap: float = math.inf
    end: float = 0.0
    budget: float = 0.35
    first: float = 0.05
    rate: float = 12.0

    def __post_init__(self) -> None:
        if self.classes is not None and self.reference is not None:
            raise UserError(
                "auto: classes and reference are two ways to say one thing, the unit of its budget: give one."
            )
        if self.classes is None and self.reference is None:
            raise UserError(
                "auto needs the unit of its budget: auto:classes=10, or auto:reference=2.3 (the loss of a constant predictor)."
            )
        if self.classes is not None and not (isinstance(self.classes, int) and self.classes >= 2):
            raise UserError(f"auto: classes {self.classes!r}: a whole number, 2 at least, is needed.")
        for key in ("reference", "budget", "first", "rate"):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise UserError(f"auto: {key} {value!r}: a finite number above 0 is needed.")
        if not self.cap > 0:
            raise UserError(f"auto: cap {self.cap!r}: a strength above 0 is needed.")
        if not 0 <= self.end <= self.cap or self.end == math.inf:
            raise UserError(f"auto: end {self.end!r}: a strength from 0 to the cap ({self.cap:g}) is needed.")

    def __str__(self) -> str:
        return write(self.name, self)

    def nats(self, progress: float) -> float:
        """The budget at that progress, in the loss's own unit."""
        unit = math.log(self.classes) if self.classes is not None else self.reference or math.nan
        return self.budget * unit * (1 + math.cos(math.pi * progress)) / 2

    def start(self) -> State:
        """The state before the first step."""
        strength = min(self.first, self.cap)
        return {"strength": strength, "half": strength, "progress": 0.0, "below": 0.0}

    def next(self, progress: float, seen: Seen, state: State) -> State:
        """The state for the step at `progress`; a loss above four first budgets, or not finite, counts as that."""
        most, passed = 4 * self.nats(0.0), progress - state["progress"]
        loss = min(seen.loss, most) if math.isfinite(seen.loss) else most
        before = state.get("loss", loss)
        average = before + min(1.0, passed / WINDOW) * (loss - before)
        budget = max(self.nats(progress), 1e-9 * most)
        below = 1.0 if average < budget else state["below"]
        strength, half = state["strength"], state["half"]
        if below or progress > PATIENCE:
            push = max(-1.0, min(1.0, (budget - average) / budget))
            least = 0.0 if below else min(strength, self.first / 10)  # from nothing it would not come back in time
            strength = min(self.cap, max(least, strength * math.exp(self.rate * passed * push)))
        if progress < 0.5:
            half = strength
        else:
            strength = max(strength, min(self.end, half))
        return {"strength": strength, "half": half, "progress": progress, "below": below, "loss": average}
