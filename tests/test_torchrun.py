"""`incorruptible train` as torchrun starts it: two processes, one result, and what happens when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from incorruptible.runs import open_run, train
from incorruptible.training.recipe import Recipe
from typing_commands import Type, typing
from waiting import HANG

WORDS = ("digits", "--objective", "rwp(gaussian-filter-max)", "--strength", "0.2", "--epochs", "2")

# Several trainings in one pair of processes, for starting a pair takes longer than any of them: an objective of each kind, and
# a training that leaves after its first epoch because one rank is asked to.
SEVERAL = """
import gc, os, sys
from pathlib import Path
import torch
from torch import distributed
from incorruptible.training.recipe import Probe, Recipe
from incorruptible.runs import Left, train
from incorruptible.tasks import load
from incorruptible.training import Trainer, joined
from test_torchrun import EVERYTHING, SEVERAL_RECIPES

home, rank = Path(sys.argv[1]), int(os.environ["RANK"])
distributed.init_process_group("gloo")  # which `train` takes, and leaves as it is
seen = {}
for name, recipe in SEVERAL_RECIPES.items():
    folder = train(recipe, home).folder
    seen[name] = str(folder)
try:
    train(SEVERAL_RECIPES["sam"], home / "left", leave=lambda: rank == 1)
except Left as left:
    seen["left"] = str(left)
again = []
folder = train(SEVERAL_RECIPES["sam"], home / "left", progress=lambda epoch, *rest: again.append(epoch)).folder
seen["again"] = str(folder), again
gc.collect()  # as `joined` does before it takes a group of its own down
assert not [one for one in gc.get_objects() if type(one) is torch.nn.parallel.DistributedDataParallel]
with joined(2, "cpu") as group:
    compile_ = torch.compile
    torch.compile = lambda model: compile_(model, backend="eager")  # the passage through it, without the minute of a compiler
    fit = Trainer(load(EVERYTHING.task), EVERYTHING.resolved(), group=group)
    while fit.done < EVERYTHING.epochs:
        fit.epoch()
    seen["everything"] = {name: p.detach().clone() for name, p in fit.model.named_parameters()}
assert distributed.is_initialized()
torch.save(seen, home / f"seen-{rank}.pt")
distributed.destroy_process_group()
"""

# Rank 1 is killed after the second epoch, as the system kills what takes too much memory.
DYING = """
import os, signal, sys
from pathlib import Path
from incorruptible.runs import train
from test_torchrun import SEVERAL_RECIPES

def die(epoch, *rest):
    if epoch == 2 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)

train(SEVERAL_RECIPES["mixed"], Path(sys.argv[1]), checkpoint_every=0, progress=die)
"""

# Dropout, a loader that shuffles, a batch that does not divide, and one with fewer examples than parts.
OWN = """
import torch
from torch.utils.data import DataLoader, TensorDataset
from incorruptible import Task

x = torch.randn(43, 5, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
model = lambda: torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(7, 2))
task = Task(model, test=(x, y), train=DataLoader(TensorDataset(x, y), 7, shuffle=True))
"""
OWN_FILE = Path(os.environ.get("INCORRUPTIBLE_TEST_TASK", "own.py"))
QUICK: dict[str, Any] = {"epochs": 3, "batch": 100, "ranks": 2}
SEVERAL_RECIPES = {
    "sam": Recipe("digits", "sam", "0.2", **QUICK),
    "mixed": Recipe("digits", "mixed-rwp(gaussian-filter-max)", "0.2", **QUICK, accumulate=2, clip=1.0),
    "norm": Recipe("digits:network=conv", "rwp(gaussian-filter-max)", "0.2", **QUICK),
    "own": Recipe(f"{OWN_FILE}:task", "rwp(gaussian-filter-max)", "auto:classes=2", **QUICK),
}
EVERYTHING = Recipe(
    "digits:network=conv",
    "sam",
    "0.2",
    **QUICK,
    accumulate=2,
    autocast="bf16",
    channels_last=True,
    compiled=True,
    clip_weights=2.5,
)


class Started(NamedTuple):
    code: int
    out: str
    err: str


def torchrun(folder: Path, *words: object) -> Started:
    """What two processes say that torchrun starts in `folder`; killed with all that they started where they hang."""
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    own = {
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "INCORRUPTIBLE_TEST_TASK": str(folder / "own.py"),
    }
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, words)]
    with subprocess.Popen(
        line,
        cwd=folder,
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=HANG)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return Started(process.returncode, out, err)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torchrun")
    for name, text in (("own.py", OWN), ("several.py", SEVERAL), ("dying.py", DYING)):
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def typed(folder: Path) -> Started:
    return torchrun(folder, "-m", "incorruptible", "train", *WORDS, "--ranks", 2)


@pytest.fixture(scope="module")
def several(folder: Path) -> Iterator[list[dict[str, Any]]]:
    started = torchrun(folder, "several.py", folder / "several")
    assert started.code == 0 and "Warning" not in started.err, started.err
    yield [torch.load(folder / "several" / f"seen-{rank}.pt") for rank in (0, 1)]


def far(one: Path, other: Path) -> float:
    """The largest difference between the weights and statistics of two runs."""
    a, b = (load_file(folder / "weights.safetensors") for folder in (one, other))
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


@pytest.mark.slow
def test_the_command_trains_as_one_process_does_in_two_parts(
    typed: Started, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One voice, one folder, and the weights of `--accumulate 2`."""
    assert typed.code == 0, typed.err
    assert typed.out.count("run: ") == 1 and typed.err.count("next: ") == 1
    (own,) = (folder / "runs" / "trained").iterdir()
    assert sorted(path.name for path in own.iterdir()) == ["recipe.json", "run.json", "weights.safetensors"]
    monkeypatch.chdir(folder)
    type_: Type = typing(monkeypatch, capsys)
    said = type_("train", *WORDS, "--accumulate", 2, "--home", "one")
    assert said.code == 0
    (one,) = (folder / "one" / "trained").iterdir()
    assert one.name != own.name and far(one, own) < 1e-6
    ours, theirs = (open_run(path).record for path in (own, one))
    assert [m["loss"] for m in ours["metrics"] if "epoch" in m] == pytest.approx(
        [m["loss"] for m in theirs["metrics"] if "epoch" in m], rel=1e-5
    )
    assert ours["at_peak"]["probe_clean_loss"] == pytest.approx(theirs["at_peak"]["probe_clean_loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam", "mixed", "own"])
