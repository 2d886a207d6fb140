"""The command line, as its users type it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
import typer
from safetensors.torch import save_file

from incorruptible import __version__, evaluation, runs
from incorruptible.cli import app, run
from incorruptible.cli.catalogue import catalogues
from incorruptible.files import records
from typing_commands import Type, typing

OWN = """
import torch
from torch import nn
from incorruptible import Task

x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > x[:, 1]).long()


def model():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def two_numbers(model, batch):
    return model(batch[0])


class Cube(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = model()

    def forward(self, x):
        return self.inner(x)[:, None]


task = Task(model, test=(x, y), train=(x, y))
wrong = Task(model, test=(x, y), score=two_numbers)
cube = Task(Cube, test=(x, y))
bare = Task(lambda: nn.LayerNorm(6), test=(x, y))
"""
SWEEP = "gaussian-filter-max:0,.02,.05"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: a task of their own, and weights for it."""
    (tmp_path / "own.py").write_text(OWN)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    save_file({f"inner.{name}": tensor for name, tensor in state.items()}, tmp_path / "cube.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:100])
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.toml").write_text("task = digits")
    (tmp_path / "typo.toml").write_text('task = "digits"\nepoch = 3')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def type_(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Types commands in the user's folder."""
    return typing(monkeypatch, capsys)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_measuring_ones_own_network(type_: Type) -> None:
    said = type_("measure", "own.py:task", "--weights", "w.safetensors", "--corruption", SWEEP, "--chips", "25")
    assert (said.code, said.err) == (0, "")
    table, _, whole = said.out.partition("\n\n")
    header, titles, *rows, foot, alike, scale, parts, first, second, third, also = table.splitlines()
    assert all(fact in header for fact in ("accuracy", "25 chips", "60 examples", "max|W_f|"))
    assert "between chips" in parts and [line.split()[0] for line in (first, second, third)] == ["0", "0.02", "0.05"]
    assert "also for other examples" in also and first.split()[1] == "0.0000"  # at strength 0 all chips are the same
    assert [row.split()[0] for row in rows] == ["0", "0.02", "0.05"] and "mean" in titles
    assert "interval" in foot and "max|W_f| from" in scale
    assert alike.startswith("all the same: where 25 chips are alike, up to 0.12 of all chips may be otherwise")
    top, *lines = whole.splitlines()
    assert top.split()[:4] == ["from", "0", "to", "0.05"]
    assert [line.split()[0] for line in lines] == ["area", "worst", "tolerance"]


def test_measuring_at_one_strength_or_without_0_says_what_there_is(type_: Type) -> None:
    words = ("measure", "own.py:task", "--weights", "w.safetensors", "--chips", "3", "--corruption")
    assert "area" not in type_(*words, "gaussian-filter-max:0.1").out
    assert "strength 0 was not measured" in type_(*words, "gaussian-filter-max:0.1,0.2").out
    found = json.loads(type_(*words, "gaussian-filter-max:0.1,0.2", "--json").out)
    values = found["values"]
    assert found["over_range"]["area"]["mean"] == pytest.approx(sum(values[0] + values[1]) / 6)
    assert found["over_range"]["tolerance"]["mean"] is None and set(found["over_range"]["lacking"]) == {"tolerance"}


def test_measuring_as_json(type_: Type) -> None:
    said = type_("measure", "own.py:task", "--weights", "w.safetensors", "--corruption", SWEEP, "--json")
    found = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert [len(values) for values in found["values"]] == [25, 25, 25] and found["draws"] == 25
    assert found["part"] == "test" and found["examples"] == 60
    for row, values in zip(found["rows"], found["values"], strict=True):
        assert row["mean"] == pytest.approx(sum(values) / 25) and row["worst"] == min(values)
    one = json.loads(type_("measure", "own.py:task", *W, "--corruption", SWEEP, "--chips", "1", "--json").out)
    assert one["rows"][0]["low"] is None  # JSON has no nan


def test_measuring_is_the_same_in_python(type_: Type, here: Path) -> None:
    from incorruptible import accuracy, load_weights, measure, parse_sweep
    from incorruptible.tasks import batches, load

    words = "measure own.py:task --weights w.safetensors --corruption lognormal:.5 --chips 3 --seed 4 --json"
    task = load("own.py:task")
    model = task.model()
    load_weights(model, here / "w.safetensors")
    sweep = parse_sweep("lognormal:.5")
    found = measure(model, accuracy, batches(task.test, 1024), *sweep, chips=3, seed=4)
    assert json.loads(type_(*words.split()).out)["values"] == found.values.tolist()


def test_measuring_by_workers_and_in_16_bits(type_: Type) -> None:
    words = [
        "measure",
        "own.py:task",
        "--weights",
        "w.safetensors",
        "--corruption",
        "lognormal:.5",
        "--chips",
        "4",
        "--json",
    ]
    plain = json.loads(type_(*words).out)
    shared = type_(*words, "--workers", "2")
    assert (shared.code, json.loads(shared.out)) == (0, plain) and plain["autocast"] is None
    short = json.loads(type_(*words, "--autocast", "bf16", "--channels-last").out)
    assert (short["autocast"], short["channels_last"]) == ("bf16", True)


def test_protecting_everything_but_one_layer(type_: Type) -> None:
    words = "measure own.py:task --weights w.safetensors --corruption gaussian-absolute:1 --json --chips 4"
    whole, part, more = (
        json.loads(type_(*words.split(), *options).out)["values"]
        for options in ((), ("--protect", "2.*"), ("--also", "*.bias", "--read-noise", "lognormal:.1", "--reads", "2"))
    )
    assert whole != part and whole != more
    assert "'0.wieght'" in type_(*words.split(), "--protect", "0.wieght").err


def test_the_figure_is_a_figure(type_: Type, here: Path) -> None:
    words = ["measure", "own.py:task", "--weights", "w.safetensors", "--corruption", SWEEP, "--figure", "new/fig.png"]
    assert type_(*words).code == 0
    assert (here / "new" / "fig.png").read_bytes().startswith(b"\x89PNG")
    drawn = " ".join(ElementTree.parse(here / "new" / "fig.svg").getroot().itertext())
    assert "accuracy (fraction)" in drawn and "25 chips, 60 examples" in drawn
    before = contents(here)
    said = type_(*words)
    assert said.code == 2 and "--force" in said.err and contents(here) == before
    assert type_(*words, "--force").code == 0


def test_a_result_is_not_overwritten(type_: Type, here: Path) -> None:
    words = ["measure", "own.py:task", "--weights", "w.safetensors", "--corruption", SWEEP, "--out", "new/found.json"]
    assert type_(*words).code == 0
    found = records.read(here / "new" / "found.json")
    assert len(found["values"][0]) == 25 and found["command"] == "incorruptible " + " ".join(words)
    before = contents(here)
    said = type_(*words, "--seed", "1")
    assert said.code == 2 and "found.json is there already; --force overwrites it" in said.err
    assert contents(here) == before
    assert type_(*words, "--seed", "1", "--force").code == 0
    assert records.read(here / "new" / "found.json")["seed"] == 1


def test_training_and_measuring_the_run(type_: Type, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "train",
        "own.py:task",
        "--objective",
        "sam",
        "--strength",
        ".1",
        "--epochs",
        "2",
        "--home",
        "H",
        "--seed",
        "3",
    ]
    said = type_(*words)
    assert said.code == 0 and "sam at constant:0.1, 2 epochs, seed 3" in said.out
    (folder,) = (here / "H" / "trained").iterdir()
    assert f"run: {folder.relative_to(here)}" in said.out
    *progress, line = said.err.splitlines()  # the progress of a training of more than ten seconds, on a busy machine
    assert not any("validation" in one for one in progress)  # own.py has no validation data
    assert line == f"next: incorruptible measure {folder.relative_to(here)} --corruption gaussian-filter-max:0,.1,.2"
    assert all(one.startswith("train: 1 of 2") for one in progress)
    measured = type_("measure", str(folder.relative_to(here)), "--corruption", SWEEP, "--json")
    assert json.loads(measured.out)["examples"] == 60
    tuned = json.loads(type_(*words[:-1], "4", "--from", str(folder / "weights.safetensors"), "--json").out)
    assert Path(tuned["folder"]) != folder and tuned["recipe"]["start"] == str(folder / "weights.safetensors")
    before = contents(here / "H")
    monkeypatch.delattr(runs, "Trainer")  # the same training again would need it
    again = type_(*words, "--json")
    assert again.code == 0 and json.loads(again.out)["weights"] and contents(here / "H") == before


def test_training_shows_the_clean_score_on_validation_data(
    type_: Type, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every line of progress, and once more at the end; a run that is found again was scored before."""
    shown: list[str] = []
    bar = nullcontext(lambda done, total, label: shown.append(label))
    monkeypatch.setattr(sys.modules["incorruptible.cli.train"], "progress", lambda what: bar)
    words = ["train", "digits", "--objective", "sam", "--strength", "auto", "--epochs", "2", "--home", "H"]
    said = type_(*words)
    assert said.code == 0 and "sam at auto:classes=10, 2 epochs" in said.out
    score = r"validation accuracy 0\.\d{3} on 300 examples"
    assert len(shown) == 2 and all(re.fullmatch(rf"loss \d\.\d{{3}}, strength [\d.]+, {score}", one) for one in shown)
    last = shown[-1].partition("validation")[2]
    assert f"validation{last}, with the clean weights" in said.err.splitlines()
    assert "validation" not in type_(*words).err and len(shown) == 2


def test_training_by_a_file(type_: Type, here: Path) -> None:
    (here / "mine.toml").write_text('task = "own.py:task"\nobjective = "plain"\nepochs = 9\nprobe = {draws = 0}\n')
    said = type_("train", "--recipe", "mine.toml", "--epochs", "1", "--home", "H", "--json")
    assert json.loads(said.out)["recipe"]["epochs"] == 1  # an option goes before the file's entry
    assert json.loads(said.out)["at_peak"] is None


def test_training_that_diverges(type_: Type) -> None:
    words = ["train", "own.py:task", "--lr", "1e30", "--epochs", "2", "--home", "H"]
    for said in (type_(*words), type_(*words)):  # also when it is found again
        assert said.code == 1 and "loss not finite" in said.out
        assert "training diverged" in said.err.splitlines()[-1]
    said = type_(*words, "--json")
    assert said.code == 1 and json.loads(said.out)["metrics"][-1]["loss"] is None


def test_auditing(type_: Type) -> None:
    said = type_("audit", "own.py:task", "--corruption", "gaussian-filter-max:.1", "--weights", "w.safetensors")
    assert said.code == 0 and "2 arrays hold" in said.out and "0.bias" in said.out
    found = json.loads(type_("audit", "digits:network=conv", "--json").out)
    touched = [row["name"] for row in found["rows"] if not row["reason"]]
    assert touched == ["0.weight", "3.weight", "6.weight", "11.weight"] and 0.9 < found["share"] < 1
    assert json.loads(type_("audit", "own.py:task", "--also", "*.bias", "--json").out)["share"] == 1


def test_listing(type_: Type) -> None:
    said = type_("list")
    found = json.loads(type_("list", "--json").out)
    assert (said.code, said.err) == (0, "") and found == catalogues()
    for shelf, rows in found.items():
        assert rows and f"{shelf}:" in said.out.splitlines()
        for row in rows:
            assert f"  {row['name']} " in said.out and row["summary"] in said.out
    assert list(json.loads(type_("list", "tasks", "--json").out)) == ["tasks"]


def test_measuring_a_device_says_its_units_its_time_its_compensation_and_n(type_: Type) -> None:
    words = ("measure", "own.py:task", "--weights", "w.safetensors", "--chips", "7", "--corruption")
    said = type_(*words, "pcm-joshi:1:compensation=global", "--time", "1d")
    first, second, *_ = said.out.splitlines()
    assert (said.code, said.err) == (0, "")
    assert "[multiple of the error as measured (1 = nominal)]; 7 chips, 60 examples" in first
    assert second == "0.25 to 25 uS, one-sided pair, per layer; 1d after programming; drift compensation: global"
    assert said.out == type_(*words, "pcm-joshi:1:time=1d:compensation=global").out


def test_measuring_over_time_is_measuring_at_each_time(type_: Type) -> None:
    words = ["measure", "own.py:task", "--weights", "w.safetensors", "--chips", "4", "--corruption"]
    over = [*words, "pcm-joshi:0,1", "--time", "0s,1h,1y"]
    found = json.loads(type_(*over, "--json").out)["times"]
    assert [(one["time"], one["seconds"]) for one in found] == [("0s", 0), ("1h", 3600), ("1y", 31536000)]
    for one in found:
        alone = json.loads(type_(*words, f"pcm-joshi:0,1:time={one['time']}", "--json").out)
        assert alone["values"] == one["values"] and alone["rows"] == one["rows"]
    said = type_(*over, "--figure", "new/fig.png")
    assert said.code == 0 and [line.split()[0] for line in said.out.splitlines()[3:9]] == [
        "0s",
        "0s",
        "1h",
        "1h",
        "1y",
        "1y",
    ]
    assert "at times after programming" in said.out.splitlines()[1] and Path("new/fig.png").is_file()


W = ["--weights", "w.safetensors"]
MEASURE = ["measure", "own.py:task", *W, "--corruption"]
TRAIN = ["train", "own.py:task", "--epochs", "1"]
BAD: dict[str, tuple[list[str], list[str]]] = {
    "unknown corruption": ([*MEASURE, "rust:.1"], ["No corruption 'rust'", "gaussian-filter-max"]),
    "misspelt corruption": ([*MEASURE, "gausian-filter-max:.1"], ["Did you mean 'gaussian-filter-max'?"]),
    "missing scale": ([*MEASURE, "gaussian:0.1"], ["needs its scale", "gaussian-filter-max"]),
    "no strength": ([*MEASURE, "lognormal"], ["lognormal:0,.1,.2"]),
    "negative strength": ([*MEASURE, "lognormal:0,-.1"], ["-0.1", "not negative"]),
    "nan strength": ([*MEASURE, "lognormal:nan"], ["'nan'", "finite"]),
    "no number": ([*MEASURE, "lognormal:low"], ["'low' is no number"]),
    "two read strengths": ([*MEASURE, SWEEP, "--read-noise", SWEEP], ["--read-noise", "one strength"]),
    "reads without noise": ([*MEASURE, SWEEP, "--reads", "2"], ["reads=2"]),
    "time without unit": ([*MEASURE, "pcm-joshi:1", "--time", "5"], ["time '5' has no unit"]),
    "time twice": ([*MEASURE, "pcm-joshi:1", "--time", "60s,1min"], ["one time is given twice"]),
    "two times": (
        [*MEASURE, "pcm-joshi:1:time=1d", "--time", "1h"],
        ["has a time, and --time 1h is given too; give one of them"],
    ),
    "no time": ([*MEASURE, SWEEP, "--time", "1d"], ["has no time"]),
    "times with precision": (
        [*MEASURE, "pcm-joshi:1", "--time", "1s,1d", "--half-width", "0.01"],
        ["--half-width stops at one time"],
    ),
    "workers with precision": (
        [*MEASURE, SWEEP, "--workers", "2", "--half-width", "0.1"],
        ["--workers goes with --chips", "--half-width looks at each chip"],
    ),
    "unknown autocast": ([*MEASURE, SWEEP, "--autocast", "bf61"], ["No autocast 'bf61' here", "bf16"]),
    "outside the range": ([*MEASURE, "pcm-joshi:1:g_max=40"], ["0.25 to 40 uS is outside 0 to 25 uS", "set g_max"]),
    "rate over 1": ([*MEASURE, "dropconnect:0.1,1.1"], ["strength 1.1: at most 1"]),
    "warm-up over 1": ([*TRAIN, "--strength", "warmup-hold:0.5:1.5"], ["warmup 1.5", "from 0 to 1"]),
    "share over 1": ([*TRAIN, "--objective", "mixed-rwp(gaussian-filter-max):share=1.5"], ["share 1.5"]),
    "negative schedule": ([*TRAIN, "--strength", "linear:0:-1"], ["-1", "not negative"]),
    "misspelt noise": ([*TRAIN, "--noise", "bankd"], ["noise: 'bankd': 'exact' or 'banked' is needed"]),
    "misspelt objective": ([*TRAIN, "--objective", "smam"], ["Did you mean 'sam'?"]),
    "clean without clean": (
        [*TRAIN, "--objective", "rwp(lognormal)", "--batchnorm", "clean"],
        ["never visits the clean weights"],
    ),
    "no confidence": (
        [*MEASURE, SWEEP, "--half-width", "0.1", "--confidence", "0"],
        ["confidence is 0", "between 0 and 1"],
    ),
    "no epochs": (["train", "own.py:task", "--epochs", "0"], ["epochs 0", "at least 1"]),
    "no task": (["train"], ["the task is missing"]),
    "no start": ([*TRAIN, "--from", "none.safetensors"], ["none.safetensors: no such file"]),
    "no training data": (["train", "own.py:wrong"], ["no train data"]),
    "no TOML": (["train", "--recipe", "bad.toml"], ["bad.toml is not TOML"]),
    "no such TOML": (["train", "--recipe", "none.toml"], ["none.toml: no such file"]),
    "misspelt entry": (["train", "--recipe", "typo.toml"], ["Did you mean 'epochs'?"]),
    "nothing to perturb": (["audit", "own.py:bare"], ["no weight to perturb", "LayerNorm"]),
    "no run": (["measure", "folder", "--corruption", SWEEP], ["folder is not a run"]),
    "no such run": (["measure", "runs/trained/123", "--corruption", SWEEP], ["no such folder"]),
    "no weights": (["measure", "digits", "--corruption", SWEEP], ["digits has no weights yet", "train digits"]),
    "no weights of a task by position": (
        ["measure", "digits:conv", "--corruption", SWEEP],
        ["digits:conv has no weights yet", "train digits:conv"],
    ),
    "torn weights": (
        ["measure", "own.py:task", "--weights", "torn.safetensors", "--corruption", SWEEP],
        ["torn.safetensors", "truncated"],
    ),
    "other weights": (
        ["measure", "own.py:task", "--weights", "cube.safetensors", "--corruption", SWEEP],
        ["another model"],
    ),
    "score of the wrong shape": (["measure", "own.py:wrong", *W, "--corruption", SWEEP], ["(60, 2)", "(60,)"]),
    "logits of the wrong shape": (
        ["measure", "own.py:cube", "--weights", "cube.safetensors", "--corruption", SWEEP],
        ["(32, 1, 2)", "[b, classes]"],
    ),
    "no such part": ([*MEASURE, SWEEP, "--part", "validation"], ["no validation data"]),
    "unknown part": ([*MEASURE, SWEEP, "--part", "tset"], ["Did you mean 'test'?"]),
    "unknown policy": ([*MEASURE, SWEEP, "--batchnorm", "fold"], ["Did you mean 'folded'?"]),
    "nothing to fold": ([*MEASURE, SWEEP, "--batchnorm", "folded"], ["nothing to fold"]),
    "no task file": (["measure", "none.py:task", "--corruption", SWEEP], ["none.py: no such file"]),
    "no such name": (["measure", "own.py:tsak", "--corruption", SWEEP], ["Did you mean 'task'?"]),
    "unknown option": ([*MEASURE, SWEEP, "--chipz", "3"], ["--chipz", "--chips"]),
    "unknown verb": (["mesure"], ["'mesure'", "measure"]),
    "missing option": (["measure", "own.py:task"], ["--corruption"]),
    "unknown device": ([*MEASURE, SWEEP, "--device", "gpu"], ["No device 'gpu'", "cpu, cuda"]),
    "unknown device, training": ([*TRAIN, "--device", "gpu"], ["No device 'gpu'"]),
    "no draws": ([*MEASURE, SWEEP, "--chips", "0"], ["--chips"]),
    "draws in words": ([*MEASURE, SWEEP, "--chips", "many"], ["--chips", "'many' is no whole number"]),
    "one seed": (["demo", "--seeds", "1", "--workers", "1"], ["seeds 1", "at least 2"]),
    "no workers": (["demo", "--workers", "0"], ["--workers", "at least 1 is needed"]),
    "two strengths to audit": (["audit", "digits", "--corruption", SWEEP], ["one strength"]),
    "no such shelf": (["list", "corruption"], ["Did you mean 'corruptions'?"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_leaves_nothing(case: str, type_: Type, here: Path) -> None:
    words, says = BAD[case]
    before = contents(here)
    said = type_(*words)
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("incorruptible: ")
    for part in says:
        assert part in line
    assert contents(here) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("words", [[*MEASURE, SWEEP], TRAIN])
def test_a_gpu_that_is_not_there(words: list[str], type_: Type, here: Path) -> None:
    before = contents(here)
    said = type_(*words, "--device", "cuda")
    assert (said.code, said.out) == (2, "") and contents(here) == before
    assert said.err == "incorruptible: device 'cuda': this torch sees no CUDA GPU; use --device cpu.\n"


def raiser(problem: BaseException) -> Callable[..., Any]:
    def raises(*args: Any, **options: Any) -> None:
        raise problem

    return raises


def test_ctrl_c(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "measure", raiser(KeyboardInterrupt()))
    monkeypatch.setattr(runs, "train", raiser(KeyboardInterrupt()))
    for words in ([*MEASURE, SWEEP], TRAIN):
        said = type_(*words)
        assert (said.code, said.out) == (130, "")


def test_ctrl_c_says_how_to_go_on(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "train", raiser(KeyboardInterrupt()))
    assert type_(*TRAIN).err == "incorruptible: stopped; the same command goes on from here.\n"


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_error() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    python = [sys.executable, "-m", "incorruptible"]
    with subprocess.Popen(
        [*python, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered, text=True
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert (child.stderr.read(), child.wait()) == ("", 0)


@pytest.mark.parametrize("words", [[*MEASURE, SWEEP], TRAIN])
def test_a_device_that_torch_only_knows_by_name(words: list[str], type_: Type, here: Path) -> None:
    before = contents(here)
    said = type_(*words, "--device", "meta")
    assert (said.code, said.out) == (2, "") and "'meta'" in said.err and contents(here) == before


@pytest.mark.parametrize(("name", "code"), [("early", 2), ("late", 70)])
def test_an_error_in_the_users_own_task_has_its_exit_code(name: str, code: int, type_: Type, here: Path) -> None:
    (here / "broken.py").write_text(
        "import torch\nfrom incorruptible import Task\n"
        "def make():\n    raise ZeroDivisionError('by hand')\n"
        "def early():\n    make()\n"
        "def late():\n    return Task(make, test=(torch.ones(3, 2), torch.zeros(3).long()))\n"
    )
    said = type_("measure", f"broken.py:{name}", "--corruption", SWEEP)
    assert (said.code, said.out) == (code, "") and "ZeroDivisionError: " in said.err and "by hand" in said.err


def test_the_page_on_the_command_line_lists_every_exit_code() -> None:
    page = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"
    listed = re.findall(r"^\| (\d+) \| ", page.read_text(), re.M)
    assert listed == re.findall(r"^ +- (\d+): ", run.__doc__ or "", re.M) and len(listed) == 7


def test_a_defect_is_one_line_and_with_debug_a_traceback(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "measure", raiser(RuntimeError("out of\nluck")))
    assert type_(*MEASURE, SWEEP) == (70, "", "incorruptible: RuntimeError: out of luck (--debug shows where)\n")
    for words in ([*MEASURE, SWEEP, "--debug"], ["--debug", *MEASURE, SWEEP]):
        monkeypatch.setattr(sys, "argv", ["incorruptible", *words])
        with pytest.raises(RuntimeError, match="luck"):
            run()


def test_a_process_of_its_own(here: Path) -> None:
    """Exit codes and streams as the shell sees them; nothing under the folder is made."""
    before = contents(here)
    python = [sys.executable, "-m", "incorruptible"]
    version = subprocess.run([*python, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"incorruptible {__version__}\n" and version.stderr == ""
    bad = subprocess.run([*python, *MEASURE, "gaussian:0.1"], capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (2, "") and len(bad.stderr.splitlines()) == 1
    assert contents(here) == before


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (["study", "--bogus"], "study "),
        (["bridge", "--bogus"], "bridge "),
        (["bridge", "crosssim", "--bogus"], "bridge crosssim "),
        (["--bogus"], ""),
        (["compare", "digits", "--arms", "one"], "compare "),
        (["train", "digits", "--epochs", "many"], "train "),
        (["study"], "study "),
    ],
)
def test_an_error_of_usage_is_answered_with_the_help_of_its_verb(type_: Type, words: list[str], verb: str) -> None:
    said = type_(*words)
    assert said.code == 2 and re.fullmatch(rf".*[^.]\. Try 'incorruptible {verb}--help'\.\n", said.err)
    assert type_(*verb.split(), "--help").code == 0  # the advice works


VERBS = [[name] for name in typer.main.get_command(app).commands]  # type: ignore[attr-defined]
BRIDGES = [["bridge", "crosssim"], ["bridge", "aihwkit-lightning"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--chips", "ten"), "--chips 'ten' is no whole number."),
        (("--chips", "3.5"), "--chips '3.5' is no whole number."),
        (("--chips", "0"), "--chips '0': at least 1 is needed."),
        (("--half-width", "wide"), "--half-width 'wide' is no number."),
        (("--chps", "3"), "there is no option --chps here. Did you mean --chips?"),
        (("--zzz", "3"), "there is no option --zzz here."),
    ],
)
def test_an_option_is_refused_in_words_of_this_package(words: tuple[str, str], said: str, type_: Type) -> None:
    answer = type_(*MEASURE, SWEEP, *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"incorruptible: {said} Try 'incorruptible measure --help'.\n"


def test_a_missing_option_is_named(type_: Type) -> None:
    assert type_("measure", "digits").err.startswith("incorruptible: --corruption is missing. Try ")
    assert type_("measure", "--corruption", SWEEP).err.startswith("incorruptible: TARGET is missing. Try ")


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("words", [[], *VERBS, *BRIDGES], ids=" ".join)
def test_help_is_whole(words: list[str], columns: int, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Python types in the place of words, no sentence that ends in three points, and no name cut at a hyphen."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = type_(*words, "--help").out.splitlines()
    assert max(map(len, lines)) <= columns
    assert [line for line in lines if re.search(r"<|list\[|tuple\[", line)] == []
    assert [line for line in lines if line.endswith("-") or "..." in line.replace("[ARGS]...", "")] == []


def test_every_option_says_in_a_sentence_what_it_is_for() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    commands = [*verbs.values(), *verbs["bridge"].commands.values()]
    helps = {(one.name, each.name): each.help for one in commands for each in getattr(one, "params", ())}
    assert len(helps) > 150
    whole = r"(?:[A-Z]|bf16 )[^\[]* .*[.]"  # a capital, several words before any default in brackets, a full stop
    assert {where: text for where, text in helps.items() if not re.fullmatch(whole, text or "")} == {}


def test_every_verb_has_help(type_: Type) -> None:
    verbs = ["demo", "train", "measure", "audit", "list"]
    said = type_("--help")
    assert said.code == 0 and all(verb in said.out for verb in verbs)
    for verb in verbs:
        said = type_(verb, "--help")
        assert said.code == 0 and "--debug" in said.out and said.err == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "digits", "--strength", ".3"], "add --objective"),
        (["train", "digits", "--objective", "rwp(gaussian-filter-max)"], "add --strength"),
        (["train", "digits", "--momentum", "1.5"], "momentum"),
        (["train", "digits", "--recipe", "."], "cannot be read"),
        (["measure", "own.py", "--corruption", SWEEP], "own.py:NAME"),
        (["measure", "own.py:task", "--corruption", SWEEP, "--figure", "f.pdf"], ".png or .svg"),
        (["measure", "own.py:task", "--corruption", SWEEP, "--out", "own.py/x.json"], "in a folder"),
        (["measure", "own.py:task", *W, "--corruption", SWEEP, "--protect", "*"], "left out by '*'"),
        (["measure", "own.py:task", "--corruption", SWEEP], "--weights is missing, and model() makes its weights at"),
    ],
)
def test_first_hour_mistakes(words: list[str], says: str, type_: Type, here: Path) -> None:
    before = contents(here)
    said = type_(*words)
    assert (said.code, said.out) == (2, "") and says in said.err and said.err.count("\n") == 1
    assert contents(here) == before


def test_what_a_task_prints_is_no_data(type_: Type, here: Path) -> None:
    (here / "loud.py").write_text("print('loading my data')\n" + (here / "own.py").read_text())
    said = type_(
        "measure", "loud.py:task", "--weights", "w.safetensors", "--corruption", SWEEP, "--json", "--chips", "2"
    )
    assert json.loads(said.out)["draws"] == 2 and "loading my data" in said.err
