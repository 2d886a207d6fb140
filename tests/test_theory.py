"""What is said of theory: on made-up arms whose truth is known, and on a tiny study from end to end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from incorruptible import tasks
from incorruptible.errors import UserError
from incorruptible.pacbayes import Displacement, complexity, divergence, kl_inverse, monte_carlo
from incorruptible.plots import save
from incorruptible.reports import study_page
from incorruptible.reports.theory import theory_charts
from incorruptible.runs import MeasurePlan, displaced, measured, measures, train
from incorruptible.statistics import Difference, Interval
from incorruptible.studies.evidence import Arm, Lacking
from incorruptible.studies.folder import find
from incorruptible.studies.plan import Tasks, begin
from incorruptible.studies.results import arms as arms_of
from incorruptible.studies.results import conclude
from incorruptible.studies.rules import Exponent, Grows, Preferred
from incorruptible.studies.spec import load, shipped
from incorruptible.studies.theory import Optima, best_strength, bounds, kappa, predict, preferred, sizes
from incorruptible.studies.worker import work
from incorruptible.tasks.data import named_randomness
from incorruptible.training import Trainer
from incorruptible.training.recipe import Probe, Recipe

STRENGTHS = (0.0, 0.1, 0.2, 0.4)
PEAKS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
SEEDS, IMAGES, CHIPS = 8, 200, 100


def arm(
    size: int,
    peak: float,
    optimum: float = 0.2,
    *,
    fall: Sequence[float] = (0.0, 0.02, 0.05, 0.2),
    noise: float = 0.02,
    seed: int = 0,
    distance: float = 1.0,
    trace: float = 4.0,
) -> Arm:
    """An arm whose accuracy is a parabola in log training strength around `optimum`, less `fall` at each test strength."""
    rng = np.random.default_rng([seed, size, int(1000 * peak)])
    level = 0.9 - 0.05 * np.log(max(peak, 0.02) / optimum) ** 2
    mean = level - np.array(fall)
    images = np.random.default_rng(seed).normal(0, 0.1, IMAGES)  # some are hard for every arm
    test = mean[None, :, None] + images + rng.normal(0, noise, (SEEDS, len(STRENGTHS), IMAGES))
    test += rng.normal(0, noise / 10, (SEEDS, 1, 1))
    train = np.broadcast_to(0.95 - np.array(fall)[None, :, None], (SEEDS, len(STRENGTHS), size))
    doubt = np.broadcast_to((0.1 + trace / 2 * np.array(STRENGTHS) ** 2)[None, :, None], train.shape)
    ones = np.ones(1)
    moved = Displacement(np.zeros(1, int), np.array([100]), ones, ones, distance * ones)
    return Arm(
        name=f"rwp {peak:g}, n={size}",
        kind=f"rwp, n={size}",
        schedule="constant",
        peak=peak,
        strengths=STRENGTHS,
        test=test,
        test_loss=np.empty(0),
        validation=np.broadcast_to(mean, (SEEDS, len(STRENGTHS))),
        chips=np.broadcast_to(mean[None, :, None], (SEEDS, len(STRENGTHS), CHIPS)),
        train_score=train,
        train_bounded=doubt,
        displacement=(moved,) * SEEDS,
        seen=size // 2,
    )


def family(exponent: float, at_500: float = 0.2, **given: Any) -> list[Arm]:
    return [arm(n, p, at_500 * (n / 500) ** exponent, **given) for n in (125, 250, 500, 1000) for p in PEAKS]


# ---- from arms to bounds


def test_the_bound_is_put_together_as_it_says() -> None:
    """One filter of 100 weights that moved by 1 in square and kept its peak; by hand at s = .2 with three strengths."""
    found = bounds(one := arm(500, 0.1))
    assert found.n == 250 and found.risk[0].tolist() == pytest.approx([0.05, 0.07, 0.10, 0.25])
    assert np.isinf(found.divergence[:, 0]).all() and (found.limit[:, 0] == 1).all()
    free = min(divergence(one.displacement[0], 0.2, p) for p in np.linspace(0.2, 0.5, 3000))
    assert free < found.divergence[0, 2] < free + np.log(np.pi**2 * 200**2 / 6)
    expected = kl_inverse(monte_carlo(0.10, CHIPS, 0.01 / 3), complexity(found.divergence[0, 2], 250, 0.025 / 3))
    assert found.limit[0, 2] == pytest.approx(float(expected))


def test_sigma_star_from_an_arm() -> None:
    assert preferred(arm(500, 0.0, distance=2.0, trace=4.0), (0.0, 0.1)) == pytest.approx((2 / (250 * 4)) ** 0.25)
    assert np.isnan(preferred(arm(500, 0.0, trace=0.0), (0.0, 0.1))).all()


def test_only_arms_that_can_be_bounded_count() -> None:
    one = arm(500, 0.1)
    assert {n: [a.peak for a in group] for n, group in sizes([arm(500, 0.2), one, arm(125, 0.2)]).items()} == {
        125: [0.2],
        500: [0.1, 0.2],
    }
    for other in (replace(one, displacement=()), replace(one, role="control"), replace(one, schedule="linear")):
        with pytest.raises(Lacking, match="bounds = true"):
            sizes([other])
    with pytest.raises(Lacking, match="between 0 and 1"):
        sizes([replace(one, unit="nats")])


# ---- the best strength


@pytest.mark.parametrize("optimum", [0.06, 0.1, 0.23, 0.7])
def test_the_top_of_a_parabola_is_found(optimum: float) -> None:
    peaks = PEAKS[1:]
    assert best_strength([-(np.log(p / optimum) ** 2) for p in peaks], peaks) == pytest.approx(optimum)


def test_the_top_stays_within_what_was_trained() -> None:
    assert best_strength([5, 4, 2.9, 1.7, 0.4], PEAKS[1:]) == pytest.approx(0.05)
    assert best_strength([1, 2, 3, 4, 5], PEAKS[1:]) == pytest.approx(0.8)
    assert best_strength([9, 0, 1, 5, 9.5], PEAKS[1:]) == 0.8  # bent upwards: the best place
    assert best_strength([1, 2], [0.1, 0.2]) == 0.2


def test_intervals_of_the_exponent_cover_it() -> None:
    """60 studies of known exponent -.1, intervals at 95%: under 50 hits has probability under 1e-3 if the coverage is .95, and the
    interval is wide by design. Not trivial: their half-width stays under .2, on average."""
    x = np.log([125, 250, 500, 1000])
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    hits, halves = 0, []
    for seed in range(60):
        groups = list(sizes(family(-0.1, noise=0.3, seed=seed)).values())
        found = Optima.of(groups, 0.2).combined(weights).interval
        hits += found.low <= -0.1 <= found.high
        halves.append(found.half)
    assert hits >= 50 and np.mean(halves) < 0.2


def test_kappa_is_the_factor_that_fits() -> None:
    best = {s: max(s, 3 * 0.1) for s in (0.05, 0.1, 0.2, 0.4)}
    assert kappa(best, 0.1) == pytest.approx(3, rel=0.01)
    assert np.isnan(kappa(best, float("nan")))


# ---- rules


@pytest.mark.parametrize(
    ("exponent", "word"), [(-0.25, "supported"), (0.0, "contradicted"), (-0.6, "contradicted"), (0.25, "contradicted")]
)
def test_the_exponent_is_told(exponent: float, word: str) -> None:
    found = Exponent()(family(exponent), [0.1, 0.2])
    assert found.word == word and len(found.rows) == 2
    difference = found.rows[0].difference
    assert difference is not None and difference.interval.estimate == pytest.approx(exponent + 0.25, abs=0.03)


def test_an_exponent_at_the_edge_of_the_grid_is_undecided() -> None:
    """The best strengths are those that were left out: all sizes come to the weakest arm, and no spread is no certainty."""
    far = [arm for arm in family(-0.25) if arm.peak == 0 or arm.peak >= 0.2]
    for arms in (far, [replace(arm, test=arm.test.mean((0, 2), keepdims=True) + 0 * arm.test) for arm in far]):
        (row,) = Exponent()(arms, [0.1]).rows
        assert row.word == "undecided" and "at the edge" in row.note


def test_an_exponent_that_noise_hides_is_undecided() -> None:
    assert Exponent()(family(-0.12, noise=8.0), [0.1]).word == "undecided"
    with pytest.raises(Lacking, match="at least 3 numbers"):
        Exponent()([a for a in family(-0.25) if a.seen < 200], [0.1])
    with pytest.raises(Lacking, match="at least 3 training strengths"):
        Exponent()([a for a in family(-0.25) if a.peak < 0.1], [0.1])


def test_risk_that_grows_and_risk_that_falls() -> None:
    found = Grows()(family(-0.25), [])
    assert found.word == "supported" and len(found.rows) == 4 * 3
    assert "the risk of 0 falls" in found.rows[0].note
    one = arm(500, 0.2, fall=(0.0, 0.02, 0.05, 0.04))
    worse = [one if a.name == one.name else a for a in family(-0.25)]
    judged = Grows()(worse, [])
    assert judged.word == "conditional"
    (row,) = [row for row in judged.rows if row.word == "contradicted"]
    assert (row.question, row.at, row.note) == (
        "500 training examples",
        "0.4",
        "of 6 arms the risk of 1 falls, of 1 surely",
    )
    assert row.difference is not None and row.difference.interval.estimate > 0  # the mean over arms hides it


def test_a_prediction_that_holds_and_one_that_does_not() -> None:
    """sigma* = (1/(n/2 * 4))^(1/4): the true optimum is made to be 2 sigma* at every size."""
    rule = Preferred(500)
    sigma = (1 / (250 * 4)) ** 0.25
    found = predict(family(-0.25, 2 * sigma), [0.1, 0.2], 500, rule.span)
    assert found.kappa == pytest.approx(2, rel=0.02) and found.sigma[500] == pytest.approx(sigma)
    assert found.sigma[125] == pytest.approx((1 / (63 * 4)) ** 0.25)
    good = rule(family(-0.25, 2 * sigma), [0.1, 0.2])
    assert good.word == "supported" and len(good.rows) == 2 * 3 * 2
    bad = rule(family(0.5, 2 * sigma), [0.1, 0.2])
    assert bad.word in ("contradicted", "conditional")
    assert any(row.word == "contradicted" and row.question.startswith("as good as validation") for row in bad.rows)


@pytest.mark.parametrize(
    ("rule", "keep", "words"),
    [
        (Preferred(300), lambda a: True, "no arms of 300"),
        (Preferred(500), lambda a: a.peak > 0, "no arm of strength 0"),
        (Preferred(500), lambda a: a.peak < 0.1, "3 training strengths"),
        (Preferred(500, (0.0, 0.3)), lambda a: True, "0.3 is not among"),
    ],
)
def test_what_a_prediction_lacks(rule: Preferred, keep: Any, words: str) -> None:
    with pytest.raises(Lacking, match=words):
        rule([one for one in family(-0.25) if keep(one)], [0.1])


# ---- tasks with a prior

PRIOR = "digits:split=full:train=125:prior=0.5"


def test_a_prefix_and_a_prior_have_names() -> None:
    assert tasks.canonical("digits:prior=.5:train=125:split=full:network=mlp") == PRIOR
    for name in ("digits", "digits:network=conv", "digits:split=full", "digits:network=conv:split=full"):
        assert tasks.canonical(name) == name and tasks.load(name).seen == 0
    whole, part = tasks.load("digits:split=full"), tasks.load("digits:split=full:train=125")
    assert torch.equal(whole.train[0][:125], part.train[0]) and len(part.train[1]) == 125
    assert torch.bincount(part.train[1]).min() >= 11  # equal parts
    assert torch.equal(whole.test[0], part.test[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits:train=5", "10 to 500 images"),
        ("digits:train=501", "10 to 500 images"),
        ("digits:prior=1", "at least 10 of 500"),
        ("digits:train=30:prior=0.9", "at least 10 of 30"),
        ("digits:network=conv:prior=0.5", "network=mlp"),
        ("digits:priro=0.5", "Did you mean 'prior'"),
    ],
)
def test_mistakes_in_a_prefix_or_a_prior(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tasks.load(name)


def test_the_start_has_seen_its_share_and_nothing_else() -> None:
    """Other images in the second half change no bit of the start; other randomness does."""
    from incorruptible.tasks.data.digits import digits
    from incorruptible.tasks.networks import mlp
    from incorruptible.tasks.prior import prepared

    task = tasks.load(PRIOR)
    assert task.seen == 62 and abs(float(task.train[0][:62].mean())) < 1e-6

    with named_randomness(0, "weights"):
        start = [p.detach() for p in task.model().parameters()]
    images, labels = (part[:62] for part in digits("full")["train"])
    with named_randomness(0, "weights"):
        alone = [p.detach() for p in prepared(mlp, images - images.mean(), labels)().parameters()]
    assert all(torch.equal(a, b) for a, b in zip(start, alone, strict=True))
    network = task.model()
    assert not torch.equal(network.get_parameter("1.weight"), alone[0])
    with torch.no_grad():
        hits = (network(task.train[0][:62]).argmax(1) == task.train[1][:62]).float().mean()
    assert hits > 0.9  # it was trained
    assert [p.requires_grad for p in network.parameters()] == [True, False] * 3


# ---- runs and studies

RECIPE = Recipe(PRIOR, "rwp(gaussian-filter-max)", "0.1", epochs=3, lr=0.01, seed=3, probe=Probe(draws=0))


def test_a_run_finds_its_start_again(tmp_path: Path) -> None:
    task = tasks.load(PRIOR)
    run = train(RECIPE, tmp_path, task=task)
    fresh, again = Trainer(task, RECIPE.resolved()).model, run.start()
    assert all(torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), again.state_dict().values(), strict=True))
    for name, value in run.model().named_parameters():
        assert torch.equal(value, again.get_parameter(name)) == name.endswith("bias")  # biases stay
    file, digest = displaced(run)
    from incorruptible.files.records import read_arrays

    arrays = read_arrays(file, digest)
    assert arrays["seen"].tolist() == [62] and arrays["elsewhere"].tolist() == [0.0]
    assert arrays["count"].sum() == 64 * 128 + 128 * 128 + 128 * 10
    one = run.model().get_parameter("1.weight") - again.get_parameter("1.weight")
    assert arrays["square"][0] == pytest.approx(float(one[0].detach().double().square().sum()), rel=1e-5)


def test_a_run_that_began_at_a_file_finds_it_again_or_says_so(tmp_path: Path) -> None:
    first = train(replace(RECIPE, task="digits:train=60", epochs=1), tmp_path / "a")
    kept = tmp_path / "start.safetensors"
    kept.write_bytes(first.weights.read_bytes())
    run = train(replace(RECIPE, task="digits:train=60", epochs=1, start=str(kept)), tmp_path / "b")
    assert torch.equal(run.start().get_parameter("1.weight"), first.model().get_parameter("1.weight"))
    kept.write_bytes(run.weights.read_bytes())
    with pytest.raises(UserError, match="not what training started from"):
        run.start()


def test_the_bounded_loss_is_measured_where_asked(tmp_path: Path) -> None:
    task = tasks.load(PRIOR)
    run = train(replace(RECIPE, epochs=1), tmp_path, task=task)
    plan = MeasurePlan("gaussian-filter-max:0,0.1", "train", chips=2)
    plain, more = measured(run, plan, task), measured(run, plan, task, bounded=True)
    assert measures(run, plan, task) != measures(run, plan, task, bounded=True)
    assert set(more) - set(plain) == {"bounded", "bounded by example"}
    with torch.no_grad():
        odds = run.model()(task.train[0]).softmax(1)[torch.arange(125), task.train[1]]
    assert np.allclose(more["bounded by example"][0], 1 - odds.numpy(), atol=1e-6)


TINY = (
    f"""