def test_ranks_are_parts(name: str, several: list[dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    """Whatever the objective, parts of parts, dropout, a loader's own batches, a controller."""
    recipe = SEVERAL_RECIPES[name]
    task = recipe.task.replace(str(OWN_FILE), str(folder / "own.py"))
    one = replace(recipe, task=task, ranks=1, accumulate=2 * recipe.accumulate)
    assert several[0][name] == several[1][name]
    assert far(Path(several[0][name]), train(one, tmp_path).folder) < 1e-6


@pytest.mark.slow
def test_running_statistics_are_those_of_the_first(several: list[dict[str, Any]]) -> None:
    """They move once a step, by the first rank's half alone: the mean of 250 images, not of 500."""
    state = load_file(Path(several[0]["norm"]) / "weights.safetensors")
    assert int(state["1.num_batches_tracked"]) == 15
    recipe = replace(SEVERAL_RECIPES["norm"], ranks=1, accumulate=2)
    from incorruptible.tasks import load
    from incorruptible.training import Trainer

    fit = Trainer(load(recipe.task), recipe.resolved())
    while fit.done < recipe.epochs:
        fit.epoch()
    one = fit.model.state_dict()
    assert int(one["1.num_batches_tracked"]) == 30
    assert (
        max(float((one[name] - state[name]).abs().max()) for name in one if "running" not in name and "num" not in name)
        < 1e-5
    )
    assert float((one["1.running_mean"] - state["1.running_mean"]).abs().max()) > 1e-4


@pytest.mark.slow
def test_ranks_end_bit_equal_in_every_way(several: list[dict[str, Any]]) -> None:
    """bf16, channels-last, compiled, parts of parts, and bounded weights, all at once."""
    first, second = (found["everything"] for found in several)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["3.weight"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_one_rank_that_is_asked_to_leave_takes_the_other_along(several: list[dict[str, Any]]) -> None:
    for found in several:
        assert "left after epoch 1 of 3" in found["left"]
        folder, again = found["again"]
        assert again == [2, 3]
        assert (Path(folder) / "weights.safetensors").read_bytes() == (
            Path(found["sam"]) / "weights.safetensors"
        ).read_bytes()


@pytest.mark.slow
def test_a_killed_rank_ends_all_and_the_same_command_goes_on(several: list[dict[str, Any]], folder: Path) -> None:
    """Nobody waits for the dead one; started again, both go on from the checkpoint, to the same bits."""
    died = torchrun(folder, "dying.py", folder / "dying")
    assert died.code != 0
    (own,) = (folder / "dying").iterdir()
    assert not (own / "run.json").exists()
    assert torch.load(own / "checkpoint.pt", weights_only=True)["done"] in (1, 2)
    recipe = SEVERAL_RECIPES["mixed"]
    words = ("--objective", recipe.objective, "--strength", "0.2", "--epochs", 3, "--batch", 100, "--clip", 1)
    (folder / "dying").rename(folder / "home")
    (folder / "home" / "trained").mkdir()
    (folder / "home" / own.name).rename(folder / "home" / "trained" / own.name)
    again = torchrun(
        folder, "-m", "incorruptible", "train", "digits", *words, "--accumulate", 2, "--ranks", 2, "--home", "home"
    )
    assert again.code == 0, again.err
    own = folder / "home" / "trained" / own.name
    whole = Path(several[0]["mixed"])
    assert own.name == whole.name and not (own / "checkpoint.pt").exists()
    assert (own / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert open_run(own).record["metrics"] == open_run(whole).record["metrics"]


@pytest.mark.slow
def test_a_broken_promise_is_said_once(folder: Path) -> None:
    """torchrun adds a report of its own, and its exit code is 1 whatever theirs was."""
    said = torchrun(folder, "-m", "incorruptible", "train", *WORDS, "--home", "never")
    assert said.code == 1
    lines = [line for line in said.err.splitlines() if line.startswith("incorruptible: ")]
    assert len(lines) == 1 and "torchrun started 2 processes" in lines[0] and lines[0].endswith("--ranks 2")
    assert "exitcode  : 2" in said.err and said.out == "" and not (folder / "never").exists()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")
def test_two_gpus_are_one_in_two_parts(folder: Path, tmp_path: Path) -> None:
    """nccl; the noise of training is drawn on the GPU, the same on both machines' equal kinds."""
    words = ("train", *WORDS, "--device", "cuda")
    said = torchrun(folder, "-m", "incorruptible", *words, "--ranks", 2, "--home", "gpus")
    assert said.code == 0, said.err
    recipe = Recipe("digits", WORDS[2], WORDS[4], epochs=2, accumulate=2)
    (own,) = (folder / "gpus" / "trained").iterdir()
    assert far(own, train(recipe, tmp_path, device="cuda").folder) < 1e-5
