"""The rules for verdicts, on made-up arms whose truth is known.

Every arm's noise is fixed by its name and centred, so that each mean is exactly its truth; an effect that is not 0 is at
least ten standard errors wide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from incorruptible.diagnostics.mechanism import before_stall
from incorruptible.files import records
from incorruptible.studies import ranges
from incorruptible.studies.evidence import MARGIN, Arm, Lacking, Verdict, served
from incorruptible.studies.rules import (
    CATALOGUE,
    Ahead,
    Carried,
    Changing,
    Exponent,
    Grows,
    OverRegularised,
    Preferred,
    Shortfall,
    SmallLarge,
    Uncollapsed,
    Vanishing,
    Withstands,
)

SEEDS, IMAGES, CHIPS = 8, 200, 5
STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
SMALL, LARGE = (0.05, 0.1), (0.3, 0.4)
At = float | Mapping[float, float]  # one number, or one for each strength, the rest being 0


def _row(at: At) -> np.ndarray:
    return np.array([at.get(s, 0.0) if isinstance(at, Mapping) else at for s in STRENGTHS])


def arm(
    name: str,
    kind: str,
    peak: float = 0.1,
    accuracy: At = 0.9,
    *,
    schedule: str = "constant",
    role: str = "candidate",
    validation: At | None = None,
    gap: float = 0.5,
    train: float = 0.9,
    metrics: tuple[Any, ...] = (),
    peak_loss: float = 1.0,
    loss: At = 1.0,
    sign: int = 1,
) -> Arm:
    rng = np.random.default_rng(crc32(name.encode()))
    images = np.random.default_rng(0).normal(0, 0.3, IMAGES)  # some images are hard for every arm

    def over_seeds(value: At, spread: float = 0.0005) -> np.ndarray:
        noise = rng.normal(0, spread, (SEEDS, len(STRENGTHS)))
        return _row(value) + noise - noise.mean(0)

    rest = rng.normal(0, 0.01, (SEEDS, len(STRENGTHS), IMAGES))
    return Arm(
        name=name,
        kind=kind,
        schedule=schedule,
        peak=peak,
        strengths=STRENGTHS,
        test=over_seeds(accuracy)[:, :, None] + images + rest - rest.mean(2, keepdims=True),
        test_loss=over_seeds(loss)[:, :, None] + images + rest - rest.mean(2, keepdims=True),
        train_loss=over_seeds(1.0 - gap)[:, :, None] + images + rest - rest.mean(2, keepdims=True),
        train=over_seeds(train),
        validation=over_seeds(accuracy if validation is None else validation),
        chips=np.broadcast_to(_row(accuracy)[None, :, None], (SEEDS, len(STRENGTHS), CHIPS)),
        metrics=metrics,
        at_peak=tuple({"probe_perturbed_loss": float(loss)} for loss in over_seeds(peak_loss)[:, 0]),
        role=role,
        sign=sign,
    )


def rwp(peak: float, accuracy: At = 0.9, **given: Any) -> Arm:
    return arm(f"rwp {peak:g}", "rwp", peak, accuracy, **given)


C1 = OverRegularised()

# C1: is training noise above test noise better, and by regularising?


@pytest.mark.parametrize(
    ("over", "word"),
    [
        ({"accuracy": 0.92, "gap": 0.4, "train": 0.88}, "supported"),
        ({"accuracy": 0.92, "gap": 0.4, "train": 0.9}, "supported"),
        ({"accuracy": 0.92, "gap": 0.5, "train": 0.88}, "undecided"),  # ahead, but the gap does not shrink
        ({"accuracy": 0.92, "gap": 0.6, "train": 0.88}, "undecided"),
        ({"accuracy": 0.92, "gap": 0.4, "train": 0.92}, "undecided"),  # ahead, and training fits better too
        ({"accuracy": 0.88, "gap": 0.4, "train": 0.88}, "contradicted"),
        ({"accuracy": 0.9, "gap": 0.4, "train": 0.88}, "equivalent"),
        ({"accuracy": 0.9 + MARGIN, "gap": 0.4, "train": 0.88}, "supported"),  # small, and not 0
    ],
)
def test_c1_on_one_strength(over: dict[str, Any], word: str) -> None:
    found = C1([rwp(0.1), rwp(0.2, **over)], [0.1])
    (row,) = found.rows
    assert (found.word, row.word, row.left, row.right) == (word, word, "rwp 0.2 (kappa 2)", "rwp 0.1")
    assert ("ahead, but not by regularisation" in row.note) == (word == "undecided")
    assert row.difference is not None and row.difference.n == (SEEDS, IMAGES)


def test_c1_on_strengths_that_disagree() -> None:
    arms = [rwp(0.1, 0.9), rwp(0.2, {0.1: 0.92, 0.2: 0.9}, gap=0.4), rwp(0.3, {0.1: 0.8, 0.2: 0.85}, gap=0.4)]
    found = C1(arms, [0.1, 0.2])
    assert [row.word for row in found.rows] == ["supported", "contradicted"] and found.word == "conditional"


def test_c1_compares_what_validation_chooses_among_constant_arms_up_to_four_times_the_noise() -> None:
    arms = [
        rwp(0.1),
        rwp(0.2, 0.95, validation=0.5),  # best on test images, which must not matter
        rwp(0.3, 0.92, validation=0.8, gap=0.4),
        rwp(0.5, 0.99, validation=0.99),
        rwp(0.35, 0.99, validation=0.99, schedule="linear"),
        rwp(0.25, 0.99, validation=0.99, role="double"),
        arm("sam 0.2", "sam", 0.2, 0.99),
    ]
    (row,) = C1(arms, [0.1]).rows
    assert row.left == "rwp 0.3 (kappa 3)" and "validation's choice among all: rwp 0.5" in row.note


def test_c1_without_arms_to_compare_is_undecided() -> None:
    assert C1([rwp(0.1)], [0.1]).word == "undecided"
    assert OverRegularised("sam")([rwp(0.1), rwp(0.2)], [0.1]).rows == ()


def test_c1_is_about_the_method_that_it_is_told() -> None:
    arms = [rwp(0.1), rwp(0.2, 0.88), arm("sam 0.1", "sam", 0.1), arm("sam 0.2", "sam", 0.2, 0.92, gap=0.4)]
    (row,) = OverRegularised("sam")(arms, [0.1]).rows
    assert (row.left, row.right, row.word) == ("sam 0.2 (kappa 2)", "sam 0.1", "supported")


@pytest.mark.parametrize("left_out", [{"train": None}, {"train_loss": None}])
def test_c1_needs_the_training_part(left_out: dict[str, None]) -> None:
    arms = [rwp(0.1), replace(rwp(0.2, 0.92), **left_out)]
    with pytest.raises(Lacking, match='does not measure the part "train"'):
        C1(arms, [0.1])


def test_c1_where_lower_scores_are_better() -> None:
    """An error of .08 against .1, chosen on validation among errors; the training error is higher, as regularising has it."""
    arms = [
        rwp(0.1, 0.1, train=0.1, sign=-1),
        rwp(0.2, 0.08, train=0.12, gap=0.4, sign=-1),
        rwp(0.3, 0.3, train=0.12, gap=0.4, sign=-1),
    ]
    (row,) = C1(arms, [0.1]).rows
    assert (row.left, row.word) == ("rwp 0.2 (kappa 2)", "supported")
    assert row.difference is not None and row.difference.interval.estimate == pytest.approx(0.02, abs=1e-6)
    better = replace(arms[1], train=arms[0].train - 0.02)  # type: ignore[operator]
    assert C1([arms[0], better], [0.1]).word == "undecided"


def test_words_are_holms_over_the_strengths_of_a_question() -> None:
    """A difference with t = 2.715 on 7 degrees of freedom: p = .03 alone, .09 among three."""
    signs = np.array([1, -1] * 4)[:, None, None]
    level = np.full((SEEDS, len(STRENGTHS), IMAGES), 0.9)
    loss, cube = np.ones((SEEDS, len(STRENGTHS))), np.ones((SEEDS, len(STRENGTHS), IMAGES))

    def flat(peak: float, ahead: float, noise: float) -> Arm:
        return Arm(
            f"rwp {peak}", "rwp", "constant", peak, STRENGTHS, level + ahead + noise * signs,
            cube, loss + ahead, cube[:, :, :CHIPS], cube * (0.5 + peak), loss * (1 - peak),
        )  # fmt: skip

    step = 0.01 * 2.715 / np.sqrt(7)
    arms = [flat(peak, i * step, 0.01 * i) for i, peak in enumerate((0.05, 0.1, 0.2, 0.4))]
    (alone,) = C1(arms[:2], [0.05]).rows
    assert alone.difference is not None and alone.difference.p == pytest.approx(0.03, abs=1e-3)
    assert alone.word == "supported"
    equal = {0.05: arms[0], 0.1: arms[1], 0.2: arms[2]}
    three = C1(arms, list(equal))
    assert [row.word for row in three.rows] == ["undecided"] * 3
    assert all(row.difference is not None and row.difference.p == pytest.approx(0.03, abs=1e-3) for row in three.rows)


# C2: is SAM ahead under small noise and behind under large?

C2 = SmallLarge(SMALL, LARGE, ours=("sam", "sam-metric"), titles=("SAM, Euclidean", "SAM, noise's own metric"))
AHEAD_THEN_BEHIND = {0.05: 0.92, 0.1: 0.92, 0.3: 0.85, 0.4: 0.85}
BEHIND_THEN_AHEAD = {0.05: 0.85, 0.1: 0.85, 0.3: 0.92, 0.4: 0.92}


@pytest.mark.parametrize(
    ("euclidean", "metric", "words", "word"),
    [
        (AHEAD_THEN_BEHIND, AHEAD_THEN_BEHIND, ["supported"] * 4, "supported"),
        (BEHIND_THEN_AHEAD, BEHIND_THEN_AHEAD, ["contradicted"] * 4, "contradicted"),
        (0.92, 0.92, ["conditional"] * 4, "conditional"),  # ahead everywhere
        (0.9, 0.9, ["equivalent"] * 4, "equivalent"),
        (AHEAD_THEN_BEHIND, 0.9, ["supported"] * 2 + ["equivalent"] * 2, "conditional"),
    ],
)
def test_c2_in_blocks(euclidean: At, metric: At, words: list[str], word: str) -> None:
    arms = [
        rwp(0.1),
        arm("rwp 0.1, twice", "rwp", 0.1, role="double"),
        arm("sam 1", "sam", 1, euclidean),
        arm("sam-metric 1", "sam-metric", 1, metric),
    ]
    found = C2(arms, (*SMALL, *LARGE))
    assert [row.word for row in found.rows if row.at == "all"] == words and found.word == word
    assert len(found.rows) == 4 * (len(SMALL + LARGE) + 1)
    assert {row.question for row in found.rows if row.right == "rwp 0.1, twice"} == {
        "SAM, Euclidean, equal passes",
        "SAM, noise's own metric, equal passes",
    }


def test_c2_names_who_is_ahead() -> None:
    found = C2([rwp(0.1), arm("sam 1", "sam", 1, AHEAD_THEN_BEHIND)], (*SMALL, *LARGE))
    assert [row.word for row in found.rows] == ["ahead"] * 2 + ["behind"] * 2 + ["supported"]
    assert {row.question for row in found.rows} == {"SAM, Euclidean, equal epochs"}
    assert {(row.left, row.right) for row in found.rows[:-1]} == {("sam 1", "rwp 0.1")}
    assert (found.rows[-1].left, found.rows[-1].right) == ("1 arms", "1 arms")


def test_c2_names_methods_that_have_no_title() -> None:
    found = SmallLarge(SMALL, LARGE)([rwp(0.1), arm("sam 1", "sam", 1)], (*SMALL, *LARGE))
    assert {row.question for row in found.rows} == {"sam, equal epochs"}


def test_c2_without_arms_to_compare_is_undecided() -> None:
    found = C2([rwp(0.1)], (*SMALL, *LARGE))
    assert (found.word, found.rows) == ("undecided", ())


def test_c2_chooses_on_validation_at_each_strength() -> None:
    arms = [
        rwp(0.1, 0.9, validation={0.05: 0.9, 0.3: 0.8}),
        rwp(0.2, 0.9, validation={0.05: 0.8, 0.3: 0.9}),
        arm("sam, best on test", "sam", 1, 0.99, validation=0.5),
        arm("sam, best on validation", "sam", 2, 0.9, validation=0.9),
        arm("sam, control", "sam", 3, 0.99, role="control"),
        arm("sam, clipped", "sam", 3, 0.99, role="clipped"),
    ]
    small, large, _ = SmallLarge((0.05,), (0.3,))(arms, (0.05, 0.3)).rows
    assert small.left == large.left == "sam, best on validation"
    assert (small.right, large.right) == ("rwp 0.1", "rwp 0.2")


def bits(one: Arm) -> Arm:
    """The same numbers as code lengths: less is better, and a point is nothing."""
    return replace(one, sign=-1, unit="bits per byte")


def test_units_and_margins_are_those_of_the_score() -> None:
    """.01 bits are within a margin of .02, and are beyond .003, which is for fractions; less is ahead."""
    ours, theirs = bits(arm("sam 1", "sam", 1, 3.01)), bits(rwp(0.1, 3.0))
    found = SmallLarge((0.05,), (0.3,), margin=0.02)([ours, theirs], (0.05, 0.3))
    assert {row.unit for row in found.rows if row.difference is not None} == {"bits per byte"}
    assert [row.difference.equivalence < 0.05 for row in found.rows if row.difference is not None] == [True, True]
    strict = SmallLarge((0.05,), (0.3,))([ours, theirs], (0.05, 0.3)).rows[0].difference
    assert (
        strict is not None and strict.equivalence > 0.05 and strict.interval.estimate == pytest.approx(-0.01, abs=1e-3)
    )
    over = OverRegularised(margin=0.02)([bits(rwp(0.1, 3.0)), bits(rwp(0.2, 2.9, gap=0.4, train=3.1))], [0.1])
    (row,) = over.rows
    assert (over.word, row.unit) == ("supported", "bits per byte")
    assert "noisy training score ahead by -2.200 (" in row.note and "bits per byte; validation" in row.note
    (ahead,) = Ahead(("rwp 0.2",), ("rwp 0.1",))([bits(rwp(0.1, 3.0)), bits(rwp(0.2, 2.9))], [0.1]).rows
    assert (ahead.unit, ahead.word) == ("bits per byte", "supported") and ahead.plain()["unit"] == "bits per byte"


@pytest.mark.parametrize(
    "rule", [Vanishing((("RWP", "rwp 0.2", "rwp 0.1"),), "plain"), Changing((("rwp", "RWP"),), (), "plain")]
)
def test_failing_is_not_judged_in_bits(rule: Vanishing | Changing) -> None:
    arms = [bits(one) for one in (arm("plain", "plain", 0, 3.0), rwp(0.1, 3.0), rwp(0.2, 9.0))]
    with pytest.raises(Lacking, match="a fraction of right answers; the score is in bits per byte"):
        rule(arms, [0.1])


# C3: does the gradient vanish where training fails?


def course(ratios: Sequence[float], signals: Sequence[float], accuracies: Sequence[float]) -> tuple[Any, ...]:
    """What each seed's training recorded: the gradient instrument, and epochs at which it did not look."""
    seeds = []
    for seed in range(SEEDS):
        jitter = 0.001 * seed
        seeds.append(
            [{"step": 0, "loss": 1.0}]
            + [
                {
                    "step": 10 * (i + 1),
                    "probe_mean_ratio": ratio + jitter,
                    "probe_signal_to_noise": signal + jitter,
                    "probe_clean_accuracy": accuracy + jitter,
                    "probe_dead": 0.1,
                    "probe_cosine": 0.5,
                    "probe_loss_variation": 0.2,
                    "probe_steepness": None,
                }
                for i, (ratio, signal, accuracy) in enumerate(zip(ratios, signals, accuracies, strict=True))
            ]
        )
    return tuple(seeds)


