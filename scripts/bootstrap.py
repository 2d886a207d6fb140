"""Sets this checkout up and prints the interpreter to use.

    python3 scripts/bootstrap.py [--extras test,dev]

Needs only the standard library. Standard output is the path of the interpreter; progress and errors
go to standard error. Two variables choose what is set up:

    VENV=PATH     the environment's folder, from the checkout (default .venv);
                  VENV=none installs into the Python that runs this script
    TORCH=cuda    torch as PyPI has it; otherwise the CPU build, whatever the machine has

Keeps: the stamp in the environment names the files and extras that are installed. It is deleted
before pip's first step and written after the last one, so an interrupted call leaves no stamp.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

if sys.version_info < (3, 11):  # noqa: UP036 (an older interpreter comes this far and is told)
    sys.exit("incorruptible needs Python 3.11 or newer; this is " + sys.version.split()[0])

import tomllib

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = ["--index-url", "https://download.pytorch.org/whl/cpu"]
ORACLE = "curvlinops-for-pytorch"  # the tests compare curvatures with this package
PYTHON_AND_PIP = "import sys, pip; print(*sys.version_info[:2], sep='.')"


def say(line: str) -> None:
    print(f"bootstrap: {line}", file=sys.stderr, flush=True)


def stop(line: str, code: int = 1) -> NoReturn:
    say(line)
    raise SystemExit(code)


def run(*command: str | Path) -> tuple[bool, str]:
    """Whether a command succeeded, and what it printed."""
    keep = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        done = subprocess.run(command, cwd=ROOT, text=True, errors="replace", **keep)
    except OSError as error:  # there is no such interpreter
        return False, str(error)
    return done.returncode == 0, done.stdout.strip()


def pip_install(python: Path, *arguments: str) -> tuple[bool, str]:
    say(f"installing {' '.join(arguments)}")
    options = ["--disable-pip-version-check", "--no-input", "install", "-q"]
    return run(python, "-m", "pip", *options, *arguments)


def require(done: tuple[bool, str], step: str) -> None:
    """Ends the script with 1 if a step failed, and shows the last lines that the step printed."""
    if not done[0]:
        stop("\n    ".join([f"could not {step}:", *done[1].splitlines()[-12:]]))


def torch_attempts(version: str, platform: str, choice: str) -> list[list[str]]:
    """pip's arguments for torch, the best attempt first.

    The plain wheel for Linux brings gigabytes of CUDA libraries; elsewhere it is the CPU build.
    """
    plain, cpu = f"torch=={version}", f"torch=={version}+cpu"
    if choice == "cuda" or platform != "linux":
        return [[plain]]
    # Where the CPU index cannot be reached, pip's usual retries would take minutes.
    return [[cpu], [cpu, *CPU_INDEX, "--retries", "0", "--timeout", "15"], [plain]]


def install_torch(python: Path, version: str, choice: str) -> None:
    """Installs torch before everything that depends on torch and would choose another build."""
    works, found = run(python, "-W", "ignore", "-c", "import torch; print(torch.__version__)")
    release, _, build = found.partition("+")
    if works and release == version and not (choice == "cuda" and build == "cpu"):
        return
    *cpu_builds, plain = torch_attempts(version, sys.platform, choice)
    for attempt in (*cpu_builds, plain):
        if cpu_builds and attempt == plain:
            say("found no CPU build of torch; the plain one may bring gigabytes of CUDA libraries")
        # Forced, since pip takes 2.13.0+cpu for 2.13.0. Without dependencies, since the CPU index
        # has only some of them.
        done = pip_install(python, "--force-reinstall", "--no-deps", *attempt)
        if done[0]:
            return
    require(done, f"install torch {version}")


def set_up(folder: Path, python: Path, extras: set[str], choice: str) -> None:
    works, found = run(python, "-c", PYTHON_AND_PIP)
    here = "{}.{}".format(*sys.version_info)
    if not works and folder != Path(sys.prefix):
        say(f"making {folder}")
        # A folder is emptied only if its interpreter is gone: then nobody can be using it.
        clear = ["--clear"] if (folder / "pyvenv.cfg").exists() and not python.exists() else []
        require(run(sys.executable, "-m", "venv", *clear, folder), f"make {folder}")
    elif works and found != here:
        stop(f"{folder} holds Python {found}, not {here}. Delete it, or try VENV=.venv-{here}")
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    install_torch(python, pins["torch"], choice)
    package = f".[{','.join(sorted(extras))}]" if extras else "."
    require(pip_install(python, "-c", "constraints.txt", "-e", package), f"install {package}")
    # Without its dependencies, since one of them asks for torchvision, and that for another torch.
    oracle = f"{ORACLE}=={pins[ORACLE]}"
    if extras & {"test", "dev"} and not pip_install(python, "--no-deps", oracle)[0]:
        say(f"could not install {oracle}; the tests that need it are skipped")


def fingerprint(root: Path, choice: str) -> str:
    """Changes when the environment must be set up again."""
    files = ("pyproject.toml", "constraints.txt", "scripts/bootstrap.py")
    # The path counts too: the installed package points at the checkout, which may have moved.
    facts = [str(root), choice, sys.version_info[:2], [(root / file).read_text() for file in files]]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def is_ready(stamp: Path, digest: str, extras: set[str]) -> bool:
    """Whether these files and at least these extras are installed."""
    try:
        seen = json.loads(stamp.read_text())
        return seen["fingerprint"] == digest and extras <= set(seen["extras"])
    except (OSError, ValueError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Sets this checkout up; prints its interpreter.")
    parser.add_argument("--extras", default="", metavar="A,B", help="such as test,dev")
    extras = set(filter(None, parser.parse_args().extras.split(",")))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    choice, venv = os.environ.get("TORCH") or "cpu", os.environ.get("VENV") or ".venv"
    if extras - known.keys():
        unknown = min(extras - known.keys())
        stop(f"No extra {unknown!r} here. Choose from: {', '.join(known)}.", code=2)
    if choice not in ("cpu", "cuda"):
        stop(f"TORCH={choice} is not known. Choose from: cpu, cuda.", code=2)
    folder = Path(sys.prefix) if venv == "none" else ROOT / Path(venv).expanduser()
    python = Path(sys.executable) if venv == "none" else folder / "bin" / "python"
    stamp, digest = folder / "incorruptible-ready.json", fingerprint(ROOT, choice)
    if not (is_ready(stamp, digest, extras) and python.exists()):
        with contextlib.suppress(OSError):
            stamp.unlink()
        set_up(folder, python, extras, choice)
        try:
            stamp.write_text(json.dumps({"fingerprint": digest, "extras": sorted(extras)}))
        except OSError as error:  # the folder of VENV=none may belong to somebody else
            say(f"could not write the stamp, so the next call asks pip again: {error}")
    print(python)


if __name__ == "__main__":
    # A signal raises, so that pip ends with this script and is not left at work.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # One call at a time in a checkout, since `make -j lint test` starts two. Some network file
    # systems cannot lock a folder.
    with contextlib.suppress(OSError):
        fcntl.flock(os.open(ROOT, os.O_RDONLY), fcntl.LOCK_EX)
    main()
