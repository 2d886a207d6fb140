"""Trainings that are watched, and trainings until one fails: bits, twins, what is kept, and what is said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from incorruptible import tasks
from incorruptible.diagnostics.charts import charts
from incorruptible.diagnostics.failure import Trial, failing, judged_by
from incorruptible.diagnostics.mechanism import probes
from incorruptible.diagnostics.survey import found_before, keep, of_run, of_weights
from incorruptible.diagnostics.text import arm_sentence, failing_sentence, overrun_sentence, tables
from incorruptible.diagnostics.tracking import Settings, Watched, scale_in, watch
from incorruptible.errors import UserError
from incorruptible.files import records
from incorruptible.objectives import parse
from incorruptible.reports.landscapes import landscapes
from incorruptible.runs import Run, train
from incorruptible.tasks.scores import cross_entropy
from incorruptible.training.recipe import Probe, Recipe
from typing_commands import Type, typing

RWP = "rwp(gaussian-filter-max)"
FEW = Settings(RWP, (0.1, 0.3), images=64, draws=3, every=2, budget=1.0, points=3)


def recipe(objective: str = RWP, strength: str = "linear:0:0.4", **more: Any) -> Recipe:
    usual = {"epochs": 3, "probe": Probe(draws=0)}
    return Recipe("digits", objective, strength, **{**usual, **more}).resolved()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(recipe(), tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture(scope="module")
def record(run: Run) -> dict[str, Any]:
    """A landscape of it, without and with failing trainings; 3 epochs teach little, and strength 3 teaches nothing."""
    found: dict[str, Any] = records.plain(of_run(run, FEW, fail=(0.1, 3.0, 4.0), tell=lambda *_: None))
    return found


# Watching changes nothing, and sees what the training's own probe would see.


@pytest.mark.parametrize(
    ("task", "objective"),
    [
        ("digits", RWP),
        pytest.param("digits:network=conv", "sam:metric=filter-max", marks=pytest.mark.slow),
        ("digits", "plain"),
    ],
)
def test_a_watched_training_ends_in_the_same_bits(task: str, objective: str, tmp_path: Path) -> None:
    strength = "constant:0" if objective == "plain" else "linear:0:0.4"
    one = replace(recipe(objective, strength, epochs=2), task=task)
    run = train(one, tmp_path)
    settings = replace(FEW, objective=RWP if objective == "plain" else objective, points=0)
    before = torch.get_rng_state()
    found = watch(Watched(run.task(), one, settings), run.record["weights"])
    assert found["same_bits"] is True
    assert torch.equal(torch.get_rng_state(), before)
    assert [look["step"] for look in found["looks"]] == [1, 2, 4, 16]


def test_other_bits_are_noticed() -> None:
    fit = Watched(tasks.load("digits"), recipe(epochs=1), replace(FEW, points=0))
    assert watch(fit, "0" * 64)["same_bits"] is False


@pytest.mark.parametrize("objective", [RWP, "sam"])
def test_looks_are_those_of_the_probe(objective: str, tmp_path: Path) -> None:
    """The instrument that trains along (`Probe`) and the one that watches afterwards say the same at the same steps."""
    probe = Probe(images=64, draws=3, every=1, early=(1, 2, 4))
    one = recipe(objective, epochs=2, probe=probe)
    run = train(one, tmp_path)
    fit = Watched(run.task(), one, replace(FEW, objective=objective, every=1, points=0))
    looks = watch(fit)["looks"]
    own = probes(run.record["metrics"])
    assert [look["step"] for look in looks] == [metrics["step"] for metrics in own] == [1, 2, 4, 8, 16]
    for look, metrics in zip(looks, own, strict=True):
        seen = {f"probe_{name}": value for name, value in records.plain(look["at"]["schedule"]).items()}
        assert {name: value for name, value in metrics.items() if name in seen} == {
            name: value for name, value in seen.items() if name in metrics
        }
        assert look["asked"] == metrics["strength"] if "strength" in metrics else True


def test_what_a_look_holds(record: dict[str, Any]) -> None:
    assert [look["step"] for look in record["looks"]] == [1, 2, 4, 16, 24]
    assert [look["epoch"] for look in record["looks"]] == [0.125, 0.25, 0.5, 2, 3]
    for look in record["looks"]:
        assert list(look["at"]) == ["schedule", "0.1", "0.3"]
        assert look["at"]["schedule"]["strength"] == look["asked"]
        for s in (0.1, 0.3):
            foreseen = s**2 * look["sharpness"]["noise"]["trace"] / 2
            assert look["at"][f"{s:g}"]["quadratic"] == pytest.approx(foreseen)
        assert 0 <= look["tolerated"] <= 1.6
    assert record["images"] == 64 and record["same_bits"] is True


def test_slices_reach_twice_as_far_as_is_tolerated(record: dict[str, Any]) -> None:
    along = record["slices"]["along"]
    assert list(along) == [RWP, "sam", "sam:metric=filter-max"]
    last = record["looks"][-1]
    if last["tolerated"] > 0:
        assert along[RWP]["places"][-1] == pytest.approx(2 * last["tolerated"])
    clean = last["at"]["0.1"]["clean_loss"]
    for path in along.values():
        assert path["losses"][0] == pytest.approx([clean] * len(path["losses"][0]), rel=1e-5)
    assert np.shape(record["slices"]["surface"]["losses"]) == (3, 3)
    assert record["slices"]["surface"]["losses"][1][1] == pytest.approx(clean, rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "scale"),
    [
        (RWP, "filter-max"),
        ("rwp(gaussian-layer-max)", "layer-max"),
        ("sam", "filter-max"),
        ("sam:metric=filter-norm", "filter-norm"),
        ("asam", "filter-max"),
        ("rwp(lognormal)", "filter-max"),
    ],
)
def test_the_scale_in_which_curvature_is_told(objective: str, scale: str) -> None:
    assert scale_in(parse(objective)) == scale


# Until one fails.


def test_the_smallest_strength_that_fails(record: dict[str, Any], run: Run) -> None:
    found = record["failing"]
    assert [arm["strength"] for arm in found["arms"]] == [0.1, 3.0]  # 4 is not tried
    calm, strong = found["arms"]
    assert calm["lost"] <= 0.1 < strong["lost"] and found["fails_from"] == 3.0
    assert calm["word"] == "no failure" and calm["clipped_score"] is None
    assert strong["clipped_score"] is not None and strong["word"] in ("vanishing", "variance", "neither")
    assert found["part"] == "validation"
    labels = {Run(one, records.read(one / "run.json")).recipe.strength for one in run.folder.parent.iterdir()}
    assert labels == {"linear:0:0.4", "constant:0", "constant:0.1", "constant:3"}


def trial(run: Run, tell: Callable[..., None], **more: Any) -> Trial:
    one = replace(run.recipe, **more)
    return Trial(one, run.folder.parent, run.task(), device="cpu", threads=1, images=64, draws=3, tell=tell)


def test_a_second_call_trains_nothing(record: dict[str, Any], run: Run) -> None:
    said: list[Any] = []
    again = failing(trial(run, lambda *what: said.append(what)), RWP, (4.0, 3.0, 0.1), run)
    assert said == []
    assert records.plain(again) == record["failing"]


def test_a_run_that_is_clipped_already_has_no_twin(record: dict[str, Any], run: Run) -> None:
    found = failing(trial(run, lambda *_: None, clip=0.5, epochs=1), RWP, (3.0,), run)
    (arm,) = found["arms"]
    assert arm["clipped_score"] is None and arm["restored"] is None
    if arm["lost"] > 0.1:
        assert arm["word"] == "neither"


def test_a_score_of_which_points_mean_nothing_is_refused() -> None:
    task = tasks.load("digits")
    assert judged_by(task) == "validation"
    assert judged_by(replace(task, validation=None)) == "test"
    with pytest.raises(UserError, match="--no-fail"):
        judged_by(replace(task, score=cross_entropy))


# What is kept, drawn and said.


@pytest.mark.slow
def test_a_question_is_answered_once(record: dict[str, Any], tmp_path: Path) -> None:
    written = keep(record, tmp_path)
    names = [path.name for path in written]
    assert names == [
        "landscape.json",
        "gradient.png",
        "unevenness.png",
        "sharpness.png",
        "tolerated.png",
        "slices.png",
        "surface.png",
        "failing.png",
    ]
    assert all(path.stat().st_size > 5000 for path in written)
    assert found_before(tmp_path, record["asked"]) == record
    assert found_before(tmp_path, {**record["asked"], "draws": 4}) is None
    (tmp_path / "landscape.json").write_text("{")
    assert found_before(tmp_path, record["asked"]) is None


def test_charts_say_what_the_record_says(record: dict[str, Any]) -> None:
    found = {chart.name: chart for chart in charts(record)}
    gradient = found["gradient"].panels["norm of mean g / norm of g0"]
    assert [line.label for line in gradient] == ["schedule", "0.1", "0.3"]
    ratios = [look["at"]["0.3"]["mean_ratio"] for look in record["looks"]]
    assert gradient[2].points[1] == pytest.approx(np.minimum(3, ratios))
    assert np.isnan(gradient[0].points[1][0]) and np.isfinite(gradient[0].points[1][1:]).all()  # strength 0 at first
    assert [line.label for line in found["tolerated"].panels[""]] == ["tolerated", "asked: linear:0:0.4"]
    trace = found["sharpness"].panels["trace, per filter-max"][0]
    assert trace.edges is not None and (trace.edges[0] < trace.edges[1]).all()
    strong = found["failing"].panels["signal / noise"][1]
    assert strong.label.startswith("3: ")


class Shelf:
    """A study's folder, as far as the report's chart of landscapes asks."""

    def __init__(self, home: Path, arms: list[str], seeds: int) -> None:
        self.home, self.arms = home, [{"name": name} for name in arms]
        self.jobs = [(arm, seed) for arm in range(len(arms)) for seed in range(seeds)]
        self.jobs = [SimpleNamespace(arm=arm, run=f"{arm}-{seed}") for arm, seed in self.jobs]

    def trained(self, job: Any) -> Path:
        return self.home / job.run


def test_the_report_shows_what_was_kept(record: dict[str, Any], tmp_path: Path) -> None:
    """Two seeds of one arm, one of another, which was looked at on other steps too, and none of a third."""
    shelf = Shelf(tmp_path, ["one", "other", "none"], 2)
    arms = [SimpleNamespace(name=name) for name in ("one", "other", "none")]
    assert landscapes(shelf, arms) == []  # type: ignore[arg-type]
    tops = [look["sharpness"]["noise"]["top"] for look in record["looks"]]
    shifted = copy.deepcopy(record)
    for look in shifted["looks"]:
        look["sharpness"]["noise"]["top"] += 2.0
    shorter = {**record, "looks": record["looks"][1:]}
    for run, one in {"0-0": record, "0-1": shifted, "1-0": record, "1-1": shorter}.items():
        records.write(tmp_path / run / "landscape" / "landscape.json", one)
    chart, *around = landscapes(shelf, arms)  # type: ignore[arg-type]
    assert [one.name for one in around] == ["slices-one", "surface-one", "slices-other", "surface-other"]
    assert around[0].title.endswith(": one, one seed")
    first, second = chart.panels["top eigenvalue, per filter-max"]
    assert (first.label, second.label) == ("one", "other")
    assert first.points[1] == pytest.approx(np.array(tops) + 1) and second.points[1] == pytest.approx(tops)
    low, high = first.edges
    assert high - low == pytest.approx([4.0] * len(tops))  # sd sqrt(2) of two seeds, two standard errors to either side
    assert second.edges is None
    assert "1 to 2 seeds an arm" in chart.caption


def test_weights_alone(run: Run) -> None:
    """In evaluation mode, at one place: no course, and no training."""
    found = records.plain(of_weights(run.task(), "digits", run.weights, FEW))
    (look,) = found["looks"]
    assert list(look["at"]) == ["0.1", "0.3"] and look["asked"] is None and found["mode"] == "as deployed"
    assert [chart.name for chart in charts(found)] == ["slices", "surface"]
    assert "At these weights" in tables(found)


def test_the_table(record: dict[str, Any]) -> None:
    text = tables(record)
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("1", "2", "4", "16", "24")] == ["1", "2", "4", "16", "24"]
    assert "steep" not in text.splitlines()[1].split()  # a column without numbers is left out


ARM = {
    "strength": 0.6,
    "score": 0.71,
    "lost": 0.26,
    "clipped_score": 0.95,
    "word": "variance",
    "cause": "gradient variance",
    "step": 96,
    "epoch": 12.0,
    "ratio": 1.18,
    "signal": 0.27,
    "norm": 3.0,
    "cosine": 0.8,
    "dead": 0.02,
    "restored": True,
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {},
            "rwp at 0.6: 71.0% clean against 97.0%: fails; at step 96 (epoch 12), before the stall: mean gradient 1.18 of the "
            "clean one, signal to noise 0.27, cosine 0.80, 2% dead units; clipping at 1 restores it (95.0%): variance.",
        ),
        ({"lost": 0.05, "score": 0.92}, "rwp at 0.6: 92.0% clean against 97.0%: does not fail."),
        ({"ratio": None, "cause": "the gradient is not finite"}, "fails; the gradient is not finite."),
        (
            {"step": None, "word": "neither", "cause": "no probe"},
            "fails; no probe lies before the stall: mean gradient",
        ),
        (
            {"restored": False, "word": "vanishing", "norm": 0.2},
            "clipping at 1, above all mean norms (up to 0.20), does not restore it (95.0%): vanishing.",
        ),
        (
            {"clipped_score": None, "restored": None, "word": "neither", "cause": "no twin"},
            "dead units: neither (no twin).",
        ),
    ],
)
def test_what_is_said_of_a_training(changes: dict[str, Any], says: str) -> None:
    assert says in arm_sentence("rwp", 0.97, {**ARM, **changes})


def test_what_is_said_of_failing() -> None:
    calm = {**ARM, "strength": 0.3, "lost": 0.0, "word": "no failure"}
    found = {"objective": "rwp", "arms": [calm, ARM], "fails_from": 0.6}
    assert failing_sentence(found).startswith(
        "Training with rwp fails from 0.6 on (of 0.3, 0.6), stalling after step 96 (epoch 12), by gradient variance."
    )
    slow = {**ARM, "word": "neither", "signal": 0.5, "cause": "neither rule holds"}
    assert "as they are defined (Eg/g0 1.18, S/N 0.50, clipping restores it)." in failing_sentence(
        {**found, "arms": [calm, slow]}
    )
    early = {**slow, "step": None, "cause": "no probe lies before the stall"}
    assert "from the first look on, by an unknown mechanism: no probe lies" in failing_sentence(
        {**found, "arms": [early]}
    )
    never = failing_sentence({"objective": "rwp", "arms": [calm], "fails_from": None})
    assert never == "Training does not fail at any of 0.3; try stronger ones: --strengths 0.6."


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        ([(0.1, 0.0), (0.2, 0.5), (0.3, 0.6)], "From step 1 on the network tolerates the strength"),
        ([(0.1, 0.0), (0.2, 0.5), (0.7, 0.6)], "more than the network tolerates at 1 of 2 looks, first at step 2"),
        ([(0.1, 0.0), (0.2, 0.0)], None),
        ([(0.1, None), (0.2, None)], None),
        ([(0.0, 0.1), (0.0, 0.2)], None),
    ],
)
def test_what_is_said_of_the_strength(looks: list[tuple[float, float | None]], says: str | None) -> None:
    found = overrun_sentence(
        [{"asked": a, "tolerated": t, "step": k, "epoch": float(k)} for k, (a, t) in enumerate(looks)]
    )
    assert found is None if says is None else says in str(found)


# The verb.


@pytest.fixture
def type_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Type:
    monkeypatch.chdir(tmp_path)
    return typing(monkeypatch, capsys)


QUICK = ["--images", "64", "--draws", "2", "--surface", "0", "--every", "3"]


def test_the_verb_on_a_run(type_: Type, run: Run, tmp_path: Path) -> None:
    words = ["landscape", run.folder, *QUICK, "--strengths", "3,.1", "--out", tmp_path / "found"]
    said = type_(*words)
    assert said.code == 0
    assert "Over training, at its own strength (linear:0:0.4)" in said.out
    assert "fails from 3 on (of 0.1, 3)" in said.out.splitlines()[-1]
    assert "failing.png" in said.err and "surface.png" not in said.err
    again = type_(*words)
    assert (again.code, again.out) == (0, said.out) and "as they were drawn before" in again.err
    other = type_(*words, "--seed", 1)
    assert other.code == 2 and "--force" in other.err and len(other.err.splitlines()) == 1


@pytest.mark.slow
def test_the_verb_on_a_run_that_is_looked_at_again(type_: Type, run: Run, tmp_path: Path) -> None:
    looked = type_(
        "landscape", run.folder, *QUICK, "--strengths", "3,.1", "--no-fail", "--force", "--json", "--out", tmp_path
    )
    assert looked.code == 0 and '"failing"' not in looked.out and '"looks"' in looked.out


@pytest.mark.slow
def test_the_verb_on_a_run_whose_strength_tuned_itself(type_: Type, tmp_path: Path) -> None:
    """There is no schedule to ask: what it came to stands in its record."""
    own = train(recipe(strength="auto:classes=10", epochs=5, lr=0.2, clip=1.0), tmp_path)
    reached = max(one["strength"] for one in own.record["metrics"])
    assert own.peak == reached
    said = type_("landscape", own.folder, "--no-fail", "--json", *QUICK)
    assert said.code == 0
    found = json.loads(said.out)
    assert found["same_bits"] is True
    asked = [look["asked"] for look in found["looks"]]
    assert asked[0] == 0.05 and 0 < asked[-1] != asked[0]
    assert max(float(name) for name in found["looks"][0]["at"] if name != "schedule") == pytest.approx(
        2 * reached, rel=1e-5
    )


def test_the_verb_on_weights(type_: Type, run: Run, tmp_path: Path) -> None:
    said = type_("landscape", "digits", "--weights", run.weights, *QUICK)
    assert said.code == 0 and "At these weights" in said.out and "--out" in said.err
    assert list(tmp_path.iterdir()) == []


OWN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from incorruptible import Task

x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > x[:, 1]).long()


def model():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


task = Task(model, test=(x, y), train=DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True))
"""


