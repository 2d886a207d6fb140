"""The set-up script's decisions, without a network."""

import ast
import importlib.util
import shutil
import sys
from collections.abc import Callable
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
    ("installed", "choice", "kept"),
    [
        ("2.13.0+cpu", "cpu", True),
        ("2.13.0", "cpu", True),
        ("2.13.0+cu130", "cpu", True),
        ("2.13.0+cu130", "cuda", True),
        ("2.13.0+cpu", "cuda", False),
        ("2.12.1+cpu", "cpu", False),
        (None, "cpu", False),  # absent, or left half installed by a killed pip
    ],
)
def test_an_installed_torch_is_kept_when_it_fits(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, installed: str | None, choice: str, kept: bool
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(bootstrap, "run", lambda *_: (installed is not None, installed or "No module named torch"))
    monkeypatch.setattr(bootstrap, "pip_install", lambda _, *given: (calls.append(given) or True, ""))
    bootstrap.install_torch(Path("python"), "2.13.0", choice)
    assert (calls == []) is kept
    assert all(call[:2] == ("--force-reinstall", "--no-deps") for call in calls)


def test_the_plain_build_is_announced_when_there_is_no_cpu_build(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(bootstrap, "run", lambda *_: (False, "no such wheel"))
    with pytest.raises(SystemExit) as exit_:
        bootstrap.install_torch(Path("python"), "2.13.0", "cpu")
    assert exit_.value.code == 1
    own, index, warning, plain, failure, reason = capsys.readouterr().err.splitlines()
    assert own.endswith("torch==2.13.0+cpu") and bootstrap.CPU_INDEX[1] in index and plain.endswith("torch==2.13.0")
    assert "gigabytes of CUDA libraries" in warning and reason.strip() == "no such wheel"
    assert failure == "bootstrap: could not install torch 2.13.0:"


@pytest.fixture
def sets_up(
    bootstrap: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, list[tuple[Path, Path]]]]:
    """Calls the script with everything but pip: returns what it prints, and which folders and interpreters were set up."""

    def call(extras: str = "", **environ: str) -> tuple[str, list[tuple[Path, Path]]]:
        done: list[tuple[Path, Path]] = []

        def set_up(folder: Path, python: Path, *_: object) -> None:
            assert not (folder / "incorruptible-ready.json").exists()
            done.append((folder, python))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()

        for name in ("VENV", "TORCH"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(bootstrap, "ROOT", checkout)
        monkeypatch.setattr(bootstrap, "set_up", set_up)
        monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--extras", extras])
        bootstrap.main()
        return capsys.readouterr().out, done

    return call


def test_venv_chooses_the_interpreter_which_is_the_one_line_of_output(
    sets_up: Callable[..., tuple[str, list[tuple[Path, Path]]]],
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for venv, folder in {
        "": checkout / ".venv",
        "other": checkout / "other",
        str(tmp_path / "far"): tmp_path / "far",
    }.items():
        python = folder / "bin" / "python"
        assert sets_up(VENV=venv) == (f"{python}\n", [(folder, python)])
    own = tmp_path / "own" / "bin" / "python"
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "own"))
    monkeypatch.setattr(sys, "executable", str(own))
    assert sets_up(VENV="none") == (f"{own}\n", [(tmp_path / "own", own)])


def test_a_second_call_has_nothing_to_do_until_it_wants_more(
    sets_up: Callable[..., tuple[str, list[tuple[Path, Path]]]], checkout: Path
) -> None:
    def works(*given: str, **environ: str) -> bool:
        return sets_up(*given, **environ)[1] != []

    assert works("test,dev") and not works("test,dev") and not works("test") and not works()
    assert works("models") and works("models", TORCH="cuda") and not works("models", TORCH="cuda")
    (checkout / ".venv" / "bin" / "python").unlink()
    assert works("models", TORCH="cuda")


def test_an_environment_without_a_stamp_is_used_all_the_same(
    bootstrap: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """VENV=none may install into the user's own folder, while the interpreter's folder takes no files."""
    monkeypatch.setattr(bootstrap, "ROOT", checkout)
    monkeypatch.setattr(bootstrap, "set_up", lambda *_: None)  # so that there is no folder for the stamp
    monkeypatch.setattr(sys, "argv", ["bootstrap.py"])
    monkeypatch.setenv("VENV", "nowhere")
    bootstrap.main()
    out, err = capsys.readouterr()
    assert out == f"{checkout / 'nowhere' / 'bin' / 'python'}\n" and "could not write the stamp" in err


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


PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q")


def steps(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    extras: set[str],
    answers: dict[str, tuple[bool, str]],
) -> list[tuple[str, ...]]:
    """What `set_up` runs, torch apart. A command is answered with success, or as `answers` says for a word that is in it."""
    calls: list[tuple[str, ...]] = []

    def run(*command: str | Path) -> tuple[bool, str]:
        calls.append(tuple(map(str, command)))
        return next((answer for word, answer in answers.items() if word in calls[-1]), (True, ""))

    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    answers = {**answers, bootstrap.PYTHON_AND_PIP: answers.get("look", (True, here))}
    monkeypatch.setattr(bootstrap, "run", run)
    monkeypatch.setattr(bootstrap, "install_torch", lambda *_: calls.append(("torch",)))
    bootstrap.set_up(folder, folder / "bin" / "python", extras, "cpu")
    return calls


@pytest.mark.parametrize("extras", [{"test"}, {"dev"}, {"report", "test", "dev"}, {"report"}, set()])
def test_torch_comes_first_and_the_oracle_last_and_alone(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extras: set[str]
) -> None:
    python = str(tmp_path / "bin" / "python")
    _, torch, package, *oracle = steps(bootstrap, monkeypatch, tmp_path, extras, {})
    target = f".[{','.join(sorted(extras))}]" if extras else "."
    assert torch == ("torch",)
    assert package == (python, *PIP, "-c", "constraints.txt", "-e", target)
    if extras & {"test", "dev"}:
        assert oracle == [(python, *PIP, "--no-deps", "curvlinops-for-pytorch==3.0.1")]
    else:
        assert oracle == []


def test_the_pins_name_nothing_that_would_replace_torch() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert not any(line.startswith(("backpack-for-pytorch", "torchvision")) for line in pins.splitlines())


def test_setting_up_can_do_without_the_oracle(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    steps(bootstrap, monkeypatch, tmp_path, {"test"}, {"--no-deps": (False, "no such wheel")})
    assert "the tests that need it are skipped" in capsys.readouterr().err


@pytest.mark.parametrize("present", [(), ("pyvenv.cfg",), ("pyvenv.cfg", "bin/python")])
def test_an_environment_that_does_not_work_is_made_and_emptied_only_if_its_interpreter_is_gone(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, present: tuple[str, ...]
) -> None:
    for name in present:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    calls = steps(bootstrap, monkeypatch, tmp_path, set(), {"look": (False, "No module named pip")})
    clear = ["--clear"] if present == ("pyvenv.cfg",) else []
    assert calls[1] == (sys.executable, "-m", "venv", *clear, str(tmp_path))


def test_an_environment_of_another_python_is_left_as_it_is(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as exit_:
        steps(bootstrap, monkeypatch, tmp_path, set(), {"look": (True, "3.10")})
    assert exit_.value.code == 1
    assert f"{tmp_path} holds Python 3.10, not 3." in capsys.readouterr().err


def test_a_failing_step_says_so_and_exits_with_1(bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    done = bootstrap.run(sys.executable, "-c", "print('x' * 3); raise SystemExit('no such wheel')")
    with pytest.raises(SystemExit) as exit_:
        bootstrap.require(done, "install torch")
    assert exit_.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["bootstrap: could not install torch:", "    xxx", "    no such wheel"]


def test_a_missing_interpreter_is_a_failed_step(bootstrap: ModuleType, tmp_path: Path) -> None:
    works, said = bootstrap.run(tmp_path / "bin" / "python", "-c", "")
    assert not works and "No such file" in said


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