@pytest.mark.parametrize(
    ("accuracy", "clipped", "ratio", "signal", "word", "cause"),
    [
        (0.5, 0.5, 0.1, 0.1, "supported", "the gradient vanishes"),
        (0.5, 0.85, 0.9, 0.1, "contradicted", "gradient variance"),
        (0.85, 0.89, 0.1, 0.1, "undecided", "does not fail here"),
        (0.5, 0.85, 0.1, 0.1, "undecided", "neither rule holds"),  # vanishes, and clipping restores it
        (0.5, 0.5, 0.9, 0.1, "undecided", "neither rule holds"),  # variance, and clipping does not help
        (0.5, 0.7, 0.9, 0.1, "undecided", "neither rule holds"),  # clipping helps, and still fails
        (0.5, 0.85, 0.9, 0.6, "undecided", "neither rule holds"),  # restored, without much noise
    ],
)
def test_c3(accuracy: float, clipped: float, ratio: float, signal: float, word: str, cause: str) -> None:
    # the accuracy is within 5 points of its best from the third look on; what counts is the second
    looks = course([3.0, ratio, 3.0, 3.0], [3.0, signal, 3.0, 3.0], [0.1, 0.4, 0.495, 0.5])
    arms = [
        arm("sgd", "plain", 0, 0.9),
        arm("strong", "sam", 1, accuracy, metrics=looks),
        arm("strong, clipped", "sam", 1, clipped, role="clipped"),
    ]
    found = Vanishing((("SAM", "strong", "strong, clipped"),))(arms, ())
    (row,) = found.rows
    assert found.word == row.word == word and row.note.startswith(cause)
    assert "at step 20" in row.note


