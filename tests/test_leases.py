"""Claims: one holder at a time, the dead replaced, the living left alone, whatever the clocks and the disk do."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from incorruptible.errors import UserError
from incorruptible.studies import leases
from incorruptible.studies.leases import Lease, Leases
from waiting import HANG, until


class Clock:
    """The observers' clock, turned by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    hand = Clock()
    monkeypatch.setattr(leases, "time", hand)
    return hand


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Leases]:
    with Leases(tmp_path / "leases", ttl=60, beat=20) as some:
        yield some


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def data(folder: Path, name: str = "aa") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.lease").read_bytes())
    return found


def put(folder: Path, name: str = "aa", **changes: Any) -> None:
    """A lease file by another hand: of this process, but for the changes."""
    folder.mkdir(exist_ok=True)
    process = leases._this_process()
    content = {"token": "t", **process, "beat": 0, "deaths": 0, "facts": {}, **changes}
    (folder / f"{name}.lease").write_text(json.dumps(content))


def dead() -> dict[str, Any]:
    """The facts of a process of this machine that is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return {"pid": child.pid, "born": "1"}


CLAIMER = """
import os, random, sys, time
from pathlib import Path
from incorruptible.studies.leases import Leases
home, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
names = [f"{n:04x}" for n in range(count)]
random.Random(seed).shuffle(names)
sys.stdin.readline()
with Leases(home / "leases") as mine:
    while left := [name for name in names if not (home / f"{name}.done").exists()]:
        for name in left:
            if (lease := mine.claim(name)) is None:
                continue
            with lease:
                if not (home / f"{name}.done").exists():
                    (home / f"{name}.busy").touch(exist_ok=False)  # fails where two are at it
                    time.sleep(0.002)
                    with (home / f"{name}.done").open("a") as file:
                        print(lease.deaths, file=file)
                    (home / f"{name}.busy").unlink()
                else:
                    assert lease.deaths == 0
"""


@pytest.mark.parametrize("deaths", [0, 3])
def test_many_processes_do_each_name_once(tmp_path: Path, deaths: int) -> None:
    """Also where every name is a dead holder's, at whom all of them rush: exactly one takes over, and deaths are kept."""
    count = 60
    gone = dead()
    for n in range(count if deaths else 0):
        put(tmp_path / "leases", f"{n:04x}", deaths=deaths - 1, **gone)
    claimers = [process(CLAIMER, tmp_path, count, seed) for seed in range(6)]
    time.sleep(0.3)
    for claimer in claimers:
        assert claimer.stdin is not None
        claimer.stdin.write("go\n")
        claimer.stdin.close()
    assert [claimer.wait(HANG) for claimer in claimers] == [0] * 6
    for claimer in claimers:
        assert claimer.stdout is not None
        claimer.stdout.close()
    assert [path.read_text() for path in sorted(tmp_path.glob("*.done"))] == [f"{deaths}\n"] * count
    assert list((tmp_path / "leases").iterdir()) == []


HOLDER = """
import sys
from pathlib import Path
from incorruptible.studies.leases import Leases
lease = Leases(Path(sys.argv[1])).claim("aa")
lease.note(at_once=True, epoch=3)
print(lease.deaths, flush=True)
sys.stdin.read()
"""


def test_a_killed_holder_is_replaced_at_once_and_its_death_is_counted(mine: Leases) -> None:
    for deaths in range(3):
        with process(HOLDER, mine.folder) as holder:
            assert holder.stdout is not None and holder.stdout.readline() == f"{deaths}\n"
            assert mine.claim("aa") is None
            (seen,) = mine.holders()
            assert (seen.name, seen.pid, seen.facts, seen.alive) == ("aa", holder.pid, {"epoch": 3}, True)
            holder.kill()
            os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # a zombie: nobody has asked for its exit code
            assert [seen.alive for seen in mine.holders()] == [False]
    lease = mine.claim("aa")
    assert lease is not None and lease.deaths == 3
    lease.progressed()
    assert lease.deaths == 0 == data(mine.folder)["deaths"]


