"""Studies that are killed, shared, damaged, short of disk, or very large come to the same results."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from incorruptible import cli, runs
from incorruptible.errors import UserError, UserErrors
from incorruptible.files import records
from incorruptible.runs import Left, MeasurePlan, measured, measures, train
from incorruptible.studies import supervisor
from incorruptible.studies.ending import Ending, write_ending
from incorruptible.studies.folder import Folder, find
from incorruptible.studies.leases import Leases
from incorruptible.studies.plan import Tasks, begin
from incorruptible.studies.results import rows, summary
from incorruptible.studies.spec import load
from incorruptible.studies.supervisor import Stopped, mend, supervise
from incorruptible.studies.worker import work
from incorruptible.tasks import load as load_task
from incorruptible.training.recipe import Probe, Recipe
from small_data import SMALL_DATA
from study_of_many import study_of_many
from waiting import HANG, until

# What makes it slow or has it fail lies outside the source, which is part of a run's identity.
MINE = (
    SMALL_DATA
    + """
import os, time
from pathlib import Path
from incorruptible.tasks.scores import cross_entropy

def model():
    return torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 2))

def loss(model, batch):
    if model.training:
        time.sleep(float(os.environ.get("SLOW", "0")))
        while Path(__file__).with_name("wait").exists():
            time.sleep(0.01)
    return cross_entropy(model, batch)

def fragile(model, batch):
    if Path(__file__).with_name("broken").exists():
        raise ValueError("class 7\\n is unknown")
    return loss(model, batch)

