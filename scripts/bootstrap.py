"""Sets this checkout up and prints the interpreter to use: `python3 scripts/bootstrap.py [--extras
test,dev]`.

Standard library only. Standard output is that one line; progress and trouble go to standard error.

    VENV=PATH     the environment's folder, from the checkout (default .venv); VENV=none: the calling Python
    TORCH=cuda    torch as PyPI has it; without it the CPU build, whatever the machine has
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NoReturn

if sys.version_info < (3, 11):  # noqa: UP036 (the interpreters that are turned away run this far)
    print(
        f"incorruptible needs Python 3.11 or newer; this is {sys.version.split()[0]}: "
        f"{sys.executable}",
        file=sys.stderr,
    )
    raise SystemExit(2)

import tomllib

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "incorruptible-ready.json"
ORACLE = "curvlinops-for-pytorch"  # what the tests hold curvature against
TELL_VERSION = "import sys; print(*sys.version_info[:2], sep='.')"


def torch_attempts(version: str, platform: str, choice: str) -> list[list[str]]:
    """pip's arguments for torch, the best attempt first.

    The plain wheel for Linux brings gigabytes of CUDA libraries; elsewhere it is the CPU build.
    """
    plain, cpu = f"torch=={version}", f"torch=={version}+cpu"
    if choice == "cuda" or not platform.startswith("linux"):
        return [[plain]]
    # Where the index cannot be reached, pip's own patience would cost minutes.
    return [[cpu], [cpu, "--index-url", CPU_INDEX, "--retries", "0", "--timeout", "15"], [plain]]


def torch_fits(installed: str, version: str, choice: str) -> bool:
    """Whether `installed`, such as 2.13.0+cpu, will do; TORCH=cuda alone minds which build it
    is.
    """
    release, _, build = installed.partition("+")
    return release == version and not (choice == "cuda" and build == "cpu")


def environment(venv: str) -> tuple[Path, Path]:
    """The folder that carries the stamp, and its interpreter."""
    if venv == "none":
        return Path(sys.prefix), Path(sys.executable)
    folder = ROOT / Path(venv or ".venv").expanduser()
    return folder, folder / "bin" / "python"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(constraints: Path) -> dict[str, str]:
    """Each package's version."""
    pins = re.findall(r"^([\w.-]+)==([^\s;#]+)", constraints.read_text(), re.MULTILINE)
    return {normal(name): version for name, version in pins}


def fingerprint(root: Path, choice: str) -> str:
    """Changes when the environment must be looked at again."""
    files = [
        (root / name).read_bytes()
        for name in ("pyproject.toml", "constraints.txt", "scripts/bootstrap.py")
    ]
    # The path counts too: an editable install points at the checkout, which may have moved.
    facts = [str(root).encode(), choice.encode(), repr(sys.version_info[:2]).encode()]
    return hashlib.sha256(
        b"".join(hashlib.sha256(part).digest() for part in files + facts)
    ).hexdigest()


