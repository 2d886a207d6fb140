"""The shipped study `transformer`: the same arms for every selection of arrays, matched passes, margins in bits; and its tables."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from incorruptible import objectives
from incorruptible.studies.spec import Study, load
from incorruptible.tasks import load as load_task
from incorruptible.training.recipe import Recipe

BEGINNINGS = {
    "": ((), ()),
    "embeddings: ": (("symbols.*", "positions.*"), ()),
    "digital attention: ": ((), ("*attention*",)),
}


@pytest.fixture(scope="module")
def study() -> Study:
    return load("transformer")


def beginning(name: str) -> str:
    return next((one for one in BEGINNINGS if one and name.startswith(one)), "")


def test_the_same_arms_stand_for_every_selection_of_arrays(study: Study) -> None:
    held: dict[str, dict[str, Recipe]] = {one: {} for one in BEGINNINGS}
    for design in study.arms:
        place = beginning(design.name)
        assert (design.recipe.also, design.recipe.protect) == BEGINNINGS[place]
        assert design.method.partition(", ")[2] == place.removesuffix(": ")
        held[place][design.name.removeprefix(place)] = replace(design.recipe, also=(), protect=())
    usual, *others = held.values()
    assert len(usual) == 13 and all(one == usual for one in others)
    model, names = load_task(usual["plain"].task).model(), {}
    for place, (also, protect) in BEGINNINGS.items():
        names[place] = {array.name for array in replace(usual["plain"], also=also, protect=protect).arrays(model)}
    assert names["embeddings: "] - names[""] == {"symbols.weight", "positions.weight"}
    gone = {f"blocks.{block}.attention.{part}_proj.weight" for block in range(2) for part in ("in", "out")}
    assert (
        names[""] - names["digital attention: "] == gone
        and names["digital attention: "] < names[""] < names["embeddings: "]
    )


def test_passes_are_matched_and_seeds_are_not_the_pilots(study: Study) -> None:
    base = next(design.recipe for design in study.arms if design.name == "plain")
    for design in study.arms:
        passes = objectives.parse(design.recipe.objective).passes * design.recipe.epochs
        twice = design.role == "double" or design.recipe.objective.startswith("sam")
        assert passes == base.epochs * (2 if twice else 1)
        assert (design.recipe.lr, design.recipe.clip, design.recipe.batch) == (base.lr, base.clip, base.batch)
    assert len(study.seeds) >= 4 and 100 not in study.seeds


def test_claims_compare_within_a_selection_unless_that_is_the_question(study: Study) -> None:
    for claim in study.claims:
        plain = claim.plain()["fields"]
        assert plain.get("margin", plain.get("target")) == 0.02
        if claim.rule == "ahead":
            sides = {beginning(plain[side][0]) for side in ("left", "right")}
            assert (len(sides) == 1) == claim.name.startswith("RWP")
        if claim.rule == "shortfall":
            assert all(beginning(run) == beginning(pattern) for _, run, pattern in plain["groups"])
        if claim.rule == "small-large":
            assert {one.partition(", ")[2] for one in plain["ours"]} == {plain["theirs"].partition(", ")[2]}


# The tables


def script() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / "transformer.py"
    spec = importlib.util.spec_from_file_location("transformer_tables", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    results = [{"strength": s, "mean": 3 + s, "low": 2.9 + s, "high": 3.1 + s} for s in (0.0, 0.2)]
    arms = [{"name": f"{place}{name}", "results": results} for place in BEGINNINGS for name in ("plain", "rwp 0.1")]
    row = {
        "question": "q",
        "at": "0.2",
        "left": "rwp 0.1",
        "right": "plain",
        "difference": 0.1234,
        "low": -0.01,
        "high": 0.2567,
    }
    claims = {"RWP": {"verdict": "undecided", "rows": [{**row, "word": "undecided", "note": ""}]}}
    tables = script()
    tables.means(arms)
    tables.verdicts(claims)
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("| rwp 0.1 | 3.000 ± 0.100 | 3.200 ± 0.100 |") == 3
    assert {"usual arrays", "embeddings in arrays, too", "attention digital"} <= set(lines)
    assert lines[-1] == "| RWP: **undecided** | 0.2 | rwp 0.1 − plain | +0.123 (-0.010 to +0.257) | undecided |"
