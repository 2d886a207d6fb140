"""Leases: a process claims a name in a shared folder, and the claim ends with the process.

Workers of a study use leases to share out its runs, on one machine or on many: whoever holds the
lease of a run trains it. A lease is a small file, `NAME.lease`, which its holder rewrites every few
seconds (a *beat*). Others read from the file whether the holder is alive.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> with Leases(folder) as mine, Leases(folder) as other:
...     held = mine.claim("run-1")
...     print(other.claim("run-1"), held.deaths)
None 0

Relies on: in the folder's file system, making a link (or, where there are no links, opening a file
exclusively) and renaming are atomic. Clocks of different machines need not agree: an observer times
a lease by its own monotonic clock, from the moment when it first saw the present content.

Keeps: at most one claimer gets a free name, and at most one gets the name of a dead holder. A lease
file never belongs to nobody while a name is handed from a dead holder to the next one, so the count
of deaths is never forgotten. A process that stands still for longer than `ttl` loses its names, and
learns so at its next beat (`Lease.lost`); until then it still works. So the work under a lease must
come to no harm if two processes do it at the same time.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import getnode, uuid4

from ..errors import UserError
from ..files.records import naming

# The entries of a lease file besides its token. These values stand for a file that is torn: its
# holder is unknown, so only `ttl` can show that the holder is dead.
_UNKNOWN: dict[str, Any] = {
    "host": "",
    "machine": "",
    "space": "",
    "pid": 0,
    "born": "",
    "beat": 0,
    "deaths": 0,
    "facts": {},
}
# A file that is gone. NFS calls a file stale if another machine removed it while it was open here.
_VANISHED = {
    errno.ENOENT,
    errno.ESTALE,
}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# A temporary file or guard of this age in seconds was left by a killed claimer: a claim needs its
# files for moments only.
_LEFTOVER = 3600.0


@dataclass(frozen=True)
class Holder:
    """The holder of one name, for a table. `alive` is None while nobody here can know whether the
    holder is alive.
    """

    name: str
    host: str
    pid: int
    facts: dict[str, Any]
    beat: int
    alive: bool | None


class Lease:
    """A name that this process holds, from `Leases.claim` until it is released or lost.

    `deaths` counts the holders in a row that died without progress before this one. `lost` is True
    once another process has taken the name over, because this process stood still for too long.
    """

    def __init__(self, path: Path, deaths: int) -> None:
        self.name = path.stem
        self.deaths = deaths
        self.lost = False
        self._path = path
        self._facts: dict[str, Any] = {}
        self._beats = 0
        self._released = False
        self._lock = threading.Lock()
        self._process = _this_process()
        self._head = json.dumps({"token": uuid4().hex}).removesuffix("}").encode()

    def note(self, *, at_once: bool = False, **facts: Any) -> None:
        """Add facts for the table, such as epoch=3. They are written with the next beat, or
        `at_once`.
        """
        # Through JSON, for a copy that the caller cannot change while the thread writes it, and so
        # that a fact that JSON cannot hold raises here and not in the thread.
        self._facts = json.loads(json.dumps({**self._facts, **facts}))
        if at_once:
            self._beat()

    def progressed(self) -> None:
        """Say that there is progress from which the next holder can go on. Earlier deaths no longer
        count.
        """
        if self.deaths:
            self.deaths = 0
            self._beat()

    def release(self) -> None:
        """Let the name go. Nothing happens if it was lost or released before."""
        # Asked before the lock is taken: a fork may have copied the lock while a thread of the
        # parent held it, and then nobody in the child would ever release it.
        if not self._ours():
            return
        with self._lock:
            self._released = True
            content = _read(self._path)
            if content is not None and content.startswith(self._head):
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.release()

    def _ours(self) -> bool:
        return not self._released and self._process["pid"] == os.getpid()

    def _content(self) -> bytes:
        body = {**self._process, "beat": self._beats, "deaths": self.deaths, "facts": self._facts}
        return self._head + b", " + json.dumps(body).removeprefix("{").encode()

    def _beat(self) -> bool:
        """Write the lease file anew if it is still ours. False once this lease has ended.

        The file is written in place and never replaced by a rename. If another process takes the
        name over between our look and our write, our write goes into a file that has no name any
        more, and the new holder's file stays as it is. An error (disk full, server away) is passed
        over, because the next beat tries again.
        """
        if not self._ours():
            return False
        with self._lock:
            if self._released:
                return False
            try:
                with self._path.open("r+b", buffering=0) as file:
                    old = file.read()
                    if old.startswith(self._head):
                        self._beats += 1
                        file.seek(0)
                        # Padded with blanks, so that nothing of a longer old content remains.
                        file.write(self._content().ljust(len(old)))
                    else:
                        self.lost = True
            except FileNotFoundError:
                self.lost = True
            except OSError:
                pass
            return not self.lost


@dataclass(frozen=True)
class _Seen:
    content: bytes
    since: float
    changed: bool


class Leases:
    """The leases in one folder, which many machines may share. Their clocks need not agree, and the
    file system needs no locks.

    A holder rewrites its lease every `beat` seconds. The holder counts as dead if its lease has not
    changed for `ttl` seconds of the observer's own clock, and at once if its process ran on this
    machine and is gone. Raises `UserError` unless `ttl` is at least three beats.
    """

    def __init__(self, folder: Path, *, ttl: float = 60.0, beat: float = 5.0) -> None:
        if not 0 < 3 * beat <= ttl:
            raise UserError(f"ttl {ttl:g} s, beat {beat:g} s: a lease must outlive three beats.")
        self.folder = folder
        self.ttl = ttl
        self.beat = beat
        self._seen: dict[Path, _Seen] = {}
        self._swept = False
        self._begin()

    def _begin(self) -> None:
        """Begin to hold leases, with none. This happens again in a child process after a fork: the
        leases of the parent are not for the child to beat or release.
        """
        self._pid = os.getpid()
        self._held: set[Lease] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, name: str) -> Lease | None:
        """Take `name` if it is free or its holder is dead. None while somebody holds the name, or
        may hold it.

        Raises `OSError` if the folder cannot be written.
        """
        if self._pid != os.getpid():
            self._begin()
        path = self.folder / f"{name}.lease"
        try:
            seen = self._look(path)
            if seen is not None and self._alive(seen) is not False:
                return None
            lease = Lease(path, 0 if seen is None else _parsed(seen.content)["deaths"] + 1)
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._temporary(lease) as temporary:
                if not (
                    _created(temporary, path)
                    if seen is None
                    else self._took_over(temporary, path, seen.content)
                ):
                    return None
        except OSError as error:
            if error.errno in _VANISHED:  # another process changes these files at this moment
                return None
            # An error of writing to an open file does not name the file.
            error.filename = error.filename or str(path)
            raise
        self._held.add(lease)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(self._stop, self._held), name="beats", daemon=True
            )
            self._thread.start()
        return lease

    def holders(self) -> list[Holder]:
        """The holders of all names, sorted by name. This writes nothing and waits for nothing."""
        found = []
        for path in self._files(".lease"):
            seen = self._look(path)
            if seen is not None:
                data = _parsed(seen.content)
                known = {key: data[key] for key in ("host", "pid", "facts", "beat")}
                found.append(Holder(name=path.stem, alive=self._alive(seen), **known))
        return found

    def close(self) -> None:
        """Release every lease that this process holds."""
        if self._pid == os.getpid():
            self._stop.set()
            for lease in list(self._held):
                lease.release()
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _run(self, stop: threading.Event, held: set[Lease]) -> None:
        while not stop.wait(self.beat):
            for lease in list(held):
                if not lease._beat():
                    held.discard(lease)

    def _look(self, path: Path) -> _Seen | None:
        """The content of a lease, and since when it has not changed; None if there is no file."""
        asked = time.monotonic()
        content = _read(path)
        now = time.monotonic()
        if now - asked > self.beat:
            # The file system stood still, so no holder could beat: all observations begin anew.
            self._seen.clear()
        if content is None:
            return None
        seen = self._seen.get(path)
        if seen is None or seen.content != content:
            seen = self._seen[path] = _Seen(content, since=now, changed=seen is not None)
        return seen

    def _alive(self, seen: _Seen) -> bool | None:
        """Whether the holder of the lease that was just looked at is alive; None if that is not
        known yet.

        A holder on another machine is known to be alive once its lease has changed under our eyes.
        """
        if time.monotonic() - seen.since >= self.ttl:
            return False
        present = _present(_parsed(seen.content))
        return present if present is not None else seen.changed or None

    def _took_over(self, temporary: Path, path: Path, judged: bytes) -> bool:
        """Put `temporary` in the place of the lease that was judged dead, if the file still has the
        content that was judged.

        The guard, a file of its own, lets one claimer at a time compare and replace. The dead lease
        is not removed but replaced, so the name is never free meanwhile: otherwise a third claimer
        could create it anew, and the count of deaths would be lost.
        """
        guard = path.with_name(f".{path.stem}.guard")
        if not _created(temporary, guard):
            left = self._look(guard)
            if left is not None and self._alive(left) is False:
                guard.unlink(missing_ok=True)  # its maker was killed between these lines
            return False
        try:
            if _read(path) != judged:
                return False
            temporary.replace(path)
            return True
        finally:
            guard.unlink(missing_ok=True)

    @contextmanager
    def _temporary(self, lease: Lease) -> Iterator[Path]:
        temporary = self.folder / f".{lease.name}.{uuid4().hex}.tmp"
        try:
            with naming(temporary):
                temporary.write_bytes(lease._content())
            if not self._swept:
                self._sweep(temporary.stat().st_mtime)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _sweep(self, now: float) -> None:
        """Remove the files that killed claimers left. `now` is the time by the clock of the file
        system, which may differ from this machine's.
        """
        self._swept = True
        for path in self._files(".tmp", ".guard"):
            with suppress(OSError):
                if now - path.stat().st_mtime > _LEFTOVER:
                    path.unlink()

    def _files(self, *endings: str) -> list[Path]:
        with suppress(FileNotFoundError):
            return sorted(path for path in self.folder.iterdir() if path.name.endswith(endings))
        return []


def _created(temporary: Path, path: Path) -> bool:
    """Give the file `temporary` the second name `path`; False if that name exists already."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        # NFS may make the link, lose its own answer, and refuse the repetition. The file then has
        # two names, and the second one is ours.
        return temporary.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            with naming(path), path.open("xb") as file:
                file.write(temporary.read_bytes())
        except FileExistsError:
            return False
    return True


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in _VANISHED:
            return None
        raise


def _parsed(content: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        data = json.loads(content)
        if isinstance(data, dict) and all(
            type(data.get(key)) is type(value) for key, value in _UNKNOWN.items()
        ):
            return data
    return _UNKNOWN


def _this_process() -> dict[str, Any]:
    """This process, as a lease file names it. Host, boot and pid namespace say from where the
    process can be seen; pid and start time tell it from later processes with the same pid.
    """
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        machine, space = f"{getnode():x}", ""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "machine": machine,
        "space": space,
        "pid": pid,
        "born": _state(pid)[1],
    }


def _present(holder: dict[str, Any]) -> bool | None:
    """Whether the process of a holder exists; None if it cannot be seen from here."""
    here = _this_process()
    if any(holder[key] != here[key] for key in ("host", "machine", "space")):
        return None
    try:
        os.kill(holder["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # the process exists and belongs to another user
        pass
    state, born = _state(holder["pid"])
    return state not in ("Z", "X") and born in ("", holder["born"])


def _state(pid: int) -> tuple[str, str]:
    """State and start time of a process; both are "" if they cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
