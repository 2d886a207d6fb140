"""The benchmark: its statistics on made-up times, its memory on known cases, its verdicts on made-up rows; one tiny real run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers, timing
from benchmarks.__main__ import main
from benchmarks.conditions import conditions
from benchmarks.groups import GROUPS, Found, mean_row
from benchmarks.memory import _peak, memory
from benchmarks.peak import peak_bytes, step_peak
from benchmarks.results import BEGIN, END, keep
from benchmarks.rows import WALL, Row, median
from benchmarks.steps import sgd
from benchmarks.targets import TARGETS, judged, limit_of
from benchmarks.timing import Variant, Work, interleaved, rows_of
from benchmarks.training import TRAINED
from benchmarks.workloads import NETWORKS
from incorruptible.errors import UserError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without peers, whatever this environment holds, and without a trace of them for other tests."""
    monkeypatch.setattr(peers, "FOLDERS", ())
    monkeypatch.setattr(peers, "_imported", lambda package: ModuleNotFoundError(f"No {package!r}", name=package))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "raise RuntimeError('built for\\nanother torch')",
            "is there and cannot be imported (RuntimeError: built for another torch)",
        ),
        (
            "import no_such_thing",
            "is there and cannot be imported (ModuleNotFoundError: No module named 'no_such_thing')",
        ),
        (None, "is not there: pip install it"),
    ],
)
def test_a_peer_that_fails_on_import_is_left_out_and_says_why(
    source: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    name = f"peer_of_{abs(hash(source))}"
    if source is not None:
        (tmp_path / f"{name}.py").write_text(source)
    peer = peers.Peer("it", name, "it", "pip install it")
    assert peer.bring() is None and peer.lacks().startswith(f"it {why}") and peer.lacks().count("\n") == 0


def test_a_ratio_is_taken_within_its_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine becomes slower by 30% with each round: ratios within rounds stay what they are."""
    now, slowness, turns = 0.0, 1.0, []

    def variant(name: str, cost: float, each: int, slow: bool = False) -> Variant:
        def run() -> None:
            nonlocal now
            now += cost * each * slowness
            turns.append(name)

        return Variant(name, name, run, each, cost, slow)

    def slower(done: int, total: int) -> None:
        nonlocal slowness
        slowness = 1.3**done

    monkeypatch.setitem(timing.CLOCKS, "processor", lambda: now)
    variants = [variant("base", 1, 3), variant("double", 2, 1), variant("slow", 7, 2, slow=True)]
    times = interleaved(variants, 12, 4, progress=slower)
    double, few = rows_of(Work("g", "times", variants), times)
    assert (double.n, few.n) == (12, 4) and sorted(times[2].seconds) == [2, 5, 8, 11]  # spread over the rounds
    assert (double.low, double.middle, double.high) == pytest.approx((2, 2, 2))
    assert few.middle == pytest.approx(7) and math.isnan(few.high)
    assert times[0].seconds[3] == pytest.approx(1.3**3)  # of one of the three that a run does
    assert turns[:3] == ["base", "double", "slow"]  # the warm-up, which does not count
    firsts = [turns[place] for place in (3, 5, 10, 12, 17, 19)]  # of rounds of two
    assert set(firsts) == {"base", "double"}
    before, turns[:] = list(turns), []
    interleaved(variants, 12, 4)
    assert turns == before


def test_limits_hold_the_median_as_often_as_they_say() -> None:
    """20,000 samples of n=20 exponential values, fixed seed: exactly 95.86% cover log 2; 4 standard errors, alarm 6e-5."""
    draws = np.random.default_rng(0).exponential(size=(20_000, 20))
    inside = [low <= math.log(2) <= high for low, _, high in map(median, draws)]
    assert abs(np.mean(inside) - 0.95861) < 4 * math.sqrt(0.9586 * 0.0414 / 20_000)


def test_the_fewest_values_with_limits_are_six() -> None:
    assert math.isnan(median(range(5)).low) and math.isnan(median(range(5)).high)
    assert median([3, 1, 2, 5, 4, 6]) == (1, 3.5, 6)
    low, _, high = median(range(1, 101))
    assert (low, high) == (40, 61)  # the ranks of tables for n = 100
    with pytest.raises(UserError, match="at least one; 0 are given"):
        median([])
    with pytest.raises(UserError, match="finite"):
        median([1, math.nan])


def test_the_peak_of_a_known_sequence() -> None:
    """Kept 4 MB, then 8 more of which 4 go before the last 2 come: at most 12 alive; what was there before does not count."""
    before, kept = [torch.empty(5_000_000)], []

    def run() -> None:
        first, second = torch.empty(1_000_000), torch.empty(1_000_000)
        del first
        third = torch.empty(500_000)
        del second, third
        before.clear()

    peak = peak_bytes(lambda: (torch.empty(9_000_000), kept.append(torch.empty(1_000_000))), run)
    assert abs(peak - 12_000_000) < 1000


def test_the_peak_counts_what_lies_in_arrays_of_numpy() -> None:
    """2 MB of numpy's under a tensor that stays, beside 4 MB of torch's that go, and 8 of numpy's that went before."""
    kept = []

    def prepare() -> None:
        gone = np.ones(1_000_000)
        kept.append(torch.from_numpy(np.ones(int(gone[0]) * 500_000, dtype=np.float32)))

    assert abs(peak_bytes(prepare, lambda: torch.empty(1_000_000)) - 6_000_000) < 5000


@pytest.mark.parametrize("copies", [1, 3])
def test_the_peak_of_a_step_that_holds_copies(copies: int) -> None:
    """A step beside plain SGD that holds so many copies of the weights all through is so many copies larger."""
    x, y = NETWORKS["digits"].batches(1)[0]

    def peak(extra: int) -> int:
        model = NETWORKS["digits"]()
        optimizer, weights = sgd(model), [p for p in model.parameters() if p.dim() == 2]

        def step() -> None:
            optimizer.zero_grad()
            held = [weight.detach().clone() for weight in weights for _ in range(extra)]
            loss: Tensor = F.cross_entropy(model(x), y)
            torch.autograd.backward(loss)
            optimizer.step()
            del held

        return peak_bytes(lambda: [step() for _ in range(2)], step)

    size = 4 * sum(p.numel() for p in NETWORKS["digits"]().parameters() if p.dim() == 2)
    assert (peak(copies) - peak(0)) / size == pytest.approx(copies, abs=0.01)


def test_memory_is_in_copies_above_plain_sgd(monkeypatch: pytest.MonkeyPatch) -> None:
    """RWP by hand keeps one copy of the weights, and draws layer by layer."""
    monkeypatch.setattr("benchmarks.memory.STEPS", ("rwp-by-hand", "sam-pytorch-optimizer"))
    monkeypatch.setattr("benchmarks.memory._peak", step_peak)
    rows, absent = memory(["digits"])
    assert [row.variant for row in rows] == ["digits/rwp-by-hand"]
    assert 0.5 < rows[0].middle < 2.6
    assert absent == [f"sam-pytorch-optimizer: {peers.PEERS['pytorch_optimizer'].lacks()}"]


@pytest.mark.slow
def test_a_peak_is_found_in_a_process_of_its_own() -> None:
    """Weights are 64 x 128 + 128 x 128 + 128 x 10 numbers; SGD keeps a gradient and a momentum of each, and of the biases."""
    found = _peak("digits", "sgd")
    assert found["weights"] == 4 * 25_856
    assert 2 * 4 * 26_122 <= found["peak"] < 10 * 4 * 26_122


def row(group: str, variant: str, high: float, n: int = 100, clock: str = "processor", **rest: object) -> Row:
    return Row(group, variant, "made up", "times a step", high - 0.02, high - 0.01, high, n, clock, **rest)  # type: ignore[arg-type]


def told(folder: Path, group: str, *rows: Row) -> None:
    """Results as a run leaves them."""
    data = {"what": "made up", "made": conditions(), "load": {"before": 0.1, "after": 1.0}, "absent": ["x: y"]}
    keep(folder, group, {**data, "rows": [one.plain() for one in rows]})


MLP = "training-mlp"
LONG = pytest.mark.slow


@pytest.mark.parametrize(
    ("rows", "code", "line"),
    [
        (
            [row(MLP, "rwp-banked", 1.25), row(MLP, "sam", 2.1)],
            0,
            "met     training-mlp rwp-banked: 1.240 [1.230, 1.250]",
        ),
        ([row(MLP, "rwp-banked", 1.251), row(MLP, "sam", 2.1)], 1, "MISSED  training-mlp rwp-banked: 1.241"),
        pytest.param(
            [row(MLP, "rwp-banked", 1.2), row(MLP, "sam", 2.2)],
            1,
            "MISSED  training-mlp sam: 2.190 [2.180, 2.200]",
            marks=LONG,
        ),
        pytest.param([row(MLP, "rwp-banked", 1.2)], 1, "MISSED  training-mlp sam: not measured", marks=LONG),
        pytest.param(
            [row(MLP, "rwp-banked", 1.2, n=99), row(MLP, "sam", 2.1)], 1, "n=99: 100 are asked for", marks=LONG
        ),
        pytest.param(
            [row(MLP, "rwp-banked", math.nan, n=3), row(MLP, "sam", 2.1)], 1, "n=3: too few for an interval", marks=LONG
        ),
        pytest.param(
            [row(MLP, "rwp-banked", 1.2, clock=WALL), row(MLP, "sam", 2.1)], 1, "rwp-banked: not measured", marks=LONG
        ),
        pytest.param(
            [row(MLP, "rwp-banked", 1.2), row(MLP, "sam", 2.1), row(MLP, "asam", 9.0)],
            0,
            "met     training-mlp sam",
            marks=LONG,
        ),
    ],
)
def test_check_holds_upper_limits_against_targets(
    rows: list[Row], code: int, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(tmp_path, MLP, *rows)
    told(tmp_path, "start-up", row("start-up", "help/wall", 99.0, clock=WALL))  # not asked for here
    words = ["--read", "--only", MLP, "--out", str(tmp_path)]
    assert main([*words, "--check"]) == code
    assert line in capsys.readouterr().out
    assert main(words) == 0


def test_what_stands_aside_is_measured_where_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert [name for name, group in GROUPS.items() if group.aside] == ["means-cifar10"]
    assert main(["--list", "--only", "means-cifar10"]) == 0
    assert "half-width" in capsys.readouterr().out


def test_a_mean_is_a_row_with_its_design() -> None:
    said = {"workload": "digits MLP", "strength": 0.2, "design": [32, 64], "chips": [400, 380], "fixed_chips": 900}
    one = mean_row({**said, "condition": 12.5, "low": 0.1, "ratio": 0.15, "high": 0.19, "spent_s": [1.0, 2.0]})
    assert one.what == (
        "n v_chip / v_interaction 12.5: 32 to 64 images on each of 380 to 400 chips, against 900 whole ones"
    )
    assert (one.low, one.middle, one.high, one.n, limit_of(one)) == (0.1, 0.15, 0.19, 2, 0.2)


@pytest.mark.parametrize(
    ("condition", "high", "met"), [(12, 0.2, True), (12, 0.3, False), (9, 1.1, True), (9, 1.2, False)]
)
def test_the_target_for_means_depends_on_the_condition(condition: float, high: float, met: bool) -> None:
    one = row("means", "mlp at 0.1", high, n=1, facts={"condition": condition})
    assert [verdict.met for verdict in judged([one], ["means"])] == [met]
    assert judged([one], [MLP])[0].name == f"{MLP} rwp-banked"
    assert [(verdict.name, verdict.met) for verdict in judged([], ["means"])] == [("means", False)]


def test_the_table_says_met_only_of_enough_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(MLP, "rwp-banked", 1.2), row(MLP, "sam", 2.0, n=99)]
    told(tmp_path, MLP, *rows)
    few = [
        row("training-resnet20", name, high, n=n) for name, high, n in (("sam", 2.1, 100), ("rwp-exact", math.nan, 5))
    ]
    told(tmp_path, "training-resnet20", *few)
    told(tmp_path, "means", row("means", "mlp at 0.1", 0.1, n=3, facts={"condition": 12}))
    assert main(["--read", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "(`rwp-banked`) | processor | 1.190 [1.180, 1.200] | 100 | 1.25, met |" in out
    assert "| 99 | 2.1, too few to say: 100 are asked for |" in out
    assert "| 100 | 2.05, missed |" in out and "| 5 | 1.06, no interval |" in out and "| 3 | 0.2, met |" in out


def test_every_target_is_of_a_group_that_exists() -> None:
    assert {target.group for target in TARGETS} <= set(GROUPS)
    assert limit_of(row(MLP, "sam", 2.0)) == 2.1
    assert limit_of(row(MLP, "sam", 2.0, clock=WALL)) is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--only", "training-mpl"], "No group 'training-mpl' here. Did you mean 'training-mlp'?"),
        (["--only", ","], "--only names no group. Choose from: training-mlp,"),
        (["--pairs", "0"], "--pairs 0: at least 1."),
        (["--few", "-1"], "--few -1: at least 1."),
        (["--pairs", "many"], "argument --pairs: invalid int value: 'many'."),
        (["--read", "--out", "/nowhere"], "/nowhere holds no results of training-mlp,"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(line) and err.count("\n") == 1


def test_where_results_cannot_go_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(type(GROUPS[MLP]), "run", lambda *_: pytest.fail("it was measured"))
    file, bare = tmp_path / "file", tmp_path / "bare.md"
    file.write_text("")
    bare.write_text("no marks\n")
    out = ["--out", str(tmp_path / "out")]
    for words, line in (
        (["--out", str(file)], f"{file}: File exists; a folder to write in is needed."),
        (["--out", str(file / "below")], f"{file / 'below'}: Not a directory; a folder to write in is needed."),
        ([*out, "--page", str(bare)], f"{bare} is to hold the lines {BEGIN} and {END}, once each"),
        ([*out, "--page", str(tmp_path / "no.md")], f"{tmp_path / 'no.md'}: no such file."),
        ([*out, "--page", str(tmp_path)], f"{tmp_path}: Is a directory."),
    ):
        assert main(["--only", MLP, *words]) == 2
        said, err = capsys.readouterr()
        assert said == "" and err.startswith(line) and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_reading_a_group_that_was_not_measured_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(tmp_path, MLP, row(MLP, "sam", 2.1))
    for only in ("memory", f"{MLP},memory"):
        assert main(["--read", "--only", only, "--out", str(tmp_path)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err == f"{tmp_path} holds no results of memory: run without --read first.\n"
    assert main(["--read", "--out", str(tmp_path)]) == 0


def test_a_tiny_run_leaves_json_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ("sgd", "control", "rwp-banked", "sam", "asam", "sam-pytorch-optimizer")
    monkeypatch.setitem(TRAINED, "mlp", (2, some))
    threads, page = torch.get_num_threads(), tmp_path / "page.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    words = [
        "--only",
        MLP,
        "--quick",
        "--pairs",
        "3",
        "--few",
        "1",
        "--out",
        str(tmp_path / "out"),
        "--page",
        str(page),
    ]
    assert main(words) == 0
    assert torch.get_num_threads() == threads
    data = json.loads((tmp_path / "out" / f"{MLP}.json").read_text())
    assert data["format"] == 1 and data["settings"] == {"pairs": 3, "few": 1, "walls": False, "quick": True}
    rows = {one["variant"]: one for one in data["rows"]}
    assert list(rows) == ["control", "rwp-banked", "sam", "asam"]
    assert rows["sam"]["n"] == 3 and rows["asam"]["n"] == 1 and rows["sam"]["high"] is None
    assert rows["sam"]["middle"] > 1.2  # two passes
    assert len(data["times"]["processor, 1 thread"]["sgd"].split()) == 3
    assert any("pytorch-optimizer" in line for line in data["absent"])
    assert {"machine", "torch", "numpy", "python", "commit", "date", "peers", "memory_gib"} <= set(data["made"])
    assert set(data["load"]) == {"before", "after"}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| SAM (`sam`) | processor |" in table and table in page.read_text()
    assert (
        page.read_text().startswith("# Before\n")
        and page.read_text().endswith("after\n")
        and "old" not in page.read_text()
    )
    assert (tmp_path / "out" / "training.png").stat().st_size > 5000 and (tmp_path / "out" / "training.svg").exists()
    assert "about" in capsys.readouterr().err


def test_an_interrupted_run_keeps_the_groups_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(GROUPS["start-up"]), "run", interrupted)
    monkeypatch.setattr(type(GROUPS["means"]), "run", lambda *_: Found([]))
    assert main(["--only", "means,start-up", "--quick", "--out", str(tmp_path)]) == 130
    assert (tmp_path / "means.json").exists() and not (tmp_path / "start-up.json").exists()
    assert "interrupted" in capsys.readouterr().err


def test_a_page_without_marks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(tmp_path, MLP, row(MLP, "sam", 2.1))
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    assert main(["--read", "--out", str(tmp_path), "--page", str(page)]) == 2
    assert "numbers: begin" in capsys.readouterr().err and page.read_text() == "nothing\n"
