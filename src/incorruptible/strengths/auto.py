"""A strength that tunes itself: up while training can bear it, down where it cannot, and down again as learning ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..errors import Mistake
from ..grammar import write
from .controller import Seen, State

__all__ = ["Auto"]

WINDOW = 0.02  # of training: over which the loss is averaged
PATIENCE = 0.1  # of training: how long the first strength may wait for the loss to come below its budget


@dataclass(frozen=True)
class Auto:
    """Climb under a loss budget, then glide down.

    With B = budget * ln(classes), or budget * reference, and L the running mean of the perturbed loss over the last 2% of
    training, until progress `turn`

        d ln s / dp = rate * clip((B - L) / B, -1, 1),

    from `first` on, which waits until L first comes below B (at most a tenth of training). From `turn` on the strength that
    was reached falls in a straight line to 0 at the end. One scale for everything: the unit of the budget is the loss of a
    predictor that knows nothing, so `classes` (ln of it, for balanced ones) or that loss itself, `reference`, must be given;
    the initial loss would not do for fine-tuning.

    Where the test strength is known, `cap` bounds the strength (twice the test strength, say), and `end` is where the glide
    ends (the test strength itself). The strength is the objective's: a corruption's, or SAM's rho. Meant for a learning rate
    that anneals (a cosine) and clipped gradients; the weights along the glide, from strong to weak, serve test noise from
    strong to weak (`Recipe.checkpoints`). What was tried besides, and lost: docs/auto.md.

    Raises `Mistake` for neither or both of `classes` and `reference`, and for values out of range.

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
    budget: float = 0.3
    first: float = 0.05
    rate: float = 12.0
    turn: float = 0.6

    def __post_init__(self) -> None:
        if (self.classes is None) == (self.reference is None):
            raise Mistake(
                "auto needs the unit of its budget: auto:classes=10, or auto:reference=2.3 (the loss of a constant predictor)."
            )
        if self.classes is not None and self.classes < 2:
            raise Mistake(f"auto: classes {self.classes!r}: at least 2 are needed.")
        for key in ("reference", "budget", "first", "rate"):
            value = getattr(self, key)
            if value is not None and not (0 < value < math.inf):
                raise Mistake(f"auto: {key} {value!r}: a finite number above 0 is needed.")
        if not self.cap > 0:
            raise Mistake(f"auto: cap {self.cap!r}: a strength above 0 is needed.")
        if not 0 <= self.end <= self.cap or self.end == math.inf:
            raise Mistake(f"auto: end {self.end!r}: a strength from 0 to the cap ({self.cap:g}) is needed.")
        if not 0 < self.turn <= 1:
            raise Mistake(f"auto: turn {self.turn!r}: a share of training, above 0 and at most 1, is needed.")

    def __str__(self) -> str:
        return write(self.name, self)

    @property
    def nats(self) -> float:
        """The budget in the loss's own unit."""
        return self.budget * (math.log(self.classes) if self.classes is not None else self.reference or math.nan)

    def start(self) -> State:
        """The state before the first step."""
        strength = min(self.first, self.cap)
        return {"strength": strength, "reached": strength, "progress": 0.0, "below": 0.0}

    def next(self, progress: float, seen: Seen, state: State) -> State:
        """The state for the step at `progress`; a loss that is not finite counts as four budgets."""
        budget, passed = self.nats, progress - state["progress"]
        loss = min(seen.loss, 4 * budget) if math.isfinite(seen.loss) else 4 * budget
        before = state.get("loss", loss)
        average = before + min(1.0, passed / WINDOW) * (loss - before)
        below = 1.0 if average < budget else state["below"]
        reached = state["reached"]
        if progress < self.turn and (below or progress > PATIENCE):
            push = max(-1.0, min(1.0, (budget - average) / budget))
            reached = min(self.cap, reached * math.exp(self.rate * passed * push))
        strength = reached
        if progress >= self.turn:
            end = min(self.end, reached)
            strength = end + (reached - end) * (1 - progress) / max(1e-12, 1 - self.turn)
        return {"strength": strength, "reached": reached, "progress": progress, "below": below, "loss": average}