title = "tiny"
question = "Does theory come through whole?"
seeds = 2
[recipe]
task = "{PRIOR}"
epochs = 2
lr = 0.01
weight_decay = 0.0
[recipe.probe]
draws = 0
[test]
corruptions = "gaussian-filter-max:0,0.1,0.2,0.4"
draws = 3
parts = ["test", "train"]
bounds = true
[selection]
draws = 2
"""
    + "".join(
        f"""
[[arms]]
name = "rwp {{strength}}, n={n}"
method = "rwp, n={n}"
task = "digits:split=full:train={n}:prior=0.5"
objective = "rwp(gaussian-filter-max)"
strength = [0.0, 0.1, 0.2, 0.4]
"""
        for n in (40, 60, 100)
    )
    + """
[[claims]]
name = "growth"
text = "risk grows"
rule = "grows"
[[claims]]
name = "strength"
text = "the strength is predicted"
rule = "preferred"
fitted = 100
[[claims]]
name = "exponent"
text = "it falls"
rule = "exponent"
strengths = [0.1, 0.2]
"""
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a tiny study, finished by this process."""
    home = tmp_path_factory.mktemp("theory")
    (home / "tiny.toml").write_text(TINY)
    overrides = {"seeds": None, "epochs": None}
    study = load(str(home / "tiny.toml"))
    assert work(begin(study, home, threads=1, device=None, overrides=overrides, tasks=Tasks()), Tasks())
    return home