def test_a_released_name_is_free_and_has_no_deaths(mine: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    put(mine.folder, **dead())
    with mine.claim("aa") or pytest.fail() as lease:
        assert lease.deaths == 1 and not lease.lost
        assert mine.claim("aa") is None
    assert list(mine.folder.iterdir()) == []
    lease.release()
    lease.note(at_once=True, epoch=1)
    monkeypatch.setattr(lease, "_ours", lambda: True)  # as the beating thread may have seen just before the release
    assert not lease._beat() and not lease.lost
    again = mine.claim("aa")
    assert again is not None and again.deaths == 0
    lease.release()
    assert data(mine.folder)["token"] in again._head.decode()


@pytest.mark.parametrize(
    "away", [{"host": "far"}, {"machine": "far"}, {"space": "pid:[1]"}], ids=lambda away: next(iter(away))
)
def test_a_holder_elsewhere_is_dead_when_its_lease_has_not_changed_for_ttl(
    mine: Leases, clock: Clock, away: dict[str, str]
) -> None:
    """Its process cannot be seen, and a number like its own may be gone or be somebody else's here."""
    for beat in range(5):
        put(mine.folder, beat=beat, **dead() | away)
        os.utime(mine.folder / "aa.lease", (0, 0) if beat % 2 else (4e9, 4e9))  # clocks of file servers say nothing
        clock.now += 59
        assert mine.claim("aa") is None
        assert [seen.alive for seen in mine.holders()] == [None if beat == 0 else True]
    clock.now += 59.9
    assert mine.claim("aa") is None
    clock.now += 0.2
    assert [seen.alive for seen in mine.holders()] == [False]
    lease = mine.claim("aa")
    assert lease is not None and lease.deaths == 1


def test_a_holder_that_stands_still_is_dead_after_ttl_although_its_process_exists(mine: Leases, clock: Clock) -> None:
    put(mine.folder)
    assert mine.claim("aa") is None
    clock.now += 61
    assert mine.claim("aa") is not None


def test_nobody_is_dead_because_the_file_system_stood_still(
    mine: Leases, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = leases._read

    def slow(path: Path) -> bytes | None:
        clock.now += 100
        return read(path)

    put(mine.folder, machine="far")
    assert mine.claim("aa") is None
    with monkeypatch.context() as patch:
        patch.setattr(leases, "_read", slow)
        assert mine.claim("aa") is None
    clock.now += 59
    assert mine.claim("aa") is None
    clock.now += 2
    assert mine.claim("aa") is not None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs start times of processes")
def test_a_reused_process_number_is_not_the_holder(mine: Leases) -> None:
    put(mine.folder, born="1")
    assert mine.claim("aa") is not None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs start times of processes")
def test_the_start_time_is_that_of_the_process_whatever_its_name() -> None:
    named = "import sys; open('/proc/self/comm', 'w').write('a) Z (b'); print(flush=True); sys.stdin.read()"
    with process(named) as child:
        assert child.stdout is not None and child.stdout.readline()
        state, born = leases._state(child.pid)
        up = float(Path("/proc/uptime").read_text().split()[0]) - int(born) / os.sysconf("SC_CLK_TCK")
        assert state in ("S", "R") and -0.1 < up < 10
        child.kill()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[]", b'{"pid": "x"}', b'{"token": "t", "deaths": null}'])
def test_a_torn_lease_is_somebody_unknown_until_ttl(mine: Leases, clock: Clock, content: bytes) -> None:
    mine.folder.mkdir()
    (mine.folder / "aa.lease").write_bytes(content)
    assert mine.claim("aa") is None
    assert [(seen.host, seen.alive) for seen in mine.holders()] == [("", None)]
    clock.now += 61
    lease = mine.claim("aa")
    assert lease is not None and lease.deaths == 1


def test_beats_go_on_while_the_main_thread_is_busy(tmp_path: Path) -> None:
    """Asleep or in C code; a short fact after a long one leaves valid JSON. A busy machine may hold up the beats of one call, so
    calls are made until one sees three beats; if beats waited for the main thread, no call would."""

    def beats_during(call: Callable[[], object]) -> int:
        before = data(tmp_path)["beat"]
        call()
        return int(data(tmp_path)["beat"]) - before

    with Leases(tmp_path, ttl=60, beat=0.02) as some:
        lease = some.claim("aa")
        assert lease is not None
        for busy in (lambda: time.sleep(0.3), lambda: hashlib.pbkdf2_hmac("sha256", b"a", b"b", 400_000)):
            lease.note(arm="x" * 50)
            until(lambda busy=busy: beats_during(busy) >= 3)  # type: ignore[misc]
            lease.note(arm="y")
            until(lambda: data(tmp_path)["facts"] == {"arm": "y"})
        assert not lease.lost
    assert list(tmp_path.iterdir()) == []


def test_one_thread_beats_everything_until_the_end(tmp_path: Path) -> None:
    def beating() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "beats"]

    until(lambda: not beating())  # those of other tests may be on their way out
    with Leases(tmp_path, ttl=60, beat=0.02) as some:
        assert some.holders() == [] == beating()
        assert some.claim("aa") is not None and some.claim("bb") is not None
        assert len(beating()) == 1
        until(lambda: data(tmp_path, "aa")["beat"] > 1 and data(tmp_path, "bb")["beat"] > 1)
    until(lambda: not beating())
    assert some.claim("aa") is not None
    until(lambda: data(tmp_path, "aa")["beat"] > 1)
    some.close()


def test_a_stolen_lease_is_lost_and_left_alone(tmp_path: Path) -> None:
    with Leases(tmp_path, ttl=60, beat=0.02) as some:
        stolen, gone = some.claim("aa"), some.claim("bb")
        assert stolen is not None and gone is not None
        put(tmp_path, token="thief")
        theirs = (tmp_path / "aa.lease").read_bytes()
        (tmp_path / "bb.lease").unlink()
        until(lambda: stolen.lost and gone.lost)
        stolen.note(at_once=True, epoch=1)
        stolen.release()
        gone.release()
    assert (tmp_path / "aa.lease").read_bytes() == theirs
    assert [path.name for path in tmp_path.iterdir()] == ["aa.lease"]


def test_a_full_disk_stops_no_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = []
    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if mode == "r+b":
            failures.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *rest, **more)

    with Leases(tmp_path, ttl=60, beat=0.02) as some:
        lease = some.claim("aa")
        assert lease is not None
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", full)
            lease.note(at_once=True, epoch=1)
            until(lambda: len(failures) > 3)
        assert not lease.lost
        until(lambda: data(tmp_path)["facts"] == {"epoch": 1})