parts = {"train": part(128), "validation": part(48), "test": part(64)}
task = Task(model, **parts, loss=loss)
broken = Task(model, **parts, loss=fragile)
"""
)
STUDY = """
question = "Does noise in training help?"
seeds = 2
[recipe]
task = "mine.py:task"
epochs = 6
batch = 64
[recipe.probe]
draws = 0
[test]
corruptions = ["gaussian-filter-max:0,0.2"]
draws = 3
[selection]
draws = 2
[[arms]]
name = "sgd"
[[arms]]
name = "rwp {strength}"
objective = "rwp(gaussian-filter-max)"
strength = [0.1, 0.3]
[[claims]]
name = "ahead"
text = "noise in training is of use"
rule = "ahead"
left = "rwp *"
right = "sgd"
"""
PYTHON = [sys.executable, "-m", "incorruptible"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Children compute with one thread, and none outlives its test."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for pid in workers(tmp_path):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the study comes to if nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return found(brought(written(folder), folder / "home"))


def written(folder: Path, text: str = STUDY, name: str = "tiny") -> Path:
    (folder / "mine.py").write_text(MINE)
    (folder / f"{name}.toml").write_text(text)
    return folder / f"{name}.toml"


def begun(file: Path, home: Path) -> Folder:
    overrides = {"seeds": None, "epochs": None}
    return begin(load(str(file)), home, threads=1, device=None, overrides=overrides, tasks=Tasks())


def brought(file: Path, home: Path) -> Folder:
    """The study, finished by this process."""
    folder = begun(file, home)
    assert work(folder, Tasks())
    return folder


def found(folder: Folder) -> str:
    """What `results --json` prints."""
    return json.dumps(records.plain(summary(folder)), indent=1, allow_nan=False) + "\n"


def results(file: Path, home: Path) -> str:
    return subprocess.run(
        [*PYTHON, "results", file, "--home", home, "--json"], capture_output=True, text=True, check=True
    ).stdout


def incorruptible(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: Any
) -> tuple[int, str, str]:
    """A command in this process, whose workers are processes: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["incorruptible", *map(str, words)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.run()
    said = capfd.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


@pytest.fixture
def study(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    def call(file: Path, home: Path, *more: Any, verb: str = "study") -> tuple[int, str, str]:
        own = ["--threads", 1, "--workers", 1] if verb == "study" and "--threads" not in more else []
        return incorruptible(capfd, monkeypatch, verb, file, "--home", home, *own, *more)

    return call


def workers(folder: Path) -> list[int]:
    """Processes of `incorruptible worker` on a study below `folder`."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "worker" in words and any(word.startswith(str(folder)) for word in words):
            pids.append(int(process.name))
    return pids


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file, when it was written and its number; a plan is touched by whoever finds that it still holds."""
    return {
        str(path.relative_to(folder)): (
            0 if path.name == "study.json" else path.stat().st_mtime_ns,
            path.stat().st_ino,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def leases(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "leases").iterdir()) if (home / "leases").is_dir() else []


# ---- killed


@pytest.mark.slow
def test_a_study_that_is_killed_five_times_comes_to_the_same_bytes(
    file: Path, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW", "0.08")
    home, source, hit, ended = tmp_path / "home", random.Random(20), 0, []
    command = [*PYTHON, "study", file, "--home", home, "--workers", "2", "--threads", "1"]
    for kind in ("supervisor", "all", "worker", "supervisor", "all"):
        supervisor = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: workers(tmp_path) or supervisor.poll() is not None)  # noqa: B023
        time.sleep(source.uniform(1.5, 4.0))
        until((home / "studies" / "tiny" / "study.json").is_file)  # a busy machine is slow to begin
        hit += supervisor.poll() is None
        crew = workers(tmp_path)
        if kind != "worker":
            supervisor.kill()
        for pid in {"supervisor": [], "all": crew, "worker": crew[:1]}[kind]:
            os.kill(pid, signal.SIGKILL)
        if kind == "worker":
            time.sleep(source.uniform(0.2, 1.5))
            supervisor.kill()
        supervisor.wait()
        until(lambda: not workers(tmp_path))  # none outlives its supervisor
        ended.append(len(find(home, "tiny", "tiny").ends()))
    assert hit >= 3, f"it was finished before it could be killed: {ended}"
    assert ended == sorted(ended), f"something finished was lost: {ended}"
    last = subprocess.run(command, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert results(file, home) == expected
    assert [name for name in leases(home) if name.endswith(".lease")] == []


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR2, marks=pytest.mark.slow),
    ],
    ids=["term", "usr1", "usr2"],
)
def test_a_worker_that_is_asked_to_leave_checkpoints_and_leaves(
    number: signal.Signals, file: Path, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked in the middle of its first epoch, which it may then finish."""
    home = tmp_path / "home"
    (tmp_path / "wait").touch()
    worker = subprocess.Popen(
        [*PYTHON, "worker", file, "--home", home], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: list(home.glob("trained/*/recipe.json")))
    assert any(name.endswith(".lease") for name in leases(home))
    worker.send_signal(number)
    (tmp_path / "wait").unlink()
    out, err = worker.communicate(timeout=HANG)
    assert worker.returncode == 75
    assert out == "" and err.splitlines()[-1] == "incorruptible: left on request; what was done is kept."
    assert leases(home) == []
    folder = find(home, "tiny", "tiny")
    assert folder.ends() == {} and len(list(home.glob("trained/*/checkpoint.pt"))) == 1
    epochs: list[int] = []
    monkeypatch.setattr(
        runs.Trainer,
        "load",
        lambda fit, state, old=runs.Trainer.load: (epochs.append(state["done"]), old(fit, state))[1],
    )
    assert found(brought(file, home)) == expected
    assert epochs == [1]  # it went on from there


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_does_not_wait_for_a_long_epoch(
    times: int, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW", "3600")  # an epoch that nobody would wait for
    home = tmp_path / "home"
    worker = subprocess.Popen([*PYTHON, "worker", file, "--home", home], stderr=subprocess.PIPE, text=True)
    until(lambda: list(home.glob("trained/*/recipe.json")))
    for _ in range(times):
        worker.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    _, err = worker.communicate(timeout=HANG)
    assert worker.returncode == 75 and "left on request" in err.splitlines()[-1]
    assert leases(home) == [] and list(home.rglob("*.tmp")) == []


@pytest.mark.slow
def test_workers_share_a_study(file: Path, expected: str, tmp_path: Path) -> None:
    """None trains on before both have begun."""
    home = tmp_path / "home"
    (tmp_path / "wait").touch()
    begun(file, home)
    both = [
        subprocess.Popen(
            [*PYTHON, "worker", file, "--home", home], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    until(lambda: len([name for name in leases(home) if name.endswith(".lease")]) == 2)
    (tmp_path / "wait").unlink()
    said = [worker.communicate(timeout=HANG)[1].splitlines() for worker in both]
    assert [worker.returncode for worker in both] == [0, 0]
    folder = find(home, "tiny", "tiny")
    assert sorted(said[0] + said[1]) == sorted(folder.label(job) for job in folder.jobs)  # each once
    assert said[0] and said[1]
    assert set(folder.ends().values()) == {"finished"} and len(list((folder.path / "outcomes").iterdir())) == 6
    assert results(file, home) == expected


# ---- damaged


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["torn", "altered"])
def test_damaged_files_are_named_and_made_again(
    harm: str, file: Path, expected: str, tmp_path: Path, study: Callable[..., tuple[int, str, str]]
) -> None:
    home = tmp_path / "home"
    folder = brought(file, home)
    outcomes = [folder.outcome(job, "finished") for job in folder.jobs]
    measure = home / outcomes[0]["measures"]["0 test"][0]
    damaged = [
        measure,
        folder.trained(folder.jobs[1]) / "weights.safetensors",
        folder.path / "outcomes" / f"{folder.jobs[2].name}.finished.json",
        folder.trained(folder.jobs[3]) / "run.json",
    ]
    whole = folder.trained(folder.jobs[4]) / "weights.safetensors"
    before = whole.stat().st_mtime_ns
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content[: len(content) // 2] if harm == "torn" else content)
    damaged.append(folder.trained(folder.jobs[5]) / "weights.safetensors")
    damaged[-1].unlink()
    code, out, err = study(file, home, "--json", verb="results")
    assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert any(str(path) in err for path in damaged)
    code, _, err = study(file, home)
    assert code == 0
    for path in damaged:
        assert sum(str(path) in line for line in err.splitlines()) == 1, err
    assert results(file, home) == expected
    assert whole.stat().st_mtime_ns == before
    code, _, err = study(file, home)
    assert code == 0 and str(home / "trained") not in err


def _two_jobs(home: Path) -> Folder:
    """A folder of two jobs, of two arms, as a plan says it."""
    plan = {"definition": {"arms": [{"name": "a"}, {"name": "b"}]}, "jobs": [[0, 0, "r0", "j0"], [1, 5, "r1", "j1"]]}
    return Folder(home, home / "studies" / "x", plan)


def test_a_job_has_one_end(tmp_path: Path) -> None:
    """The last that is written; files of nobody's job, or that are half written, are no ends."""
    folder = _two_jobs(tmp_path)
    first, second = folder.jobs
    assert folder.ends() == {}
    for end in ("failed", "diverged", "finished", "failed"):
        folder.write(first, end, {"message": end})
        assert folder.ends() == {"j0": end}
        assert [file.name for file in (folder.path / "outcomes").iterdir()] == [f"j0.{end}.json"]
    assert folder.outcome(first, "failed") == {"arm": "a", "seed": 0, "message": "failed"}
    folder.write(second, "finished", {})
    for stray in ("j9.finished.json", "j1.finished.json.tmp", "j1.begun.json"):
        (folder.path / "outcomes" / stray).write_text("{}")
    assert folder.ends() == {"j0": "failed", "j1": "finished"} and folder.label(second) == "b, seed 5"
    folder.forget(second, "diverged")
    assert folder.ends() == {"j0": "failed", "j1": "finished"}
    folder.forget(second, "finished")
    assert folder.ends() == {"j0": "failed"}


def test_what_was_altered_is_named(tmp_path: Path) -> None:
    folder = _two_jobs(tmp_path)
    first, second = folder.jobs
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    files = {name: records.checksum(tmp_path / name) for name in ("one", "two")}
    folder.write(first, "finished", {"files": files})
    folder.write(second, "failed", {"message": "no files"})
    assert list(folder.altered()) == []
    (tmp_path / "two").write_text("owt")
    assert list(folder.altered()) == [(first, "finished", str(tmp_path / "two"))]
    (tmp_path / "one").unlink()
    assert list(folder.altered()) == [(first, "finished", str(tmp_path / "one"))]  # each job once
    note = folder.path / "outcomes" / "j1.failed.json"
    note.write_text(note.read_text()[:-9])
    assert list(folder.altered())[1:] == [(second, "failed", str(note))]


@pytest.mark.slow
def test_a_torn_study_is_told_and_made_again(
    file: Path, expected: str, tmp_path: Path, study: Callable[..., tuple[int, str, str]]
) -> None:
    home = tmp_path / "home"
    folder = brought(file, home)
    note = folder.path / "study.json"
    content = note.read_bytes()
    for bad in (content[: len(content) // 2], content.replace(b"tiny", b"tony", 1)):
        note.write_bytes(bad)
        for verb in ("results", "status"):
            code, out, err = study(file, home, verb=verb)
            assert (code, out) == (2, "") and str(note) in err
        before = snapshot(home / "trained")
        code, _, err = study(file, home)
        assert code == 0 and sum(str(note) in line for line in err.splitlines()) == 1
        assert note.read_bytes() == content and snapshot(home / "trained") == before
        assert found(find(home, "tiny", "tiny")) == expected


# ---- failing


@pytest.mark.slow
def test_a_task_that_raises_fails_alone_and_is_tried_again_on_request(
    tmp_path: Path, study: Callable[..., tuple[int, str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    text = STUDY.replace('name = "sgd"\n', 'name = "sgd"\ntask = "mine.py:broken"\n')
    file, home = written(tmp_path, text), tmp_path / "home"
    (tmp_path / "broken").touch()
    code, out, err = study(file, home)
    told = [line for line in err.splitlines() if "ValueError" in line]
    message = "failed: ValueError: class 7 is unknown"
    assert code == 1 and sorted(told) == [f"incorruptible: sgd, seed {seed} {message}" for seed in (0, 1)]
    assert "4 of 6 runs finished, 2 failed" in out
    folder = find(home, "tiny", "tiny")
    assert "fragile" in next(folder.outcome(job, "failed")["traceback"] for job in folder.jobs if job.arm == 0)
    _, out, _ = study(file, home, "--json", verb="results")
    assert json.loads(out)["jobs"] == {"finished": 4, "diverged": 0, "failed": 2, "all": 6}
    assert json.loads(out)["claims"]["ahead"]["verdict"] == "undecided"
    _, out, _ = study(file, home, verb="status")
    assert [line for line in out.splitlines() if "ValueError" in line] == [f"{message} (sgd, seed 0 and 1 more)"]
    before = snapshot(home)
    code, _, err = study(file, home)
    assert code == 1 and "ValueError" not in err and snapshot(home) == before  # not tried again
    (tmp_path / "broken").unlink()
    code, _, err = study(file, home)
    assert code == 1 and snapshot(home) == before
    code, out, err = study(file, home, "--retry")
    assert code == 0 and "6 of 6 runs finished" in out and "failed" not in err
    after = snapshot(home)
    whole = [name for name in before if name.endswith(".safetensors")]
    assert len(whole) == 4 * 3 and all(after[name] == before[name] for name in whole)


@pytest.mark.slow
def test_a_diverging_arm_is_told_once_and_counted(tmp_path: Path, study: Callable[..., tuple[int, str, str]]) -> None:
    text = STUDY.replace("strength = [0.1, 0.3]\n", "strength = [0.1, 0.3]\n" + '[[arms]]\nname = "wild"\nlr = 1e38\n')
    file, home = written(tmp_path, text), tmp_path / "home"
    code, out, err = study(file, home)
    assert code == 0 and "6 of 8 runs finished, 2 diverged" in out
    told = [line for line in err.splitlines() if "wild" in line]
    assert sorted(told) == [f"incorruptible: wild, seed {seed} diverged: its loss is not finite" for seed in (0, 1)]
    _, out, _ = study(file, home, "--json", verb="results")
    assert json.loads(out)["jobs"] == {"finished": 6, "diverged": 2, "failed": 0, "all": 8}
    _, out, _ = study(file, home, verb="status")
    row = next(line for line in out.splitlines() if line.startswith("wild"))
    assert row.split() == ["wild", ".", ".", ".", "2", "."]
    before = snapshot(home)
    code, _, err = study(file, home)
    assert code == 0 and "diverged" not in err and snapshot(home) == before


def dead(home: Path, job: str, deaths: int) -> None:
    """Leave a lease behind as a worker does that died there, the last of so many."""
    with Leases(home / "leases") as folder:
        assert folder.claim(job) is not None
        path = home / "leases" / f"{job}.lease"
        token = json.loads(path.read_text())
        gone = subprocess.Popen(["true"])
        gone.wait()
        path.write_text(json.dumps({**token, "token": "another", "pid": gone.pid, "deaths": deaths - 1}))


def test_a_run_that_kills_its_workers_is_given_up(
    file: Path, expected: str, tmp_path: Path, study: Callable[..., tuple[int, str, str]]
) -> None:
    home = tmp_path / "home"
    folder = begun(file, home)
    dead(home, folder.jobs[0].run, 5)
    dead(home, folder.jobs[1].run, 4)
    assert work(folder, Tasks())
    assert folder.ends()[folder.jobs[0].name] == "failed"
    assert "died 5 times in a row" in folder.outcome(folder.jobs[0], "failed")["message"]
    assert list(folder.ends().values()).count("finished") == 5
    mend(folder, lambda line: None, retry=True)
    assert work(folder, Tasks())  # the deaths are forgotten
    assert found(folder) == expected


class Crew:
    """An engine whose workers do what `plays` say, in this process: an exit code, or a call that gives one.

    A worker that no signal kills writes its reason where it is told to, and prints something else last, as libraries do.
    """

    def __init__(self, *plays: int | Callable[[], int]) -> None:
        self.plays = list(plays)
        self.fault = ""

    def start(self, command: Sequence[str], log: Path) -> Any:
        play = self.plays.pop(0)
        code = play if isinstance(play, int) else play()
        log.parent.mkdir(exist_ok=True)
        log.write_text(f"incorruptible: said with {code}\nincorruptible: wandb: Run history\n")
        if code >= 0:
            write_ending(Path(command[command.index("--ending") + 1]), Ending(code, f"said with {code}"))
        done = {"poll": lambda self: code, "leave": lambda self: None, "kill": lambda self: None, "fault": self.fault}
        return type("Done", (), done)()

    def close(self) -> None:
        pass


def supervised(folder: Folder, crew: Crew, workers: int = 1) -> list[str]:
    told: list[str] = []
    supervise(lambda: folder, folder.path, crew, [], workers, progress=lambda done, total, what: None, tell=told.append)
    return told


@pytest.mark.parametrize("count", [1, 2])
def test_a_study_outlasts_a_run_that_kills_its_workers(
    count: int, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOOK", 0)
    folder = begun(file, tmp_path / "home")

    def last() -> int:
        for place in range(count):
            dead(folder.home, folder.jobs[place].run, 5)
        return 0 if work(folder, Tasks()) else 1

    told = supervised(folder, Crew(*[-9] * (5 * count), last, 0), count)
    assert sum("a worker died (signal 9, before it could say why)" in line for line in told) == 5 * count
    assert sum("failed: its worker died 5 times" in line for line in told) == count
    assert list(folder.ends().values()).count("finished") == 6 - count


@pytest.mark.parametrize(
    ("play", "error", "code"), [(75, Stopped, 75), (74, Stopped, 74), (-11, Stopped, 1), (2, UserError, None)], ids=str
)
def test_why_a_study_stops(
    play: int, error: type[Exception], code: int | None, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOOK", 0)
    with pytest.raises(error) as raised:
        supervised(begun(file, tmp_path / "home"), Crew(*[play] * 6))
    assert getattr(raised.value, "code", None) == code
    said = str(raised.value)
    assert "wandb" not in said
    assert {75: "asked to leave", -11: "by signal 11, before it could say why"}.get(play, f"said with {play}") in said
    assert list((tmp_path / "home" / "studies" / "tiny" / "logs").glob("*.json")) == []


class Ended(Crew):
    """Workers that all end with `code`, after they wrote `note`, if anything, where they are told to say why."""

    def __init__(self, code: int, note: str | None, fault: str = "") -> None:
        self.code, self.note, self.fault = code, note, fault

    def start(self, command: Sequence[str], log: Path) -> Any:
        worker = Crew.start(Crew(-abs(self.code) or -1), command, log)
        if self.note is not None:
            Path(command[command.index("--ending") + 1]).write_text(self.note)
        worker.__class__.poll = lambda worker: self.code
        worker.__class__.fault = self.fault
        return worker


@pytest.mark.parametrize(
    ("engine", "error", "says"),
    [
        (Ended(74, None), Stopped, "the disk is full or broken. Nothing is lost: make room"),
        (Ended(2, None), Stopped, "the last one by exit code 2, and it did not say why. It printed what is in"),
        (Ended(70, '{"code": 70, "mess'), Stopped, "the last one by exit code 70, and it did not say why"),
        (Ended(-9, None, "Ray: its node died"), Stopped, "the last one by Ray: its node died. It printed"),
    ],
    ids=["no room to say it", "nothing", "torn", "the engine knows"],
)
def test_a_worker_that_could_not_say_why(
    engine: Ended, error: type[Exception], says: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it printed last is never taken for the reason."""
    monkeypatch.setattr(supervisor, "LOOK", 0)
    with pytest.raises(error) as raised:
        supervised(begun(file, tmp_path / "home"), engine)
    assert says in str(raised.value) and "wandb" not in str(raised.value)


def test_a_reason_outlasts_a_crash_while_python_ends(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note counts, not the exit code of a library that crashes last; a note that was there before does not."""
    monkeypatch.setattr(supervisor, "LOOK", 0)
    folder = begun(file, tmp_path / "home")
    (folder.path / "logs").mkdir()
    stale = folder.path / "logs" / f"{os.getpid()}-0.json"
    write_ending(stale, Ending(2, "of a supervisor of long ago"))
    with pytest.raises(Stopped, match="by signal 9"):
        supervised(folder, Crew(*[-9] * 6))
    crashing = Ended(-11, None)
    write_ending(tmp_path / "note", Ending(2, where="s.toml", lines=("line 3: no", "line 4: no")))
    crashing.note = (tmp_path / "note").read_text()
    with pytest.raises(UserErrors, match=r"^s\.toml has 2 mistakes:\n  line 3: no\n  line 4: no$"):
        supervised(folder, crashing)


LATE = """
import atexit, sys
atexit.register(lambda: print("wandb: Run history:\\nincorruptible: wandb has a mistake:", file=sys.stderr))
atexit.register(lambda: print("wandb: Synced 5 files", flush=True))
"""


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("task = 3\n", "mine.py:task is int; an incorruptible.Task, or a function without arguments"),
        ("raise KeyError('seven')\n", "mine.py cannot be run: KeyError: 'seven'"),
    ],
    ids=["no task", "raises"],
)
@pytest.mark.slow
def test_a_mistake_is_told_whatever_libraries_print_when_python_ends(
    task: str, says: str, file: Path, tmp_path: Path, study: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "mine.py").write_text(LATE + task)
    code, out, err = study(file, tmp_path / "home")
    head, line = err.splitlines()
    assert (code, out, head) == (2, "", "incorruptible: tiny.toml has a mistake:") and says in line
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_every_mistake_of_a_file_is_told_whatever_libraries_print(
    file: Path, tmp_path: Path, study: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "mine.py").write_text(MINE + LATE)
    file.write_text(STUDY.replace("epochs = 6", "epocs = 6").replace("draws = 3", "drawz = 3"))
    code, out, err = study(file, tmp_path / "home")
    assert (code, out) == (2, "") and err.splitlines()[0] == "incorruptible: tiny.toml has 2 mistakes:"
    assert "epocs" in err and "drawz" in err and "wandb" not in err


def test_two_arms_of_one_recipe_come_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOOK", 0)
    file = written(tmp_path, STUDY + '[[arms]]\nname = "sgd again"\nrole = "control"\n')
    folder = begun(file, tmp_path / "home")
    assert len(folder.jobs) == 8 and len({job.name for job in folder.jobs}) == 6
    supervised(folder, Crew(lambda: 0 if work(folder, Tasks()) else 1))  # a second worker would find nothing to do
    said = summary(folder)
    assert said["jobs"] == {"finished": 8, "diverged": 0, "failed": 0, "all": 8}
    by_name = {arm["name"]: arm["results"] for arm in said["arms"]}
    assert by_name["sgd"] == by_name["sgd again"] != []


# ---- full disks


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.getuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # a traceback may hold a file open


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError as problem:
            assert problem.errno == errno.ENOSPC
    return ballast


def test_a_full_disk_ends_the_worker_with_one_line(
    file: Path, expected: str, small: Path, study: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    home = small / "home"
    folder = begun(file, home)
    ballast = fill(small)
    worker = subprocess.run([*PYTHON, "worker", file, "--home", home], capture_output=True, text=True)
    lines = worker.stderr.splitlines()
    assert worker.returncode == 74 and worker.stdout == "", worker.stderr
    assert lines[-1].startswith("incorruptible: ") and "No space left" in lines[-1] and str(home) in lines[-1]
    assert all(line in {folder.label(job) for job in folder.jobs} for line in lines[:-1])
    assert folder.ends() == {}
    ballast.unlink()
    assert found(brought(file, home)) == expected


@pytest.mark.parametrize("what", ["checkpoint", "weights", "arrays"])
def test_writers_of_others_meet_a_full_disk(
    what: str, file: Path, expected: str, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch and safetensors say it in errors of their own."""
    home = small / "home"
    folder = begun(file, home)
    asked = what == "checkpoint"
    where, name = {
        "checkpoint": (torch, "save"),
        "weights": (runs, "save_weights"),
        "arrays": (records, "write_arrays"),
    }[what]
    real = getattr(where, name)

    def full(*values: Any, **more: Any) -> Any:
        fill(small)
        return real(*values, **more)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, full)
        leave = iter([False, True])  # before the first job, and after its first epoch
        with pytest.raises(OSError, match="No space left") as raised:
            work(folder, Tasks(), leave=lambda: asked and next(leave, True))
    assert raised.value.errno == errno.ENOSPC
    assert folder.ends() == {} and leases(home) == []
    assert list(small.rglob("*.tmp")) == []
    (small / "ballast").unlink()
    assert found(brought(file, home)) == expected


def test_wherever_the_disk_gets_full_nothing_wrong_is_noted(
    file: Path, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, real, calls, room = tmp_path / "home", os.fsync, 0, 3
    folder = begun(file, home)

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == room or (stops % 2 and calls > room):  # for a moment, or until somebody makes room
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    stops = 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        while stops < 100:
            calls = 0
            try:
                assert work(folder, Tasks())
                break
            except OSError as problem:
                assert problem.errno == errno.ENOSPC and str(problem.filename).startswith(str(home))
                assert leases(home) == []
                assert set(folder.ends().values()) <= {"finished"} and not list(folder.altered())
                stops += 1
                room = 3 + stops % 9
    assert stops > 5 and found(folder) == expected


# ---- measuring goes on


@pytest.fixture
def counted(tmp_path: Path) -> tuple[Any, Any, list[int]]:
    """A run, its task, and the number of examples of each call of its loss."""
    written(tmp_path)
    recipe = Recipe(f"{tmp_path / 'mine.py'}:task", epochs=1, probe=Probe(draws=0))
    task = load_task(recipe.task)
    run = train(recipe, tmp_path / "trained", task=task)
    calls: list[int] = []

    def loss(model: Any, batch: Any) -> Any:
        calls.append(len(batch[0]))
        return task.loss(model, batch)

    return run, replace(task, loss=loss), calls


PLAN = MeasurePlan("gaussian-filter-max:0,0.1,0.3", chips=4)
CHIPS = 9  # without noise one does


def test_a_measurement_goes_on_where_it_was_left(counted: tuple[Any, Any, list[int]]) -> None:
    run, task, calls = counted
    whole = measured(run, PLAN, task)
    assert len(calls) == CHIPS
    note, file = measures(run, PLAN, task)
    note.unlink()
    file.unlink()
    for after in (3, 2):
        calls.clear()
        with pytest.raises(Left):
            measured(run, PLAN, task, leave=lambda after=after: len(calls) >= after)  # type: ignore[misc]
        assert len(calls) == after and not note.exists()
    calls.clear()
    again = measured(run, PLAN, task)
    assert len(calls) == CHIPS - 5
    assert whole.keys() == again.keys()
    assert all(np.array_equal(whole[name], again[name]) and whole[name].dtype == again[name].dtype for name in whole)
    assert sorted(path.name for path in note.parent.iterdir()) == sorted([note.name, file.name])
    calls.clear()
    measured(run, PLAN, task)
    assert calls == []


@pytest.mark.parametrize("suffix", [".partial.json", ".partial.safetensors"])
@pytest.mark.parametrize("harm", ["torn", "altered", "gone"])
def test_a_damaged_partial_measurement_is_measured_again(
    suffix: str, harm: str, counted: tuple[Any, Any, list[int]]
) -> None:
    run, task, calls = counted
    note, file = measures(run, PLAN, task)
    with pytest.raises(Left):
        measured(run, PLAN, task, leave=lambda: len(calls) >= 3)
    partial = note.with_name(note.stem + suffix)
    content = bytearray(partial.read_bytes())
    content[-5] ^= 1
    if harm == "gone":
        partial.unlink()
    else:
        partial.write_bytes(content[:40] if harm == "torn" else content)
    calls.clear()
    again = measured(run, PLAN, task)
    assert len(calls) == CHIPS
    calls.clear()
    note.unlink()
    file.unlink()
    whole = measured(run, PLAN, task)
    assert all(np.array_equal(whole[name], again[name]) for name in whole)
    assert sorted(path.name for path in note.parent.iterdir()) == sorted([note.name, file.name])


# ---- shared runs, other threads


def test_a_second_study_trains_nothing_again(file: Path, expected: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    brought(file, home)
    before = snapshot(home / "trained")
    wider = written(tmp_path, STUDY.replace('0,0.2"]', '0,0.2", "uniform-filter-max:0.1"]'), "wider")
    folder = brought(wider, home)
    after = snapshot(home / "trained")
    assert {name: after[name] for name in before} == before
    new = after.keys() - before.keys()
    assert len(new) == 6 * 2 * 2  # runs x (test, validation) x (note, arrays)
    assert all("/measures/" in name for name in new)
    assert {cell.noise for cell in rows(folder)} == {"gaussian-filter-max", "uniform-filter-max"}
    assert found(find(home, "tiny", "tiny")) == expected


def test_other_threads_are_refused(file: Path, tmp_path: Path, study: Callable[..., tuple[int, str, str]]) -> None:
    home = tmp_path / "home"
    brought(file, home)
    before = snapshot(home)
    code, out, err = study(file, home, "--workers", 1, "--threads", 2)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert "begun with threads 1, and this is 2" in err and "--force" in err
    assert snapshot(home) == before


# ---- many runs


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_of_many(tmp_path_factory.mktemp("many"))


# A process of its own, for what a child of this one needs at most is at least what this one has.
SPENT = """
import json, pathlib, resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.run(sys.argv[2:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
found = time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
pathlib.Path(sys.argv[1]).write_text(json.dumps(found))
sys.exit(code)
"""


def spent(*words: Any) -> tuple[float, float, float, str]:
    """Seconds of a command, of the processor for it, its largest memory in MB, and its stdout."""
    with tempfile.NamedTemporaryFile() as note:
        command = [sys.executable, "-c", SPENT, note.name, *PYTHON, *map(str, words)]
        child = subprocess.run(command, capture_output=True, text=True)
        assert child.returncode == 0, child.stderr
        wall, processor, memory = json.loads(Path(note.name).read_text())
    return wall, processor, memory, child.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", ["status --once", "results", "results --json"])
def test_two_thousand_runs_are_looked_at_without_much_memory(words: str, many: Path) -> None:
    verb, *options = words.split()
    wall, processor, memory, out = spent(verb, many, "--home", many.parent, *options)
    print(f"{words}: {processor} s of the processor, {wall} s, {memory:.0f} MB")  # noqa: T201
    assert memory < 500
    if "--json" in options:
        said = json.loads(out)
        assert said["jobs"]["finished"] == 2000 and len(said["arms"]) == 250
        assert all(len(arm["results"]) == 6 and len(arm["over_range"]) == 1 for arm in said["arms"])
    else:
        assert "2000" in out if verb == "status" else len(out.splitlines()) == 2 * 252 + 1


@pytest.mark.parametrize(
    "verb", ["results", *(pytest.param(verb, marks=pytest.mark.slow) for verb in ("status", "compare"))]
)
def test_looking_at_a_study_does_not_import_torch(verb: str, file: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    brought(file, home)
    more = ["--arms", "rwp *", "sgd"] if verb == "compare" else []
    code = (
        "import sys; from incorruptible import cli\n"
        "try: cli.run()\n"
        "finally: assert 'torch' not in sys.modules and 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, verb, file, "--home", home, *more], check=True, capture_output=True)
