"""Where workers run: real commands in processes of their own, whose ends are told and which outlive nobody."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from incorruptible.errors import UserError
from incorruptible.studies import launch as engines
from incorruptible.studies.launch import CATALOGUE, Engine, Local, Worker
from incorruptible.studies.launch.ray import Ray
from waiting import HANG, until

HOME = engines.__name__
SHOW = "import os; print(*(os.environ.get(n) for n in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')))"
STAY = f"""
import os, signal, sys, time
from {HOME} import watch_parent
def leave(*_):
    print("leaves", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
watch_parent()
print(os.getpid(), flush=True)
time.sleep(3600)
"""
ENGINES = ["local", pytest.param("ray", marks=pytest.mark.slow)]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def code_of(worker: Worker) -> int:
    until(lambda: worker.poll() is not None)
    code = worker.poll()
    assert code is not None
    return code


def exists(pid: int) -> bool:
    """Whether a process runs; one whose exit code nobody fetched does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pid_in(log: Path) -> int:
    return int(until(lambda: log.exists() and "\n" in log.read_text() and log.read_text()).split()[0])


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[[str], Engine]]:
    """Each engine at most once: Ray takes seconds to start."""
    made: dict[str, Engine] = {}

    def get(name: str) -> Engine:
        if name not in made:
            if name == "ray":
                pytest.importorskip("ray")
            made[name] = CATALOGUE[name](threads=3)
        return made[name]

    yield get
    for engine in made.values():
        engine.close()


@pytest.fixture
def start(request: pytest.FixtureRequest, started: Callable[[str], Engine]) -> Callable[[Sequence[str], Path], Worker]:
    return started(request.param).start


