"""What an earlier version left behind: it opens, measures, compares and goes on, with the same names and the same numbers.

tests/data/earlier/README.md says what lies there and how it was made. The identities of runs contain torch's version, which is
set to the one of those files; the numbers that are computed anew may differ in the last places on other processors.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from incorruptible import runs, tasks
from incorruptible.corruptions import parse
from incorruptible.files import records
from incorruptible.randomness.streams import Draw
from incorruptible.runs import MeasurePlan, identity, measured, measures, open_run, train
from incorruptible.statistics import CLOSE, WIDE, confidence_sequence
from incorruptible.studies.folder import find
from incorruptible.studies.plan import Tasks, begin
from incorruptible.studies.spec import load, shipped
from incorruptible.training.recipe import Recipe
from incorruptible.training.recipe import parse as parse_recipe
from incorruptible.weights.arrays import Array
from typing_commands import Type, typing

DATA = Path(__file__).parent / "data" / "earlier"
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text())
FINISHED, HALF = EXPECTED["finished"], EXPECTED["half"]
SEEN = MeasurePlan("gaussian-filter-max:0,0.1,0.2", chips=4, part="validation", purpose="validation")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of everything, as the current folder, under the version of torch that it was made with."""
    shutil.copytree(DATA, tmp_path / "earlier")
    monkeypatch.chdir(tmp_path / "earlier")
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    yield Path("home")


@pytest.fixture
def type_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    return typing(monkeypatch, capsys)


def same(now: Any, then: Any, where: str = "") -> None:
    """Equal keys, texts and whole numbers, and other numbers that differ by rounding at most."""
    if isinstance(then, dict):
        assert isinstance(now, dict) and list(now) == list(then), where
        for key, value in then.items():
            same(now[key], value, f"{where}.{key}")
    elif isinstance(then, list):
        assert isinstance(now, list) and len(now) == len(then), where
        for place, (one, other) in enumerate(zip(now, then, strict=True)):
            same(one, other, f"{where}[{place}]")
    elif isinstance(then, float):
        assert math.isclose(now, then, rel_tol=2e-4, abs_tol=1e-6), (where, now, then)
    else:
        assert now == then, where


def test_a_finished_run_opens(home: Path) -> None:
    run = open_run(home / "trained" / FINISHED["folder"])
    assert run.whole() and run.digest() == FINISHED["weights"]
    assert run.recipe.checkpoints == (0.5,) and run.recipe.protect == ("0.*",)
    named = identity(run.recipe, run.task(), "cpu", 1)
    assert records.plain(named) == run.record["identity"] and records.identity(named) == run.folder.name
    assert train(run.recipe, home / "trained").record == run.record  # found again, not trained again
    with torch.inference_mode():
        model = run.model(at=0.5).eval()
        assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_a_measured_result_is_found_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(home / "trained" / FINISHED["folder"])
    assert measures(run, SEEN, run.task())[0].name == FINISHED["note"]
    with monkeypatch.context() as patched:
        patched.delattr(runs, "measure_all")
        found = measured(run, SEEN)
    for what, values in FINISHED["measured"].items():
        assert np.array_equal(found[what], np.array(values))
    shutil.rmtree(run.folder / "measures")
    again = measured(run, SEEN)
    for what, values in again.items():
        assert np.allclose(values, found[what], rtol=1e-4, atol=1e-6)


def test_a_stopped_measurement_goes_on(home: Path) -> None:
    run = open_run(home / "trained" / FINISHED["folder"])
    plan = replace(SEEN, seed=1)
    note = measures(run, plan, run.task())[0]
    assert note.name == FINISHED["stopped"]["note"]
    partial = note.with_name(f"{note.stem}.partial.json")
    assert partial.is_file()
    count = 0

    def leave() -> bool:
        nonlocal count
        count += 1
        return False

    found = measured(run, plan, leave=leave)
    assert count == 9 - 3 and not partial.is_file()  # of 1 + 4 + 4 chips three were there
    for what, values in FINISHED["stopped"]["values"].items():
        assert np.allclose(found[what], np.array(values), rtol=1e-4, atol=1e-6)


def test_a_half_finished_run_goes_on(home: Path) -> None:
    folder = home / "trained" / HALF["folder"]
    recipe = parse_recipe(json.loads((folder / "recipe.json").read_text())["recipe"])
    seen: list[int] = []
    run = train(recipe, home / "trained", progress=lambda epoch, total, metrics: seen.append(epoch))
    assert run.folder == folder and seen == [2, 3]
    same(run.record["metrics"], HALF["metrics"])
    same(run.record["at_peak"], HALF["at_peak"])


def test_a_study_is_whole_and_begins_nothing_anew(home: Path, type_: Type) -> None:
    folder = find(home, "earlier", "earlier.toml")
    before = records.read(folder.path / "study.json")
    assert list(folder.altered()) == []
    now = begin(load("earlier.toml"), home, threads=None, device=None, overrides=before["overrides"], tasks=Tasks())
    assert records.plain(now.plan) == before
    assert set(now.ends().values()) == {"finished"} and len(now.ends()) == len(now.jobs) == 4
    for verb, words in (("results", ()), ("compare", ("--arms", "rwp *", "sgd"))):
        said = type_(verb, "earlier.toml", "--home", home, "--json", *words)
        same(json.loads(said.out), json.loads(Path(f"{verb}.json").read_text()))


