"""A small study from end to end: every kind of arm and every rule over 2 seeds and 2 epochs, its verdicts, tables, page and figures.

The numbers mean nothing at this size; how they get from the trained networks onto the page is what is tested.
"""

from __future__ import annotations

import csv
import fcntl
import html
import io
import json
import platform
import re
import shlex
import sys
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest

import incorruptible as inc
from browser import chromium
from incorruptible.cli import run
from incorruptible.errors import UserError
from incorruptible.files import records
from incorruptible.reports import exporting, summarise
from incorruptible.reports.charts import _gradient
from incorruptible.runs import measured, train
from incorruptible.statistics import holm
from incorruptible.studies.folder import find
from incorruptible.studies.spec import Study, load
from incorruptible.training.recipe import parse as parse_recipe
from waiting import HANG

SMALL = Path(__file__).with_name("studies") / "small.toml"
CLAIMS = ("over", "small", "vanishing", "changing", "ahead")
WORDS = {"supported", "contradicted", "equivalent", "conditional", "undecided"}
FIGURES = ("accuracy", "crossover", "map-rwp", "strength", "chips", "gap", "curves", "gradient", "tolerated")
STRENGTHS = {"gaussian-filter-max": (0.0, 0.1, 0.2), "multiplicative": (0.0, 0.3)}
SCRIPTS = re.compile(r"<script.*?</script>", re.DOTALL)


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Made(NamedTuple):
    home: Path
    said: dict[str, Said]

    @property
    def folder(self) -> Path:
        return self.home / "studies" / "small"


def typed(*words: object) -> Said:
    """What a command answers."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["incorruptible", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            run()
    assert isinstance(caught.value.code, int)
    return Said(caught.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Made:
    """The study's home and what the commands said; processes that share the tests share one study, which the first makes."""
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "one study for all"
    home.mkdir(exist_ok=True)
    note = home / "said.json"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.is_file():
            said = {
                "study": typed("study", SMALL, "--home", home, "--workers", 1, "--threads", 1),
                "report": typed("report", SMALL, "--home", home),
                "figures": typed("figures", "small", "--home", home, "--format", "svg", "--format", "pdf"),
            }
            note.write_text(json.dumps(said))
    return Made(home, {verb: Said(*one) for verb, one in json.loads(note.read_text()).items()})


@pytest.fixture(scope="module")
def study() -> Study:
    return load(str(SMALL))


@pytest.fixture(scope="module")
def summary(made: Made) -> dict[str, Any]:
    said = typed("results", SMALL, "--home", made.home, "--json")
    assert (said.code, said.err) == (0, "")
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_the_study_prints_its_verdicts_and_what_to_do_next(made: Made, summary: dict[str, Any]) -> None:
    code, out, err = made.said["study"]
    *verdicts, last = out.splitlines()
    assert code == 0 and [line.split()[:2] for line in verdicts] == [
        [claim, summary["claims"][claim]["verdict"]] for claim in CLAIMS
    ]
    assert last == "2 seeds an arm, 10 arms: 20 of 20 runs finished"
    assert f"incorruptible report {SMALL} --home" in err


def test_the_summary_holds_a_verdict_for_each_claim(summary: dict[str, Any]) -> None:
    assert tuple(summary["claims"]) == CLAIMS
    for claim in CLAIMS:
        found = summary["claims"][claim]
        assert found["verdict"] in WORDS and found["claim"] and found["rows"]
        compared = [row for row in found["rows"] if "difference" in row]
        for row in compared:
            assert row["n"] in ([2, 997], [2]) and row["low"] <= row["difference"] <= row["high"]
            assert row["left"] and row["right"] and 0 <= row["p"] <= 1
        assert compared
    by = {claim: summary["claims"][claim]["rows"] for claim in CLAIMS}
    assert [(row["at"], row["left"], row["right"]) for row in by["over"]] == [("0.1", "rwp 0.2 (kappa 2)", "rwp 0.1")]
    assert [(row["question"], row["at"]) for row in by["small"]] == [
        (f"SAM, equal {what}", at) for what in ("epochs", "passes") for at in ("0.1", "0.2", "all")
    ]
    assert [(row["left"], row["right"]) for row in by["vanishing"]] == [("rwp 1.5, clipped", "rwp 1.5")]
    assert [(row["question"], row["at"]) for row in by["changing"]][1:] == [
        ("c, RWP", at) for at in ("0", "0.1", "0.2")
    ]
    assert [(row["at"], row["right"], row["unit"]) for row in by["ahead"]] == [("0.2", "sgd", "nats")]
    assert (summary["seeds"], summary["required"]) == ([0, 1], 0.5)
    assert summary["jobs"] == {"finished": 20, "diverged": 0, "failed": 0, "all": 20}