@pytest.mark.slow
def test_a_tiny_study_comes_through(tiny: Path) -> None:
    folder = find(tiny, "tiny", "tiny")
    found = arms_of(folder)
    assert len(found) == 12 and all(one.displacement and one.train_bounded is not None for one in found)
    assert [one.seen for one in found[::4]] == [20, 30, 50]
    verdicts = {one.claim: one for one in conclude(folder, found)}
    assert len(verdicts["growth"].rows) == 9 and len(verdicts["exponent"].rows) == 2
    rows = [row for one in verdicts.values() for row in one.rows]
    assert [row.note for row in rows if row.difference is None] == [
        f"no prediction for {n} training examples: the loss of some network does not curve upwards" for n in (40, 60)
    ]
    limits = bounds(found[0])
    assert ((limits.risk <= limits.limit + 1e-12) & (limits.limit <= 1)).all()
    assert not list(folder.altered())


@pytest.mark.slow
def test_the_page_has_its_section_and_says_what_is_assumed(tiny: Path) -> None:
    made = study_page(find(tiny, "tiny", "tiny"), "incorruptible report")
    (section,) = [one for one in made.sections if one.title == "What the theory says"]
    assert [chart.name for chart in section.charts] == [
        "theory-bound",
        "theory-minimum-low",
        "theory-minimum-high",
        "theory-growth",
        "theory-strength",
        "theory-exponent",
    ]
    assert "fixed weights" in section.text and "does not prove" in section.text
    for chart in section.charts[:3]:
        assert "assumed" in chart.caption.lower() and "Monte-Carlo" in chart.caption
        assert all("all vacuous" in panel or "measured" in panel for panel in chart.panels)  # type: ignore[union-attr]
    assert "kappa fitted here" in "".join(section.charts[4].panels)  # type: ignore[union-attr]