def test_c3_over_methods_that_disagree() -> None:
    def method(name: str, ratio: float, clipped: float) -> list[Arm]:
        looks = course([ratio] * 2, [0.1] * 2, [0.2, 0.5])
        return [arm(name, "sam", 1, 0.5, metrics=looks), arm(f"{name}, clipped", "sam", 1, clipped, role="clipped")]

    arms = [arm("sgd", "plain", 0), *method("one", 0.1, 0.5), *method("other", 0.9, 0.85)]
    found = Vanishing(tuple((name, name, f"{name}, clipped") for name in ("one", "other")))(arms, ())
    assert [row.word for row in found.rows] == ["supported", "contradicted"] and found.word == "conditional"


def test_c3_measures_failing_against_the_arm_that_it_is_told() -> None:
    looks = course([0.1] * 2, [0.1] * 2, [0.2, 0.5])
    arms = [
        arm("sgd", "plain", 0, 0.5),
        arm("adam", "plain", 0, 0.9),
        arm("strong", "sam", 1, 0.5, metrics=looks),
        arm("clipped", "sam", 1, 0.5, role="clipped"),
    ]
    methods = (("SAM", "strong", "clipped"),)
    assert Vanishing(methods)(arms, ()).rows[0].note.startswith("does not fail here")
    assert Vanishing(methods, plain="adam")(arms, ()).word == "supported"
    assert Vanishing(methods, plain="adam").needs() == ["adam", "strong", "clipped"]


