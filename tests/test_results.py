"""`results` on studies of any size: each file opened once, one arm in memory, time in proportion to the runs, the same bytes."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import slow_results
from incorruptible import cli
from incorruptible.files import records
from incorruptible.statistics import crossed, crossed_each
from incorruptible.studies.folder import Folder, StudyJob, find
from incorruptible.studies.outcomes import Outcomes
from incorruptible.studies.plan import Tasks, begin
from incorruptible.studies.results import arms, compare, findings, listed, rows, summary
from incorruptible.studies.spec import load

STUDY = """
question = "What is there of many things at once?"
seeds = 3
[recipe]
task = "digits"
epochs = 4
[recipe.probe]
draws = 0
[test]
corruptions = ["gaussian-filter-max:0,0.1,0.2", "uniform-filter-max:0.1", "lognormal:0.1,0.3"]
parts = ["test", "train"]
required = 0.5
bounds = true
[[arms]]
name = "plain"
method = "plain"
checkpoints = [0.5]
[[arms]]
name = "rwp {strength}"
method = "rwp"
objective = "rwp(gaussian-filter-max)"
strength = [0.1, 0.2, 0.3, 0.4]
[[claims]]
name = "ahead"
text = "the best of several is ahead, if that is finished"
rule = "ahead"
left = "rwp *"
right = "plain"
[[claims]]
name = "loss"
text = "under another noise, in its loss"
rule = "ahead"
left = "rwp 0.1"
right = "plain"
statistic = "loss"
on = "lognormal*"
[[claims]]
name = "lacking"
text = "an arm is not finished"
rule = "ahead"
left = "rwp 0.4"
right = "plain"
[[claims]]
name = "gap"
text = "of the training part, too"
rule = "over-regularised"
method = "rwp"
"""
SECOND = STUDY.replace("seeds = 3", "seeds = 2").replace("required = 0.5\nbounds = true", "")
EXAMPLES = {"test": 31, "validation": 12, "train": 17}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small files need not wait for the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def made(home: Path, text: str = STUDY, name: str = "rich", ends: dict[tuple[str, int], str] | None = None) -> Folder:
    """A study with made-up results; `ends` says which runs did not finish, by arm and seed: "" for one that nobody began."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / f"{name}.toml"
    file.write_text(text)
    frame: dict[str, Any] = {"threads": 1, "device": "cpu", "overrides": {"seeds": None, "epochs": None}}
    folder = begin(load(str(file)), home, tasks=Tasks(), **frame)
    for job in folder.jobs:
        end = (ends or {}).get((folder.arms[job.arm]["name"], job.seed), "finished")
        if end == "finished":
            finish(folder, job)
        elif end in ("diverged", "failed"):
            folder.write(job, end, {"message": "it went wrong"})  # type: ignore[arg-type]
    return folder


def finish(folder: Folder, job: StudyJob) -> None:
    """Files as a worker leaves them, of numbers that the arm and the seed decide."""
    rng = np.random.default_rng([job.arm, job.seed])
    recipe, run = folder.arms[job.arm]["recipe"], folder.trained(job)
    metrics = [{"epoch": e, "loss": 1 / e, "strength": 0.1} for e in (1, 2, 3, 4)]
    records.write(run / "run.json", {"recipe": recipe, "metrics": metrics, "at_peak": None})
    measures = {}

    def note(key: str, arrays: dict[str, Any]) -> None:
        file = run / "measures" / f"{key.replace(' ', '-')}.safetensors"
        measures[key] = [str(file.relative_to(folder.home)), records.write_arrays(file, arrays)]

    for key in folder.plan["plans"]:
        place, part = key.split()
        strengths = len(folder.plan["noises"][int(place)]["strengths"])
        for at in ("", *(f" @{at:g}" for at in recipe.get("checkpoints", ()))):
            right = (rng.random((strengths, EXAMPLES[part])) + 0.02 * job.arm > 0.4).astype(np.float32)
            score = right.mean(1, keepdims=True) + rng.normal(0, 0.01, (strengths, 5))
            arrays = {"score": score, "loss": 2 - score, "score by example": right, "loss by example": 2 - right}
            note(key + at, arrays | {"equivalent": rng.random(strengths), "bounded by example": 1 - right})
    if folder.plan.get("bounds"):
        filters = {"layer": np.zeros(4, dtype=np.int64), "count": np.full(4, 9)}
        filters |= {name: 1 + rng.random(4) for name in ("peak", "start", "square")}
        note("displacement", filters | {"elsewhere": np.zeros(1), "seen": np.array([3])})
    files = [run / "run.json"]
    checksums = {str(file.relative_to(folder.home)): records.checksum(file) for file in files}
    found = {"run": job.run, "files": checksums | dict(measures.values()), "measures": measures}
    folder.write(job, "finished", found)