@pytest.mark.slow
def test_its_charts_can_be_drawn(tiny: Path, tmp_path: Path) -> None:
    folder = find(tiny, "tiny", "tiny")
    drawn = [
        path for chart in theory_charts(folder, arms_of(folder)) for path in save(chart, tmp_path / chart.name, ["png"])
    ]
    assert len({path.name for path in drawn}) == 6 and all(path.stat().st_size > 10_000 for path in drawn)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('parts = ["test", "train"]', 'parts = ["test"]', "the training data are needed"),
        ("gaussian-filter-max:0,0.1,0.2,0.4", "multiplicative:0,0.1,0.2,0.4", "they are for gaussian-filter-max"),
        ("fitted = 100", "fited = 100", "Did you mean 'fitted'"),
        ("bounds = true", 'bounds = true\nbatchnorm = "recalibrated"', "void them"),
        ("weight_decay = 0.0", 'weight_decay = 0.0\nstart = "w.safetensors"', "may have seen the counted images"),
    ],
)
def test_mistakes_in_a_study_of_bounds(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "tiny.toml").write_text(TINY.replace(old, new))
    with pytest.raises(UserError, match=words):
        load(str(tmp_path / "tiny.toml"))


def test_a_study_without_bounds_keeps_its_jobs_and_its_plan(tmp_path: Path) -> None:
    """Nothing new stands in what names a job where no bounds are asked for."""
    (tmp_path / "tiny.toml").write_text(re.sub(r"bounds = true|\[\[claims\]\].*", "", TINY, flags=re.S))
    overrides = {"seeds": None, "epochs": None}
    folder = begin(
        load(str(tmp_path / "tiny.toml")), tmp_path, threads=1, device=None, overrides=overrides, tasks=Tasks()
    )
    assert "bounds" not in folder.plan and set(folder.plan["plans"]) == {"0 test", "0 train", "0 validation"}


