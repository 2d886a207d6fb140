"""Claims about other noises than the first: how a file says so, how they are decided, and their charts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from incorruptible.corruptions import parse_sweep
from incorruptible.errors import UserErrors
from incorruptible.files import records
from incorruptible.plots import Lines
from incorruptible.reports.robustness import robustness_charts
from incorruptible.statistics import agree, crossed
from incorruptible.studies import results
from incorruptible.studies.evidence import Arm
from incorruptible.studies.folder import Folder, find
from incorruptible.studies.spec import load
from test_studies import STUDY, brought, written
from test_verdicts import arm

HEAD = """
question = "Which networks withstand it?"
seeds = 2
[recipe]
task = "digits:train=500"
epochs = 1
probe = { draws = 0 }
[selection]
draws = 2
[test]
draws = 2
"""
ARMS = """
[[arms]]
name = "sgd"
method = "plain"
[[arms]]
name = "rwp {strength}"
method = "rwp"
objective = "rwp(gaussian-filter-max)"
strength = [0.1, 0.3]
[[arms]]
name = "own"
method = "own model"
objective = "rwp(int-flips)"
strength = 0.01
"""
CLAIM = """
[[claims]]
name = "pcm"
text = "?"
rule = "withstands"
on = ON
hardened = ["rwp *"]
against = [["plain training", "sgd"], ["clipping", "sgd"]]
"""
SWEEPS = ["gaussian-filter-max:0,0.1", "pcm-joshi:1,3:time=1h", "pcm-joshi:1,2:time=1d", "quantised:0:bits=3"]


def declared(folder: Path, claims: str, sweeps: Sequence[str] = SWEEPS) -> Path:
    path = folder / "mine.toml"
    path.write_text(f"{HEAD}corruptions = {list(sweeps)!r}\n{ARMS}\n{claims}")
    return path


def on(text: str, more: str = "") -> str:
    return CLAIM.replace("ON", text) + more


# how a file says so


def test_a_claim_says_what_it_is_about(tmp_path: Path) -> None:
    study = load(str(declared(tmp_path, on('["pcm-joshi*", "quantised*"]'))))
    assert study.claims[0].on == ("pcm-joshi*", "quantised*") == tuple(study.claims[0].plain()["on"])


@pytest.mark.parametrize(
    ("claim", "sweeps", "says"),
    [
        (
            on('"pcm-joshi"'),
            SWEEPS,
            "claims 1, on: No corruption among those that are tested 'pcm-joshi' here. Did you",
        ),
        (on('"stuck*"'), SWEEPS, "claims 1, on: No corruption among those that are tested 'stuck*' here."),
        (on('["pcm-joshi*", "stuck*"]'), SWEEPS, "claims 1, on: No corruption among those that are tested 'stuck*'"),
        (on('"pcm-joshi*"', "strengths = [3.0]"), SWEEPS, "claims 1, strengths: 3 is not tested; tested are 1"),
        (on('"pcm-joshi*"').replace('"sgd"]]', '"sdg"]]'), SWEEPS, "claims 1: No arm 'sdg' here. Did you mean 'sgd'?"),
        (on('"pcm-joshi*"').replace(', "sgd"]]', "]]"), SWEEPS, "claims 1: against: lists of a title, each its own,"),
        (on('"pcm-joshi*"').replace("clipping", "plain training"), SWEEPS, "claims 1: against: lists of a title, each"),
        (on('"pcm-joshi*"').replace('["rwp *"]', "[]"), SWEEPS, "claims 1: hardened and networks: at least one each"),
        ('[claims]\nname = "pcm"', SWEEPS, "claims: each claim is one of [[claims]]"),
        (
            "",
            ["int-flips:0.1", "int-flips:0.2,0.3"],
            "test, corruptions: at least one is needed, and each once, with all",
        ),
    ],
)
def test_mistakes(claim: str, sweeps: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserErrors) as caught:
        load(str(declared(tmp_path, claim, sweeps)))
    assert len(caught.value.lines) == 1 and says in caught.value.lines[0]


# how they are decided

BOTH = ["multiplicative", "int-flips"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A study of three arms over 2 seeds, with one claim about its first noise and one about the two others."""
    folder = tmp_path_factory.mktemp("finished")
    sweeps = ["gaussian-filter-max:0,0.2", "multiplicative:0,0.1,0.3", "int-flips:0.01,0.05"]
    text = STUDY.replace('["gaussian-filter-max:0,0.2"]', repr(sweeps)).replace("epochs = 6", "epochs = 2")
    claim = on(repr(BOTH)).replace('["clipping", "sgd"]', '["weak noise", "rwp 0.1"]')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        brought(written(folder, text + claim), folder / "home")
    return find(folder / "home", "tiny", "tiny.toml")