def is_ready(stamp: Path, digest: str, extras: set[str]) -> bool:
    """Whether `stamp` vouches for these files and at least these extras, so that demo and test can
    take turns.
    """
    try:
        seen = json.loads(stamp.read_text())
        return seen["fingerprint"] == digest and extras <= set(seen["extras"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def say(line: str) -> None:
    print(f"bootstrap: {line}", file=sys.stderr, flush=True)


def stop(line: str, code: int) -> NoReturn:
    say(line)
    raise SystemExit(code)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """One step, its output kept for the day it fails."""
    try:
        return subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:  # no such interpreter, or a link to one that is gone
        return subprocess.CompletedProcess(command, 127, str(error))


def pip_install(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "-q",
        *arguments,
    )


def require(done: subprocess.CompletedProcess[str], failure: str) -> None:
    if done.returncode:
        stop(
            "\n    ".join([f"{failure} Its last lines:", *done.stdout.strip().splitlines()[-12:]]),
            code=1,
        )


def make_environment(folder: Path, python: Path) -> None:
    """A virtual environment in which pip runs, made or repaired; one that works is left as it
    is.
    """
    starts = run(python, "-c", "").returncode == 0
    if starts and run(python, "-m", "pip", "--version").returncode == 0:
        return
    say(f"making {folder}")
    # Only an environment whose interpreter is gone is emptied: nobody can be using it.
    clear = ["--clear"] if not starts and (folder / "pyvenv.cfg").exists() else []
    require(
        run(sys.executable, "-m", "venv", *clear, folder),
        f"{sys.executable} could not make {folder}.",
    )


def mend(folder: Path, names: Set[str]) -> None:
    """Lets pip see what a killed pip left half done: a package counts as installed before its last
    file is there.
    """
    for site in folder.glob("lib/python*/site-packages"):
        for record in site.glob("*.dist-info"):
            if normal(record.name.split("-")[0]) in names and not (record / "INSTALLER").exists():
                shutil.rmtree(record)
        for replaced in site.glob("~*"):
            shutil.rmtree(replaced) if replaced.is_dir() else replaced.unlink()


def install_torch(python: Path, version: str, choice: str) -> None:
    """torch first and alone: whatever depends on it would otherwise choose the build."""
    installed = run(python, "-c", "from importlib.metadata import version; print(version('torch'))")
    if installed.returncode == 0 and torch_fits(installed.stdout.strip(), version, choice):
        return
    attempts = torch_attempts(version, sys.platform, choice)
    for number, attempt in enumerate(attempts, start=1):
        if number == 3:
            say(
                "WARNING: found no CPU build of torch; the plain one may bring gigabytes of CUDA "
                "libraries"
            )
        say(f"installing {' '.join(attempt[:3])}")
        # Forced, since pip takes 2.13.0+cpu for 2.13.0; without its dependencies, which the CPU
        # index has in part only.
        done = pip_install(python, "--force-reinstall", "--no-deps", *attempt)
        if done.returncode == 0:
            return
    require(done, f"pip could not install torch {version}.")


def oracles(extras: Set[str], pins: dict[str, str]) -> list[str]:
    """What comes without its dependencies: curvlinops asks for backpack, that for torchvision, and
    that for a torch with CUDA.

    What it does import is in the extra test; its test is skipped where it is not there.
    """
    return [f"{ORACLE}=={pins[ORACLE]}"] if extras & {"test", "dev"} and ORACLE in pins else []


def set_up(folder: Path, python: Path, extras: set[str], venv: str, choice: str) -> None:
    pins = pinned(ROOT / "constraints.txt")
    if "torch" not in pins:
        stop("constraints.txt has no line torch==VERSION.", code=1)
    if venv != "none":
        make_environment(folder, python)
        mend(folder, pins.keys())
    here, there = (
        run(which, "-c", TELL_VERSION).stdout.strip() for which in (sys.executable, python)
    )
    if here != there:
        stop(
            f"{folder} holds Python {there}, this call came with {here}. Delete it, or try "
            f"VENV=.venv-{here}",
            code=1,
        )
    # Before pip's first step, so that an interrupted call leaves no stamp.
    with contextlib.suppress(OSError):
        (folder / STAMP).unlink()
    install_torch(python, pins["torch"], choice)
    target = "." + (f"[{','.join(sorted(extras))}]" if extras else "")
    say(f"installing {target}")
    done = pip_install(python, "-c", "constraints.txt", "-e", target)
    require(done, f"pip could not install {target} into {folder}.")
    for one in oracles(extras, pins):
        if pip_install(python, "--no-deps", one).returncode:
            say(f"pip could not install {one}; the test that needs it is skipped")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One at a time in a checkout: `make -j lint test` starts two."""
    checkout = os.open(ROOT, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(checkout, fcntl.LOCK_EX)
        yield
    finally:
        os.close(checkout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Sets this checkout up and prints the interpreter to use."
    )
    parser.add_argument(
        "--extras", default="", metavar="A,B", help="optional dependencies, such as test,dev"
    )
    extras = {name.strip() for name in parser.parse_args().extras.split(",") if name.strip()}
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    venv, choice = os.environ.get("VENV", ""), os.environ.get("TORCH", "") or "cpu"
    if extras - known.keys():
        stop(
            f"No extra {min(extras - known.keys())!r} here. Choose from: "
            f"{', '.join(sorted(known))}.",
            code=2,
        )
    if choice not in ("cpu", "cuda"):
        stop(f"TORCH={choice} is not known. Choose from: cpu, cuda.", code=2)
    began = time.monotonic()
    folder, python = environment(venv)
    stamp, digest = folder / STAMP, fingerprint(ROOT, choice)
    with alone():
        if not (is_ready(stamp, digest, extras) and python.exists()):
            set_up(folder, python, extras, venv, choice)
            try:
                stamp.write_text(json.dumps({"fingerprint": digest, "extras": sorted(extras)}))
            except OSError as error:  # VENV=none with packages in the user's own folder
                say(f"no stamp, so the next call asks pip again: {error}")
            say(f"ready after {time.monotonic() - began:.0f} s")
    print(python)


if __name__ == "__main__":
    # Raises, so that pip is ended too: a killed parent alone would leave it at work in the
    # environment.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        say("interrupted; the next call goes on from here")
        raise SystemExit(130) from None