def test_the_summary_holds_what_was_measured(made: Made, study: Study, summary: dict[str, Any]) -> None:
    assert [arm["name"] for arm in summary["arms"]] == [design.name for design in study.arms]
    plans = study.plans()
    for place in (0, 5, len(study.arms) - 1):
        design, shown = study.arms[place], summary["arms"][place]
        assert (shown["method"], shown["role"]) == (design.method, design.role)
        trained = [train(parse_recipe({**shown["recipe"], "seed": s}), made.home / "trained") for s in study.seeds]
        assert [(one["noise"], one["strength"]) for one in shown["results"]] == [
            (noise, s) for noise, strengths in STRENGTHS.items() for s in strengths
        ]
        for number, noise in enumerate(STRENGTHS):
            own = [one for one in shown["results"] if one["noise"] == noise]
            test, validation = (
                np.array([measured(one, plans[f"{number} {part}"])["score"] for one in trained], dtype=np.float64)
                for part in ("test", "validation")
            )
            for key, values in {
                "mean": test.mean((0, 2)),
                "sd_over_chips": test.std(2, ddof=1).mean(0),
                "share_of_chips_that_reach": (test >= 0.5).mean((0, 2)),
                "validation_mean": validation.mean((0, 2)),
            }.items():
                np.testing.assert_allclose([one[key] for one in own], values, rtol=1e-6, atol=1e-7, err_msg=key)
            assert all(one["low"] <= one["mean"] <= one["high"] for one in own)
            assert {(one["seeds"], one["chips"]) for one in own} == {(2, 3)}


def test_nothing_in_the_results_tells_where_when_or_how_long(made: Made, summary: dict[str, Any]) -> None:
    text = json.dumps(summary, ensure_ascii=False)
    for secret in (
        str(made.home),
        str(Path.home()),
        f"{platform.node()}-",
        str(SMALL.parent),
        ".toml",
        "seconds",
        '"/',
    ):
        assert secret not in text, secret
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", text)


def test_the_results_are_the_same_bytes_each_time(made: Made) -> None:
    first, second = (typed("results", SMALL, "--home", made.home, "--json") for _ in range(2))
    assert first == second
    assert first == typed("results", "small", "--home", made.home, "--json")  # by name, once it was begun


def test_the_table_and_the_csv_say_the_same(made: Made, summary: dict[str, Any]) -> None:
    lines = list(csv.DictReader(io.StringIO(typed("results", SMALL, "--home", made.home, "--csv").out)))
    flat = [(arm["name"], one) for arm in summary["arms"] for one in arm["results"]]
    key = {(line["arm"], line["noise"], float(line["strength"])): line for line in lines}
    assert len(lines) == len(key) == len(flat) == 50
    for name, one in flat:
        line = key[name, one["noise"], one["strength"]]
        for column in ("mean", "low", "high", "sd_over_chips", "validation_mean", "share_of_chips_that_reach"):
            assert float(line[column]) == one[column]
        assert (line["seeds"], line["chips"]) == ("2", "3")
    table = typed("results", SMALL, "--home", made.home).out.splitlines()
    assert len(table) == 51 and table[0].startswith("accuracy (%) under gaussian-filter-max")
    for arm, row in zip(summary["arms"], table[2:12], strict=True):
        cells = [f"{100 * one['mean']:.2f} ±{100 * (one['high'] - one['mean']):.2f}" for one in arm["results"][:3]]
        assert re.split(r"\s{2,}", row) == [arm["name"], *cells, "2"]
    assert table[12:14] == ["", "Over the whole range, 0 to 0.2, under gaussian-filter-max"]
    assert re.split(r"\s{2,}", table[14]) == ["arm", "area (%)", "worst (%)", "tolerance (1 point)", "seeds"]
    for arm, row in zip(summary["arms"], table[15:25], strict=True):
        area, worst = (arm["over_range"][0][name] for name in ("area", "worst"))
        cells = [f"{100 * one['mean']:.2f} ± {100 * (one['high'] - one['mean']):.2f}" for one in (area, worst)]
        assert re.split(r"\s{2,}", row)[:3] == [arm["name"], *cells]


