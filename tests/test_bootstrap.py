"""The set-up script's decisions, without a network."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "constraints.txt", "scripts/bootstrap.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_linux_asks_for_the_cpu_build_twice_before_the_plain_one(bootstrap: ModuleType) -> None:
    own, index, plain = bootstrap.torch_attempts("2.13.0", "linux", "cpu")
    assert own == ["torch==2.13.0+cpu"]
    assert index[:3] == ["torch==2.13.0+cpu", "--index-url", "https://download.pytorch.org/whl/cpu"]
    assert index[3:] == ["--retries", "0", "--timeout", "15"]
    assert plain == ["torch==2.13.0"]


@pytest.mark.parametrize(("platform", "choice"), [("darwin", "cpu"), ("darwin", "cuda"), ("linux", "cuda")])
def test_macos_and_cuda_take_the_plain_wheel_at_once(bootstrap: ModuleType, platform: str, choice: str) -> None:
    assert bootstrap.torch_attempts("2.13.0", platform, choice) == [["torch==2.13.0"]]


@pytest.mark.parametrize(
    ("installed", "choice", "fits"),
    [
        ("2.13.0+cpu", "cpu", True),
        ("2.13.0", "cpu", True),
        ("2.13.0+cu130", "cpu", True),
        ("2.13.0+cu130", "cuda", True),
        ("2.13.0+cpu", "cuda", False),
        ("2.12.1+cpu", "cpu", False),
        ("", "cpu", False),
    ],
)
def test_an_installed_torch_is_kept_when_it_fits(
    bootstrap: ModuleType, installed: str, choice: str, fits: bool
) -> None:
    assert bootstrap.torch_fits(installed, "2.13.0", choice) is fits


def test_venv_chooses_the_interpreter(bootstrap: ModuleType, tmp_path: Path) -> None:
    assert bootstrap.environment("none") == (Path(sys.prefix), Path(sys.executable))
    assert bootstrap.environment("") == (ROOT / ".venv", ROOT / ".venv" / "bin" / "python")
    assert bootstrap.environment("other")[0] == ROOT / "other"
    assert bootstrap.environment(str(tmp_path))[1] == tmp_path / "bin" / "python"


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "scripts/bootstrap.py"])
def test_a_changed_file_voids_the_stamp(bootstrap: ModuleType, checkout: Path, name: str) -> None:
    before = bootstrap.fingerprint(checkout, "cpu")
    assert bootstrap.fingerprint(checkout, "cpu") == before
    with (checkout / name).open("a") as file:
        file.write("# one more line\n")
    assert bootstrap.fingerprint(checkout, "cpu") != before


def test_another_torch_and_another_place_void_the_stamp(bootstrap: ModuleType, checkout: Path) -> None:
    before = bootstrap.fingerprint(checkout, "cpu")
    assert bootstrap.fingerprint(checkout, "cuda") != before
    moved = checkout.rename(checkout.with_name("moved"))
    assert bootstrap.fingerprint(moved, "cpu") != before


def test_a_stamp_vouches_for_fewer_extras_but_not_for_more(bootstrap: ModuleType, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp.json"
    assert not bootstrap.is_ready(stamp, "f", set())
    stamp.write_text('{"fingerprint": "f", "extras": ["dev", "test"]}')
    assert bootstrap.is_ready(stamp, "f", set())
    assert bootstrap.is_ready(stamp, "f", {"test", "dev"})
    assert not bootstrap.is_ready(stamp, "f", {"test", "models"})
    assert not bootstrap.is_ready(stamp, "g", set())
    stamp.write_text('{"fingerprint": "f", "ext')
    assert not bootstrap.is_ready(stamp, "f", set())


@pytest.mark.parametrize(
    ("extras", "brought"),
    [({"test"}, True), ({"dev"}, True), ({"report", "test", "dev"}, True), ({"report"}, False), (set(), False)],
)
def test_the_oracle_of_the_tests_comes_without_what_would_replace_torch(
    bootstrap: ModuleType, extras: set[str], brought: bool
) -> None:
    pins = bootstrap.pinned(ROOT / "constraints.txt")
    version = pins["curvlinops-for-pytorch"]
    assert bootstrap.oracles(extras, pins) == ([f"curvlinops-for-pytorch=={version}"] if brought else [])
    assert bootstrap.oracles(extras, {"torch": "2.13.0"}) == []
    assert not {"backpack-for-pytorch", "torchvision"} & pins.keys()


@pytest.mark.parametrize("fails", [False, True])
def test_setting_up_brings_the_oracle_last_and_can_do_without(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    fails: bool,
) -> None:
    calls: list[tuple[str, ...]] = []

    def pip_install(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        calls.append(arguments)
        return subprocess.CompletedProcess(arguments, int(fails and "--no-deps" in arguments), "")

    monkeypatch.setattr(bootstrap, "pip_install", pip_install)
    monkeypatch.setattr(bootstrap, "install_torch", lambda *_: calls.append(("torch",)))
    bootstrap.set_up(tmp_path, Path(sys.executable), {"test"}, "none", "cpu")
    torch, extras, oracle = calls
    assert torch == ("torch",) and extras[-2:] == ("-e", ".[test]")
    assert oracle[0] == "--no-deps" and oracle[1].startswith("curvlinops-for-pytorch==")
    assert ("is skipped" in capsys.readouterr().err) is fails


def test_what_a_killed_pip_left_is_taken_for_absent(bootstrap: ModuleType, tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("typing_extensions-4.0.dist-info", "ruff-0.17.dist-info", "mine-1.0.dist-info", "~uff", "ruff"):
        (site / name).mkdir(parents=True)
    (site / "typing_extensions-4.0.dist-info" / "INSTALLER").write_text("pip\n")
    bootstrap.mend(tmp_path, {"typing-extensions", "ruff"})
    left = {path.name for path in site.iterdir()}
    assert left == {"typing_extensions-4.0.dist-info", "mine-1.0.dist-info", "ruff"}


def test_a_failing_step_says_so_and_exits_with_1(bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    done = bootstrap.run(sys.executable, "-c", "print('x' * 3); raise SystemExit('no such wheel')")
    with pytest.raises(SystemExit) as exit_:
        bootstrap.require(done, "pip could not install torch.")
    assert exit_.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "bootstrap: pip could not install torch. Its last lines:"
    assert "no such wheel" in err


def test_a_missing_interpreter_is_a_failed_step(bootstrap: ModuleType, tmp_path: Path) -> None:
    assert bootstrap.run(tmp_path / "bin" / "python", "-c", "").returncode == 127


def test_an_older_python_can_read_the_script_far_enough_to_be_turned_away() -> None:
    source = (ROOT / "scripts" / "bootstrap.py").read_text()
    tree = ast.parse(source, feature_version=(3, 7))
    guard = next(n for n, node in enumerate(tree.body) if isinstance(node, ast.If))
    newer = [n for n, node in enumerate(tree.body) if isinstance(node, ast.Import) and node.names[0].name == "tomllib"]
    assert newer and min(newer) > guard


@pytest.mark.parametrize(
    ("variable", "value", "extras", "says"),
    [("TORCH", "rocm", "", "Choose from: cpu, cuda."), ("TORCH", "cpu", "tset", "No extra 'tset' here.")],
)
def test_a_slip_of_the_pen_exits_with_2_and_one_line(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    extras: str,
    says: str,
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--extras", extras])
    with pytest.raises(SystemExit) as exit_:
        bootstrap.main()
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and says in err and len(err.splitlines()) == 1