@pytest.mark.parametrize("lacking", ["sgd", "strong", "clipped"])
def test_c3_says_which_arm_is_lacking(lacking: str) -> None:
    looks = course([0.1] * 2, [0.1] * 2, [0.2, 0.5])
    arms = [arm("sgd", "plain", 0), arm("strong", "sam", 1, 0.5, metrics=looks), arm("clipped", "sam", 1, 0.5)]
    with pytest.raises(Lacking, match=f"'{lacking}' is not finished"):
        Vanishing((("SAM", "strong", "clipped"),))([one for one in arms if one.name != lacking], ())


def test_c3_needs_the_gradient_instrument() -> None:
    unwatched = arm("strong", "sam", 1, 0.5, metrics=([{"step": 0, "loss": 1.0}],) * SEEDS)
    arms = [arm("sgd", "plain", 0), unwatched, arm("clipped", "sam", 1, 0.5)]
    with pytest.raises(Lacking, match="the gradient instrument did not look at arm 'strong'"):
        Vanishing((("SAM", "strong", "clipped"),))(arms, ())


@pytest.mark.parametrize(
    ("accuracies", "at"), [([0.1, 0.4, 0.8, 0.805], 1), ([0.1, 0.2, 0.9], 1), ([0.1, 0.2, 0.12, 0.22], 0)]
)
def test_the_look_before_the_stall(accuracies: list[float], at: int) -> None:
    looks = course([1.0] * len(accuracies), [1.0] * len(accuracies), accuracies)
    assert before_stall(looks) == (at, 10 * (at + 1))


@pytest.mark.parametrize("accuracies", [[0.5, 0.5, 0.5], [0.9, 0.1]])
def test_where_nothing_lies_before_the_stall_nothing_is_decided(accuracies: list[float]) -> None:
    looks = course([0.1] * len(accuracies), [1.0] * len(accuracies), accuracies)
    strong = arm("strong", "sam", 1, 0.5, metrics=looks)
    assert before_stall(strong.metrics) == (0, None)
    arms = [arm("sgd", "plain", 0), strong, arm("clipped", "sam", 1, 0.5, role="clipped")]
    found = Vanishing((("SAM", "strong", "clipped"),))(arms, ())
    assert found.word == "undecided" and "no probe lies before the stall" in found.rows[0].note


def test_the_gap_needs_new_images_too() -> None:
    """A gap that shrinks on these images by luck, seeds agreeing, is no evidence."""
    calm, lucky = rwp(0.1), rwp(0.2, 0.92, gap=0.49)
    lucky.test_loss[:] += np.random.default_rng(1).normal(0, 1.0, IMAGES)
    found = C1([calm, lucky], [0.1])
    assert found.word == "undecided" and "not by regularisation alone" in found.rows[0].note


# C4: does adjusting the strength help?


def c4_arms(warm: float, rising: At = 0.9, falling: At = 0.9, failing: float = 0.5) -> list[Arm]:
    arms = [arm("sgd", "plain", 0, 0.95)]
    for kind in ("rwp", "sam", "sam-metric"):
        arms += [
            arm(f"{kind} 0.5", kind, 0.5, 0.9),  # does not fail
            arm(f"{kind} 2", kind, 2, failing, peak_loss=3.0),
            arm(f"{kind} 1", kind, 1, failing, peak_loss=2.0),  # the weakest that fails
            arm(f"{kind} 1, warm-up-hold", kind, 1, 0.9, schedule="warmup-hold", peak_loss=warm),
            arm(f"{kind} 2, warm-up-hold", kind, 2, 0.9, schedule="warmup-hold", peak_loss=0.0),
            arm(f"{kind}, rising", kind, 1, rising, schedule="linear"),
            arm(f"{kind}, falling", kind, 1, falling, schedule="reversed", role="control"),
        ]
    return arms


KINDS = ("rwp", "sam", "sam-metric")
RAMPS = tuple((kind, f"{kind}, rising", f"{kind}, falling") for kind in KINDS)
METHODS = (("rwp", "RWP"), ("sam", "SAM"), ("sam-metric", "SAM in the noise's metric"))


@pytest.mark.parametrize(
    ("given", "optimisation", "matching", "word"),
    [
        ({"warm": 1.5, "rising": 0.92}, "supported", "supported", "supported"),
        ({"warm": 2.5, "rising": 0.88}, "contradicted", "contradicted", "contradicted"),
        ({"warm": 1.5, "rising": 0.88}, "supported", "contradicted", "conditional"),
        ({"warm": 1.5, "rising": 0.9}, "supported", "equivalent", "conditional"),
    ],
)
def test_c4(given: dict[str, Any], optimisation: str, matching: str, word: str) -> None:
    found = Changing(METHODS, RAMPS)(c4_arms(**given), (0.0, 0.1))
    first = [row for row in found.rows if row.question in [f"a, {title}" for _, title in METHODS]]
    second = [row for row in found.rows if row.question in [f"c, {kind}" for kind in KINDS]]
    assert [row.word for row in first] == [optimisation] * 3 and [row.word for row in second] == [matching] * 6
    assert found.word == word and len(found.rows) == 9
    assert [row.at for row in second] == ["0", "0.1"] * 3
    assert [(row.at, row.left, row.unit) for row in first] == [("1", f"{kind} 1", "nats") for kind, *_ in RAMPS]
    difference = first[0].difference
    assert difference is not None
    assert difference.interval.estimate == pytest.approx(2.0 - given["warm"], abs=0.01) and difference.n == (SEEDS,)


def test_c4_where_there_is_nothing_to_compare() -> None:
    fine = Changing(METHODS, ())(c4_arms(1.5, failing=0.9), (0.0,))
    assert [row.note for row in fine.rows] == ["no constant arm fails"] * 3 and fine.word == "undecided"
    without = [one for one in c4_arms(1.5) if one.schedule != "warmup-hold"]
    assert [row.note for row in Changing(METHODS, ())(without, (0.0,)).rows] == [
        "no warm-up-hold arm at this strength"
    ] * 3


@pytest.mark.parametrize("lacking", ["sgd", "rwp, rising", "sam, falling"])
def test_c4_says_which_arm_is_lacking(lacking: str) -> None:
    arms = [one for one in c4_arms(1.5) if one.name != lacking]
    with pytest.raises(Lacking, match=f"'{lacking}' is not finished"):
        Changing(METHODS, RAMPS)(arms, (0.0, 0.1))