def test_each_arm_is_told_over_its_whole_range(made: Made, study: Study, summary: dict[str, Any]) -> None:
    plans = study.plans()
    for place in (0, 3):
        design, shown = study.arms[place], summary["arms"][place]
        assert [(one["noise"], one["from"], one["to"]) for one in shown["over_range"]] == [
            (noise, strengths[0], strengths[-1]) for noise, strengths in STRENGTHS.items()
        ]
        trained = [train(parse_recipe({**shown["recipe"], "seed": s}), made.home / "trained") for s in study.seeds]
        assert design.name == shown["name"]
        for number, (noise, one) in enumerate(zip(STRENGTHS, shown["over_range"], strict=True)):
            each = np.array([measured(run, plans[f"{number} test"])["score"].mean(1) for run in trained])
            areas = [np.trapezoid(curve, STRENGTHS[noise]) / STRENGTHS[noise][-1] for curve in each]
            assert one["area"]["mean"] == pytest.approx(np.mean(areas), rel=1e-5)
            assert one["worst"]["mean"] == pytest.approx(each.min(1).mean(), rel=1e-5)
            assert (one["loss"], one["seeds"]) == (0.01, 2) and 0 <= one["seeds_beyond"] <= 2
            assert 0 < one["tolerance"]["mean"] <= one["to"]
            for name in ("area", "worst", "tolerance"):
                assert one[name]["low"] <= one[name]["mean"] <= one[name]["high"]


def test_arms_are_compared(made: Made) -> None:
    words = ("compare", SMALL, "--home", made.home, "--arms", "rwp 0.?", "s*")
    found = json.loads(typed(*words, "--json").out)
    assert [(row["left"], row["right"], row["strength"]) for row in found] == [
        (a, b, s) for a in ("rwp 0.1", "rwp 0.2") for b in ("sgd", "sam 0.2") for s in (0, 0.1, 0.2)
    ]
    means = _means(made)
    for row in found:
        want = means[row["left"]][row["strength"]] - means[row["right"]][row["strength"]]
        assert row["difference"] == pytest.approx(want, abs=1e-7) and row["low"] <= row["difference"] <= row["high"]
        assert row["word"] in WORDS
    lines = list(csv.reader(io.StringIO(typed(*words, "--csv").out)))
    assert lines == [list(found[0]), *[[str(value) for value in row.values()] for row in found]]
    said = typed(*words)
    assert len(said.out.splitlines()) == 13 and "p and words after Holm over 12 rows" in said.err
    head, *rows = (re.split("  +", line) for line in said.out.splitlines())
    assert head[4] == "p (Holm)"
    assert [row[4] for row in rows] == [f"{p:.4f}" for p in holm([row["p"] for row in found])]
    other = json.loads(typed(*words, "--json", "--noise", "2").out)
    assert {row["strength"] for row in other} == {0, 0.3}


def _means(made: Made) -> dict[str, dict[float, float]]:
    found: dict[str, dict[float, float]] = {}
    for line in csv.DictReader(io.StringIO(typed("results", SMALL, "--home", made.home, "--csv").out)):
        if line["noise"] == "gaussian-filter-max":
            found.setdefault(line["arm"], {})[float(line["strength"])] = float(line["mean"])
    return found