def lower(folder: Folder) -> Folder:
    """The same folder, of a score that is a loss."""
    return replace(folder, plan={**folder.plan, "score": {**folder.plan["score"], "higher_is_better": False}})


@pytest.mark.parametrize("turned", [False, True])
def test_a_claim_is_decided_under_each_noise_that_it_is_about(finished: Folder, turned: bool) -> None:
    """By validation under that very noise, also where less is better."""
    folder, sign = (lower(finished), -1) if turned else (finished, 1)
    first, verdict = results.conclude(folder, results.arms(folder))
    assert first.claim == "ahead" and {row.at for row in first.rows} == {"0.2"}  # one noise, without its name
    rows = iter(verdict.rows)
    words = []
    for place, noise, strengths in ((1, "multiplicative", (0.1, 0.3)), (2, "int-flips", (0.01, 0.05))):
        arms = {one.name: one for one in results.arms(folder, place)}
        rwp = [arms["rwp 0.1"], arms["rwp 0.3"]]
        for title, other in (("plain training", arms["sgd"]), ("weak noise", arms["rwp 0.1"])):
            for s in strengths:
                row, k = next(rows), other.index(s)
                chosen = max(rwp, key=lambda one: sign * one.validation[:, k].mean())
                gap = crossed(sign * (chosen.test[:, k] - other.test[:, k]))
                assert (row.question, row.at, row.left, row.right) == (
                    f"{title}, {noise}",
                    f"{s:g}",
                    chosen.name,
                    other.name,
                )
                assert row.difference is not None and row.difference.interval == gap.interval
                assert f"as large as gaussian-filter-max {chosen.equivalent[:, k].mean():.3g}" in row.note  # type: ignore[index]
                words += [row.word] if title == "plain training" else []
    assert next(rows, None) is None and verdict.word == agree([agree(words[:2]), agree(words[2:])])


@pytest.mark.parametrize("end", ["diverged", None])
@pytest.mark.parametrize(("name", "known"), [("sgd", False), ("rwp 0.1", True)])
def test_arms_that_did_not_come_to_an_end_are_told(
    finished: Folder, name: str, known: bool, end: Any, tmp_path: Path
) -> None:
    """Without the group that decides there is no word; without another, its row says so."""
    folder = replace(finished, path=tmp_path)
    (tmp_path / "outcomes").mkdir()
    for file in (finished.path / "outcomes").iterdir():
        (tmp_path / "outcomes" / file.name).write_bytes(file.read_bytes())
    job = next(job for job in folder.jobs if folder.arms[job.arm]["name"] == name)
    folder.forget(job, "finished")
    if end is not None:
        folder.write(job, end, {})
    verdict = results.conclude(folder, results.arms(folder))[1]
    compared = [row for row in verdict.rows if row.difference is not None]
    said = [row for row in verdict.rows if row.difference is None]
    assert {row.question.partition(",")[0] for row in compared} == ({"plain training"} if known else set())
    assert all(row.left == "rwp 0.3" for row in compared) and (known or verdict.word == "undecided")
    assert [f"no arm {name!r} is finished" in row.note for row in said] == [True, True, False]
    assert said[-1].note == f"left out, for not all seeds are finished: {name}"
    charts = robustness_charts(folder)
    assert charts and {line.label for chart in charts for panel in panels(chart).values() for line in panel} == (
        {"hardened", "plain training"} if known else {"hardened", "weak noise"}
    )