def test_c4_shows_ramps_without_noise_too() -> None:
    found = Changing((), RAMPS[:1])(c4_arms(1.5, rising={0.0: 0.85, 0.1: 0.92}, falling={0.0: 0.9, 0.1: 0.9}), (0.1,))
    assert [(row.at, row.word) for row in found.rows] == [("0", "contradicted"), ("0.1", "supported")]
    assert found.word == "conditional"


def test_a_verdict_can_be_written_down() -> None:
    judged = C1([rwp(0.1), rwp(0.2, 0.88)], [0.1])
    found = Verdict("C1", "noise above", judged.word, judged.rows).plain()
    assert found["claim"] == "noise above"
    assert json.loads(json.dumps(records.plain(found), allow_nan=False))["verdict"] == "contradicted"
    (row,) = found["rows"]
    assert row["n"] == [SEEDS, IMAGES] and row["low"] < row["difference"] < row["high"] < 0 and row["p"] < 0.05


# ahead: is one arm, or the best of some, ahead of another?


@pytest.mark.parametrize(
    ("left", "word"),
    [(0.92, "supported"), (0.88, "contradicted"), (0.9, "equivalent"), ({0.1: 0.92, 0.2: 0.88}, "conditional")],
)
def test_ahead(left: At, word: str) -> None:
    right = 0.9 if not isinstance(left, Mapping) else {0.1: 0.9, 0.2: 0.9}
    arms = [arm("a", "rwp", 0.1, left), arm("b", "sam", 0.1, right), arm("c", "sam", 0.1, 0.5)]
    found = Ahead(("a",), ("b",))(arms, [0.1, 0.2])
    assert found.word == word
    assert [(row.question, row.at, row.left, row.right, row.unit) for row in found.rows] == [
        ("ahead in score", at, "a", "b", "points") for at in ("0.1", "0.2")
    ]
    for row in found.rows:
        want = _row(left)[STRENGTHS.index(float(row.at))] - 0.9
        assert row.difference is not None and row.difference.n == (SEEDS, IMAGES)
        assert row.difference.interval.estimate == pytest.approx(want, abs=1e-9)


def test_ahead_stands_for_patterns_and_chooses_on_validation_at_each_strength() -> None:
    arms = [
        rwp(0.1, 0.9, validation={0.1: 0.9, 0.3: 0.8}),
        rwp(0.2, 0.9, validation={0.1: 0.8, 0.3: 0.9}),
        rwp(0.3, 0.99, validation=0.5),  # best on test images, which must not matter
        arm("sam 1", "sam", 1, 0.92, validation=0.7),
        arm("sam 1, clipped", "sam", 1, 0.99, validation=0.6, role="clipped"),
        arm("other", "other", 1, 0.99, validation=0.99),
    ]
    small, large = Ahead(("sam *",), ("rwp *", "nothing"))(arms, [0.1, 0.3]).rows
    assert (small.left, small.right, small.word) == ("sam 1", "rwp 0.1", "supported")
    assert (large.left, large.right, large.word) == ("sam 1", "rwp 0.2", "supported")
    (both,) = Ahead(("sam 1", "other"), ("rwp 0.1",))(arms, [0.1]).rows
    assert both.left == "other"
    (exact,) = Ahead(("sam 1",), ("rwp 0.1",))(arms, [0.1]).rows  # no pattern: "sam 1, clipped" is another arm
    assert exact.left == "sam 1"


def test_ahead_takes_names_with_brackets_as_they_are() -> None:
    (row,) = Ahead(("a [1]",), ("b",))([arm("a [1]", "rwp"), arm("b", "sam")], [0.1]).rows
    assert row.left == "a [1]"


@pytest.mark.parametrize(("loss", "word"), [(0.9, "supported"), (1.1, "contradicted"), (1.0, "equivalent")])
@pytest.mark.parametrize("sign", [1, -1])
def test_ahead_in_loss_means_a_lower_loss(loss: float, word: str, sign: int) -> None:
    """Whatever the score says, and whichever of its directions is better."""
    arms = [arm("a", "rwp", accuracy=0.5, loss=loss, sign=sign), arm("b", "sam", accuracy=0.9, sign=sign)]
    (row,) = Ahead(("a",), ("b",), statistic="loss")(arms, [0.1]).rows
    assert (row.question, row.unit, row.word) == ("ahead in loss", "nats", word)
    assert row.difference is not None and row.difference.interval.estimate == pytest.approx(1 - loss, abs=1e-9)


# the area under .9, but for one strength; (.05 + .1) / 2 / .4 of the range is what the strength .2 counts for
ONE_LOWER = {s: 0.5 if s == 0.2 else 0.9 for s in STRENGTHS}


@pytest.mark.parametrize(
    ("left", "word"),
    [(0.92, "supported"), (0.88, "contradicted"), (0.9, "equivalent"), ({**ONE_LOWER, 0.0: 0.95}, "contradicted")],
)
def test_ahead_in_area_is_one_comparison(left: At, word: str) -> None:
    arms = [arm("a", "rwp", accuracy=left), arm("b", "sam", accuracy=0.9)]
    found = Ahead(("a",), ("b",), statistic="area")(arms, [0.1, 0.2])
    (row,) = found.rows
    assert (row.question, row.at, row.unit, row.word) == (
        "ahead in area",
        "0 to 0.4",
        "points",
        word,
    ) and word == found.word
    want = np.trapezoid(_row(left) - 0.9, STRENGTHS) / 0.4
    assert row.difference is not None and row.difference.n == (SEEDS, IMAGES) and row.note == ""
    assert row.difference.interval.estimate == pytest.approx(want, abs=1e-9)


def test_ahead_in_area_chooses_by_area_on_validation() -> None:
    falling = {s: 0.95 - s for s in STRENGTHS}
    arms = [
        rwp(0.1, 0.9, validation=falling),  # best on validation at 0, and by area not
        rwp(0.2, 0.9, validation=0.8),
        rwp(0.3, 0.99, validation=0.5),  # best on test images, which must not matter
        arm("sam 1", "sam", 1, 0.92),
    ]
    rule = Ahead(("sam *",), ("rwp *",), statistic="area")
    (row,) = rule(arms, [0.1]).rows
    assert (row.left, row.right, row.note) == ("sam 1", "rwp 0.2", "best by area on validation: rwp 0.2 of 3")
    (low,) = replace(rule, strengths=(0.0, 0.05))(arms, [0.1]).rows
    assert (low.at, low.right) == ("0 to 0.05", "rwp 0.1")