def test_arms_without_noise_do_not_choose_the_axis_of_signal_to_noise() -> None:
    def arm(name: str, strengths: list[float], signals: list[float]) -> SimpleNamespace:
        measures = dict.fromkeys(("probe_mean_ratio", "probe_dead", "probe_clean_accuracy"), 0.5)
        seeds = [
            [
                {"step": 2**k, "probe_strength": s, "probe_signal_to_noise": signal + seed / 10, **measures}
                for k, (s, signal) in enumerate(zip(strengths, signals, strict=True))
            ]
            for seed in (0, 1)
        ]
        return SimpleNamespace(name=name, metrics=seeds)

    plain, warm = arm("sgd", [0.0] * 4, [3e3, 1e6, 2e3, 9e2]), arm("rwp", [0.0, 0.1, 0.2, 0.2], [1e6, 1.0, 0.5, 0.4])
    frame = SimpleNamespace(arms=[plain, warm], factor=1, seeds=2, noun="loss", unit="nats")
    (chart,) = _gradient(frame)  # type: ignore[arg-type]
    assert chart.tops["signal / noise"] == pytest.approx(1.05 * (1.05 + 0.1))  # mean and two standard errors
    assert "triangles: signal / noise above 1.21, where nothing is perturbed" in chart.caption
    (chart,) = _gradient(SimpleNamespace(**{**vars(frame), "arms": [plain]}))  # type: ignore[arg-type]
    assert chart.tops is None and "triangles" not in chart.caption


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--arms", "rwp 0.11", "sgd"], "No finished arm 'rwp 0.11' here. Did you mean 'rwp 0.1'?"),
        (["--arms", "sgd", "sgd"], "one and the same arm"),
        (["--arms", "sgd", "rwp 0.1", "--noise", "3"], "--noise 3: the study has 2"),
    ],
)
def test_arms_that_cannot_be_compared(made: Made, words: list[str], answer: str) -> None:
    said = typed("compare", SMALL, "--home", made.home, *words)
    assert (said.code, said.out) == (2, "") and answer in said.err and len(said.err.splitlines()) == 1


def test_the_status_says_that_all_is_done(made: Made, study: Study) -> None:
    head, *lines = typed("status", SMALL, "--home", made.home, "--once").out.splitlines()
    assert head.split() == ["arm", "finished", "running", "waiting", "diverged", "failed"]
    assert [re.split(r"\s{2,}", line) for line in lines] == [
        *([design.name, "2", ".", ".", ".", "."] for design in study.arms),
        ["all", "20", "0", "0", "0", "0"],
    ]
    found = json.loads(typed("status", SMALL, "--home", made.home, "--json").out)
    assert found["study"] == "small" and found["workers"] == [] and found["troubles"] == {}
    assert found["runs"] == {"finished": 20, "running": 0, "waiting": 0, "diverged": 0, "failed": 0, "all": 20}


def test_a_second_study_does_nothing(made: Made) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        places = [*(made.home / "studies").rglob("*"), *(made.home / "trained").rglob("*")]
        found = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in places if path.is_file()}
        plan = made.folder / "study.json"  # is touched by whoever finds that it still holds
        return {**found, plan: (0, zlib.crc32(plan.read_bytes()))}

    before = files()
    assert len(before) > 100
    again = typed("study", SMALL, "--home", made.home)  # and no --workers: threads stay what they were
    assert (again.code, again.out) == (made.said["study"].code, made.said["study"].out)
    assert files() == before


@pytest.fixture(scope="module")
def page(made: Made) -> str:
    code, out, _ = made.said["report"]
    assert code == 0 and out == f"{made.folder / 'report.html'}\n"
    return (made.folder / "report.html").read_text()