@pytest.mark.slow
def test_the_verb_on_a_task_of_ones_own(type_: Type, tmp_path: Path) -> None:
    """A loader, dropout, no reference loss and no validation data: the same bits, no budget, judged on test data."""
    (tmp_path / "own.py").write_text(OWN)
    looked = type_("landscape", "own.py:task", "--draws", 2)
    assert looked.code == 0 and "At these weights" in looked.out
    assert "--weights is missing" in looked.err and "--budget NATS" in looked.err
    trained = type_("train", "own.py:task", "--objective", "sam", "--strength", ".1", "--epochs", 2, "--json")
    found = json.loads(trained.out)["folder"]
    said = type_("landscape", found, "--draws", 2, "--surface", 0, "--json")
    record = json.loads(said.out)
    assert said.code == 0 and record["same_bits"] is True
    assert record["task"] == "own.py:task" and record["failing"]["part"] == "test"
    assert {look["tolerated"] for look in record["looks"]} == {None}
    again = type_("landscape", found, "--draws", 2, "--surface", 0)
    assert again.code == 0 and "own.py:task: 32 training examples" in again.out.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["digits"], "give --weights FILE"),
        (["nowhere/run"], "nowhere/run: no such folder."),
        (["digitz", "--weights", "w.safetensors"], "Did you mean 'digits'?"),
        (["digits", "--weights", "w.safetensors"], "w.safetensors: no such file of weights."),
        (["RUN", "--weights", "w.safetensors"], "a run has weights of its own"),
        (["RUN", "--strengths", ".1,x"], "--strengths '.1,x': numbers above 0"),
        (["RUN", "--strengths", "0,.1"], "--strengths '0,.1': numbers above 0"),
        (["RUN", "--objective", "plain"], "perturbs nothing"),
        (["RUN", "--objective", "smm"], "Did you mean 'sam'?"),
        (["RUN", "--objective", "sam"], "at which strengths?"),
        (["RUN", "--budget", "0"], "--budget 0: a loss above 0"),
        (["RUN", "--surface", "4"], "an odd number from 3 on"),
        (["RUN", "--surface", "1"], "an odd number from 3 on"),
        (["RUN", "--out", "FILE"], "a folder is needed"),
        (["RUN", "--draws", "1"], "--draws"),
    ],
)
def test_mistakes_are_one_line(type_: Type, run: Run, tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "file").write_text("")
    said = type_("landscape", *({"RUN": run.folder, "FILE": tmp_path / "file"}.get(word, word) for word in words))
    assert said.code == 2 and said.out == ""
    assert says in said.err and len(said.err.splitlines()) == 1