def test_ahead_in_area_where_lower_scores_are_better() -> None:
    arms = [arm("low", "rwp", accuracy=0.1, sign=-1), arm("high", "sam", accuracy=0.3, sign=-1)]
    (row,) = Ahead(("*",), ("high",), statistic="area")(arms, [0.1]).rows
    assert (row.left, row.word) == ("low", "supported")
    assert row.difference is not None and row.difference.interval.estimate == pytest.approx(0.2, abs=1e-9)


def test_ahead_where_lower_scores_are_better() -> None:
    arms = [
        arm("low", "rwp", accuracy=0.1, sign=-1),
        arm("middle", "rwp", accuracy=0.2, sign=-1),
        arm("high", "sam", accuracy=0.3, sign=-1),
    ]
    (row,) = Ahead(("*",), ("high",))(arms, [0.1]).rows
    assert (row.left, row.word) == ("low", "supported")
    assert row.difference is not None and row.difference.interval.estimate == pytest.approx(0.2, abs=1e-9)
    assert Ahead(("high",), ("low",))(arms, [0.1]).word == "contradicted"


def test_ahead_at_the_strengths_and_within_the_margin_that_it_is_told() -> None:
    arms = [arm("a", "rwp", accuracy=0.901), arm("b", "sam", accuracy=0.9)]
    found = Ahead(("a",), ("b",), strengths=(0.0, 0.3), margin=0.002)(arms, [0.1, 0.2])
    assert [row.at for row in found.rows] == ["0", "0.3"]
    by_margin = [Ahead(("a",), ("b",), margin=m)([arms[1], arms[0]], [0.1]).rows[0].difference for m in (1e-4, 0.01)]
    assert all(one is not None for one in by_margin)
    assert by_margin[0].equivalence > 0.5 > 0.05 > by_margin[1].equivalence  # type: ignore[union-attr]
    (clean,) = Ahead(("a",), ("b",))(arms, []).rows  # a study without noise
    assert clean.at == "0"


def test_ahead_corrects_over_its_strengths() -> None:
    """The same difference is evidence alone, and none among six."""
    signs = np.array([1, -1] * 4)[:, None, None]
    level = np.full((SEEDS, len(STRENGTHS), IMAGES), 0.9)
    flat = arm("flat", "sam")
    step = 0.01 * 2.715 / np.sqrt(7)
    arms = [replace(flat, name="a", test=level + step + 0.01 * signs), replace(flat, name="b", test=level)]
    rule = Ahead(("a",), ("b",))
    assert [row.word for row in rule(arms, [0.1]).rows] == ["supported"]
    assert [row.word for row in rule(arms, STRENGTHS).rows] == ["undecided"] * 6


@pytest.mark.parametrize(("left", "right"), [("c*", "b"), ("a", "c")])
def test_ahead_says_which_arm_is_lacking(left: str, right: str) -> None:
    arms = [arm("a", "rwp"), arm("b", "sam")]
    with pytest.raises(Lacking, match=r"no arm 'c\*?' is finished"):
        Ahead((left,), (right,))(arms, [0.1])
    assert Ahead((left,), (right,)).needs() == [left, right]


def one_run(at: Mapping[str, At], validation: Mapping[str, At] | None = None) -> list[Arm]:
    """A run named "x: auto": its last weights ("") and its checkpoints, with their truths on test and on validation data."""
    return [
        arm(
            f"x: auto{name}",
            "auto",
            accuracy=truth,
            validation=(validation or at)[name],
            role="checkpoint" if name else "candidate",
        )
        for name, truth in at.items()
    ]


TUNED = [
    arm("x: constant 0.1, lr 1", "tuned", accuracy={**dict.fromkeys(STRENGTHS, 0.8), 0.1: 0.9}),
    arm("x: constant 0.4, lr 1", "tuned", accuracy={**dict.fromkeys(STRENGTHS, 0.7), 0.4: 0.85}),
]
GROUP = (("x", "x: auto", "x: constant *"),)


@pytest.mark.parametrize(
    ("early", "late", "words"),
    [
        (0.9, 0.9, ["supported", "supported"]),
        (0.9, 0.7, ["supported", "supported"]),  # the checkpoint serves both
        (0.7, 0.87, ["contradicted", "supported"]),
        (0.5, 0.6, ["contradicted", "contradicted"]),
    ],
)
def test_shortfall_is_to_the_arm_tuned_for_each_strength(early: float, late: float, words: list[str]) -> None:
    found = Shortfall(GROUP)([*one_run({"": late, " @0.5": early}), *TUNED], [0.1, 0.4])
    assert [row.word for row in found.rows] == words
    assert [row.right for row in found.rows] == ["x: constant 0.1, lr 1", "x: constant 0.4, lr 1"]
    ahead = [row.difference.interval.estimate for row in found.rows if row.difference]
    assert ahead == pytest.approx([max(early, late) - 0.9, max(early, late) - 0.85], abs=2e-3)
    assert all(("beyond the limit" in row.note) == (gap < -0.01) for row, gap in zip(found.rows, ahead, strict=True))


def test_shortfall_chooses_checkpoints_on_validation_alone() -> None:
    arms = one_run({"": 0.5, " @0.5": 0.9}, {"": 0.9, " @0.5": 0.5})
    (row,) = Shortfall(GROUP)([*arms, *TUNED], [0.1]).rows
    assert row.difference is not None and row.difference.interval.estimate == pytest.approx(-0.4, abs=1e-3)
    assert "checkpoint: the end by 8" in row.note
    split = one_run({"": 0.5, " @0.5": 0.9})
    split[0].validation[:3] = 2.0  # three seeds prefer the end
    (row,) = Shortfall(GROUP)([*split, *TUNED], [0.1]).rows
    assert "@0.5 by 5, the end by 3" in row.note
    assert row.difference is not None and row.difference.interval.estimate == pytest.approx(-0.4 * 3 / 8, abs=2e-3)