def test_the_page_lists_every_claim_arm_and_number(page: str, summary: dict[str, Any], made: Made) -> None:
    text = html.unescape(re.sub(r"<[^>]*>", "|", SCRIPTS.sub("", page)))
    assert summary["title"] in text and summary["question"] in text and "<b>not bold</b>" not in page
    for claim in CLAIMS:
        found = summary["claims"][claim]
        assert found["claim"] in text and text.count(found["verdict"]) >= 2
        for row in found["rows"]:
            assert f"{row['left']} − {row['right']}" in text and row["note"] in text
    for arm in summary["arms"]:
        for one in arm["results"]:
            assert f"{100 * one['mean']:.2f} ± {100 * (one['high'] - one['mean']):.2f}" in text
        for one in (found[name] for found in arm["over_range"] for name in ("area", "worst")):
            assert f"{100 * one['mean']:.2f} ± {100 * (one['high'] - one['mean']):.2f}" in text
    for noise in STRENGTHS:
        assert f"Every arm: accuracy (%) under {noise}" in text
        assert f"Over the whole range, 0 to {STRENGTHS[noise][-1]:g}, under {noise}" in text
    for fact in ("torch", "Machine", "Commit", "minutes of one worker", "20 finished of 20"):
        assert fact in text
    assert f"incorruptible report {SMALL}" in text and str(made.home) in text  # to be typed again


def test_python_writes_the_same_page(page: str, made: Made, tmp_path: Path) -> None:
    (typed_,) = re.findall(r'<pre id="command"><code>(.*?)</code>', page)
    command = html.unescape(typed_)
    for study in (str(SMALL), str(made.folder)):
        written = inc.report(study, str(tmp_path / "page.html"), home=made.home, command=command)
        assert written == tmp_path / "page.html" and written.read_text() == page
    again = inc.report(made.folder, tmp_path / "again.html").read_text()  # a folder knows its home
    (line,) = re.findall(r"incorruptible report small --home ([^<]*)</code>", again)
    (home,) = shlex.split(html.unescape(line))
    assert Path(home).resolve() == made.home.resolve()
    with pytest.raises(UserError, match=r"page: the page needs the name of an \.html file"):
        inc.report(made.folder, tmp_path / "page")
    with pytest.raises(UserError, match="no study 'small' was begun in"):
        inc.report("small", home=tmp_path)


def test_each_recipe_of_the_page_trains_that_arm(page: str, study: Study) -> None:
    shown = re.findall(r"<summary>([^<]*)</summary><pre><code>([^<]*)</code></pre>", page)
    found = {html.unescape(name): parse_recipe(tomllib.loads(html.unescape(text))) for name, text in shown}
    assert found == {design.name: design.recipe for design in study.arms}


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_drawn_in_each_format(name: str, made: Made) -> None:
    code, out, _ = made.said["figures"]
    folder = made.folder / "figures"
    assert code == 0 and {str(folder / f"{name}.{kind}") for kind in ("svg", "pdf")} <= set(out.splitlines())
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert "2 seeds" in " ".join(ElementTree.parse(folder / f"{name}.svg").getroot().itertext())


def test_no_other_figure_is_drawn(made: Made) -> None:
    drawn = [Path(line) for line in made.said["figures"].out.splitlines()]
    assert sorted({path.stem for path in drawn}) == sorted(FIGURES) and len(drawn) == 2 * len(FIGURES)
    assert sorted(drawn) == sorted((made.folder / "figures").iterdir())


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["figures", SMALL, "--format", "jpg"], "No format 'jpg' here."),
        (["report", SMALL, "--out", "page.txt"], "page.txt: the page needs the name of an .html file"),
        (["report", "smal"], "no study 'smal' was begun in"),
        (["results", "digits"], "Begun there: small."),
    ],
)
def test_what_cannot_be_shown(made: Made, words: list[Any], answer: str) -> None:
    said = typed(*words, "--home", made.home)
    assert (said.code, said.out) == (2, "") and answer in said.err and len(said.err.splitlines()) == 1


def test_the_line_that_begins_a_study_can_be_pasted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"To begin: incorruptible study 'of mine/small\.toml' --home '.*/my runs'\.$"):
        find(tmp_path / "my runs", "small", "of mine/small.toml")


