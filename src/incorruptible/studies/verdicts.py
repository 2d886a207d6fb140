"""What the evidence says of each claim: the rules, fixed before any run.

All accuracies are fractions; the equivalence margin is 0.3 points. Differences are over crossed seeds and test images;
words come from `statistics.verdict` (Holm over the rows of one question), and several rows that disagree are "conditional".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..statistics import Difference, Interval, agree, crossed, crossed_sum, paired, t_interval, verdict

__all__ = ["Arm", "Row", "Verdict", "before_stall", "c1", "c2", "c3", "c4", "probes"]

MARGIN = 0.003
FAILED = 0.10  # an arm fails where it loses more than 10 points of clean accuracy to plain training
VANISHING = 0.5
NOISY = 0.3
STALL = 0.05

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Arm:
    """What one arm came to, over its seeds. S seeds, K strengths, C chips, n test images.

    `test`, `test_loss` [S, K, n] accuracy and loss on each test image, `train_loss` [S, K, m] loss on each training image,
    averaged over test chips; `train` [S, K] noisy training accuracy; `validation` [S, K] accuracy on validation images and chips;
    `spread` [K] standard deviation over chips of test accuracy, averaged over seeds; `metrics` the training's own records.
    """

    name: str
    kind: str  # plain, rwp, sam, sam-metric
    schedule: str  # constant, linear, ...
    peak: float
    strengths: tuple[float, ...]
    test: Array
    test_loss: Array
    train_loss: Array
    train: Array
    validation: Array
    spread: Array
    metrics: tuple[Sequence[Mapping[str, Any]], ...] = ()
    at_peak: tuple[Mapping[str, Any] | None, ...] = ()
    role: str = "candidate"  # or control, clipped, double

    def accuracy(self, strength: float) -> Array:
        """[S] Test accuracy at that test strength."""
        return np.asarray(self.test[:, self.index(strength)].mean(-1))

    def index(self, strength: float) -> int:
        return self.strengths.index(strength)


@dataclass(frozen=True)
class Row:
    """One comparison: where, between what, by how much, and the word for it."""

    question: str
    at: str
    left: str
    right: str
    difference: Difference | None
    word: str
    note: str = ""
    unit: str = "points"

    def plain(self) -> dict[str, Any]:
        found: dict[str, Any] = {"question": self.question, "at": self.at, "left": self.left, "right": self.right}
        if self.difference is not None:
            d = self.difference
            found |= {
                "difference": d.interval.estimate,
                "low": d.interval.low,
                "high": d.interval.high,
                "p": d.p,
                "equivalence_p": d.equivalence,
                "n": list(d.n),
            }
        return found | {
            "unit": "fraction" if self.unit == "points" else self.unit,
            "word": self.word,
            "note": self.note,
        }


@dataclass(frozen=True)
class Verdict:
    """The word for a claim, and the rows that it rests on."""

    claim: str
    text: str
    word: str
    rows: tuple[Row, ...]

    def plain(self) -> dict[str, Any]:
        """As the summary keeps it."""
        return {"claim": self.text, "verdict": self.word, "rows": [row.plain() for row in self.rows]}


def _difference(left: Arm, right: Arm, strength: float) -> Difference:
    k = left.index(strength)
    return crossed(left.test[:, k] - right.test[:, k], margin=MARGIN)


def _best(arms: Sequence[Arm], strength: float) -> Arm:
    """The arm of the highest mean validation accuracy at that strength; of equal ones the first."""
    return max(arms, key=lambda arm: float(arm.validation[:, arm.index(strength)].mean()))


def _constants(arms: Sequence[Arm], kind: str) -> list[Arm]:
    return sorted(
        (a for a in arms if a.kind == kind and a.schedule == "constant" and a.role == "candidate"), key=lambda a: a.peak
    )


def c1(arms: Sequence[Arm], tests: Sequence[float]) -> Verdict:
    """Training noise above test noise is optimal, because it regularises.

    For each test strength, among constant RWP arms with kappa = training over test strength above 1, the one that is best
    on validation, against kappa = 1. "supported" where accuracy is ahead, the gap between noisy test and noisy training
    loss shrinks (lower limit above 0, over crossed seeds and images) and noisy training accuracy is not higher (lower limit
    over seeds, on the training images themselves, not above 0); where accuracy is ahead but one of the others fails, it was
    not regularisation, and the row says "undecided".
    """
    text = "training noise above test noise is optimal for noise-robust generalisation (RWP)"
    constants = _constants(arms, "rwp")
    pairs, rows = [], []
    for s in tests:
        same = [a for a in constants if abs(a.peak / s - 1) < 1e-9]
        above = [a for a in constants if 1 + 1e-9 < a.peak / s <= 4 + 1e-9]
        if same and above:
            pairs.append((s, _best(above, s), same[0], _best(constants, s)))
    differences = [_difference(over, equal, s) for s, over, equal, _ in pairs]
    for (s, over, equal, chosen), difference, word in zip(pairs, differences, verdict(differences), strict=True):
        k = over.index(s)
        gap = crossed_sum(
            [equal.test_loss[:, k] - over.test_loss[:, k], over.train_loss[:, k] - equal.train_loss[:, k]]
        )
        train = paired(over.train[:, k], equal.train[:, k])
        shrinks, not_higher = gap.interval.low > 0, train.interval.low <= 0
        note = (
            f"loss gap shrinks by {_numbers(gap.interval)} nats, noisy training accuracy {_points(train.interval)} points; "
            f"validation's choice among all: {chosen.name} (kappa {chosen.peak / s:.3g})"
        )
        if word == "supported" and not (shrinks and not_higher):
            word, note = "undecided", f"ahead, but not by regularisation alone: {note}"
        rows.append(Row("C1", f"{s:g}", f"{over.name} (kappa {over.peak / s:.3g})", equal.name, difference, word, note))
    return Verdict("C1", text, agree([row.word for row in rows]), tuple(rows))


def c2(arms: Sequence[Arm], tests: Sequence[float], small: Sequence[float], large: Sequence[float]) -> Verdict:
    """SAM beats every RWP configuration under small test noise and does poorly under large.

    Best SAM against best RWP, each chosen on validation at each test strength, for the Euclidean ball and the noise's own,
    against RWP at equal epochs and at equal passes (RWP for twice the epochs). A block is "supported" if SAM is ahead at all
    small strengths and behind at all large ones.
    """
    text = "SAM beats RWP under small test noise and loses to it under large"
    rows, words = [], []
    single = [a for a in arms if a.kind == "rwp" and a.role == "candidate"]
    double = [a for a in arms if a.kind == "rwp" and a.role == "double"]
    for kind, ball in (("sam", "Euclidean"), ("sam-metric", "noise's own metric")):
        ours = [a for a in arms if a.kind == kind and a.role == "candidate"]
        for theirs, budget in ((single, "equal epochs"), (double, "equal passes")):
            if not ours or not theirs:
                continue
            pairs = [(s, _best(ours, s), _best(theirs, s)) for s in tests]
            differences = [_difference(left, right, s) for s, left, right in pairs]
            found = verdict(differences)
            for (s, left, right), difference, word in zip(pairs, differences, found, strict=True):
                ahead = {"supported": "SAM ahead", "contradicted": "SAM behind"}.get(word, word)
                rows.append(Row(f"C2, {ball}, {budget}", f"{s:g}", left.name, right.name, difference, ahead))
            by = dict(zip(tests, found, strict=True))
            flipped = {"supported": "contradicted", "contradicted": "supported"}
            block = [by[s] for s in small] + [flipped.get(by[s], by[s]) for s in large]
            words.append(agree(block))
            sizes = f"small {', '.join(f'{s:g}' for s in small)}; large {', '.join(f'{s:g}' for s in large)}"
            rows.append(
                Row(
                    f"C2, {ball}, {budget}",
                    "all",
                    f"{len(ours)} SAM arms",
                    f"{len(theirs)} RWP arms",
                    None,
                    words[-1],
                    sizes,
                )
            )
    return Verdict("C2", text, agree(words), tuple(rows))


def c3(arms: Sequence[Arm], methods: Sequence[tuple[str, str, str]]) -> Verdict:
    """Training fails under strong perturbation because the gradient vanishes.

    For each method (a title, a constant arm, the same arm with its gradient clipped at 1): does it fail; and at the last
    probe before the arm's clean training accuracy comes within 5 points of its best (later ratios would be circular: an arm
    that has collapsed may drift to a best of its own much later), what of the norm of mean g over that of g0 and the
    signal-to-noise ratio, over seeds? "supported": the upper limit of the ratio is under 0.5 and clipping does not restore
    clean accuracy. "contradicted": the lower limit is above 0.5, the upper limit of signal to noise under 0.3, and clipping
    restores it: it was variance. Restored: the clipped arm is ahead (lower limit above 0) and does not fail itself.
    Otherwise, and where no probe lies before the stall, "undecided".
    """
    text = "training fails under strong perturbation because the gradient vanishes, for SAM and RWP"
    by, rows = {a.name: a for a in arms}, []
    plain = next(a for a in arms if a.kind == "plain")
    for title, name, clipped_name in methods:
        arm, clipped = by[name], by[clipped_name]
        lost = float((plain.accuracy(0) - arm.accuracy(0)).mean())
        gain = _difference(clipped, arm, 0.0)
        restored = gain.interval.low > 0 and float((plain.accuracy(0) - clipped.accuracy(0)).mean()) <= FAILED
        at, step = before_stall(arm)
        seen = [probes(seed)[at] for seed in arm.metrics]
        ratio = t_interval([one["probe_mean_ratio"] for one in seen])
        signal = t_interval([one["probe_signal_to_noise"] for one in seen])
        dead = float(np.mean([one["probe_dead"] for one in seen]))
        cosine = float(np.mean([one["probe_cosine"] for one in seen]))
        uneven = float(np.mean([one["probe_loss_variation"] for one in seen]))
        steep = [one["probe_steepness"] for one in seen if one["probe_steepness"] is not None]
        if lost <= FAILED:
            word, cause = "undecided", "does not fail here"
        elif step is None:
            word, cause = "undecided", "no probe lies before the stall"
        elif ratio.high < VANISHING and not restored:
            word, cause = "supported", "the gradient vanishes"
        elif ratio.low > VANISHING and signal.high < NOISY and restored:
            word, cause = "contradicted", "gradient variance"
        else:
            word, cause = "undecided", "neither rule holds"
        rise = f", rises {np.mean(steep):.2f} times as fast as its slope says" if steep else ""
        note = (
            f"{cause}; loses {100 * lost:.1f} points clean; at step {step}, before the stall: "
            f"norm of mean g / norm of g0 {_numbers(ratio)}, signal/noise {_numbers(signal)}, cosine {cosine:.2f}, "
            f"dead units {dead:.0%}, loss varies by {uneven:.1%} over draws{rise}; "
            f"clipping {'restores' if restored else 'does not restore'} it"
        )
        rows.append(Row(f"C3, {title}", f"{arm.peak:g}", clipped.name, arm.name, gain, word, note))
    return Verdict("C3", text, agree([row.word for row in rows]), tuple(rows))


def before_stall(arm: Arm) -> tuple[int, int | None]:
    """Index and step of the last probe before mean clean training accuracy comes within 5 points of its best; step None
    where the first probe is there already."""
    course = np.mean([[float(one["probe_clean_accuracy"]) for one in probes(seed)] for seed in arm.metrics], axis=0)
    stall = int(np.argmax(course >= course.max() - STALL))
    at = max(0, stall - 1)
    return at, int(probes(arm.metrics[0])[at]["step"]) if stall else None


def probes(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records at which the gradient instrument looked."""
    return [one for one in metrics if "probe_mean_ratio" in one]