def test_of_checkpoints_that_are_equally_good_the_latest_serves() -> None:
    arms = one_run({"": 0.5, " @0.25": 0.9, " @0.5": 0.9})
    arms[1].validation[:] = arms[2].validation
    found = served(arms, "x: auto", 0.1)
    assert found.picks == f"@0.5 by {SEEDS}"
    assert np.array_equal(found.test, arms[2].test[:, arms[2].index(0.1)])
    arms[0].validation[:] = arms[2].validation
    assert served(arms, "x: auto", 0.1).picks == f"the end by {SEEDS}"
    # where less is better the smallest of validation serves
    less = [replace(one, sign=-1, validation=place + 0 * one.validation) for place, one in enumerate(arms)]
    assert served(less, "x: auto", 0.1).picks == f"the end by {SEEDS}"
    less[0].validation[:] = 9.0
    assert served(less, "x: auto", 0.1).picks == f"@0.25 by {SEEDS}"


def test_shortfall_where_nothing_can_be_said() -> None:
    """A loss of half a point, known to half a point, is neither."""
    rng = np.random.default_rng(1)
    ours, theirs = arm("x: auto", "auto"), TUNED[0]
    wide = replace(ours, test=theirs.test - 0.005 + rng.normal(0, 0.02, (SEEDS, 1, 1)))
    (row,) = Shortfall(GROUP)([wide, theirs], [0.1]).rows
    assert row.word == "undecided"
    with pytest.raises(Lacking, match="'x: auto' is not finished"):
        Shortfall(GROUP)(TUNED, [0.1])
    with pytest.raises(Lacking, match="no arm 'x: constant \\*'"):
        Shortfall(GROUP)([ours], [0.1])


def test_carried_is_one_recipe_for_all() -> None:
    """The recipe that is best on the mean of both, though each group has one that is better for itself."""
    truth = {"x": {"1": 0.9, "2": 0.8, "3": 0.1}, "y": {"1": 0.1, "2": 0.8, "3": 0.9}}
    arms = [arm(f"{g}: constant {n}", "tuned", accuracy=a) for g, own in truth.items() for n, a in own.items()]
    arms.append(arm("x: constant 4", "tuned", accuracy=0.99))  # which y has not
    arms += [arm("x: auto", "auto", accuracy=0.85), arm("y: auto", "auto", accuracy=0.7)]
    groups = tuple((g, f"{g}: auto", f"{g}: constant *") for g in "xy")
    found = Carried(groups)(arms, STRENGTHS[1:])
    assert [(row.right, row.word) for row in found.rows] == [
        ("x: constant 2", "supported"),
        ("y: constant 2", "contradicted"),
    ]
    gaps = [row.difference.interval.estimate for row in found.rows if row.difference]
    assert gaps == pytest.approx([0.05, -0.1], abs=2e-3) and found.word == "conditional"
    with pytest.raises(Lacking, match="no recipe"):
        Carried((groups[0], ("z", "y: auto", "y: auto*")))(arms, [0.1])


def test_uncollapsed_is_about_clean_scores_alone() -> None:
    runs = [
        arm("x: auto", "auto", accuracy={0.0: 0.95}, metrics=({"strength": 0.3}, {"strength": 0.1})),
        arm("x: auto, cap 8", "auto", accuracy={0.0: 0.5}),
    ]
    runs = [replace(one, metrics=(({"strength": 0.3}, {"strength": 0.1}),) * SEEDS) for one in runs]
    best_ = arm("x: plain", "plain", accuracy={0.0: 0.96})
    found = Uncollapsed((("x", "x: auto*", "x: *"),))([*runs, best_], [0.4])
    assert [(row.left, row.right, row.word) for row in found.rows] == [
        ("x: auto", "x: plain", "supported"),
        ("x: auto, cap 8", "x: plain", "contradicted"),
    ]
    assert "largest strength 0.3 to 0.3" in found.rows[0].note
    with pytest.raises(Lacking, match="only 2 came to an end"):  # one that diverged is not forgotten
        Uncollapsed((("x", "x: auto*", "x: *"),), runs=3)([*runs, best_], [0.4])
    fallen = [*one_run({"": {0.0: 0.1}, " @0.5": {0.0: 0.95}}), best_]
    fallen[0] = replace(fallen[0], metrics=(({"strength": 0.3},),) * SEEDS)
    assert Uncollapsed((("x", "x: auto", "x: plain"),))(fallen, [0.4]).word == "contradicted"  # no checkpoint hides it


def test_ahead_leaves_checkpoints_out_unless_they_are_asked_for() -> None:
    arms = [*one_run({"": 0.5, " @0.5": 0.99}), *TUNED]
    (row,) = Ahead(("x: auto*",), ("x: constant *",))(arms, [0.1]).rows
    assert row.left == "x: auto"
    (row,) = Ahead(("x: auto @*",), ("x: constant *",))(arms, [0.1]).rows
    assert row.left == "x: auto @0.5"


AGAINST = (("no training", "sgd"), ("SAM", "sam *"))


def test_withstands_takes_the_best_on_validation_and_lets_the_first_question_decide() -> None:
    """The hardened arm that is best on the test is not the one that validation chooses, and SAM does not decide."""
    hardened = [
        replace(rwp(0.1, 0.92), equivalent=np.full((SEEDS, len(STRENGTHS)), 0.07)),
        rwp(0.2, 0.99, validation=0.5),
    ]
    arms = [*hardened, arm("sgd", "plain", 0, {0.1: 0.9, 0.2: 0.92}), arm("sam 1", "sam", 1, 0.95)]
    found = Withstands(("rwp *",), AGAINST)(arms, [0.1])
    assert found.word == "supported"
    assert [(row.question, row.left, row.right, row.word) for row in found.rows] == [
        ("no training", "rwp 0.1", "sgd", "supported"),
        ("SAM", "rwp 0.1", "sam 1", "contradicted"),
    ]
    assert found.rows[0].note == "best of 2 against best of 1; as large as gaussian-filter-max 0.07"
    assert found.rows[0].difference is not None
    assert found.rows[0].difference.interval.estimate == pytest.approx(0.02)
    assert Withstands(("rwp *",), AGAINST)(arms, [0.1, 0.2]).word == "conditional"
    assert Withstands(("rwp *",), AGAINST[::-1])(arms, [0.1]).word == "contradicted"
    assert [row.at for row in Withstands(("rwp *",), AGAINST[:1])(arms, []).rows] == ["0"]
    two = [*arms, *(replace(one, name=f"x: {one.name}") for one in arms)]
    found = Withstands(("rwp *",), AGAINST, networks=("", "x: "))(two, [0.1])
    assert [(row.question, row.left) for row in found.rows][2:] == [
        ("x: no training", "x: rwp 0.1"),
        ("x: SAM", "x: rwp 0.1"),
    ]
    with pytest.raises(Lacking, match="no arm 'sgd' is finished"):
        Withstands(("rwp *",), AGAINST)(hardened, [0.1])


