"""Which arrays a recipe holds in hardware, `also` and `protect`: in training, in every measurement, in studies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from incorruptible.corruptions import parse_sweep
from incorruptible.errors import UserError, UserErrors
from incorruptible.evaluation import measure
from incorruptible.pacbayes.weights import displacement
from incorruptible.runs import MeasurePlan, Run, displaced, identity, measured, measures, open_run, train
from incorruptible.studies.estimate import estimate
from incorruptible.studies.plan import Tasks, begin
from incorruptible.studies.results import arms
from incorruptible.studies.spec import load as load_study
from incorruptible.studies.worker import work
from incorruptible.tasks import load
from incorruptible.training import Trainer
from incorruptible.training.recipe import Probe, Recipe, parse
from incorruptible.weights.arrays import select
from typing_commands import Type, typing

BIASES, FIRST = ("*.bias",), ("1.*",)
QUICK = Recipe(
    "digits", "rwp(gaussian-filter-max)", "constant:0.2", epochs=1, probe=Probe(images=64, draws=2, early=())
).resolved()
NOISE = "gaussian-filter-max"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(replace(QUICK, also=BIASES, protect=FIRST), tmp_path_factory.mktemp("held"))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    return typing(monkeypatch, capsys)


def test_training_perturbs_what_the_recipe_says(run: Run) -> None:
    task = load("digits")
    usual, held = Trainer(task, QUICK), Trainer(task, run.recipe)
    names = [array.name for array in select(held.model, BIASES, FIRST)]
    assert [array.name for array in held.robust.arrays] == names == run.record["arrays"]
    assert {array.name for array in usual.robust.arrays} - set(names) == {"1.weight"}
    assert {name.rpartition(".")[2] for name in names} == {"weight", "bias"} and "1.bias" not in names
    # the noise of an array does not depend on what else is noisy, so plain and held trainings differ by exactly these arrays
    weights = [train(one, run.folder.parent).model(task).state_dict() for one in (QUICK, run.recipe)]
    assert not torch.equal(weights[0]["3.weight"], weights[1]["3.weight"])


def test_without_noise_the_bits_are_those_of_the_usual_arrays(tmp_path: Path) -> None:
    plain = replace(QUICK, objective="plain", strength="constant:0", probe=Probe(draws=0))
    usual, held = (train(one, tmp_path) for one in (plain, replace(plain, also=BIASES)))
    assert usual.folder != held.folder and usual.digest() == held.digest()


def test_runs_of_the_usual_arrays_keep_their_names(run: Run) -> None:
    task = load("digits")
    assert not {"also", "protect"} & set(identity(QUICK, task)["recipe"])
    named = identity(run.recipe, task)["recipe"]
    assert (named["also"], named["protect"]) == (BIASES, FIRST)
    assert identity(run.recipe, task) != identity(replace(run.recipe, protect=()), task)


def test_a_run_is_measured_on_the_arrays_of_its_recipe(run: Run) -> None:
    plan, task, sweep = MeasurePlan(f"{NOISE}:0,0.3", chips=3), load("digits"), parse_sweep(f"{NOISE}:0,0.3")
    model = run.model(task)
    common: dict[str, Any] = {"chips": 3, "seed": 0}
    values = [
        measure(model, task.score, task.test, *sweep, arrays=arrays, **common).values
        for arrays in (select(model, BIASES, FIRST), select(model))
    ]
    found = measured(run, plan, task)["score"]
    np.testing.assert_array_equal(found, values[0])
    assert not np.array_equal(values[0], values[1])


def test_a_measurement_has_the_arrays_in_its_name_only_where_they_are_not_the_usual_ones(run: Run) -> None:
    task, plan = load("digits"), MeasurePlan(f"{NOISE}:0.1")
    usual = train(QUICK, run.folder.parent)
    weights = usual.digest()
    others = [
        Run(usual.folder, {**usual.record, "recipe": {**usual.record["recipe"], **held}})
        for held in ({"also": ["*.bias"]}, {"protect": ["1.*"]})
    ]
    names = {measures(one, plan, task)[0].name for one in (usual, *others)}
    assert len(names) == 3 and all(one.digest() == weights for one in others)
    before = Run(usual.folder, {**usual.record, "recipe": dict(usual.record["recipe"])})
    for later in ("also", "protect"):
        del before.record["recipe"][later]  # as runs were recorded before there were such entries
    assert measures(before, plan, task) == measures(usual, plan, task)


def test_bounds_see_the_filters_that_are_noisy(run: Run) -> None:
    file, _ = displaced(run)
    from incorruptible.files import records

    arrays = records.read_arrays(file, records.checksum(file))
    found = displacement(run.model(), run.start(), BIASES, FIRST)
    np.testing.assert_array_equal(arrays["square"], found.square)
    assert len(found.square) == sum(array.filters for array in select(run.model(), BIASES, FIRST))
    assert found.elsewhere > 0  # the first layer moved without noise, so that every bound is infinite


# The command line


def test_train_takes_them(run: Run, typed: Type, tmp_path: Path) -> None:
    words = ["--objective", "rwp(gaussian-filter-max)", "--strength", ".2", "--epochs", "1", "--home", tmp_path]
    said = typed("train", "digits", *words, "--also", "*.bias", "--protect", "1.*", "--json")
    recipe = open_run(Path(json.loads(said.out)["folder"])).recipe
    assert (recipe.also, recipe.protect) == (BIASES, FIRST)
    refused = typed("train", "digits", *words, "--also", "embedding.*")
    assert refused.code == 2 and "No parameter 'embedding.*' here" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ("measure", "--corruption", f"{NOISE}:0.3", "--chips", "3"),
        ("audit", "--corruption", f"{NOISE}:0.3"),
        ("certify", "--corruption", f"{NOISE}:0.3", "--accuracy", "0.2", "--min-yield", "0.3", "--confidence", "0.6"),
        ("sensitivity", "--corruption", f"{NOISE}:0.3", "--chips", "2"),
    ],
)
def test_commands_take_those_of_the_run_and_say_so(run: Run, typed: Type, words: tuple[str, ...]) -> None:
    command, *rest = words
    own = typed(command, run.folder, *rest)
    assert own.out.splitlines()[0] == "as it was trained: in arrays too: *.bias; kept digital: 1.*"
    found, given = (
        json.loads(typed(command, run.folder, *rest, *more, "--json").out) for more in ([], ["--also", "3.bias"])
    )
    assert (found["also"], found["protect"]) == (["*.bias"], ["1.*"])
    assert (given["also"], given["protect"]) == (["3.bias"], ["1.*"])  # what is given goes before, each by itself
    usual = typed(command, train(QUICK, run.folder.parent).folder, *rest)
    assert "trained" not in usual.out.splitlines()[0]


def test_commands_corrupt_those_of_the_run(run: Run, typed: Type) -> None:
    rows = json.loads(typed("audit", run.folder, "--json").out)["rows"]
    assert [row["name"] for row in rows if not row["reason"]] == run.record["arrays"]
    measuring = ("measure", run.folder, "--corruption", f"{NOISE}:0.3", "--chips", "3", "--json")
    values = json.loads(typed(*measuring).out)["values"]
    np.testing.assert_array_equal(values, measured(run, MeasurePlan(f"{NOISE}:0.3", chips=3))["score"])
    mapped = json.loads(typed("sensitivity", run.folder, "--corruption", f"{NOISE}:0.3", "--chips", "2", "--json").out)
    assert not {"1.weight", "1.bias"} & set(json.dumps(mapped).split('"')) and '"3.bias"' in json.dumps(mapped)


@pytest.mark.slow
def test_landscape_looks_at_those_of_the_run(run: Run, typed: Type) -> None:
    quick = ("--images", "64", "--draws", "2", "--surface", "0", "--no-fail")
    said = typed("landscape", run.folder, *quick)
    assert "arrays as in training: also *.bias; protect 1.*" in said.out.splitlines()
    record = json.loads((run.folder / "landscape" / "landscape.json").read_text())
    assert record["same_bits"] is True and record["held"] == {"also": ["*.bias"], "protect": ["1.*"]}
    assert record["asked"]["also"] == ["*.bias"]


def test_device_tells_of_the_arrays_of_the_run(run: Run, typed: Type) -> None:
    said = typed("device", "pcm-joshi", "--for", run.folder)
    assert "as it was trained: in arrays too: *.bias; kept digital: 1.*." in said.err
    assert "3.bias" in said.out and "1.weight" not in said.out


# Studies

STUDY = """
question = "Which arrays?"
seeds = 2
[recipe]
task = "digits"
epochs = 1
objective = "rwp(gaussian-filter-max)"
strength = 0.2
probe.draws = 0
[test]
corruptions = "gaussian-filter-max:0,0.3"
draws = 2
[selection]
draws = 2
[[arms]]
name = "usual"
[[arms]]
name = "biases in arrays, {lr}"
lr = [0.05]
also = ["*.bias"]
[[arms]]
name = "all but the first, {strength}"
strength = [0.1, 0.2]
protect = ["1.*"]
"""


def test_lists_of_patterns_make_no_grid(tmp_path: Path) -> None:
    file = tmp_path / "which.toml"
    file.write_text(STUDY)
    study = load_study(str(file))
    held = {design.name: (design.recipe.also, design.recipe.protect) for design in study.arms}
    assert held == {
        "usual": ((), ()),
        "biases in arrays, 0.05": (BIASES, ()),
        "all but the first, 0.1": ((), FIRST),
        "all but the first, 0.2": ((), FIRST),
    }


def test_a_study_measures_each_arm_on_its_own_arrays(tmp_path: Path) -> None:
    file = tmp_path / "which.toml"
    file.write_text(STUDY)
    study, tasks = load_study(str(file)), Tasks()
    folder = begin(study, tmp_path, threads=1, device="cpu", overrides={}, tasks=tasks)
    work(folder, tasks=tasks)
    found = {arm.name: arm for arm in arms(folder)}
    assert len(found) == 4
    job = next(one for one in folder.jobs if folder.arms[one.arm]["name"] == "all but the first, 0.2" and one.seed == 1)
    done = open_run(folder.trained(job))
    model, task = done.model(), load("digits")
    sweep = parse_sweep(f"{NOISE}:0.3")
    own = measure(model, task.score, task.test, *sweep, chips=2, seed=0, arrays=select(model, protect=FIRST)).values
    np.testing.assert_allclose(found["all but the first, 0.2"].chips[1, 1], own[0])
    assert set(estimate(study, tasks)) == set(found)


def test_a_pattern_that_matches_nothing_is_a_fault_of_its_line(tmp_path: Path) -> None:
    file = tmp_path / "which.toml"
    file.write_text(STUDY.replace('protect = ["1.*"]', 'protect = ["attention*"]').replace('"*.bias"', '"bais"'))
    with pytest.raises(UserErrors) as caught:
        load_study(str(file))
    first, second = caught.value.lines
    assert first.startswith("line 20, arms 2, also: No parameter 'bais' here")
    assert second.startswith("line 24, arms 3, protect: No parameter 'attention*' here")


def test_bounds_refuse_protected_weights(tmp_path: Path) -> None:
    file = tmp_path / "which.toml"
    file.write_text(STUDY.replace("[selection]", 'bounds = true\nparts = ["test", "train"]\n[selection]'))
    with pytest.raises(UserErrors, match="bounds would be infinite: no protect"):
        load_study(str(file))


@pytest.mark.parametrize("entry", [{"also": "*.bias"}, {"protect": [3]}])
def test_what_is_no_list_of_patterns_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(entry))):
        parse({"task": "digits", **entry})
