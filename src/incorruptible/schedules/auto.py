"""A strength that tunes itself: up while training can bear it, down where it cannot, and down again
as learning ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from ..errors import UserError
from ..specs.grammar import write
from .controller import Seen, State

__all__ = ["Auto"]

WINDOW = 0.02  # of training: over which the loss is averaged
PATIENCE = (
    0.1  # of training: how long the first strength may wait for the loss to come below its budget
)
# The share of training over which the clean loss is averaged. A larger share bears more noise on
# labels, and costs more on text.
SLOW = 0.1
# Once the floor is learnt, one of so many steps is made at the clean weights, unless the objective
# visits them anyway.
EVERY = 8
LATEST = 0.75  # of training: a strength that falls after that falls because training ends
# A share of the loss of a predictor that knows nothing. Above it the network has learnt nothing, and
# there is no floor to learn.
LEARNT = 0.95


@dataclass(frozen=True)
class Auto:
    """Held at a loss budget that falls with the learning rate.

    With L the running mean of the perturbed loss over the last 2% of training, U the loss of a
    predictor that knows nothing, and

        B(p) = budget * U * (1 + cos(pi p)) / 2,

    the strength s goes, at progress p, by d ln s / dp = rate * clip((B - L) / B, -1, 1): up where
    the loss is below the budget, down where it is above. It begins at `first`, and waits until L
    first comes below B, a tenth of training at most. U is given by `classes` (U = ln classes, for
    balanced ones) or as `reference`: the initial loss would not do for fine-tuning. Where a training
    has a task, the task's own `reference` is taken unless one of the two is given (`for_task`).

    **Where the loss cannot come below B** (noisy labels, regression, text), it learns a floor F,
    the loss that can be reached: the lowest value so far of the clean loss, averaged over a tenth
    of training. Then the budget is for the rise above the floor,

        E(p) = budget * (U - F) * (1 + cos(pi p)) / 2
        d ln s / dp = rate * clip((E - (L - F)) / E, -1, 1),

    and one step in eight is made at strength 0, to see the clean loss; objectives that visit the
    clean weights (SAM) show it anyway. That begins after a tenth of training if L was never below
    B, or when the strength has fallen to half of `first` before three quarters of it, and only
    where L is below .95 U. Trainings in which neither happens are as without a floor, bit for bit.
    `learn=False` leaves the floor out: the strength then falls, to a tenth of `first` at the least,
    until L comes below B.

    The budget falls as a cosine learning rate does, so training is hard while it can still learn
    and easy at the end: the strength climbs to what the network can bear, then falls. The last
    weights do well under weak and medium noise, earlier ones (`Recipe.checkpoints`) under strong
    noise. Where the test strength is known, `cap` bounds the strength (twice the test strength,
    say), and from half of training on it does not fall below `end` (the test strength itself), or
    what it was at half if that is less. The strength is the objective's: a corruption's, or SAM's
    rho. Meant for gradients clipped at 1. What it brings where, and what was tried besides, and
    lost: docs/results/auto.md.

    Raises `UserError` for both `classes` and `reference`, and for values out of range; `start`, and
    with it `Hardener`, for neither.

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
    learn: bool = True

    def __post_init__(self) -> None:
        if self.classes is not None and self.reference is not None:
            raise UserError(
                "auto: classes and reference are two ways to say one thing, the unit of its "
                "budget: give one."
            )
        if self.classes is not None and not (isinstance(self.classes, int) and self.classes >= 2):
            raise UserError(
                f"auto: classes {self.classes!r}: a whole number, 2 at least, is needed."
            )
        for key in ("reference", "budget", "first", "rate"):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise UserError(f"auto: {key} {value!r}: a finite number above 0 is needed.")
        if not self.cap > 0:
            raise UserError(f"auto: cap {self.cap!r}: a strength above 0 is needed.")
        if not 0 <= self.end <= self.cap or self.end == math.inf:
            raise UserError(
                f"auto: end {self.end!r}: a strength from 0 to the cap ({self.cap:g}) is needed."
            )

    def __str__(self) -> str:
        return write(self.name, self)

    @property
    def revision(self) -> int | None:
        """Which rule this text stands for, where it stood for another one before: trainings by the
        two have names of their own.
        """
        return 2 if self.learn else None

    @property
    def _unit(self) -> float:
        """U, the loss of a predictor that knows nothing."""
        return math.log(self.classes) if self.classes is not None else self.reference or math.nan

    def nats(self, progress: float) -> float:
        """The budget at that progress, in the loss's own unit."""
        return self.budget * self._unit * (1 + math.cos(math.pi * progress)) / 2

    def start(self) -> State:
        """The state before the first step. Raises `UserError` where nobody has said U."""
        if self.classes is None and self.reference is None:
            raise UserError(
                "auto needs the unit of its budget: auto:classes=10, or auto:reference=2.3 (the "
                "loss of a constant predictor), or a task that states it: Task(reference=2.3)."
            )
        strength = min(self.first, self.cap)
        return {"strength": strength, "half": strength, "progress": 0.0, "below": 0.0}

    def for_task(self, reference: float | None) -> Auto:
        """This controller, with U taken from a task's `reference` where it has none of its own.

        A reference of ln n for a whole number n is written as `classes=n`, so that `auto` on ten
        balanced classes is the same run as `auto:classes=10`.

        >>> print(Auto().for_task(math.log(10)), Auto().for_task(2.5), Auto(classes=3).for_task(2.5))
        auto:classes=10 auto:reference=2.5 auto:classes=3
        """
        if reference is None or self.classes is not None or self.reference is not None:
            return self
        classes = round(math.exp(min(reference, 20.0)))
        if classes > 1 and math.isclose(reference, math.log(classes), rel_tol=1e-12):
            return replace(self, classes=classes)
        return replace(self, reference=reference)

    def next(self, progress: float, seen: Seen, state: State) -> State:
        """The state for the step at `progress`; a loss above four first budgets, or not finite,
        counts as that.

        Once there is a floor it counts as four times U, and `state["held"]` is the strength of
        steps that are not made at 0.
        """
        if "floor" in state:
            return self._above_floor(progress, seen, state)
        most, passed = 4 * self.nats(0.0), progress - state["progress"]
        loss = _bounded(seen.loss, most)
        before = state.get("loss", loss)
        average = before + min(1.0, passed / WINDOW) * (loss - before)
        budget = max(self.nats(progress), 1e-9 * most)
        below = 1.0 if average < budget else state["below"]
        strength = state["strength"]
        if below or progress > PATIENCE:
            push = max(-1.0, min(1.0, (budget - average) / budget))
            # A strength near zero would not come back in time.
            least = 0.0 if below else min(strength, self.first / 10)
            strength = min(self.cap, max(least, strength * math.exp(self.rate * passed * push)))
        strength, half = self._ended(progress, strength, state["half"])
        found = {
            "strength": strength,
            "half": half,
            "progress": progress,
            "below": below,
            "loss": average,
        }
        # a budget below a quarter bounds losses that are usual, and with them their average
        reached = (
            average if most >= self._unit else max(average, _bounded(seen.loss, 4 * self._unit))
        )
        if self._out_of_reach(found, reached):
            found |= {
                "loss": reached,
                "held": strength,
                "floor": reached,
                "clean": reached,
                "since": 0.0,
            }
        return found

    def remark(self, before: State, after: State) -> str | None:
        """What the user should know once half of training is over: that the strength is down where
        it began to matter least.
        """
        held, began = after.get("held", after["strength"]), min(self.first, self.cap)
        if not before["progress"] < 0.5 <= after["progress"] or held > began / 5:
            return None
        head = (
            f"auto: half of training is over, and the strength is down at {held:.2g} from {began:g}"
        )
        if self.learn and "floor" not in after:
            return (
                f"{head}: the loss is about that of a predictor that knows nothing "
                f"({self._unit:.3g}) or more. Set reference= to the loss of the best constant "
                "predictor on your data, or a constant strength, such as 0.1."
            )
        choice = "a larger budget=" if self.learn else "learn=true"
        return (
            f"{head}: the loss does not come below its budget. Set {choice}, or a constant "
            "strength, such as 0.1."
        )

    def _out_of_reach(self, state: State, loss: float) -> bool:
        """Whether the strength falls, while training goes on, though something was learnt."""
        fallen = not state["below"] or state["strength"] < min(self.first, self.cap) / 2
        late = not PATIENCE < state["progress"] < LATEST
        return self.learn and fallen and not late and loss < LEARNT * self._unit

    def _above_floor(self, progress: float, seen: Seen, state: State) -> State:
        most, passed = 4 * self._unit, progress - state["progress"]
        average, clean, held, since = (
            state["loss"],
            state["clean"],
            state["held"],
            state["since"] + 1.0,
        )
        looked = state["strength"] == 0.0 < held  # this step was made at the clean weights
        if not looked:
            average += min(1.0, passed / WINDOW) * (_bounded(seen.loss, most) - average)
        if looked or seen.clean_loss is not None:
            found = seen.loss if seen.clean_loss is None else seen.clean_loss
            clean += min(1.0, since * passed / SLOW) * (_bounded(found, most) - clean)
            since = 0.0
        # The floor never rises. If it did, noise that spoils the network would raise its own budget.
        floor = min(state["floor"], clean)
        share = max(
            self.budget * (self._unit - floor) * (1 + math.cos(math.pi * progress)) / 2, 1e-9 * most
        )
        push = max(-1.0, min(1.0, (share - (average - floor)) / share))
        least = min(held, self.first / 10)
        held = min(self.cap, max(least, held * math.exp(self.rate * passed * push)))
        held, half = self._ended(progress, held, state["half"])
        looks = seen.clean_loss is None and since >= EVERY - 1
        return {
            "strength": 0.0 if looks else held,
            "half": half,
            "progress": progress,
            "below": state["below"],
            "loss": average,
            "held": held,
            "floor": floor,
            "clean": clean,
            "since": since,
        }

    def _ended(self, progress: float, strength: float, half: float) -> tuple[float, float]:
        """The strength, not below `end` in the second half of training, and what it was at half."""
        if progress < 0.5:
            return strength, strength
        return max(strength, min(self.end, half)), half


def _bounded(loss: float, bound: float) -> float:
    return min(loss, bound) if math.isfinite(loss) else bound