def test_each_rule_has_a_name_and_says_what_it_needs() -> None:
    assert set(CATALOGUE.values()) == {
        Ahead,
        Carried,
        Changing,
        Exponent,
        Grows,
        OverRegularised,
        Preferred,
        Shortfall,
        SmallLarge,
        Uncollapsed,
        Vanishing,
        Withstands,
    }
    assert Exponent().needs() == Grows().needs() == Preferred(500).needs() == []
    assert OverRegularised().needs() == SmallLarge(SMALL, LARGE).needs() == []
    assert Withstands(("rwp *",), AGAINST).needs() == ["rwp *", "sgd", "sam *"]
    assert Withstands(("r",), (("t", "s"),), networks=("a: ", "b: ")).needs() == ["a: r", "a: s", "b: r", "b: s"]
    assert Changing(METHODS, RAMPS[:1]).needs() == ["sgd", "rwp, rising", "rwp, falling"]


def test_the_margins_that_nobody_has_to_say() -> None:
    """Of scores that are fractions: 0.3 points decide, 2 points are a collapse, a half is the target and one the limit."""
    assert MARGIN == 0.003
    for rule in (Ahead(("a",), ("b",)), OverRegularised(), SmallLarge(SMALL, LARGE), Preferred(500), Carried(GROUP)):
        assert rule.margin == MARGIN
    assert Withstands(("rwp *",), AGAINST).margin == MARGIN
    assert Uncollapsed(GROUP).margin == 0.02 and Uncollapsed(GROUP).runs == 1
    assert (Shortfall(GROUP).target, Shortfall(GROUP).most) == (0.005, 0.01)
    assert Exponent().predicted == -0.25 and Preferred(500).span == (0.0, 0.1)
    assert Changing(METHODS, RAMPS[:1]).plain == "sgd" and Ahead(("a",), ("b",)).statistic == "score"


def as_errors(one: Arm) -> Arm:
    """The same arm by its error rate, of which less is better."""
    return replace(one, test=1 - one.test, validation=1 - one.validation, chips=1 - one.chips, sign=-1)


CARRIED = [
    *(arm(f"{g}: constant {n}", "tuned", accuracy=a) for g, n, a in (("x", 1, 0.9), ("x", 2, 0.8), ("y", 1, 0.1), ("y", 2, 0.8))),
    arm("x: auto", "auto", accuracy=0.85),
    arm("y: auto", "auto", accuracy=0.7),
]  # fmt: skip
CLEAN = [
    *(
        replace(arm(name, "auto", accuracy={0.0: at}), metrics=(({"strength": 0.3},),) * SEEDS)
        for name, at in (("x: auto", 0.95), ("x: auto, cap 8", 0.5))
    ),
    arm("x: plain", "plain", accuracy={0.0: 0.96}),
    arm("x: worse", "plain", accuracy={0.0: 0.6}),
]


@pytest.mark.parametrize(
    ("rule", "arms", "words"),
    [
        (Shortfall(GROUP), [*one_run({"": 0.5, " @0.5": 0.87}), *TUNED], ["contradicted", "supported"]),
        (Carried(tuple((g, f"{g}: auto", f"{g}: constant *") for g in "xy")), CARRIED, ["supported", "contradicted"]),
        (Uncollapsed((("x", "x: auto*", "x: [pw]*"),)), CLEAN, ["supported", "contradicted"]),
    ],
    ids=["shortfall", "carried", "uncollapsed"],
)
def test_rules_say_of_errors_what_they_say_of_accuracies(rule: Any, arms: list[Arm], words: list[str]) -> None:
    """Who is chosen, who is ahead and by how much does not depend on whether more or less is better."""
    found, errors = rule(arms, [0.1, 0.4]), rule([as_errors(one) for one in arms], [0.1, 0.4])
    assert [row.word for row in found.rows] == words
    for row, other in zip(found.rows, errors.rows, strict=True):
        assert (other.left, other.right, other.word, other.note) == (row.left, row.right, row.word, row.note)
        assert row.difference is not None and other.difference is not None
        assert other.difference.interval == pytest.approx(tuple(row.difference.interval))


def shuffled(one: Arm, order: Sequence[int]) -> Arm:
    """The same arm, whose strengths were tested in another order."""
    return replace(
        one,
        strengths=tuple(one.strengths[i] for i in order),
        test=one.test[:, order],
        validation=one.validation[:, order],
        chips=one.chips[:, order],
    )


def test_areas_are_over_strengths_in_any_order() -> None:
    falling = {s: 0.9 - s for s in STRENGTHS}
    one, other = arm("one", "rwp", accuracy=falling), arm("other", "rwp", accuracy=0.75)
    mixed, order = shuffled(one, [3, 0, 5, 1, 4, 2]), (0.4, 0.0, 0.1)
    assert np.allclose(ranges.area(mixed), ranges.area(one))
    assert np.allclose(ranges.area(one, order), ranges.area(one, sorted(order)))
    assert np.allclose(ranges.area(one, order).mean(), 0.7, atol=0.01)  # .9 less the mean strength
    assert ranges.validation_area(mixed, order) == pytest.approx(ranges.validation_area(one, sorted(order)))
    assert ranges.best([mixed, other]).name == "other" and ranges.best([mixed, other], (0.1, 0.0)).name == "one"
    found, then = ranges.whole(mixed, "noise"), ranges.whole(one, "noise")
    assert found is not None and then is not None
    for name in ("area", "worst", "tolerance"):
        assert getattr(found, name) == pytest.approx(tuple(getattr(then, name)))
    groups = tuple((g, f"{g}: auto", f"{g}: constant *") for g in "xy")
    rows, before = (
        Carried(groups)([shuffled(one, [3, 0, 5, 1, 4, 2]) for one in CARRIED], []),
        Carried(groups)(CARRIED, []),
    )
    for row, was in zip(rows.rows, before.rows, strict=True):
        assert (row.at, row.word) == (was.at, was.word) == ("0 to 0.4", was.word)
        assert row.difference is not None and was.difference is not None
        assert row.difference.interval == pytest.approx(tuple(was.difference.interval))