ENDS = {
    ("rwp 0.2", 1): "diverged",
    ("rwp 0.3", 0): "failed",
    ("rwp 0.3", 2): "failed",
    ("rwp 0.4", 0): "",
    ("rwp 0.4", 1): "",
    ("rwp 0.4", 2): "",
}


@pytest.fixture
def rich(tmp_path: Path) -> Folder:
    """Two studies in one home that share runs; in the first, runs that diverged, failed, and were never begun."""
    second, first = made(tmp_path, SECOND, "second"), made(tmp_path, ends=ENDS)
    assert {job.run for job in second.jobs} < {job.run for job in first.jobs}
    return first


Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    def run(*words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["incorruptible", *map(str, words)])
        code = 0
        try:
            cli.run()
        except SystemExit as ending:
            code = int(ending.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


# ---- The same bytes as the slow way


@pytest.mark.parametrize("name", ["rich", "second"])
@pytest.mark.parametrize("what", ["--csv", "--json"])
def test_the_bytes_are_those_of_the_slow_way(what: str, name: str, rich: Folder, typed: Typed) -> None:
    code, out, err = typed("results", name, "--home", rich.home, what)
    assert (code, err) == (0, "")
    assert (0, out) == slow_results.answer(what, find(rich.home, name, name))
    if name == "rich":
        for word in ("plain @0.5", "rwp 0.2") if what == "--csv" else ('"undecided"', '"diverged": 1', '"at": 0.5'):
            assert word in out
        assert what == "--json" or ("rwp 0.4" not in out and "rwp 0.3" not in out)


def test_arms_are_those_of_the_slow_way(rich: Folder) -> None:
    for place in range(3):
        for found, least in ((arms(rich, place, whole=False), 2), (arms(rich, place), 3)):
            expected = slow_results.arms(rich, place, least)
            assert [one.name for one in found] == [one.name for one in expected]
            for one, slow in zip(found, expected, strict=True):
                for name, value in vars(slow).items():
                    if name == "displacement":
                        assert [m.distance() for m in one.displacement] == [m.distance() for m in value]
                    else:
                        np.testing.assert_equal(getattr(one, name), value, name)


def test_the_table_is_the_same_from_arms_that_claims_have_read(rich: Folder) -> None:
    outcomes = Outcomes(rich)
    assert all(arm.test.shape[2] == 31 and arm.validation.size for arm in outcomes.whole())
    assert list(rows(rich, outcomes)) == list(rows(rich))


# ---- Damaged files: the same message, or the same bytes where the file is not needed

WHICH = {
    "an outcome": "studies/rich/outcomes/{job}.finished.json",
    "scores": "trained/{run}/measures/0-test.safetensors",
    "scores under the last noise": "trained/{run}/measures/2-test.safetensors",
    "validation": "trained/{run}/measures/1-validation.safetensors",
    "a checkpoint": "trained/{run}/measures/0-test-@0.5.safetensors",
    "the training part": "trained/{run}/measures/0-train.safetensors",
    "a displacement": "trained/{run}/measures/displacement.safetensors",
    "a run": "trained/{run}/run.json",
}


def damaged(folder: Folder, which: str, how: str, arm: int = 0, seed: int = 1) -> Path:
    job = next(job for job in folder.jobs if (job.arm, job.seed) == (arm, seed))
    file = folder.home / WHICH[which].format(job=job.name, run=job.run)
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    elif how == "torn":
        file.write_bytes(content[: len(content) // 2])
    else:  # a digit of a number, or a bit of one, with the size and the times of the file as they were
        before = file.stat()
        place = next(at for at in range(len(content) - 3, 0, -1) if content[at : at + 1].isdigit() or b"\0" in content)
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return file


@pytest.mark.parametrize("how", ["altered", *(pytest.param(how, marks=pytest.mark.slow) for how in ("gone", "torn"))])
@pytest.mark.parametrize("which", WHICH)
def test_a_damaged_file_is_named_as_the_slow_way_names_it(which: str, how: str, rich: Folder, typed: Typed) -> None:
    if (which, how) == ("an outcome", "gone"):
        pytest.skip("then the run is not finished")
    file = damaged(rich, which, how)
    code, out, err = typed("results", "rich", "--home", rich.home, "--json")
    assert (code, err.removeprefix("incorruptible: ").rstrip("\n")) == slow_results.answer("--json", rich)
    assert (code, out) == (2, "") and str(file) in err and len(err.splitlines()) == 1
    code, out, err = typed("results", "rich", "--home", rich.home, "--csv")
    if which in ("the training part", "a displacement", "a run"):
        assert (code, err) == (0, "") and out.startswith("arm,noise,strength,")
    else:
        assert (code, out) == (2, "") and str(file) in err


def test_of_two_damaged_files_the_first_in_the_order_of_arms_is_named(rich: Folder, typed: Typed) -> None:
    # a claim looks at the second arm before it looks at the first
    damaged(rich, "validation", "torn", arm=1)
    first = damaged(rich, "scores under the last noise", "torn")
    also = damaged(rich, "scores", "altered", seed=2)
    for file in (also, first):
        code, _, err = typed("results", "rich", "--home", rich.home, "--json")
        assert code == 2 and (str(file) in err) == (file == also)


# ---- Each file is opened once

OPENED: list[str] = []
WATCH = [False]


def _heard(event: str, words: tuple[Any, ...]) -> None:
    if WATCH[0] and event == "open" and isinstance(words[0], str | Path):
        OPENED.append(str(words[0]))


sys.addaudithook(_heard)  # it hears of every way to open a file, and cannot be taken away again


@contextmanager
def opened(home: Path) -> Iterator[Counter[str]]:
    """How often each file below `home` is opened meanwhile."""
    OPENED.clear()
    found: Counter[str] = Counter()
    WATCH[0] = True
    try:
        yield found
    finally:
        WATCH[0] = False
        found.update(name for name in OPENED if name.startswith(f"{home}/"))


def test_each_file_is_opened_once(rich: Folder) -> None:
    runs = 3 + 3 + 2  # of the arms with two finished seeds
    with opened(rich.home) as count:
        listed(rich)
    assert set(count.values()) == {1}
    assert (
        len(count) == runs * (1 + 3 * 2) + 3 * 3 * 2
    )  # an outcome, test and validation of each noise; of a checkpoint too
    with opened(rich.home) as count:
        summary(rich)
    assert set(count.values()) == {1}
    assert sum(name.endswith("run.json") for name in count) == runs
    assert sum("-train" in name for name in count) >= 3 * 2  # of the arms that the claims are about, and more


def test_only_arms_that_are_compared_are_read(rich: Folder) -> None:
    with opened(rich.home) as count:
        compared = compare(Outcomes(rich).whole(), "rwp 0.1", "plain")
    assert len(compared) == 3
    assert set(count.values()) == {1} and len(count) == 2 * 3 * 2  # arms x seeds x (outcome, test)


# ---- Time and memory in proportion


def study_of(home: Path, count: int) -> Folder:
    strengths = [round(0.001 * (place + 1), 3) for place in range(count)]
    text = STUDY[: STUDY.index("[[arms]]")].replace("seeds = 3", "seeds = 2").replace("bounds = true", "")
    text = text.replace(', "uniform-filter-max:0.1", "lognormal:0.1,0.3"', "").replace('parts = ["test", "train"]', "")
    arms = f'[[arms]]\nname = "rwp {{strength}}"\nobjective = "rwp(gaussian-filter-max)"\nstrength = {strengths}\n'
    claim = '[[claims]]\nname = "ahead"\ntext = "."\nrule = "ahead"\nleft = "rwp 0.001"\nright = "rwp 0.002"\n'
    return made(home, text + arms + claim, f"of{count}")


def steps(call: Callable[[], Any]) -> int:
    """How many instructions of the package's own code a call runs."""
    count = 0

    def local(frame: Any, event: str, value: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return local

    def trace(frame: Any, event: str, value: Any) -> Any:
        if "incorruptible" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("look", [listed, summary])
def test_twice_the_runs_take_twice_the_steps(look: Callable[[Folder], Any], tmp_path: Path) -> None:
    sizes = (15, 30, 60)
    folders = [study_of(tmp_path / str(size), size) for size in sizes]
    look(folders[0])  # what is imported and kept at the first call
    few, more, many = (steps(lambda one=one: look(find(one.home, one.path.name, "x"))) for one in folders)
    # of a + b n + c n^2 the two differences leave c alone; comparing every run with every arm adds 12 instructions an arm and run
    assert abs((many - more) - 2 * (more - few)) < 0.01 * many
    assert many > 60 * 100


def test_the_arrays_of_one_arm_are_held_at_a_time(rich: Folder) -> None:
    outcomes = Outcomes(rich)
    for _ in findings(rich, outcomes):
        held = [arm.name for place in range(3) for arm in outcomes.arms(place) if arm._files or "test" in vars(arm)]
        assert len(held) <= 1
    assert not any(arm._files for place in range(3) for arm in outcomes.arms(place))


# ---- The pieces


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 2, 9), (6, 8, 997), (2, 17, 128), (4, 3, 129)])
@pytest.mark.parametrize("kind", ["numbers", "answers", "equal", "float32"])
def test_crossed_each_is_crossed_to_the_bit(shape: tuple[int, int, int], kind: str) -> None:
    tables = np.random.default_rng(shape).normal(0.3, 1, shape)
    if kind == "answers":
        tables = (tables > 0).astype(float)
    if kind == "equal":
        tables[:] = 0.1
    if kind == "float32":
        tables = tables.astype(np.float32)
    before = tables.copy()
    assert crossed_each(tables) == [crossed(table).interval for table in tables]
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(tables, 0, 1)), 1, 0)
    assert crossed_each(turned, 0.9) == [crossed(table, 0.9).interval for table in tables]
    np.testing.assert_array_equal(tables, before)


