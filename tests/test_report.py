"""The demo from end to end: every arm of the study over 2 seeds and 1 epoch, its verdicts, its summary and its figures.

The numbers mean nothing at this size; how they get from the trained networks onto the page is what is tested.
"""

from __future__ import annotations

import fcntl
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest

from incorruptible import records, runs
from incorruptible.cli import run
from incorruptible.errors import Mistake
from incorruptible.runs import measured, train
from incorruptible.studies import conclude, study
from incorruptible.studies.digits import ARMS, PLANS, TESTS

CLAIMS = ("C1", "C2", "C3", "C4")
WORDS = {"supported", "contradicted", "equivalent", "conditional", "undecided"}
FIGURES = ("accuracy", "strength", "gap", "gradient", "tolerated")


class Demo(NamedTuple):
    home: Path
    out: str
    summary: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.home / "demo"


@contextmanager
def few_chips() -> Iterator[None]:
    """Three chips in place of ten and twenty, which would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for part, plan in list(PLANS.items()):
            patch.setitem(PLANS, part, replace(plan, draws=3))
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Demo:
    """The demo's folder and what it printed; processes that share the tests also share one study, one after the other."""
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "demo of all"
    home.mkdir(exist_ok=True)
    words = ["incorruptible", "demo", "--home", str(home), "--seeds", "2", "--epochs", "1", "--workers", "1"]
    said = io.StringIO()
    with (home / "lock").open("w") as lock, few_chips(), pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            run()
        assert caught.value.code == 0
        return Demo(home, said.getvalue(), records.read(home / "demo" / "summary.json"))


def test_the_summary_holds_a_verdict_for_each_claim(demo: Demo) -> None:
    for claim in CLAIMS:
        found = demo.summary[claim]
        assert found["verdict"] in WORDS and found["claim"] and found["rows"]
        compared = [row for row in found["rows"] if "difference" in row]
        for row in compared:
            assert row["n"] in ([2, 997], [2]) and row["low"] <= row["difference"] <= row["high"]
            assert row["left"] and row["right"] and 0 <= row["p"] <= 1
        assert compared
    assert (demo.summary["seeds"], demo.summary["epochs"]) == (2, 1)
    assert demo.summary["command"].startswith("incorruptible demo --home")
    assert demo.summary["chips"]["validation"]["purpose"] != demo.summary["chips"]["test"]["purpose"]
    assert "torch" in demo.summary["made"]


def test_the_summary_holds_what_was_measured(demo: Demo) -> None:
    assert [arm["name"] for arm in demo.summary["arms"]] == [design.name for design in ARMS]
    for place in (0, 5, len(ARMS) - 1):
        trained = [train(ARMS[place].recipe(seed, 1), demo.home / "trained") for seed in (0, 1)]
        with few_chips():
            found = {part: [measured(run, plan) for run in trained] for part, plan in PLANS.items()}
        shown = demo.summary["arms"][place]
        assert shown["strengths"] == [0, *TESTS]
        test = [one["mean"] for one in shown["test_accuracy"]]
        for part, what, values in (
            ("test", "score", test),
            ("test", "loss", shown["noisy_test_loss"]),
            ("train", "loss", shown["noisy_train_loss"]),
            ("train", "score", shown["noisy_train_accuracy"]),
            ("validation", "score", shown["validation_accuracy"]),
        ):
            np.testing.assert_allclose(values, np.mean([one[what].mean(1) for one in found[part]], axis=0), rtol=1e-6)


def test_the_page_lists_every_verdict_arm_and_figure(demo: Demo) -> None:
    page = (demo.folder / "summary.md").read_text()
    lines = page.splitlines()
    for claim in CLAIMS:
        assert f"## {claim}: {demo.summary[claim]['verdict']}" in lines
        assert sum(line.startswith(f"| {claim}") for line in lines) == len(demo.summary[claim]["rows"])
    for arm in demo.summary["arms"]:
        cells = [f"{100 * one['mean']:.2f}" for one in arm["test_accuracy"]]
        assert f"| {arm['name']} | {' | '.join(cells)} |" in lines
    for name in FIGURES:
        assert f"(figures/{name}.png)" in page
    assert demo.summary["command"] in page


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_there_twice_and_says_its_n(name: str, demo: Demo) -> None:
    assert (demo.folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    drawn = " ".join(ElementTree.parse(demo.folder / "figures" / f"{name}.svg").getroot().itertext())
    assert "2 seeds" in drawn


def test_the_demo_prints_its_verdicts_and_where_the_evidence_is(demo: Demo) -> None:
    *verdicts, last = demo.out.splitlines()
    assert [line.split()[:2] for line in verdicts] == [[claim, demo.summary[claim]["verdict"]] for claim in CLAIMS]
    assert f"2 seeds an arm, {len(ARMS)} arms" in last and str(demo.folder / "summary.md") in last


def test_a_second_study_trains_and_measures_nothing(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(runs, "Fit")
    monkeypatch.delattr(runs, "measure_all")
    told: list[tuple[int, int]] = []
    with few_chips():
        again = study(
            demo.home / "trained",
            seeds=2,
            epochs=1,
            workers=1,
            progress=lambda done, all_, name: told.append((done, all_)),
        )
    assert told[-1] == (2 * len(ARMS), 2 * len(ARMS)) and again.arm("sgd").test.shape == (2, 1 + len(TESTS), 997)
    for verdict in conclude(again):
        assert records.plain(verdict.plain()) == demo.summary[verdict.claim]


@pytest.mark.parametrize(("seeds", "epochs"), [(1, 1), (2, 0)])
def test_a_study_of_one_seed_is_none(seeds: int, epochs: int, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="at least 2 seeds"):
        study(tmp_path / "new", seeds=seeds, epochs=epochs)
    assert not (tmp_path / "new").exists()
