"""One recipe, one folder: found again, killed and gone on with, measured once."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from incorruptible import runs
from incorruptible.corruptions import Gaussian
from incorruptible.errors import UserError
from incorruptible.evaluation import measure
from incorruptible.files import records
from incorruptible.runs import MeasurePlan, Run, measured, measures, open_run, train
from incorruptible.tasks import load
from incorruptible.tasks.data import Batches
from incorruptible.tasks.scores import accuracy
from incorruptible.training import Trainer, load_weights, save_weights
from incorruptible.training.recipe import Probe, Recipe
from incorruptible.training.trainer import Validation
from typing_commands import typing

QUIET = Probe(draws=0)
RWP = "rwp(gaussian-filter-max)"
# shuffled by a DataLoader, with dropout and AdamW's state: all that a resumed training must find again
OWN = """
from pathlib import Path
import torch
from torch.utils.data import DataLoader, TensorDataset
from incorruptible import Task

parts = torch.load(Path(__file__).with_name("data.pt"))
model = lambda: torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(7, 2))
tensors = Task(model, **parts)
loader = Task(model, test=parts["test"], train=DataLoader(TensorDataset(*parts["train"]), 8, shuffle=True))
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, generator=source)
    parts = ("train", "validation", "test")
    torch.save({part: (x, (x[:, 0] > 0).long()) for part in parts}, tmp_path / "data.pt")
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


@pytest.fixture
def recipe(own: Path) -> Recipe:
    return Recipe(f"{own}:tensors", epochs=2, batch=8, probe=QUIET)


def summary(run: Run) -> tuple[bytes, Any, Any, Any]:
    """What must be the same where a training is done again."""
    return run.weights.read_bytes(), *(run.record[name] for name in ("metrics", "at_peak", "skipped"))


def test_what_a_run_leaves_behind(tmp_path: Path) -> None:
    torch.manual_seed(5)
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    seen: list[tuple[int, int]] = []
    recipe = Recipe("digits", RWP, ".2", epochs=2, seed=3, probe=Probe(images=64, draws=2, early=(2,)))
    run = train(
        recipe, tmp_path / "home", checkpoint_every=0, progress=lambda epoch, all_, metrics: seen.append((epoch, all_))
    )
    assert sorted(path.name for path in run.folder.iterdir()) == ["recipe.json", "run.json", "weights.safetensors"]
    assert seen == [(1, 2), (2, 2)]
    assert open_run(run.folder).recipe == recipe.resolved() and run.recipe.seed == 3
    made = run.record["made"]
    assert made["torch"] == torch.__version__ and made["numpy"] == np.__version__ and made["seconds"] > 0
    assert {"command", "incorruptible", "python", "machine", "device"} <= made.keys()
    assert [(one["step"], one.get("epoch")) for one in run.record["metrics"]] == [(2, None), (8, 1), (16, 2)]
    assert {"loss", "strength", "lr", "skipped", "probe_mean_ratio"} <= run.record["metrics"][-1].keys()
    assert run.record["at_peak"]["probe_strength"] == 0.2
    assert run.record["arrays"] == ["1.weight", "3.weight", "5.weight"]
    assert torch.equal(torch.get_rng_state(), random) and torch.get_num_threads() == threads


# Whatever an evaluation could move: dropout, BatchNorm, a frozen part, a buffer that counts calls, a tensor that is
# made once and kept, a loader that shuffles by its own generator, examples and a score that draw numbers.
MOVED = """
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from incorruptible import Score, Task

source = torch.Generator().manual_seed(0)
x = torch.randn(48, 5, generator=source)
y = (x[:, 0] > 0).long()


class Drawing(Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, i):
        return x[i] + 0.1 * torch.randn(5) + 0.1 * random.random() + 0.1 * float(np.random.rand()), y[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)
        self.frozen = nn.BatchNorm1d(8).eval()
        self.register_buffer("calls", torch.zeros(()))
        self.mask = None

    def forward(self, x):
        self.calls += 1
        if self.mask is None or len(self.mask) < len(x):
            self.mask = torch.ones(len(x), 8)
        hidden = self.frozen(self.norm(self.first(x))) * self.mask[: len(x)]
        return self.last(nn.functional.dropout(hidden, 0.2, self.training) * (1 + 0.001 * self.calls))


def grade(logits, labels):
    return (logits.argmax(1) == labels).float() + 0 * torch.rand(1)


generator = torch.Generator().manual_seed(3)
loader, large = (DataLoader(Drawing(), size, shuffle=True, generator=generator) for size in (8, 24))
task = Task(Net, test=(x, y), train=loader, validation=large, score=Score("own score", "points", True, grade))
failing = Task(Net, test=(x, y), train=loader, validation=(x[:, :3], y))
"""