def test_the_demos_summary_has_its_claims_at_the_top(made: Made, summary: dict[str, Any], tmp_path: Path) -> None:
    found = summarise(find(made.home, "small", "small"), tmp_path / "summary.json", "incorruptible demo")
    kept = records.read(tmp_path / "summary.json")
    assert records.plain(found) == {key: value for key, value in kept.items() if key in found}
    for claim in CLAIMS:
        assert kept[claim] == summary["claims"][claim]
    assert "torch" in kept["made"] and kept["command"] == "incorruptible demo" and kept["arms"] == summary["arms"]


@pytest.mark.parametrize("failed", [0, 1])
def test_the_demo_ends_with_1_where_runs_failed(
    failed: int, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from incorruptible import reports
    from incorruptible.cli import demo

    def told(*given: Any) -> dict[str, Any]:
        found = summarise(*given)
        return {**found, "jobs": {**found["jobs"], "failed": failed}}

    monkeypatch.setattr(reports, "summarise", told)
    monkeypatch.setattr(sys.modules[demo.__module__], "run_study", lambda *_: find(made.home, "small", "small"))
    said = typed("demo", "--home", tmp_path)
    assert said.code == failed and said.out.endswith(f"report: {tmp_path}/demo/report.html\n")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def test_a_browser_shows_the_page(browser: Any, made: Made, page: str, summary: dict[str, Any]) -> None:
    wrong: list[str] = []
    asked: list[str] = []
    shown = browser.new_page()
    shown.set_default_timeout(HANG * 1000)
    shown.on("console", lambda message: wrong.append(message.text))
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto((made.folder / "report.html").as_uri())
    for name in FIGURES:
        shown.locator(f"#figure-{name} .plot .main-svg").first.wait_for()
    assert shown.title() == summary["title"]
    assert [one.split()[0] for one in shown.locator("#findings h3").all_text_contents()] == list(CLAIMS)
    assert shown.locator("#findings h3 .chip").all_text_contents() == [
        summary["claims"][claim]["verdict"] for claim in CLAIMS
    ]
    assert shown.locator(".recipes summary").all_text_contents() == [arm["name"] for arm in summary["arms"]]
    shown.get_by_label("Test strength", exact=True).select_option("0.1")
    shown.wait_for_timeout(200)
    assert wrong == [] and len(asked) == 1
    shown.close()


def test_what_markdown_would_read_is_escaped() -> None:
    assert exporting._rows(["a|b"], [["rwp *: max|W| <b>\n`x`"]]) == (
        "| a\\|b |\n| --- |\n| rwp \\*: max\\|W\\| \\<b> \\`x\\` |"
    )


def test_a_study_is_exported_as_a_folder(made: Made, summary: dict[str, Any], tmp_path: Path) -> None:
    done = typed("export", "small", "--home", made.home, "--out", tmp_path / "results")
    assert done.code == 0, done.err
    text = (tmp_path / "results" / "README.md").read_text()
    for name, claim in summary["claims"].items():
        assert f"**{name}: {claim['verdict']}.**" in text
    listed = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert listed["arms"] == summary["arms"] and listed["command"].startswith("incorruptible study ")
    assert (tmp_path / "results" / "results.csv").read_text() == typed(
        "results", "small", "--home", made.home, "--csv"
    ).out
    figures = sorted((tmp_path / "results" / "figures").glob("*.png"))
    assert figures and all(f"![{one.stem}](figures/{one.name})" in text for one in figures)
    assert str(made.home) not in text and "incorruptible study small.toml" in text
    row = next(row for claim in summary["claims"].values() for row in claim["rows"] if row["unit"] == "fraction")
    assert f"| {100 * row['difference']:+.2f} ({100 * row['low']:+.2f} to {100 * row['high']:+.2f}) points |" in text
    (tmp_path / "file").write_text("")
    refused = typed("export", "small", "--home", made.home, "--out", tmp_path / "file")
    assert refused.code == 2 and "the name of a folder is needed" in refused.err