def c4(arms: Sequence[Arm], tests: Sequence[float], ramps: Sequence[tuple[str, str, str]]) -> Verdict:
    """Adjusting the strength during training helps: (a) optimisation, (c) matching the landscape; RWP and SAM apart.

    (b, whether it pays in practice against constant strengths tuned as hard, is not asked here.)
    a: at the smallest strength whose constant arm fails, the perturbed training loss at that strength of constant less that
    of warm-up-hold, over seeds. c: a rising ramp against the same ramp reversed, test accuracy at every test strength.
    """
    text = "adjusting the strength during training improves optimisation, by matching the landscape"
    rows: list[Row] = []
    words = []
    plain = next(a for a in arms if a.kind == "plain")
    for kind, title in (("rwp", "RWP"), ("sam", "SAM"), ("sam-metric", "SAM in the noise's metric")):
        failing = [a for a in _constants(arms, kind) if float((plain.accuracy(0) - a.accuracy(0)).mean()) > FAILED]
        if not failing:
            rows.append(
                Row(f"C4a, {title}", "-", "warm-up-hold", "constant", None, "undecided", "no constant arm fails")
            )
            words.append("undecided")
            continue
        constant = failing[0]
        warm = [
            a for a in arms if (a.kind, a.schedule, a.peak, a.role) == (kind, "warmup-hold", constant.peak, "candidate")
        ]
        if not warm:
            rows.append(
                Row(
                    f"C4a, {title}",
                    f"{constant.peak:g}",
                    "-",
                    constant.name,
                    None,
                    "undecided",
                    "no warm-up-hold arm at this strength",
                )
            )
            words.append("undecided")
            continue
        losses = [
            np.array([at["probe_perturbed_loss"] for at in arm.at_peak if at is not None])
            for arm in (constant, warm[0])
        ]
        difference = paired(losses[0], losses[1])
        words += verdict([difference])
        note = f"perturbed training loss at {constant.peak:g}: constant {losses[0].mean():.3f}, warm-up-hold {losses[1].mean():.3f}"
        rows.append(
            Row(
                f"C4a, {title}",
                f"{constant.peak:g}",
                constant.name,
                warm[0].name,
                difference,
                words[-1],
                note,
                unit="nats",
            )
        )
    by = {a.name: a for a in arms}
    for title, rising, falling in ramps:
        differences = [_difference(by[rising], by[falling], s) for s in tests]
        found = verdict(differences)
        words.append(agree(found))
        rows += [
            Row(f"C4c, {title}", f"{s:g}", rising, falling, difference, word)
            for s, difference, word in zip(tests, differences, found, strict=True)
        ]
    return Verdict("C4", text, agree(words), tuple(rows))


def _points(interval: Interval) -> str:
    return f"{100 * interval.estimate:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"


def _numbers(interval: Interval) -> str:
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"