@pytest.mark.parametrize("start", ENGINES, indirect=True)
class TestAnyEngine:
    """What every engine promises."""

    def test_exit_codes_come_back(self, start: Callable[..., Worker], tmp_path: Path) -> None:
        quick = start(python("raise SystemExit(7)"), tmp_path / "quick")
        fine = start(python(""), tmp_path / "fine")
        killed = start(python("import os; os.kill(os.getpid(), 10)"), tmp_path / "killed")
        assert [code_of(worker) for worker in (quick, fine, killed)] == [7, 0, -10]
        assert [worker.poll() for worker in (quick, fine, killed)] == [7, 0, -10]
        assert [worker.fault for worker in (quick, fine, killed)] == ["", "", ""]
        quick.leave()
        quick.kill()

    def test_threads_are_pinned_and_the_log_is_appended(
        self, start: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "logs" / "one"
        monkeypatch.chdir(tmp_path)
        for _ in range(2):
            talk = "; import sys; print('and', sys.stdin.read(), os.getcwd(), file=sys.stderr)"
            assert code_of(start(python(SHOW + talk), Path("logs/one"))) == 0
        assert log.read_text().split("\n") == [*2 * ["3 3 3", f"and  {tmp_path}"], ""]

    def test_two_are_at_work_at_the_same_time_in_processes_of_their_own(
        self, start: Callable[..., Worker], tmp_path: Path
    ) -> None:
        workers = [start(python(STAY), tmp_path / name) for name in "ab"]
        pids = {pid_in(tmp_path / name) for name in "ab"}
        assert len(pids | {os.getpid()}) == 3
        assert [worker.poll() for worker in workers] == [None, None]
        workers[0].leave()
        workers[1].kill()
        assert [code_of(worker) for worker in workers] == [75, -9]
        assert (tmp_path / "a").read_text().endswith("leaves\n")
        assert not any(map(exists, pids))

    def test_one_that_is_killed_from_outside_has_a_negative_code(
        self, start: Callable[..., Worker], tmp_path: Path
    ) -> None:
        worker = start(python(STAY), tmp_path / "log")
        os.kill(pid_in(tmp_path / "log"), signal.SIGKILL)
        assert code_of(worker) == -9

    def test_it_is_out_of_reach_of_the_terminal(self, start: Callable[..., Worker], tmp_path: Path) -> None:
        """Ctrl-C goes to the foreground process group, which is that of whoever supervises."""
        worker = start(python(STAY), tmp_path / "log")
        pid = pid_in(tmp_path / "log")
        assert os.getpgid(pid) == pid != os.getpgid(0)
        worker.kill()
        code_of(worker)


SUPERVISOR = f"""
import sys, time
from pathlib import Path
from {HOME} import CATALOGUE
engine = CATALOGUE[sys.argv[2]](threads=1)
Path(sys.argv[1]).with_name("folder").write_text(str(getattr(engine, "_folder", "")))
worker = engine.start([sys.executable, "-c", {STAY!r}], Path(sys.argv[1]))
time.sleep(3600)
"""


@contextmanager
def supervised(log: Path, code: str = SUPERVISOR, name: str = "local") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that runs an engine, and the number of the worker that it started."""
    command = [*python(code), str(log), name]
    with subprocess.Popen(command, process_group=0, stderr=subprocess.DEVNULL) as supervisor:
        try:
            yield supervisor, pid_in(log)
        finally:
            supervisor.kill()


@pytest.mark.parametrize("name", ENGINES)
def test_workers_end_by_themselves_when_their_supervisor_is_killed(name: str, tmp_path: Path) -> None:
    if name == "ray":
        pytest.importorskip("ray")
    with supervised(tmp_path / "log", name=name) as (supervisor, pid):
        supervisor.kill()
    until(lambda: not exists(pid))
    if name == "ray":
        shutil.rmtree((tmp_path / "folder").read_text(), ignore_errors=True)
    if name == "local":  # Ray may kill what its actors started before that notices
        assert (tmp_path / "log").read_text() == f"{pid}\nleaves\n"


def test_who_does_not_leave_with_its_parent_is_killed(tmp_path: Path) -> None:
    deaf = STAY.replace("sys.exit(75)", "pass").replace("watch_parent()", "process._GRACE = .1; watch_parent()", 1)
    deaf = deaf.replace("import watch_parent", "import process, watch_parent").replace(
        "time.sleep(3600)", "\nwhile 1: pass"
    )
    with supervised(tmp_path / "log", SUPERVISOR.replace(repr(STAY), repr(deaf))) as (supervisor, pid):
        time.sleep(0.3)
        assert exists(pid)
        supervisor.kill()
    until(lambda: not exists(pid))
    assert "leaves" in (tmp_path / "log").read_text()


def test_ctrl_c_reaches_the_supervisor_and_not_its_workers(tmp_path: Path) -> None:
    """What a terminal sends goes to the whole foreground process group."""
    hearing = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which `nohup` and `&` take away
    )
    with supervised(tmp_path / "log", hearing + SUPERVISOR) as (supervisor, pid):
        os.killpg(supervisor.pid, signal.SIGINT)
        supervisor.wait(HANG)
        assert exists(pid)
    until(lambda: not exists(pid))
    assert (tmp_path / "log").read_text() == f"{pid}\nleaves\n"


def test_a_process_that_no_engine_started_watches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INCORRUPTIBLE_PARENT", raising=False)
    before = threading.active_count()
    engines.watch_parent()
    assert threading.active_count() == before


def test_what_a_worker_starts_does_not_take_the_workers_parent_for_its_own(tmp_path: Path) -> None:
    nested = (
        f"from {HOME} import watch_parent; watch_parent(); import os; print(os.environ.get('INCORRUPTIBLE_PARENT'))"
    )
    engine = Local(threads=1)
    assert code_of(engine.start(python(nested), tmp_path / "log")) == 0
    assert (tmp_path / "log").read_text() == "None\n"


def test_local_workers_for_the_cpu_see_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    show = python("import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))")
    for device in ("cpu", "cuda"):
        assert code_of(Local(1, device).start(show, tmp_path / device)) == 0
    assert [(tmp_path / device).read_text() for device in ("cpu", "cuda")] == ["''\n", "'5'\n"]


def test_closing_kills_what_is_still_at_work(tmp_path: Path) -> None:
    engine = Local(threads=1)
    worker, done = engine.start(python(STAY), tmp_path / "log"), engine.start(python(""), tmp_path / "done")
    pid_in(tmp_path / "log")
    assert code_of(done) == 0
    engine.close()
    assert worker.poll() == -9


def test_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= engines.cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(engines.process, "cores", lambda: 6)
    assert [engines.share(workers) for workers in (1, 2, 4, 6, 7)] == [6, 3, 1, 1, 1]


class TestRay:
    """What is Ray's own."""

    def test_without_it_the_pip_line_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(UserError, match=r"pip install 'incorruptible\[ray\]'"):
            Ray(threads=1)

    @pytest.mark.parametrize("gpus", [-1, 1.5])
    def test_parts_of_gpus_are_parts_of_one(self, gpus: float) -> None:
        with pytest.raises(UserError, match=f"gpus {gpus:g}: a part of one"):
            Ray(threads=1, gpus=gpus)

    @pytest.mark.slow
    def test_more_gpus_than_there_are_is_a_mistake(self) -> None:
        pytest.importorskip("ray")
        code = f"from {HOME} import CATALOGUE\nCATALOGUE['ray'](threads=1, gpus=99)"
        done = subprocess.run(python(code), capture_output=True, text=True)
        assert done.stderr.rstrip().endswith("UserError: gpus 99: Ray sees fewer on this machine.")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("address", "patience", "cause"),
        [("127.0.0.1:9", 6.0, "nothing within 6 s"), ("nonsense", HANG, "Invalid address format: nonsense")],
    )
    def test_an_address_that_does_not_answer_is_a_mistake(
        self, address: str, patience: float, cause: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("ray")
        monkeypatch.setattr(engines.ray, "_PATIENCE", patience)
        with pytest.raises(UserError, match=f"No Ray cluster at '{address}' .*{cause}.*ray start --head"):
            Ray(threads=1, address=address)

    def test_a_cluster_that_wants_its_token_is_told_apart(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """What Ray 2.60 says when it is not shown the token, by a stand-in for the Python that asks."""
        pytest.importorskip("ray")
        said = "gcs_client.cc:210: Unauthenticated: RPC error: InvalidAuthToken: Authentication token is missing"
        asker = tmp_path / "python"
        asker.write_text(f"#!/bin/sh\necho '{said}' >&2\nsleep 60\n")
        asker.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(asker))
        monkeypatch.setattr(engines.ray, "_PATIENCE", 0.5)
        with pytest.raises(UserError, match="'h:1' needs its token: set RAY_AUTH_MODE=token"):
            Ray(threads=1, address="h:1")

    def test_what_ray_raised_is_told_whatever_else_is_printed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """By a stand-in for the Python that asks, whose libraries have the last word on stderr."""
        pytest.importorskip("ray")
        asker = tmp_path / "python"
        asker.write_text(
            "#!/bin/sh\nprintf %s '\"Failed to\\n connect\"' > \"$4\"\necho 'wandb: Run history:' >&2\nexit 1\n"
        )
        asker.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(asker))
        with pytest.raises(UserError, match=r"^No Ray cluster at 'h:1' \(Failed to connect\): give"):
            Ray(threads=1, address="h:1")
        asker.write_text("#!/bin/sh\necho 'wandb: Run history:' >&2\nexit 3\n")
        with pytest.raises(UserError, match=r"^No Ray cluster at 'h:1' \(exit code 3\): give"):
            Ray(threads=1, address="h:1")

    @pytest.mark.slow
    def test_an_actor_ends_with_its_command_so_that_its_cores_are_free(
        self, started: Callable[[str], Engine], tmp_path: Path
    ) -> None:
        worker = started("ray").start(python(STAY), tmp_path / "log")
        actor = parent_of(pid_in(tmp_path / "log"))
        worker.leave()
        assert code_of(worker) == 75
        until(lambda: not exists(actor))

    @pytest.mark.slow
    def test_a_killed_actor_is_told_and_leaves_no_orphan(
        self, started: Callable[[str], Engine], tmp_path: Path
    ) -> None:
        worker = started("ray").start(python(STAY), tmp_path / "log")
        pid = pid_in(tmp_path / "log")
        os.kill(parent_of(pid), signal.SIGKILL)
        assert code_of(worker) == -9
        assert worker.fault.startswith("Ray: ") and worker.fault in (tmp_path / "log").read_text()
        until(lambda: not exists(pid))

    @pytest.mark.slow
    def test_a_command_that_is_not_there_says_so_in_the_log(
        self, started: Callable[[str], Engine], tmp_path: Path
    ) -> None:
        worker = started("ray").start(["/nowhere/python"], tmp_path / "log")
        assert code_of(worker) == -9
        assert "No such file or directory: '/nowhere/python'" in worker.fault
        assert worker.fault in (tmp_path / "log").read_text()

    @pytest.mark.slow
    def test_a_supervisor_of_its_own_hears_no_word_of_ray(self, tmp_path: Path) -> None:
        """Its own handler of SIGTERM stays, one that waits for room can be sent away, and closing kills the rest."""
        pytest.importorskip("ray")
        code = f"""
import os, signal, sys, time
from pathlib import Path
from {HOME} import CATALOGUE
def mine(*_): pass
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, mine)
    engine = CATALOGUE["ray"](threads=1)
    folder = Path(engine._folder)
    assert signal.getsignal(signal.SIGTERM) is mine and folder.exists()
    log = Path({str(tmp_path / "log")!r})
    early = engine.start([sys.executable, "-c", {STAY!r}], Path("early"))
    early.leave()
    while early.poll() is None:
        time.sleep(.05)
    late = engine.start([sys.executable, "-c", {STAY!r}], log)
    while not (log.exists() and log.read_text()):
        time.sleep(.05)
    engine.close()
    assert not Path("/proc", log.read_text().split()[0]).exists()  # at once, not when it misses its parent
    assert early.poll() in (-9, -15, 75) and late.poll() == -9  # the early one may have begun before it was sent away
    assert not folder.exists()
    import ray
    assert not ray.is_initialized()
"""
        far = tmp_path / ("far" * 30)  # longer than what Ray can put its sockets under
        far.mkdir()
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path), "TMPDIR": str(far)},
            timeout=HANG,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert not (tmp_path / ".ray").exists()
        assert not exists(pid_in(tmp_path / "log"))
