"""The package as its users get it: the wheel, elsewhere, without the checkout."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from waiting import HANG

ROOT = Path(__file__).resolve().parent.parent
SITE = Path(sysconfig.get_path("purelib"))


def output(*command: str | Path, cwd: Path) -> str:
    """A command's standard output, run as a stranger to the checkout would; a failure shows all that it printed."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The interpreter of a new environment: the wheel, and the packages of this environment without the checkout."""
    absent = [name for name in ("build", "hatchling", "pip") if importlib.util.find_spec(name) is None]
    if absent:
        pytest.skip(f"to build the wheel this Python wants: pip install {' '.join(absent)}")
    if not (SITE / "torch").is_dir():
        pytest.skip(f"torch is not in {SITE}, so another environment cannot borrow it from there")
    source = tmp_path / "source"  # what the build reads, and .gitignore, which may leave package data out
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", ".gitignore"):
        shutil.copy(ROOT / name, source / name)
    output(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    output(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    site = Path(output(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path))
    # A .pth file names a folder whose own .pth files are not read: the checkout's editable install stays unseen.
    (site / "deps.pth").write_text(f"{SITE}\n")
    return python


@pytest.mark.slow
def test_the_wheel_brings_its_data_and_its_types(installed: Path, tmp_path: Path) -> None:
    package = Path(output(installed, "-c", "import incorruptible; print(incorruptible.__file__)", cwd=tmp_path)).parent
    assert package.is_relative_to(tmp_path / "venv")
    assert (package / "tasks" / "data" / "digits.csv.gz").stat().st_size > 10_000
    assert (package / "py.typed").is_file()
    templates = {path.name for path in (package / "reports" / "page" / "templates").iterdir()}
    assert templates == {path.name for path in (ROOT / "src/incorruptible/reports/page/templates").iterdir()}


@pytest.mark.slow
def test_the_wheel_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    home = tmp_path / "runs"
    small = ["--seeds", "2", "--epochs", "2", "--workers", "2"]
    output(installed, "-m", "incorruptible", "demo", *small, "--home", home, cwd=tmp_path)
    summary = json.loads((home / "demo" / "summary.json").read_text())
    assert {"C1", "C2", "C3", "C4"} <= summary.keys()
    assert 1_000_000 < (home / "demo" / "report.html").stat().st_size < 8_000_000


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    extras = [entry for name in ("test", "dev") for entry in project["optional-dependencies"][name]]
    for wanted in map(Requirement, project["dependencies"] + extras):
        if wanted.name != project["name"]:  # dev takes the package's own extra `test`
            assert pins[canonicalize_name(wanted.name)] in wanted.specifier, wanted


def test_the_pins_hold_on_every_machine() -> None:
    """No build tag (torch's +cpu would forbid the other build), no package that exists on one platform only."""
    text = (ROOT / "constraints.txt").read_text()
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[0-9][\w.]*", line) for line in pins)
    assert not any(line.startswith(("nvidia-", "triton")) for line in pins)