@pytest.mark.parametrize("wrong", [np.full((1, 3, 4), np.nan), np.ones((1, 1, 4)), np.full((2, 3, 4), np.inf)])
def test_crossed_each_refuses_what_crossed_refuses(wrong: np.ndarray[Any, Any]) -> None:
    with pytest.raises(records.UserError) as slow:
        crossed(wrong[0])
    with pytest.raises(records.UserError, match=r"differences") as fast:
        crossed_each(wrong)
    assert str(fast.value) == str(slow.value)


def test_some_arrays_of_a_file_are_those_of_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    types = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    arrays = {kind: (9 * rng.random((2, 3))).astype(kind) for kind in types} | {
        "number": np.array(2.5),
        "none": np.empty(0),
    }
    digest = records.write_arrays(tmp_path / "a.safetensors", arrays)
    for only in (list(arrays), ["f4", "number", "absent"]):
        some = records.read_arrays(tmp_path / "a.safetensors", digest, only)
        whole = records.read_arrays(tmp_path / "a.safetensors", digest)
        assert set(some) == set(only) - {"absent"}
        for name, array in some.items():
            assert array.dtype == whole[name].dtype and array.shape == whole[name].shape
            np.testing.assert_array_equal(array, whole[name])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 1, "a": 2}', '{"format": 2}'])
def test_a_check_refuses_what_reading_refuses(content: str, tmp_path: Path) -> None:
    (file := tmp_path / "one.json").write_text(content)
    with pytest.raises(records.Unreadable) as read:
        records.read(file)
    for digest in (None, "0" * 64):
        with pytest.raises(records.Unreadable) as check:
            records.check(file, digest)
        assert (type(check.value), str(check.value)) == (type(read.value), str(read.value))


def test_a_check_passes_what_reading_passes(tmp_path: Path) -> None:
    records.write(file := tmp_path / "one.json", {"a": 1})
    for digest in (None, "0" * 64, records.checksum(file)):
        records.check(file, digest)
    with pytest.raises(records.Unreadable, match="no such file"):
        records.check(tmp_path / "two.json", records.checksum(file))