def test_the_shipped_study_takes_equal_steps() -> None:
    study = load("theory")
    assert "theory" in shipped() and study.test.bounds and len(study.seeds) == 8
    for design in study.arms:
        size = int(re.search(r"train=(\d+)", design.recipe.task)[1])  # type: ignore[index]
        assert design.recipe.epochs * -(-size // design.recipe.batch) == 320
    assert {claim.rule for claim in study.claims} == {"grows", "preferred", "exponent"}


# ---- Holm, and means over seeds


def flat_arm(peak: float, steps: Sequence[float], spread: float) -> Arm:
    """Seeds differ by +-1 spread, images not at all: a rise of the risk by `steps` has t = step sqrt(7) / spread on 7 degrees."""
    signs = np.array([1, -1] * 4)[:, None, None] * np.arange(len(STRENGTHS))[None, :, None]
    level = 0.9 - np.concatenate([[0.0], np.cumsum(steps)])
    return replace(
        arm(500, peak), test=level[None, :, None] + spread * signs + np.zeros((SEEDS, len(STRENGTHS), IMAGES))
    )


def test_a_risk_that_falls_in_one_of_many_arms_is_corrected_for_them() -> None:
    """t = -3.5: p = .01 of one arm alone, .18 among 6 arms at 3 steps. And rises with p = .03 are three, or one."""
    fall, spread = 3.5 / 7**0.5 * 0.01, 0.01
    calm = [flat_arm(p, (0, 0, 0), spread) for p in PEAKS[1:]]
    judged = Grows()([flat_arm(0.0, (0, 0, -fall), spread), *calm], [])
    assert judged.rows[2].note == "of 6 arms the risk of 1 falls, of 0 surely" and judged.word == "undecided"
    alone = Grows()([flat_arm(0.0, (0, 0, -fall), spread)], [])
    assert alone.rows[2].note == "of 1 arms the risk of 1 falls, of 1 surely"
    rise = 2.715 / 7**0.5 * 0.01
    three = Grows()([flat_arm(0.1, (rise, rise, rise), spread)], [])
    assert [row.word for row in three.rows] == ["undecided"] * 3
    assert three.rows[0].difference is not None and three.rows[0].difference.p == pytest.approx(0.03, abs=1e-3)
    one = Grows()([flat_arm(0.1, (rise, 0, 0), spread)], [])
    assert one.rows[0].word == "undecided"
    two = [replace(flat_arm(0.1, (rise, 0, 0), spread), strengths=STRENGTHS[:2])]
    assert [row.word for row in Grows()(two, []).rows] == ["supported"]


@pytest.mark.parametrize(
    ("gap", "slope", "alone", "among_two"),
    [
        (0.03, 0.5, "contradicted", "undecided"),
        (0.5, 0.03, "supported", "undecided"),
        (0.001, 0.5, "contradicted", "contradicted"),
        (0.5, 0.001, "supported", "supported"),
    ],
)
def test_an_exponent_is_corrected_for_its_strengths(
    gap: float, slope: float, alone: str, among_two: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gap to the prediction and the slope, each with that p at every strength: Holm over the strengths, of each kind."""

    def combined(self: Optima, weights: Any, less: float = 0.0) -> Difference:
        return Difference(Interval(-0.4, -0.2, 0.0), gap if less else slope, float("nan"), 0.1, 7, (SEEDS, 20))

    monkeypatch.setattr(Optima, "combined", combined)
    arms = family(-0.2)
    assert [row.word for row in Exponent()(arms, [0.1]).rows] == [alone]
    assert [row.word for row in Exponent()(arms, [0.1, 0.2]).rows] == [among_two] * 2


def test_sigma_star_is_the_geometric_mean_over_seeds() -> None:
    """Half of the networks moved 16 times as far as the others: their sigma* is twice as large, the mean sqrt(2) times."""
    near, far = arm(500, 0.0), arm(500, 0.0, distance=16.0)
    mixed = replace(near, displacement=near.displacement[:4] + far.displacement[:4])
    others = [one for one in family(-0.25) if not (one.peak == 0 and one.seen == 250)]
    found = predict([mixed, *others], [0.1], 500, (0.0, 0.1))
    assert found.sigma[500] == pytest.approx(2**0.5 * (1 / (250 * 4)) ** 0.25)