RUN = f"home/trained/{FINISHED['folder']}"
COMMANDS = {
    "measured": f"measure {RUN} --corruption gaussian-filter-max:0,.1 --draws 5 --part validation --seed 3",
    "over-time": f"measure {RUN} --corruption pcm-joshi:1 --time 1h,1d --draws 3 --reads 2 --part validation",
    "anytime": f"measure {RUN} --corruption gaussian-filter-max:.1 --precision .05 --draws 40 --part validation",
    "mean": f"measure {RUN} --corruption gaussian-filter-max:.1 --mean-within .01 --part validation",
    "certificate": f"certify {RUN} --corruption gaussian-filter-max:.02,.1 --accuracy .3 --yield .8 --draws 20 --part validation",
    "fresh": f"certify {RUN} --corruption gaussian-filter-max:.02 --accuracy .3 --fresh --part validation",
    "sensitivity": f"sensitivity {RUN} --corruption gaussian-filter-max:.2 --draws 4 --protect 3.*",
    "device": f"device measured:file=cells.csv --time 1h --for {RUN}",
    "audit": f"audit {RUN}",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_answers_as_before(name: str, home: Path, type_: Type) -> None:
    then = json.loads(Path(f"{name}.json").read_text())
    for envelope in ("format", "checksum", "command"):
        then.pop(envelope, None)
    said = type_(*COMMANDS[name].split(), "--json")
    assert said.code == 0
    same(without_changed_methods(json.loads(said.out)), without_changed_methods(then))


def without_changed_methods(found: dict[str, Any]) -> dict[str, Any]:
    """All but the two intervals that are computed in another way since: the chips, and everything else, must be the same.

    An accuracy for new chips and new examples had Student's interval, which is too short where few answers are wrong. The
    sequence of `--half-width` bet in one way, and now in two, which takes another number of chips.
    """
    for one in [found, *found.get("times", [])]:
        for row in one.get("new_chips_and_examples", []):
            assert 0 <= row.pop("low") < row.pop("high") <= 1
    if found.get("interval") == "anytime-valid":
        bets = (CLOSE, WIDE) if found.pop("method", None) else (CLOSE,)
        for row, values in zip(found["rows"], found["values"], strict=True):
            low, high = confidence_sequence(values, bets=bets)[:, -1]
            assert (row["low"], row["high"]) == pytest.approx((low, high), abs=2e-6)
            assert row["mean"] == pytest.approx(np.mean(values)) and row["chips"] == len(values)
            del values[30:]
        found["rows"] = [{"strength": row["strength"]} for row in found["rows"]]
    return found


def named(recipe: Recipe, task: tasks.Task) -> str:
    """The name of a run of `recipe`; of `Auto`, whose rule has changed since, the name that the earlier rule had."""
    found = identity(recipe, task, "cpu", 1)
    revised = recipe.strength.startswith("auto:") and "learn=false" not in recipe.strength
    assert found.get("controller") == (2 if revised else None)
    return records.identity({key: value for key, value in found.items() if key != "controller"})


@pytest.mark.parametrize("name", EXPECTED["recipes"])
def test_recipes_keep_their_names(name: str, home: Path) -> None:
    """Under the entries that they were written with."""
    one = EXPECTED["recipes"][name]
    recipe = parse_recipe(one["given"])
    assert named(recipe, tasks.load(recipe.task)) == one["identity"]
    assert records.plain(recipe.plain()) == one["plain"]
    assert parse_recipe(one["plain"]) == recipe


@pytest.mark.parametrize("name", EXPECTED["studies"])
def test_every_run_of_a_study_that_travels_with_the_package_keeps_its_name(name: str, home: Path) -> None:
    assert name in shipped()
    study = load(name)
    loaded = {recipe: tasks.load(recipe) for recipe in {design.recipe.task for design in study.arms}}
    names = [
        named(replace(design.recipe, seed=seed), loaded[design.recipe.task])
        for design in study.arms
        for seed in study.seeds
    ]
    plans = {key: plan.plain() for key, plan in study.plans().items()}
    found = {"runs": len(names), "identities": records.identity(names), "plans": records.identity(plans)}
    assert found == EXPECTED["studies"][name]


def sums(values: torch.Tensor) -> list[float]:
    """Three numbers that tell values apart from others."""
    x = values.double()
    return [float(one) for one in (x.sum(), x.abs().sum(), (x * torch.arange(1, x.numel() + 1).view_as(x)).sum())]


@pytest.fixture
def weights() -> Array:
    """Eight filters of 24 weights, whose sizes differ by factors of up to a thousand."""
    torch.manual_seed(1)
    return Array("w", torch.randn(8, 24) * torch.logspace(-2, 1, 8)[:, None])


@pytest.mark.parametrize("text", EXPECTED["noise"])
def test_chips_keep_their_noise(text: str, home: Path, weights: Array) -> None:
    """Under every corruption, device and fault: purposes, tags and names of noise are what they were."""
    corruption = parse(text)
    strength = min(0.1, getattr(corruption, "max_strength", 1.0))
    values = corruption(weights, strength, Draw(7, "test", 3, read=1).of("w"))
    values = torch.where(torch.isfinite(values), values, 0.0).clamp(-1e4, 1e4)
    assert np.allclose(sums(values), EXPECTED["noise"][text], rtol=1e-5, atol=1e-4)


def test_streams_keep_their_numbers(weights: Array) -> None:
    noise, then = Draw(7, "train", 3, mirrored=True).of("w"), EXPECTED["streams"]
    assert np.allclose(sums(noise.normal(weights.value)), then["mirrored"], rtol=1e-5)
    assert np.allclose(sums(noise.uniform(weights.value)), then["uniform"], rtol=1e-5)
    assert noise.chip("x") == then["chip"]