def test_a_torn_write_of_ones_own_is_mended(mine: Leases) -> None:
    """A disk that fills up in the middle of a write leaves the token, which stands first."""
    lease = mine.claim("aa")
    assert lease is not None
    path = mine.folder / "aa.lease"
    path.write_bytes(path.read_bytes()[:60] + b'"torn')
    lease.note(at_once=True, epoch=2)
    assert not lease.lost and data(mine.folder)["facts"] == {"epoch": 2}


def test_a_claim_on_a_full_disk_says_so_and_leaves_nothing(mine: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*aa.*'"):
            mine.claim("aa")
    assert list(mine.folder.iterdir()) == []


def test_facts_that_json_cannot_hold_are_refused_at_once(mine: Leases) -> None:
    lease = mine.claim("aa")
    assert lease is not None
    with pytest.raises(TypeError):
        lease.note(epoch=object())
    lease.note(at_once=True, epochs=5)
    lease.note(at_once=True, epoch=1)
    assert data(mine.folder)["facts"] == {"epochs": 5, "epoch": 1}


def test_of_two_who_judged_a_holder_dead_the_later_leaves_the_earlier_alone(
    mine: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the judgement of one claimer and its act, another one takes over."""
    put(mine.folder, **dead())
    with Leases(mine.folder) as theirs:
        found: list[Lease | None] = []
        alive = mine._alive

        def slow(seen: leases._Seen) -> bool | None:
            verdict = alive(seen)
            found.append(theirs.claim("aa"))
            return verdict

        with monkeypatch.context() as patch:
            patch.setattr(mine, "_alive", slow)
            assert mine.claim("aa") is None
        (lease,) = found
        assert lease is not None and data(mine.folder)["token"] in lease._head.decode()
        assert [path.name for path in mine.folder.iterdir()] == ["aa.lease"]


def test_while_one_takes_over_others_keep_away(mine: Leases, clock: Clock) -> None:
    """Until the one at it is dead itself, which costs no more than one more claim."""
    put(mine.folder, **dead())
    put(mine.folder, "guard")
    guard = (mine.folder / "guard.lease").rename(mine.folder / ".aa.guard")
    assert mine.claim("aa") is None
    assert [seen.name for seen in mine.holders()] == ["aa"]
    clock.now += 30
    assert mine.claim("aa") is None and guard.exists()
    put(mine.folder, "guard", **dead())
    (mine.folder / "guard.lease").rename(guard)
    assert mine.claim("aa") is None
    lease = mine.claim("aa")
    assert lease is not None and lease.deaths == 1
    assert [path.name for path in mine.folder.iterdir()] == ["aa.lease"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_links_will_do(mine: Leases, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(*_: object) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", link)
    put(mine.folder, "bb", **dead())
    lease, taken = mine.claim("aa"), mine.claim("bb")
    assert lease is not None and taken is not None
    assert (lease.deaths, taken.deaths) == (0, 1)
    assert leases._created(mine.folder / "aa.lease", mine.folder / "bb.lease") is False
    lease.note(at_once=True, epoch=4)
    assert [seen.facts for seen in mine.holders()] == [{"epoch": 4}, {}]
    assert len(list(mine.folder.iterdir())) == 2


def test_a_link_whose_answer_was_lost_was_made(mine: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(*pair: Path) -> None:
        link(*pair)
        link(*pair)

    monkeypatch.setattr(os, "link", twice)
    assert mine.claim("aa") is not None


def test_another_error_of_linking_is_said(mine: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="broken"):
        mine.claim("aa")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_what_vanishes_meanwhile_is_no_error(mine: Leases, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    put(mine.folder)

    def vanished(*_: object) -> bytes:
        raise OSError(number, "vanished")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", vanished)
        assert mine.holders() == []
        assert mine.claim("aa") is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", vanished)
        assert mine.claim("bb") is None
    assert Leases(mine.folder / "nowhere").holders() == []
    lease = mine.claim("cc")
    assert lease is not None
    content = (mine.folder / "cc.lease").read_bytes()
    (mine.folder / "cc.lease").unlink()
    monkeypatch.setattr(leases, "_read", lambda path: content)
    lease.release()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_leases_alone(tmp_path: Path) -> None:
    with Leases(tmp_path, ttl=60, beat=0.02) as some:
        lease = some.claim("aa")
        assert lease is not None
        lease._lock.acquire()  # as the beating thread may at the moment of the fork
        child = os.fork()
        if not child:
            signal.alarm(int(HANG))
            lease.release()
            lease.note(at_once=True, epoch=1)
            own = some.claim("bb")
            assert own is not None
            until(lambda: data(tmp_path, "bb")["beat"] > 1)
            assert data(tmp_path, "bb")["pid"] == os.getpid()
            some.close()
            os._exit(17)
        lease._lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
        assert data(tmp_path)["pid"] == os.getpid() and data(tmp_path)["facts"] == {}
        assert not (tmp_path / "bb.lease").exists() and not lease.lost


def test_what_killed_claimers_left_is_swept_when_it_is_old(mine: Leases) -> None:
    mine.folder.mkdir()
    names = [".aa.old.tmp", ".aa.new.tmp", ".bb.guard", "other.txt"]
    for name in names:
        (mine.folder / name).touch()
        if name != ".aa.new.tmp":
            os.utime(mine.folder / name, (time.time() - 4000,) * 2)
    assert mine.claim("cc") is not None
    assert sorted(path.name for path in mine.folder.iterdir()) == [".aa.new.tmp", "cc.lease", "other.txt"]


@pytest.mark.parametrize(("ttl", "beat"), [(5, 5), (60, 0), (-1, -1)])
def test_a_lease_must_outlive_three_beats(tmp_path: Path, ttl: float, beat: float) -> None:
    with pytest.raises(UserError, match=f"ttl {ttl} s, beat {beat} s"):
        Leases(tmp_path, ttl=ttl, beat=beat)


def test_where_processes_cannot_be_seen_ttl_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other users' processes may be hidden, and macOS shows no start times."""
    assert leases._state(2**22 + 1) == ("", "")
    monkeypatch.setattr(leases, "_state", lambda pid: ("", ""))
    assert leases._present({**leases._this_process(), "born": "1"}) is True
    assert leases._present(leases._this_process() | dead()) is False
    assert leases._present(leases._this_process() | {"pid": 2**70}) is False

    def hidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(leases, "os", SimpleNamespace(kill=hidden, getpid=os.getpid))
    assert leases._present(leases._this_process()) is True
