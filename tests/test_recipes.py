"""A training as plain data: defaults, canonical forms, and every fault at once."""

from __future__ import annotations

from typing import Any

import pytest

from incorruptible.errors import UserError
from incorruptible.training.recipe import Probe, Recipe, parse


def test_defaults() -> None:
    assert parse({"task": "digits"}).plain() == {
        "task": "digits",
        "objective": "plain",
        "strength": "constant:0",
        "epochs": 40,
        "batch": 64,
        "optimizer": "sgd",
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "decay": "cosine",
        "clip": None,
        "clip_weights": None,
        "batchnorm": None,
        "start": None,
        "checkpoints": (),
        "accumulate": 1,
        "precision": "fp32",
        "channels_last": False,
        "compiled": False,
        "ranks": 1,
        "noise": "exact",
        "also": (),
        "protect": (),
        "seed": 0,
        "probe": {"images": 256, "draws": 4, "every": 1, "early": (1,), "tolerance": False},
    }


@pytest.mark.parametrize(
    ("entry", "came", "kept"),
    [
        ("task", "digits:split=small:network=conv", "digits:network=conv"),
        ("task", "mine.py:task", "mine.py:task"),
        ("objective", "rwp( gaussian-filter-max )", "rwp(gaussian-filter-max)"),
        ("objective", "sam:euclidean", "sam"),
        ("objective", "randbet(dropconnect):population=1:bound=0.05", "randbet(dropconnect)"),
        ("clip_weights", "2.5", 2.5),
        ("objective", "mixed-rwp(gaussian-filter-max):0.50", "mixed-rwp(gaussian-filter-max)"),
        ("strength", ".3", "constant:0.3"),
        ("strength", "warmup-hold:.5", "warmup-hold:0.5:0.5"),
        ("strength", "reversed(linear:0:1)", "reversed(linear:0:1)"),
        ("probe", {"draws": 0}, Probe(draws=0)),
    ],
)
def test_what_means_the_same_is_written_the_same(entry: str, came: Any, kept: Any) -> None:
    recipe = parse({"task": "digits", entry: came})
    assert getattr(recipe, entry) == kept
    assert parse(recipe.plain()) == recipe == recipe.resolved()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"taks": "digits"}, ["'taks'", "Did you mean 'task'?", "task: "]),
        ({"task": "digits", "epoch": 3}, ["Did you mean 'epochs'?"]),
        ({"task": "digits", "probe": {"draw": 3}}, ["'probe.draw'", "Did you mean 'probe.draws'?"]),
        (
            {"task": "digits", "epochs": "many", "lr": "low", "momentun": 1},
            ["epochs", "'many'", "lr", "'low'", "momentum"],
        ),
        ({"task": "digits", "optimizer": "adam"}, ["optimizer", "'sgd' or 'adamw'", "'adam'"]),
        ({"task": "digits", "decay": "linear"}, ["decay", "cosine"]),
        ({"task": "digits", "epochs": 1.5}, ["epochs", "1.5"]),
        ({"task": "digits", "epochs": 0, "batch": -1, "lr": -0.1}, ["epochs 0", "batch -1", "lr -0.1"]),
        ({"task": "digits", "accumulate": 0, "ranks": 0}, ["accumulate 0", "ranks 0"]),
        ({"task": "digits", "batch": 7, "accumulate": 4, "ranks": 2}, ["batch 7", "8 parts"]),
        ({"task": "digits", "precision": "fp8"}, ["autocast", "'fp32', 'bf16' or 'fp16'"]),
        ({"task": "digits", "clip": float("nan")}, ["clip nan"]),
        ({"task": "digits", "weight_decay": float("inf")}, ["weight_decay inf"]),
        ({"task": "digits", "probe": {"draws": -1}}, ["probe draws -1"]),
        ({"task": "digits", "clip_weights": 0.5}, ["clip_weights 0.5", "1 or more"]),
        ({"task": "digits", "clip_weights": float("nan")}, ["clip_weights nan"]),
        ({"task": "digits", "objective": "rwp(dropconnect)", "strength": 1.5}, ["strength 1.5", "at most 1"]),
        ({"task": "digits", "objective": "randbet(dropconnect)", "strength": "linear:0:2"}, ["strength 2: at most 1"]),
        ({"task": "digits", "objective": "rwp(dropconnect)", "strength": "auto:classes=10"}, ["add cap=1"]),
        ({"task": "digits", "objective": "swp"}, ["No objective 'swp'", "Did you mean 'rwp'?"]),
        ({"task": "digits", "objective": "rwp"}, ["rwp(...)"]),
        ({"task": "digits", "objective": "rwp(gaussian)"}, ["gaussian-filter-max"]),
        ({"task": "digits", "strength": "-1"}, ["not negative"]),
        ({"task": "digits", "strength": "linaer:0:1"}, ["Did you mean 'linear'?"]),
        ({"task": "digts"}, ["No task 'digts'", "Did you mean 'digits'?"]),
        ({"task": "digits:network=cnn"}, ["No network 'cnn'", "conv, mlp"]),
        (
            {"task": "digits", "objective": "rwp(gaussian-filter-max)", "batchnorm": "clean"},
            ["rwp(gaussian-filter-max) never visits the clean weights"],
        ),
        (
            {"task": "digits", "objective": "local-rwp(gaussian-absolute)", "compiled": True},
            ["compiled: local-rwp(gaussian-absolute)", "or use rwp(gaussian-absolute)"],
        ),
    ],
    ids=str,
)
def test_every_fault_is_named(data: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse(data)
    for words in says:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_made_in_python_is_checked_too() -> None:
    with pytest.raises(UserError, match="epochs 0"):
        Recipe("digits", epochs=0)
    assert Recipe("digits", "sam", batchnorm="clean").resolved().batchnorm == "clean"


@pytest.mark.parametrize(
    ("probe", "due"),
    [(Probe(), [1, 2, 3, 4]), (Probe(every=2), [2, 4]), (Probe(every=0), []), (Probe(draws=0), [])],
)
def test_when_the_instrument_looks(probe: Probe, due: list[int]) -> None:
    assert [epoch for epoch in range(1, 5) if probe.due(epoch)] == due


def test_a_strength_may_be_a_number() -> None:
    assert parse({"task": "digits", "strength": 0.3}).strength == "constant:0.3"
