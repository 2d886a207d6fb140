"""Who is at what: claims in a shared folder that end with their holder."""

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

# What a lease file says beside its token, and what is assumed of one that is torn: a holder whom
# nobody knows.
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
# NFS calls a file stale that was removed elsewhere while it was open here.
_VANISHED = {
    errno.ENOENT,
    errno.ESTALE,
}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_LEFTOVER = 3600.0  # seconds; a claim is through with its temporary files within one


@dataclass(frozen=True)
class Holder:
    """One line of the table of who is at what; `alive` is None as long as that cannot be known from
    here.
    """

    name: str
    host: str
    pid: int
    facts: dict[str, Any]
    beat: int
    alive: bool | None


class Lease:
    """A name that is held, from `Leases.claim` until it is released or lost.

    `deaths` holders in a row died on this name since the last one that progressed; `lost` says that
    somebody took the name over, because this process stood still for too long.
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
        """Add facts for the table, such as epoch=3; they are written with the next beat, or at
        once.
        """
        # A copy, and an error here, not in the thread.
        self._facts = json.loads(json.dumps({**self._facts, **facts}))
        if at_once:
            self._beat()

    def progressed(self) -> None:
        """Something was achieved that the next holder can go on from: earlier deaths no longer
        count.
        """
        if self.deaths:
            self.deaths = 0
            self._beat()

    def release(self) -> None:
        """Let the name go; nothing happens if it was lost or released before."""
        if not self._ours():  # before the lock, which a fork may have copied while it was held
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
        """Write what is new into the file if it is still ours; False once there is nothing left to
        beat.

        In place, never by rename: should the name be taken over between look and write, the write
        goes to a file that has no name any more. An error (disk full, server away) is passed over:
        the next beat tries again.
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
                        # Blanks instead of what was longer.
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
    """The claims of one folder, which may be shared by many machines; clocks need not agree, and
    locks are not needed.

    A holder rewrites its lease every `beat` seconds. It counts as dead when its lease did not
    change for `ttl` seconds of the observer's own clock, and at once when its process ran on this
    machine and is gone.
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
        """Hold nothing; also after a fork, for the parent's leases are not the child's to beat or
        release.
        """
        self._pid = os.getpid()
        self._held: set[Lease] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, name: str) -> Lease | None:
        """Take `name`, free or of a dead holder; None while somebody is, or may be, at it.

        Raises `OSError` where the folder cannot be written.
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
            if error.errno in _VANISHED:  # somebody else is at it just now
                return None
            # Writing to an open file does not say which.
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
        """Everybody who holds something, by name; nothing is written, and nothing waited for."""
        found = []
        for path in self._files(".lease"):
            seen = self._look(path)
            if seen is not None:
                data = _parsed(seen.content)
                known = {key: data[key] for key in ("host", "pid", "facts", "beat")}
                found.append(Holder(name=path.stem, alive=self._alive(seen), **known))
        return found

    def close(self) -> None:
        """Release everything that is held."""
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
        """The content of a lease, and since when it is the same; None where there is no file."""
        asked = time.monotonic()
        content = _read(path)
        now = time.monotonic()
        if now - asked > self.beat:
            self._seen.clear()  # the file system stood still, so nobody could beat
        if content is None:
            return None
        seen = self._seen.get(path)
        if seen is None or seen.content != content:
            seen = self._seen[path] = _Seen(content, since=now, changed=seen is not None)
        return seen

    def _alive(self, seen: _Seen) -> bool | None:
        """Whether somebody holds the lease that was just looked at; None where that is not known
        yet.
        """
        if time.monotonic() - seen.since >= self.ttl:
            return False
        present = _present(_parsed(seen.content))
        return present if present is not None else seen.changed or None

    def _took_over(self, temporary: Path, path: Path, judged: bytes) -> bool:
        """Put `temporary` in the place of the lease that was judged dead, if it is still the one
        that is there.

        A guard lets one claimer at a time compare and replace. The name is never free meanwhile, so
        that nobody can slip in and forget the deaths.
        """
        guard = path.with_name(f".{path.stem}.guard")
        if not _created(temporary, guard):
            left = self._look(guard)
            if left is not None and self._alive(left) is False:
                guard.unlink(missing_ok=True)  # killed between these lines
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
        """Remove what killed claimers left; `now` by the clock of the file system, not of this
        machine.
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
    """Give `temporary` a second name that nobody else has; False where somebody has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        # NFS may lose the answer to a link that it made, and then refuses the repetition.
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
    """Who is asking: host, boot and pid namespace say which processes can be seen, pid and start
    time which one it is.
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
    """Whether the process of a holder exists; None where that cannot be seen from here."""
    here = _this_process()
    if any(holder[key] != here[key] for key in ("host", "machine", "space")):
        return None
    try:
        os.kill(holder["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is there, and another user's
        pass
    state, born = _state(holder["pid"])
    return state not in ("Z", "X") and born in ("", holder["born"])


def _state(pid: int) -> tuple[str, str]:
    """State and start time of a process; blank where they cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
