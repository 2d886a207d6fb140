"""`Auto`, a strength that tunes itself: it rises while the training loss is below a budget, and
falls while the loss is above.

Relies on: `next` is called once for each optimiser step, with progress that does not fall, and each
call gets the state that the call before returned.
Keeps: a state holds floats alone, so that it survives JSON bit for bit. Strengths lie between 0 and
`cap`. A training in which no floor is learnt has the bits of the rule without a floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from ..errors import UserError
from ..specs.grammar import write
from .controller import Seen, State

# Shares of training.
WINDOW = 0.02  # the loss is averaged over this share
PATIENCE = 0.1  # so long the first strength may wait for the loss to come below its budget
# The clean loss is averaged over this share. A larger share bears more noise on labels, and costs
# more on text.
SLOW = 0.1
# No floor is learnt after this share: a strength that falls so late falls because training ends.
LATEST = 0.75

# Once the floor is learnt, one of so many steps is made at the clean weights, unless the objective
# visits the clean weights anyway.
EVERY = 8
# A share of the loss of a constant predictor. Above it the network has learnt nothing, and there is
# no floor to learn.
LEARNT = 0.95


@dataclass(frozen=True)
class Auto:
    """A controller that holds the perturbed training loss at a budget, which falls with the
    learning rate.

    Choose it where no strength is known. It adds no pass, but one number is read from the device in
    each step. With L the running mean of the perturbed loss over the last 2% of training, U the
    loss of the best constant predictor, and

        B(p) = budget * U * (1 + cos(pi p)) / 2,

    the strength s moves at progress p by d ln s / dp = rate * clip((B - L) / B, -1, 1): up where
    the loss is below the budget, down where it is above. s begins at `first`, and stays there until
    L first comes below B, for a tenth of training at most. U is given by `classes` (U = ln
    classes, for balanced ones) or as `reference`: the initial loss would not do for fine-tuning.
    Where a training has a task, the task's own `reference` is taken unless one of the two is given
    (`for_task`).

    **Where the loss cannot come below B** (noisy labels, regression, text), `Auto` learns a floor
    F, the loss that can be reached: the lowest value so far of the clean loss, averaged over a
    tenth of training. The budget is then for the rise of the loss above the floor:

        E(p) = budget * (U - F) * (1 + cos(pi p)) / 2
        d ln s / dp = rate * clip((E - (L - F)) / E, -1, 1)

    To see the clean loss, one step in eight is then made at strength 0; an objective that visits
    the clean weights (SAM) shows the clean loss anyway. The floor is learnt where, after a tenth
    and before three quarters of training, L was never below B or the strength has fallen to half of
    `first`, and L is below .95 U. Trainings in which neither happens are as without a floor, bit
    for bit. With `learn=False` no floor is learnt: the strength then falls until L comes below B,
    to a tenth of `first` at the least.

    The budget falls as a cosine learning rate does. So the strength first climbs to what the
    network can bear, and then falls. The last weights do well under weak and medium noise, earlier
    weights (`Recipe.checkpoints`) under strong noise. Where the test strength is known, `cap`
    bounds the strength (twice the test strength, for example). From half of training on, the
    strength does not fall below `end` (the test strength itself), or below its value at half if
    that is less. The strength is the objective's: a corruption's, or SAM's rho. `Auto` is meant for
    gradients clipped at 1. docs/results/auto.md shows where it is ahead and behind, and what else
    was tried.

    Raises `UserError` for both `classes` and `reference`, and for values out of range; `start`, and
    with it `Hardener`, for neither.

    >>> auto = Auto(classes=10)
    >>> state = auto.next(0.01, Seen(loss=0.0), auto.start())  # L = 0: s grows by e^(12 * 0.01)
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
                "auto: classes and reference both say the unit of its budget: give one of the two."
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
        """The number of the rule that this text stands for, or None for the first rule. It enters a
        run's identity, so that runs of an earlier rule are not taken for runs of this one.
        """
        return 2 if self.learn else None

    @property
    def _unit(self) -> float:
        """U, the loss of the best constant predictor."""
        return math.log(self.classes) if self.classes is not None else self.reference or math.nan

    def nats(self, progress: float) -> float:
        """The budget B at `progress`, in the unit of the loss."""
        return self.budget * self._unit * (1 + math.cos(math.pi * progress)) / 2

    def start(self) -> State:
        """The state before the first step. Raises `UserError` without `classes` and `reference`."""
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

        >>> print(Auto().for_task(math.log(10)), Auto().for_task(2.5))
        auto:classes=10 auto:reference=2.5
        """
        if reference is None or self.classes is not None or self.reference is not None:
            return self
        classes = round(math.exp(min(reference, 20.0)))
        if classes > 1 and math.isclose(reference, math.log(classes), rel_tol=1e-12):
            return replace(self, classes=classes)
        return replace(self, reference=reference)

    def next(self, progress: float, seen: Seen, state: State) -> State:
        """The state for the step at `progress`. A loss above four times the first budget B(0), or
        one that is not finite, counts as four times B(0).

        Once there is a floor, such a loss counts as four times U instead, and `state["held"]` is
        the strength of the steps that are not made at strength 0.
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
            # While L was never below B, the strength stops at a tenth of `first`: it moves by
            # factors, so from near zero it would not come back in time.
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
        # With budget < 1/4 the bound of 4 B(0) lies below U and cuts ordinary losses, so `average`
        # says too little of what was reached; here the loss is bounded by 4 U.
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
        """One sentence for the user when half of training is over and the strength is at a fifth of
        `first` or less: that it is, and what to set. None otherwise.
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
                f"({self._unit:.3g}), or more. Set reference= to the loss of the best constant "
                "predictor on your data, or choose a constant strength, such as 0.1."
            )
        choice = "a larger budget=" if self.learn else "learn=true"
        return (
            f"{head}: the loss does not come below its budget. Set {choice}, or choose a constant "
            "strength, such as 0.1."
        )

    def _out_of_reach(self, state: State, loss: float) -> bool:
        """Whether to learn a floor: the strength has fallen, or L was never below B, in the part of
        training where that means something, and the loss shows that something was learnt.
        """
        fallen = not state["below"] or state["strength"] < min(self.first, self.cap) / 2
        late = not PATIENCE < state["progress"] < LATEST
        return self.learn and fallen and not late and loss < LEARNT * self._unit

    def _above_floor(self, progress: float, seen: Seen, state: State) -> State:
        """The state for the step at `progress` once there is a floor."""
        most, passed = 4 * self._unit, progress - state["progress"]
        average, clean, held, since = (
            state["loss"],
            state["clean"],
            state["held"],
            state["since"] + 1.0,
        )
        looked = state["strength"] == 0.0 < held  # whether this step was made at the clean weights
        if not looked:
            average += min(1.0, passed / WINDOW) * (_bounded(seen.loss, most) - average)
        if looked or seen.clean_loss is not None:
            found = seen.loss if seen.clean_loss is None else seen.clean_loss
            clean += min(1.0, since * passed / SLOW) * (_bounded(found, most) - clean)
            since = 0.0
        # The floor never rises. If it did, noise that spoils the network would raise the floor, and
        # with the floor its own budget.
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
        """`strength`, in the second half of training kept from falling below min(end, half), and
        the strength at half of training, which until then is the strength itself.
        """
        if progress < 0.5:
            return strength, strength
        return max(strength, min(self.end, half)), half


def _bounded(loss: float, bound: float) -> float:
    """`loss`, or `bound` where the loss is larger or not finite."""
    return min(loss, bound) if math.isfinite(loss) else bound