def test_old_measures_without_sizes_are_read(finished: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures of versions that did not keep how large an error is."""
    read = records.read_arrays
    monkeypatch.setattr(
        records,
        "read_arrays",
        lambda *given, **more: {k: v for k, v in read(*given, **more).items() if k != "equivalent"},
    )
    verdict = results.conclude(finished, results.arms(finished))[1]
    assert verdict.rows[0].note == "best of 2 against best of 1" and verdict.rows[0].difference is not None


# their charts


def panels(chart: Any) -> dict[str, Any]:
    assert isinstance(chart, Lines)
    return dict(chart.panels)


def made_up(
    monkeypatch: pytest.MonkeyPatch, claims: list[dict[str, Any]], sweeps: Sequence[str], arms: Sequence[str]
) -> Any:
    """A folder whose arms, each named METHOD or NETWORK: METHOD, score 0.9 less a hundredth for each noise before it."""
    noises = []
    for sweep in map(parse_sweep, sweeps):
        one = {"corruption": str(sweep.corruption), "strengths": list(sweep.strengths)}
        noises.append({**one, "conditions": getattr(sweep.corruption, "conditions", "")})

    def whole(place: int) -> list[Arm]:
        strengths = tuple(noises[place]["strengths"])
        shape = (2, len(strengths), 4)
        test = 0.9 - 0.01 * place + np.random.default_rng(0).normal(0, 1e-4, shape)
        given = {"strengths": strengths, "test": test, "validation": test.mean(2)}
        found = [replace(arm(name, name.rpartition(": ")[2]), **given) for name in arms]
        for one in found:
            object.__setattr__(one, "drop", lambda: None)  # they lie in no files
        return found

    module = sys.modules[robustness_charts.__module__]
    monkeypatch.setattr(module, "Outcomes", lambda folder: SimpleNamespace(whole=whole))
    score = {"name": "accuracy", "unit": "fraction"}
    return SimpleNamespace(plan={"definition": {"claims": claims}, "noises": noises, "score": score})


def claim(on: str, hardened: str, against: list[list[str]], networks: Sequence[str] = ("",)) -> dict[str, Any]:
    fields = {"hardened": [hardened], "against": against, "networks": list(networks)}
    return {"name": on, "rule": "withstands", "on": [on], "fields": fields}


PLAIN = ["plain training", "sgd"]
NAMES = ["sgd", "rwp", "own"]


def test_times_are_on_one_axis_also_where_the_name_leaves_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """rram-wan is at 1 s unless it says otherwise; rram-milo has no time."""
    sweeps = ["rram-wan:1,3:time=1s", "rram-wan:1,3:time=1d", "rram-wan:2:time=1d:compensation=global", "rram-milo:1,3"]
    folder = made_up(monkeypatch, [claim("rram*", "rwp", [PLAIN])], sweeps, NAMES)
    time, rate = robustness_charts(folder)
    assert (time.name, rate.name) == ("withstanding-time", "withstanding-rate")
    assert list(panels(time)) == ["rram-wan, at\u00a01", "rram-wan, compensation=global, at\u00a02"]
    assert list(panels(rate)) == ["rram-milo"]
    hardened, plain = panels(time)["rram-wan, at\u00a01"]
    assert (hardened.label, plain.label) == ("hardened", "plain training")
    assert list(hardened.x) == [1.0, 86400.0] and hardened.y == pytest.approx([90, 89], abs=0.02)
    assert isinstance(time, Lines) and [time.tick(x) for x in hardened.x] == ["1s", "1d"]
    assert list(panels(rate)["rram-milo"][0].x) == [1.0, 3.0]


def test_each_group_is_drawn_once_under_a_title_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second claim's hardened arms are not those of the first; what it calls otherwise but is there already is not drawn again."""
    claims = [
        claim("int-flips*", "rwp", [PLAIN]),
        claim("int-flips", "own", [["the best Gaussian", "rwp"], ["lacking", "sam"]]),
    ]
    (chart,) = robustness_charts(
        made_up(monkeypatch, claims, ["int-flips:0.1", "int-flips:0.1:bits=4", "stuck:0.1"], NAMES)
    )
    assert {title: [line.label for line in lines] for title, lines in panels(chart).items()} == {
        "int-flips": ["hardened", "plain training", "own"],
        "int-flips, bits=4": ["hardened", "plain training"],
    }


def test_each_network_has_charts_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = ["digits: ", "digits:network=conv: "]
    arms = [network + name for network in networks for name in NAMES]
    folder = made_up(monkeypatch, [claim("int-flips", "rwp", [PLAIN], networks)], ["int-flips:0.1"], arms)
    charts = robustness_charts(folder)
    assert [chart.name for chart in charts] == ["withstanding-rate-digits", "withstanding-rate-digits-network-conv"]
    assert [chart.title.rpartition(", ")[2] for chart in charts] == [
        "over its strengths: digits",
        "over its strengths: digits:network=conv",
    ]
    for chart in charts:
        assert [line.label for line in panels(chart)["int-flips"]] == ["hardened", "plain training"]


def test_rounding_alone_has_no_axis_to_be_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert robustness_charts(made_up(monkeypatch, [claim("*", "rwp", [PLAIN])], ["quantised:0:bits=3"], NAMES)) == []