@pytest.mark.parametrize("name", ["digits:network=conv", "task", "failing"])
def test_a_score_on_validation_data_moves_nothing(name: str, tmp_path: Path) -> None:
    """Run, identity, weights and records have the same bits, and torch's, numpy's and Python's generators stand still."""
    (tmp_path / "mine.py").write_text(MOVED)
    task = name if ":" in name else f"{tmp_path / 'mine.py'}:{name}"
    recipe = Recipe(task, RWP, "auto:classes=2", epochs=3, batch=32, clip=1.0, probe=Probe(images=32, draws=1))
    seen: list[Any] = []
    with_score = train(recipe, tmp_path / "with", progress=lambda *said: seen.append(said[2]), validate=True)
    without = train(recipe, tmp_path / "without")
    assert with_score.folder.name == without.folder.name
    assert summary(with_score) == summary(without) and with_score.record["weights"] == without.record["weights"]
    scores = [str(one["validation"]) for one in seen]
    says = {"task": "validation own score", "failing": "no validation score (RuntimeError: "}
    assert len(scores) == 3 and all(one.startswith(says.get(name, "validation accuracy 0.")) for one in scores)
    assert not any("validation" in one for one in with_score.record["metrics"])


def test_a_score_leaves_generators_and_modes_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MOVED)
    task = load(f"{tmp_path / 'mine.py'}:task")
    fit = Trainer(task, Recipe("mine.py:task", batch=8, probe=QUIET))
    fit.model.frozen.eval()
    own = task.validation.generator

    def now() -> list[Any]:
        modes = [module.training for module in fit.model.modules()]
        held = [buffer.tolist() for buffer in fit.model.buffers()]
        drawn = [random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002
        return [*drawn, torch.get_rng_state().tolist(), own.get_state().tolist(), modes, held]

    before = now()
    first, second = fit.validation(), fit.validation()
    assert now() == before and first == second and not fit.model.frozen.training


def test_what_is_scored_of_validation_data() -> None:
    """All of few examples, whole batches of many until there are a thousand, and nothing of what can be read once."""
    digits = load("digits:network=conv")
    x, y = digits.validation
    recipe = Recipe("digits:network=conv", probe=QUIET)
    fit = Trainer(digits, recipe)
    still = copy.deepcopy(fit.model).eval()
    right = float((still(x).argmax(1) == y).float().mean())
    found = fit.validation()
    assert found == Validation("accuracy", pytest.approx(right), "fraction", 300, True)
    many = replace(digits, validation=(x.repeat(5, 1, 1, 1), y.repeat(5)), batch=400)
    assert Trainer(many, recipe).validation()[3:] == (1200, False)
    named = Trainer(replace(digits, score=lambda model, batch: model(batch[0])[:, 0]), recipe).validation()
    assert (named.name, named.unit) == ("<lambda>", "")
    for data in (None, iter([(x, y)])):
        assert Trainer(replace(digits, validation=data), recipe).validation() is None


def test_a_second_call_finds_the_run(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(recipe, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    monkeypatch.delattr(runs, "Trainer")
    again = train(replace(recipe, strength="constant:0"), tmp_path)
    assert again.folder == first.folder and again.record == first.record
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == times


def test_what_decides_the_bits_decides_the_folder(own: Path, recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, epochs=1)
    folders = [train(recipe, tmp_path).folder]
    weights = tmp_path / "start.safetensors"
    weights.write_bytes((folders[0] / "weights.safetensors").read_bytes())

    def other(changed: Recipe, **given: Any) -> None:
        folder = train(changed, tmp_path, **given).folder
        assert folder not in folders
        folders.append(folder)

    for changes in ({"objective": "sam"}, {"strength": "0.1"}, {"seed": 1}, {"clip": 1.0}, {"start": str(weights)}):
        other(replace(recipe, **changes))
    other(recipe, threads=2)
    moved = weights.rename(tmp_path / "moved.safetensors")
    assert train(replace(recipe, start=str(moved)), tmp_path).folder == folders[5]  # its content counts, not its path
    moved.write_bytes((folders[1] / "weights.safetensors").read_bytes())
    other(replace(recipe, start=str(moved)))
    own.write_text(OWN + "# the same in other words\n")
    other(recipe)
    parts = torch.load(own.with_name("data.pt"))
    for part, (x, y) in list(parts.items()):
        parts[part] = x, 1 - y
        torch.save(parts, own.with_name("data.pt"))
        other(recipe)


def test_versions_and_the_device_decide_the_folder(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits depend on them. Which of several equal GPUs it is does not count, nor does a name that nobody reads."""
    task, recipe = load(recipe.task), recipe.resolved()

    def name(device: str = "cpu") -> str:
        return records.identity(runs.identity(recipe, task, device))

    names = [name(), name("cuda")]
    assert name("cuda:1") == name("cuda")
    for where, version in ((torch, "9.9.9"), (runs, "8.8.8")):
        monkeypatch.setattr(where, "__version__", version)
        names.append(name())
    assert len(set(names)) == 4
    assert runs.identity(recipe, task)["torch"] == "9.9.9" and runs.identity(recipe, task)["incorruptible"] == "8.8.8"


def test_a_full_disk_is_told_with_the_name_of_the_file(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = typing(monkeypatch, capsys)("train", recipe.task, "--epochs", 1, "--home", tmp_path / "home")
    (folder,) = (tmp_path / "home" / "trained").iterdir()
    line = f"{folder / 'recipe.json'}: No space left on device. Nothing is lost: make room, call again."
    assert said == (74, "", f"incorruptible: {line}\n") and list(folder.iterdir()) == []


class Stop(Exception):
    pass


CASES = {
    "plain": Recipe("digits", epochs=3, batch=100, probe=Probe(images=64, draws=2)),
    "rwp": Recipe("digits", RWP, "linear:0:0.3", epochs=3, batch=100, probe=QUIET),
    "sam": Recipe("digits", "sam", "warmup-hold:0.5", epochs=3, batch=100, probe=QUIET),
    "conv, plain": Recipe("digits:network=conv", epochs=3, batch=100, probe=QUIET),
    "conv, rwp": Recipe("digits:network=conv", RWP, "0.2", epochs=3, batch=100, probe=QUIET),
    "conv, sam": Recipe("digits:network=conv", "sam", "0.2", epochs=3, batch=100, probe=Probe(images=64, draws=2)),
    "dropout": Recipe("{own}:loader", RWP, "0.2", epochs=3, optimizer="adamw", lr=0.01, decay="constant", probe=QUIET),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case.startswith("conv") else ()) for case in CASES]
)
def test_a_stopped_training_ends_in_the_same_bits(case: str, own: Path, tmp_path: Path) -> None:
    recipe = replace(CASES[case], task=CASES[case].task.format(own=own))
    whole = summary(train(recipe, tmp_path / "whole"))
    for last in (1, 2, 3):
        home, epochs = tmp_path / f"stopped after {last}", []
        torch.manual_seed(last)  # which must not matter

        def stop(epoch: int, *rest: Any, last: int = last) -> None:
            if epoch == last:
                raise Stop

        with pytest.raises(Stop):
            train(recipe, home, checkpoint_every=0, progress=stop)
        run = train(recipe, home, progress=lambda epoch, *rest, epochs=epochs: epochs.append(epoch))
        assert summary(run) == whole
        assert epochs == list(range(min(last, 2) + 1, 4))  # it went on, and did not begin again
        assert not (run.folder / "checkpoint.pt").exists()


KILLED = """
import json, sys, time
from pathlib import Path
from incorruptible.training.recipe import parse
from incorruptible.runs import train

def wait(epoch, *rest):
    if epoch == 2:
        print("two epochs", flush=True)
        time.sleep(60)

train(parse(json.loads(sys.argv[1])), Path(sys.argv[2]), checkpoint_every=0, progress=wait)
"""


@pytest.mark.parametrize(
    "case", ["rwp", *(pytest.param(one, marks=pytest.mark.slow) for one in ("plain", "conv, sam"))]
)
def test_a_killed_training_ends_in_the_same_bits(case: str, tmp_path: Path) -> None:
    recipe = CASES[case].resolved()
    command = [sys.executable, "-c", KILLED, json.dumps(recipe.plain()), str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "two epochs\n"
        finally:
            child.send_signal(signal.SIGKILL)
    (folder,) = (tmp_path / "killed").iterdir()
    with pytest.raises(UserError, match="is not finished"):
        open_run(folder)
    epochs: list[int] = []
    run = train(recipe, tmp_path / "killed", progress=lambda epoch, *rest: epochs.append(epoch))
    assert run.folder == folder and epochs == [3]
    assert summary(run) == summary(train(recipe, tmp_path / "whole"))


def test_a_torn_checkpoint_only_costs_its_epochs(recipe: Recipe, tmp_path: Path) -> None:
    def stop(*rest: Any) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(recipe, tmp_path / "torn", checkpoint_every=0, progress=stop)
    (checkpoint,) = (tmp_path / "torn").glob("*/checkpoint.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert summary(train(recipe, tmp_path / "torn")) == summary(train(recipe, tmp_path / "whole"))


@pytest.mark.parametrize("file", ["weights.safetensors", "run.json"])
@pytest.mark.parametrize("harm", ["altered", "torn", "gone"])
def test_a_damaged_run_is_trained_again(file: str, harm: str, recipe: Recipe, tmp_path: Path) -> None:
    run = train(recipe, tmp_path)
    before, path = summary(run), run.folder / file
    content = path.read_bytes()
    path.write_bytes(content[:-9] if harm == "torn" else content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    if harm == "gone":
        path.unlink()
    with pytest.raises(UserError, match=str(run.folder)):
        open_run(run.folder).model()
    again = train(recipe, tmp_path)
    assert summary(again) == before
    again.model()


@pytest.mark.parametrize("harm", ["altered", "gone"])
@pytest.mark.parametrize("at", [None, 0.3, 0.8])
def test_a_run_is_whole_with_every_file_of_weights(at: float | None, harm: str, recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, checkpoints=(0.3, 0.8))
    run = train(recipe, tmp_path)
    assert run.whole()
    content = run.file(at).read_bytes()
    run.file(at).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    if harm == "gone":
        run.file(at).unlink()
    assert not run.whole()
    assert train(recipe, tmp_path).whole() and run.file(at).read_bytes() == content


@pytest.mark.parametrize("harm", ["altered", "gone", "none"])
def test_a_kept_checkpoint_is_verified_before_a_training_goes_on(harm: str, recipe: Recipe, tmp_path: Path) -> None:
    """Where it is not what was kept, the training begins anew; otherwise the record would vouch for what nobody trained."""
    recipe, epochs = replace(recipe, epochs=3, checkpoints=(0.2,)), []

    def stop(epoch: int, *rest: Any) -> None:
        if epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        train(recipe, tmp_path, checkpoint_every=0, progress=stop)
    (kept,) = tmp_path.glob("*/weights-0.2.safetensors")
    content = kept.read_bytes()
    if harm == "altered":
        kept.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif harm == "gone":
        kept.unlink()
    run = train(recipe, tmp_path, progress=lambda epoch, *rest: epochs.append(epoch))
    assert epochs == ([3] if harm == "none" else [1, 2, 3])
    assert run.whole() and kept.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such folder"),
        ([], "is not a run: it has no run.json"),
        (["recipe.json"], "is not finished: give the same train command again"),
    ],
)
def test_what_is_no_run_is_not_opened(content: list[str] | None, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    if content is not None:
        folder.mkdir()
        for name in content:
            records.write(folder / name, {})
    with pytest.raises(UserError, match=f"folder.* ?{says}"):
        open_run(folder)


def test_fine_tuning_begins_at_the_given_weights(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe, tmp_path)
    still = train(replace(recipe, start=str(first.weights), lr=0.0, seed=1), tmp_path)
    assert still.folder != first.folder and still.weights.read_bytes() == first.weights.read_bytes()
    further = train(replace(recipe, start=str(first.weights), seed=1), tmp_path)
    assert further.record["metrics"][0]["loss"] < first.record["metrics"][0]["loss"]
    with pytest.raises(UserError, match="no such file of weights"):
        train(replace(recipe, start=str(tmp_path / "none.safetensors")), tmp_path)


def test_a_task_without_training_data_cannot_be_trained(own: Path, tmp_path: Path) -> None:
    own.write_text(OWN + "tested = Task(model, test=parts['test'])\n")
    with pytest.raises(UserError, match="has no train data"):
        train(Recipe(f"{own}:tested"), tmp_path / "home")
    assert not (tmp_path / "home").exists()


SWEEP = MeasurePlan("gaussian-filter-max:0,.3", chips=3)


def test_a_run_is_measured_as_by_hand(recipe: Recipe, tmp_path: Path) -> None:
    run = train(recipe, tmp_path)
    found = measured(run, SWEEP)
    task = load(recipe.task)
    by_hand = measure(
        run.model(),
        accuracy,
        Batches(task.test, 1024),
        Gaussian("filter-max"),
        (0, 0.3),
        chips=3,
        seed=0,
        keep_examples=True,
    )
    np.testing.assert_array_equal(found["score"], by_hand.values)
    assert by_hand.examples is not None and found["loss"].shape == (2, 3)
    np.testing.assert_array_equal(found["score by example"], by_hand.examples.mean(1))


def test_a_run_is_measured_once_and_never_trained_for_it(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls, real = train(recipe, tmp_path), [], runs.measure_all
    before = run.weights.stat().st_mtime_ns
    monkeypatch.setattr(runs, "measure_all", lambda *a, **k: calls.append(1) or real(*a, **k))
    first = measured(run, SWEEP)
    assert all(np.array_equal(first[name], array) for name, array in measured(run, SWEEP).items()) and len(calls) == 1
    for others, plan in enumerate(
        (replace(SWEEP, chips=4), replace(SWEEP, purpose="validation"), replace(SWEEP, part="train"))
    ):
        measured(run, plan)
        assert len(calls) == 2 + others
    monkeypatch.delattr(runs, "Trainer")
    assert train(recipe, tmp_path).weights.stat().st_mtime_ns == before


def test_measures_belong_to_the_weights(recipe: Recipe, tmp_path: Path) -> None:
    """As where another version of torch trained the same recipe again, to other bits."""
    run, other = train(recipe, tmp_path), train(replace(recipe, epochs=9), tmp_path)
    first = measured(run, SWEEP)
    run.weights.write_bytes(other.weights.read_bytes())
    records.write(run.folder / "run.json", {**run.record, "weights": other.record["weights"]})
    again = measured(open_run(run.folder), SWEEP)
    np.testing.assert_array_equal(again["loss"], measured(other, SWEEP)["loss"])
    assert not np.array_equal(again["loss"], first["loss"])


def test_measures_belong_to_the_data(recipe: Recipe, tmp_path: Path) -> None:
    """Those of the part that is measured, whatever the other parts are."""
    run, task = train(recipe, tmp_path), load(recipe.task)
    x, y = task.test
    moved, first = replace(task, test=(x, 1 - y)), measured(run, SWEEP, task)
    assert not np.array_equal(measured(run, SWEEP, moved)["score"], first["score"])
    assert np.array_equal(measured(run, SWEEP, task)["score"], first["score"])
    seen = replace(SWEEP, part="validation")
    assert measures(run, SWEEP, task) != measures(run, SWEEP, moved)
    assert measures(run, seen, task) == measures(run, seen, moved)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_altered_measures_are_taken_again(suffix: str, recipe: Recipe, tmp_path: Path) -> None:
    run = train(recipe, tmp_path)
    first = measured(run, SWEEP)
    (file,) = (run.folder / "measures").glob(f"*.{suffix}")
    content = file.read_bytes()
    file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    again = measured(run, SWEEP)
    assert all(np.array_equal(first[name], array) for name, array in again.items())
    assert file.read_bytes() == content


class Tied(nn.Module):
    """As a language model: the same tensor goes in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight


def test_weights_make_the_round_trip(tmp_path: Path) -> None:
    for make in (Tied, lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3))):
        one, other = make(), make()
        save_weights(one, tmp_path / "w.safetensors")
        load_weights(other, tmp_path / "w.safetensors")
        assert all(torch.equal(one.state_dict()[name], value) for name, value in other.state_dict().items())
    tied, file = Tied(), tmp_path / "tied.safetensors"
    save_weights(tied, file)
    other = Tied()
    load_weights(other, file)
    assert len(load_file(file)) == 1 and other.head.weight is other.embed.weight
    assert torch.equal(other.head.weight, tied.head.weight)


@pytest.mark.parametrize(
    "wrap", [dict, lambda state: {"state_dict": state, "epoch": 3}, lambda state: {"model": state}]
)
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin"])
def test_checkpoints_of_torch_are_read(wrap: Any, suffix: str, tmp_path: Path) -> None:
    one, other, file = nn.Linear(3, 2), nn.Linear(3, 2), tmp_path / f"w.{suffix}"
    torch.save(wrap(one.state_dict()), file)
    load_weights(other, file)
    assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)


class Mischief:
    """A pickle that would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.folder,)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    places = {
        name: tmp_path / name for name in ("torn.safetensors", "other.safetensors", "more.safetensors", "wide.pt")
    }
    save_weights(model, places["torn.safetensors"])
    whole = places["torn.safetensors"].read_bytes()
    save_weights(nn.Linear(3, 2), places["other.safetensors"])
    save_weights(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)), places["more.safetensors"])
    torch.save(nn.Sequential(nn.Linear(9, 2)).state_dict(), places["wide.pt"])
    torch.save({"0.weight": Mischief(tmp_path / "made")}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"0.weight": 3}, tmp_path / "number.pt")
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "empty.pt").touch()
    table = {
        "none.safetensors": "no such file",
        "other.safetensors": "lacks 0.weight, 0.bias: these are the weights of another model",
        "more.safetensors": "has, and the model lacks, 1.",
        "wide.pt": r"other shapes: 0.weight \(2, 9\) for \(2, 3\)",
        "code.pt": "cannot be read safely",
        "list.pt": "does not hold a state_dict",
        "number.pt": "does not hold a state_dict",
        "text.pt": "cannot be read",
        "empty.pt": "cannot be read",
    }
    for name, says in table.items():
        with pytest.raises(UserError, match=f"{name}.*{says}"):
            load_weights(model, tmp_path / name)
    for length in (0, 4, 20, len(whole) - 1):
        places["torn.safetensors"].write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"torn\.safetensors cannot be read as weights"):
            load_weights(model, places["torn.safetensors"])
    assert not (tmp_path / "made").exists()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_moved_task_is_the_same_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    source = (
        "import torch, incorruptible as inc\n"
        "x, y = torch.eye(4), torch.arange(4)\n"
        "def task():\n    return inc.Task(lambda: torch.nn.Linear(4, 4), test=(x, y), train=(x, y))\n"
    )
    folders = set()
    for place in (tmp_path / "mine.py", tmp_path / "a" / "other.py"):
        place.write_text(source)
        folders.add(train(Recipe(f"{place}:task", epochs=1), tmp_path / "home").folder)
    assert len(folders) == 1


LOADERS = {
    "shuffle": "shuffle=True",
    "its own generator": "shuffle=True, generator=torch.Generator()",
    "augmented": "shuffle=True",
}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_of_ones_own_resumes_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    """Shuffled by the global generator or its own, and augmented by numpy and random."""
    (tmp_path / "loader_task.py").write_text(
        "import random, numpy as np, torch, incorruptible as inc\n"
        "from torch.utils.data import DataLoader, Dataset\n"
        "x, y = torch.randn(32, 4, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 2\n"
        "class Data(Dataset):\n"
        "    def __len__(self): return 32\n"
        f"    def __getitem__(self, i): return x[i] + {int(kind == 'augmented')} * (np.random.rand() + random.random()), y[i]\n"
        "net = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 2))\n"
        f"task = inc.Task(net, test=(x, y), train=DataLoader(Data(), batch_size=8, {LOADERS[kind]}))\n"
    )
    recipe = Recipe(f"{tmp_path / 'loader_task.py'}:task", "sam", "0.1", epochs=4, probe=Probe(draws=2))
    whole = train(recipe, tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stop(epoch: int, *_: Any) -> None:
        if epoch == 3:  # after the checkpoint of epoch 2
            raise Stopped

    torch.manual_seed(99)
    with pytest.raises(Stopped):
        train(recipe, tmp_path / "parts", checkpoint_every=0, progress=stop)
    torch.rand(7), np.random.rand(3)  # noqa: NPY002
    parts = train(recipe, tmp_path / "parts")
    assert parts.weights.read_bytes() == whole.weights.read_bytes()
    assert parts.record["metrics"] == whole.record["metrics"]


# Three scripts that train one recipe: one that imports more than the task does, one that has the task's file loaded under its own
# name before, and one that trains in a process that it starts, where the script is the module __mp_main__.
SCRIPTS = {
    "plotting.py": "import my_plot\nfrom training import run\nrun('plotting')\n",
    "loaded.py": "import my_task\nfrom training import run\nprint(my_task.task)\nrun('loaded')\n",
    "spawning.py": (
        "import multiprocessing\nimport my_plot\nfrom training import run\n\ndef work(name):\n    run(name)\n\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=work, args=('spawning',))\n"
        "    child.start()\n    child.join()\n    raise SystemExit(child.exitcode)\n"
    ),
    "my_plot.py": "",
    "my_net.py": "import torch\nnet = lambda: torch.nn.Linear(4, 4)\n",
    "my_task.py": (
        "import torch, incorruptible as inc\n"
        "from my_net import net\n"
        "x, y = torch.eye(4), torch.arange(4)\n"
        "task = inc.Task(net, test=(x, y), train=(x, y))\n"
    ),
    "training.py": (
        "from pathlib import Path\nimport incorruptible as inc\n"
        "def run(name):\n"
        "    made = inc.train(inc.Recipe('my_task.py:task', epochs=1), Path('home', 'trained'))\n"
        "    Path('by-' + name).write_text(made.folder.name)\n"
    ),
}


@pytest.mark.slow
def test_a_recipe_has_one_run_whichever_script_trains_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("plotting", "loaded", "spawning"):
        subprocess.run([sys.executable, f"{name}.py"], check=True, timeout=600)
    type_ = typing(monkeypatch, capsys)
    said = type_("train", "my_task.py:task", "--epochs", 1, "--home", "home", "--json")
    assert said.code == 0
    (folder,) = Path("home", "trained").iterdir()
    assert {path.read_text() for path in tmp_path.glob("by-*")} == {folder.name} and len(
        list(tmp_path.glob("by-*"))
    ) == 3
    assert Path(json.loads(said.out)["folder"]) == folder
    assert type_("measure", folder, "--corruption", "gaussian-filter-max:.1", "--chips", 2).code == 0
    Path("my_net.py").write_text(SCRIPTS["my_net.py"].replace("(4, 4)", "(4, 4, bias=False)"))
    said = type_("measure", folder, "--corruption", "gaussian-filter-max:.1", "--chips", 2)
    assert said.code == 2 and "has changed since" in said.err


def test_a_task_that_changed_is_not_measured_as_the_one_that_was_trained(tmp_path: Path) -> None:
    place = tmp_path / "changing.py"
    source = (
        "import torch, incorruptible as inc\n"
        "x = torch.eye(4)\n"
        "data = (x, x.argmax(1))\n"
        "task = inc.Task(lambda: torch.nn.Linear(4, 4), test=data, train=data)\n"
    )
    place.write_text(source)
    run = train(Recipe(f"{place}:task", epochs=1), tmp_path / "home")
    assert run.task().name
    place.write_text(source.replace("x = torch.eye(4)", "x = 2 * torch.eye(4)"))
    with pytest.raises(UserError, match="has changed since"):
        open_run(run.folder).task()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda value: value.to(torch.int64), "whole for real"),
        (lambda value: value > 0, "true-or-false for real"),
        (lambda value: value.to(torch.complex64), "complex for real"),
        (lambda value: value.to_sparse(), "sparse for real"),
        (lambda value: value.double(), ""),
    ],
)
def test_weights_of_another_kind_of_number_are_refused(
    change: Callable[[torch.Tensor], torch.Tensor], says: str, tmp_path: Path
) -> None:
    """torch would copy them without a word, and with the imaginary part left out."""
    model = torch.nn.Linear(3, 2)
    torch.save({"weight": change(torch.ones(2, 3)), "bias": torch.zeros(2)}, tmp_path / "w.pt")
    if not says:
        load_weights(model, tmp_path / "w.pt")
        assert torch.equal(model.weight, torch.ones(2, 3))
        return
    with pytest.raises(UserError, match=f"has other kinds of numbers: weight, {says}"):
        load_weights(model, tmp_path / "w.pt")
