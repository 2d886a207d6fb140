"""Studies as their files declare them: bad ones are answered with every mistake at once, good ones mean what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cifar import CIFAR
from incorruptible.errors import UserError, UserErrors
from incorruptible.files import records
from incorruptible.schedules import parse, peak
from incorruptible.studies import plan
from incorruptible.studies.estimate import estimate
from incorruptible.studies.plan import Tasks
from incorruptible.studies.spec import Study, load, shipped
from incorruptible.studies.toml_positions import spoken, toml_positions
from incorruptible.tasks import batches
from typing_commands import Type, typing

BAD = Path(__file__).with_name("studies") / "bad"
SMALL = BAD.with_name("small.toml")
ARM = "No arm {!r} here."

# Of each file, every mistake as it begins, and what it must offer instead.
MISTAKES: dict[str, list[tuple[str, str]]] = {
    "arms_of_claims": [
        ("line 2, shown: No arm 'rpw' here.", "Choose one of: rwp 0.1, rwp 0.2, sgd"),
        ("line 18, claims 1: No arm 'sam *' here.", ""),
        ("line 18, claims 1: No arm 'sdg' here.", "Did you mean 'sgd'?"),
        ("line 24, claims 1, strengths: 0.15 is not tested; tested are 0, 0.1", ""),
        ("line 30, claims 2, methods 2 3: is missing", ""),
        ("line 32, claims 3, large: is missing", ""),
    ],
    "duplicate_arms": [("line 15, arms 2, name: 'rwp' is an arm already", "put what differs in braces: {strength}")],
    "duplicate_claims": [
        ("line 18, claims 2, name: 'A' is a claim already", ""),
        ("line 22, claims 3, name: ", 'name = "..." is needed'),
        ("line 22, claims 3, text: ", 'text = "..." is needed'),
    ],
    "empty": [
        ("arms: at least one [[arms]] is needed", ""),
        ("question: a study needs one", 'question = "..."'),
        ("test: corruptions is missing", ""),
    ],
    "empty_lists": [
        ("line 7, test, corruptions: at least one is needed", ""),
        ("line 12, arms 1, strength: an empty list makes no arm", ""),
        ("line 16, arms 2, each.momentum: an empty list makes no arm", ""),
    ],
    "missing": [
        ("arms: at least one [[arms]] is needed", ""),
        ("question: a study needs one", 'question = "..."'),
        ("test: corruptions is missing", ""),
    ],
    "misspelt": [
        ("line 2, seed: No entry of a study 'seed' here.", "Did you mean 'seeds'?"),
        ("line 5, recipe, task: No task 'digts' here.", "Did you mean 'digits'?"),
        ("line 6, recipe, epoch: No entry of a recipe 'epoch' here.", "Did you mean 'epochs'?"),
        ("line 9, recipe, probe.evry: No entry of a recipe 'probe.evry' here.", "Did you mean 'probe.every'?"),
        ("line 12, test, corruptions: No corruption 'gausian-filter-max' here.", "Did you mean 'gaussian-filter-max'?"),
        ("line 13, test, parts: No part to test on 'trian' here.", "Did you mean 'train'?"),
        ("line 14, test, batchnorm: No policy 'foldd' here.", "Did you mean 'folded'?"),
        (
            "line 15, test, chip: No entry of [test] 'chip' here.",
            "Choose one of: batchnorm, bounds, chips, corruptions, examples, parts",
        ),
        ("line 18, selection, draw: No entry of [selection] 'draw' here.", "Choose one of: chips, seed"),
        ("line 25, arms 2, objectve: No entry of an arm 'objectve' here.", "Did you mean 'objective'?"),
        ("line 30, arms 3, objective: No objective 'san' here.", "Did you mean 'sam'?"),
        ("line 31, arms 3, strength: No schedule 'linera' here.", "Did you mean 'linear'?"),
        ("line 36, claims 1, rule: No rule 'ahed' here.", "Did you mean 'ahead'?"),
        ("line 40, claims 2: No arm 'rpw' here.", "Did you mean 'rwp'?"),
        ("line 46, claims 2, margn: No entry of a claim by 'ahead' 'margn' here.", "Did you mean 'margin'?"),
    ],
    "no_table": [
        ("line 2, recipe: a table [recipe] is needed", ""),
        ("line 3, test: a table [test] is needed", ""),
        ("line 4, arms: each arm is one of [[arms]]", ""),
        ("line 5, claims: each claim is one of [[claims]]", ""),
    ],
    "one_seed": [
        ("line 2, seeds: 1: at least 2 different ones are needed", ""),
        ("line 6, recipe, seed: seeds stand at the top of the file", "seeds = 8"),
        ("line 10, test, draws: 1: at least 2 chips are needed", ""),
        ("line 13, selection, draws: 1: at least 2 chips are needed", ""),
        ("line 17, arms 1, seed: seeds stand at the top of the file", "seeds = 8"),
    ],
    "own_task": [
        ("line 4, recipe, task: nowhere.py: no such file", "a task is written FILE.py:NAME"),
        ("line 14, arms 2, task: No network 'covn' here.", "Did you mean 'conv'?"),
    ],
    "placeholder": [
        ("line 10, arms 1, name: 'rwp {strenght}': no 'strenght' to put there", "it has objective, strength"),
        ("line 17, arms 2, strength: 'linear:0:{peak}': no 'peak' to put there", "it has objective, strength"),
    ],
    "area_of_one": [
        ("line 24, claims 1, strengths: an area needs at least 2 different strengths", ""),
        ("line 32, claims 2, statistic: 'aera': 'score', 'loss' or 'area' is needed", ""),
    ],
    "strengths_of_claims": [
        ("line 23, claims 1, strengths: 0.3 is not tested", "tested are 0, 0.1, 0.2"),
        ("line 24, claims 1, margin: 0: a number above 0 is needed", ""),
        ("line 30, claims 2, small: 0.05 is not tested", "tested are 0.1, 0.2"),
    ],
    "sweeps": [
        ("line 7, test, corruptions: 'uniform' needs its scale in the name", "uniform-filter-max"),
        ("line 7, test, corruptions: at least one is needed, and each once", ""),
        ("line 12, test, parts: \"test\" must be among them", ""),
    ],
    "types": [
        ("line 1, title: 3 is given where a text is needed", ""),
        ("line 3, seeds: 'eight' is given where a number of seeds, or a list of them, is needed", ""),
        ("line 8, recipe, epochs: 'many' is no whole number", ""),
        ("line 9, recipe, lr: lr -0.1: a finite number that is not negative is needed", ""),
        ("line 10, recipe, momentum: momentum 1.0: a number below 1 is needed", ""),
        ("line 14, test, draws: 'twenty' is no whole number", ""),
        ("line 15, test, required: 'much' is no number", ""),
        ("line 19, arms 1, method: 3 is given where a text is needed", ""),
        ("line 20, arms 1, clip: 'yes' is no number", ""),
        ("line 22, arms 2: a name is needed", 'name = "..."'),
        ("line 27, arms 3, task: ['digits', 'digits:network=conv'] is no text", ""),
        ("line 27, arms 3, task: one value is needed here, not a list", ""),
        ("line 31, arms 4, each: a table of lists is needed", "each.peak = [0.1, 0.2]"),
    ],
}  # fmt: skip


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Type:
    """Types commands in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return typing(monkeypatch, capsys)


def declared(folder: Path, rest: str, top: str = "", recipe: str = "", test: str = "") -> Path:
    """A file with what every study needs, and `rest`."""
    path = folder / "mine.toml"
    recipe = recipe if "task" in recipe else f'task = "digits"\n{recipe}'
    path.write_text(
        f'question = "Is it?"\n{top}\n[recipe]\n{recipe}\n\n'
        f'[test]\ncorruptions = "gaussian-filter-max:0,0.1"\n{test}\n{rest}\n'
    )
    return path


def names(study: Study) -> list[str]:
    return [design.name for design in study.arms]


# bad files


def test_every_bad_file_is_looked_at() -> None:
    assert {path.stem for path in BAD.glob("*.toml")} == {*MISTAKES, "syntax", "two words"}


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_every_mistake_of_a_file_is_told_with_its_line(name: str) -> None:
    wanted = MISTAKES[name]
    with pytest.raises(UserErrors) as caught:
        load(str(BAD / f"{name}.toml"))
    count = "a mistake" if len(wanted) == 1 else f"{len(wanted)} mistakes"
    assert str(caught.value).splitlines()[0] == f"{name}.toml has {count}:"
    for line, (begin, offer) in zip(caught.value.lines, wanted, strict=True):
        assert line.startswith(begin) and offer in line


# The command starts a process that imports torch, twice. The quick tests below read the same files in this process.
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_bad_file_is_answered_with_every_mistake_and_its_line(name: str, typed: Type, tmp_path: Path) -> None:
    file, wanted = BAD / f"{name}.toml", MISTAKES[name]
    for words in ((), ("--dry-run",)):
        said = typed("study", file, "--home", tmp_path / "home", *words)
        head, *lines = said.err.splitlines()
        count = "a mistake" if len(wanted) == 1 else f"{len(wanted)} mistakes"
        assert (said.code, said.out, head) == (2, "", f"incorruptible: {name}.toml has {count}:")
        for line, (begin, offer) in zip(lines, wanted, strict=True):
            assert line.startswith(f"  {begin}") and offer in line
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_the_lines_are_those_of_the_mistakes(name: str) -> None:
    """The key that a mistake is about stands on the line that the reader names, or heads its table."""
    written = (BAD / f"{name}.toml").read_text().splitlines()
    with pytest.raises(UserErrors) as caught:
        load(str(BAD / f"{name}.toml"))
    placed = [line for line in caught.value.lines if line.startswith("line ")]
    assert len(placed) == sum(begin.startswith("line ") for begin, _ in MISTAKES[name])
    for said in placed:
        place, _, rest = said.partition(":")
        number, _, path = place.removeprefix("line ").partition(", ")
        key = path.split(", ")[-1].split(".")[-1].split(" ")[0]
        line = written[int(number) - 1]
        assert key in line or line.startswith("[["), (line, rest)


@pytest.mark.parametrize(
    ("file", "answer"),
    [
        (BAD / "syntax.toml", "syntax.toml is no TOML: Invalid value (at line 4, column 8)."),
        (BAD / "two words.toml", "the file's name is the study's"),
        (BAD / "none.toml", "none.toml: no such file."),
        (BAD.parent, "No study"),
        ("digit", "Did you mean 'digits'?"),
    ],
)
def test_what_is_no_study_is_told(file: Path | str, answer: str) -> None:
    with pytest.raises(UserError, match=re.escape(answer)) as caught:
        load(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "answer"), [(BAD / "none.toml", "none.toml: no such file."), ("digit", "'digits'?")])
def test_what_is_no_study_is_answered_in_one_line(file: Path | str, answer: str, typed: Type, tmp_path: Path) -> None:
    said = typed("study", file, "--home", tmp_path / "home")
    assert (said.code, said.out) == (2, "") and answer in said.err and len(said.err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_is_no_text_is_answered(typed: Type, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in typed("study", "mine.toml").err
    (tmp_path / "other.toml").write_text("")
    assert "For a file of your own: other.toml." in typed("study", "other").err


@pytest.mark.parametrize(("seeds", "answer"), [(0, "at least 2"), (1, "at least 2"), (-1, "at least 2")])
def test_seeds_on_the_command_line_are_at_least_two(seeds: int, answer: str, typed: Type, tmp_path: Path) -> None:
    said = typed("study", SMALL, "--home", tmp_path / "home", "--seeds", seeds)
    assert said.code == 2 and answer in said.err and not any(tmp_path.iterdir())


def test_mistakes_in_a_grid_are_told_once(tmp_path: Path) -> None:
    rest = '[[arms]]\nname = "{strength}"\nobjective = "san"\nstrength = [0.1, 0.2, 0.3]\nlr = "x"\n'
    with pytest.raises(UserErrors) as caught:
        load(str(declared(tmp_path, rest)))
    assert [line.partition(":")[0] for line in caught.value.lines] == [
        "line 12, arms 1, objective",
        "line 14, arms 1, lr",
    ]


def test_a_mistake_in_the_base_is_not_laid_to_an_arm(tmp_path: Path) -> None:
    rest = '[recipe.probe]\ndraws = -1\n[[arms]]\nname = "a"\nprobe = { every = 2 }\n[[arms]]\nname = "b"\n'
    with pytest.raises(UserErrors) as caught:
        load(str(declared(tmp_path, rest)))
    (line,) = caught.value.lines
    assert line.startswith("line 11, recipe, probe.draws: ")


# good files


@pytest.mark.parametrize("name", sorted(shipped()))
def test_what_is_shipped_can_be_read(name: str) -> None:
    images = name.startswith("cifar")
    if images and not (CIFAR / "train.parquet").is_file():
        pytest.skip(f"no train.parquet in {CIFAR}: set CIFAR10 to its folder")
    study = load(name, data=f"parquet:{CIFAR}" if images else None)
    assert study.name == name and study.question and len(study.seeds) >= 2 and study.claims
    assert len(set(names(study))) == len(study.arms)


def test_the_digits_are_the_study_of_the_claims() -> None:
    study = load("digits")
    assert [claim.name for claim in study.claims] == ["C1", "C2", "C3", "C4"] and study.seeds == tuple(range(8))
    assert len(study.arms) == 43 and all(design.recipe.task == "digits" for design in study.arms)
    assert {"sgd", "rwp 0.1", "sam 1", "sam-metric 8, clipped", "rwp 0.4, twice the epochs"} <= set(names(study))
    assert study.plans()["0 validation"].purpose != study.plans()["0 test"].purpose


def test_the_study_of_ranges_compares_areas() -> None:
    study = load("range")
    ranges = [design for design in study.arms if design.method.startswith("range")]
    assert len(study.arms) == 18 and len(ranges) == 8 and study.seeds == tuple(range(8))
    assert {design.recipe.objective for design in ranges} == {
        "rwp(mixture(gaussian-filter-max))",
        "rwp(mixture(gaussian-filter-max):low=0.5)",
    }
    assert [getattr(claim.decide, "statistic", "") for claim in study.claims] == ["area"] * 3 + ["score"]


def test_an_area_of_a_single_tested_strength_is_refused(tmp_path: Path) -> None:
    rest = '[[arms]]\nname = "a"\n[[claims]]\nname = "A"\ntext = "?"\nrule = "ahead"\nleft = "a"\nright = "a"\n'
    file = declared(tmp_path, rest + 'statistic = "area"\n')
    text = file.read_text()
    file.write_text(text.replace('gaussian-filter-max:0,0.1"', 'gaussian-filter-max:0.1"'))
    assert file.read_text() != text
    with pytest.raises(UserErrors, match="statistic: an area needs at least 2 different strengths"):
        load(str(file))


def test_lists_span_a_grid(tmp_path: Path) -> None:
    rest = (
        '[[arms]]\nname = "{method} {strength}, {lr}"\nmethod = "noise"\nobjective = "rwp(gaussian-filter-max)"\n'
        "strength = [0.1, 1.0]\nlr = [0.05, 0.1]\n"
    )
    study = load(str(declared(tmp_path, rest)))
    assert names(study) == ["noise 0.1, 0.05", "noise 0.1, 0.1", "noise 1, 0.05", "noise 1, 0.1"]
    assert [(peak(parse(d.recipe.strength)), d.recipe.lr) for d in study.arms] == [
        (s, lr) for s in (0.1, 1.0) for lr in (0.05, 0.1)
    ]
    assert {(d.method, d.role) for d in study.arms} == {("noise", "candidate")}


def test_each_spans_a_grid_of_what_is_no_key_of_a_recipe(tmp_path: Path) -> None:
    rest = (
        '[[arms]]\nname = "{how} to {top}"\nrole = "control"\nobjective = "sam"\nstrength = "{how}:0:{top}"\n'
        'each.how = ["linear", "quadratic"]\neach.top = [0.1, 2]\n'
        '[[arms]]\nname = "conv {epochs}"\ntask = "digits:network={net}"\neach = { net = ["conv"], epochs = [1, 2] }\n'
    )
    study = load(str(declared(tmp_path, rest)))
    first, second = study.arms[:4], study.arms[4:]
    assert [d.name for d in first] == ["linear to 0.1", "linear to 2", "quadratic to 0.1", "quadratic to 2"]
    assert [d.recipe.strength for d in first] == [
        str(parse(f"{how}:0:{top}")) for how in ("linear", "quadratic") for top in (0.1, 2)
    ]
    assert {(d.method, d.role) for d in first} == {("sam", "control")}
    assert [d.name for d in second] == ["conv 1", "conv 2"]
    assert {d.recipe.task for d in second} == {load_task("digits:network=conv")}


def load_task(text: str) -> str:
    from incorruptible.tasks import canonical

    return canonical(text)


def test_names_get_what_they_do_not_say(tmp_path: Path) -> None:
    rest = '[[arms]]\nname = "sam"\nobjective = "sam"\nstrength = [0.1, 0.2]\nlr = [0.1]\n'
    assert names(load(str(declared(tmp_path, rest)))) == ["sam, strength 0.1", "sam, strength 0.2"]


def test_an_arm_says_how_it_differs_from_the_base(tmp_path: Path) -> None:
    recipe = "epochs = 3\nlr = 0.2\nprobe = { every = 0, draws = 7 }"
    rest = '[[arms]]\nname = "a"\n[[arms]]\nname = "b"\nlr = 0.1\nprobe = { every = 5 }\n'
    a, b = load(str(declared(tmp_path, rest, recipe=recipe))).arms
    assert (a.recipe.epochs, a.recipe.lr, a.recipe.probe.every, a.recipe.probe.draws) == (3, 0.2, 0, 7)
    assert (b.recipe.epochs, b.recipe.lr, b.recipe.probe.every, b.recipe.probe.draws) == (3, 0.1, 5, 7)
    assert (a.method, b.method) == ("plain", "plain")


@pytest.mark.parametrize(
    ("top", "seeds"), [("", tuple(range(8))), ("seeds = 3", (0, 1, 2)), ("seeds = [4, 2, 7]", (4, 2, 7))]
)
def test_seeds(top: str, seeds: tuple[int, ...], tmp_path: Path) -> None:
    file = declared(tmp_path, '[[arms]]\nname = "a"\n', top=top)
    assert load(str(file)).seeds == seeds
    assert load(str(file), seeds=2).seeds == (0, 1)


@pytest.mark.parametrize(("epochs", "found"), [(None, [4, 8, 1]), (8, [8, 16, 2]), (2, [2, 4, 1]), (1, [1, 2, 1])])
def test_epochs_keep_their_proportions(epochs: int | None, found: list[int], tmp_path: Path) -> None:
    rest = '[[arms]]\nname = "a"\n[[arms]]\nname = "b"\nepochs = 8\n[[arms]]\nname = "c"\nepochs = 1\n'
    study = load(str(declared(tmp_path, rest, recipe="epochs = 4")), epochs=epochs)
    assert [design.recipe.epochs for design in study.arms] == found


def test_a_study_has_a_plan_for_each_noise_and_part(tmp_path: Path) -> None:
    test = 'parts = ["test", "train"]\ndraws = 5\nbatchnorm = "folded"\n[selection]\ndraws = 3\nseed = 1\n'
    plans = load(str(declared(tmp_path, '[[arms]]\nname = "a"\n', test=test))).plans()
    assert {key: (p.part, p.purpose, p.chips, p.seed, p.batchnorm) for key, p in plans.items()} == {
        "0 test": ("test", "test", 5, 0, "folded"),
        "0 train": ("train", "test", 5, 0, "folded"),
        "0 validation": ("validation", "validation", 3, 1, "folded"),
    }


@pytest.mark.parametrize(
    ("on", "strength", "tested"),
    [
        ("multiplicative*recalibrated", 0.3, ""),
        ("multiplicative*recalibrated", 0.1, "tested are 0, 0.3"),
        ("*recalibrated", 0.1, "tested are 0$"),
        ("gaussian*", 0.1, ""),
    ],
)
def test_a_claim_may_be_about_what_one_policy_for_batchnorm_gives(
    on: str, strength: float, tested: str, tmp_path: Path
) -> None:
    both = '"gaussian-filter-max:0,0.1", "multiplicative:0,0.3"'
    text = f"""question = "Is it?"
recipe.task = "digits:network=conv"
test = {{corruptions = [{both}], batchnorm = ["as-is", "recalibrated"]}}
arms = [{{name = "a"}}, {{name = "b", momentum = 0.5}}]
claims = [{{name = "A", text = "it is", rule = "ahead", left = "a", right = "b", strengths = [{strength}], on = "{on}"}}]
"""
    (tmp_path / "mine.toml").write_text(text)
    if tested:
        with pytest.raises(UserError, match=f"{strength} is not tested; {tested}"):
            load(str(tmp_path / "mine.toml"))
    else:
        assert load(str(tmp_path / "mine.toml")).claims[0].on == (on,)


def test_a_title_is_the_question_where_there_is_none(tmp_path: Path) -> None:
    study = load(str(declared(tmp_path, '[[arms]]\nname = "a"\n')))
    assert study.title == study.question == "Is it?" and study.name == "mine"
    assert json.loads(json.dumps(study.plain()))["arms"][0]["name"] == "a"


OWN = """
import torch
from torch import nn
from incorruptible import Task

x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > x[:, 1]).long()
task = Task(lambda: nn.Linear(6, 2), test=(x, y), train=(x, y), validation=(x, y))
lacking = Task(lambda: nn.Linear(6, 2), test=(x, y))
"""


def test_a_task_beside_the_study_is_found_from_anywhere(typed: Type, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "definition_own.py").write_text(OWN)
    file = declared(tmp_path / "there", '[[arms]]\nname = "a"\n', recipe='task = "definition_own.py:task"')
    (design,) = load(str(file)).arms
    assert design.recipe.task == f"{tmp_path / 'there' / 'definition_own.py'}:task"
    said = typed("study", Path("there") / "mine.toml", "--dry-run", "--json", "--workers", 1)
    assert said.code == 0 and json.loads(said.out)["runs"] == 8
    file.write_text(file.read_text().replace(":task", ":lacking"))
    with pytest.raises(UserErrors, match=r"line 4, recipe, task: .*train"):
        load(str(file))


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(typed: Type, tmp_path: Path) -> None:
    words = ("study", SMALL, "--home", tmp_path / "home", "--dry-run", "--workers", 2, "--seeds", 3, "--epochs", 1)
    said = typed(*words)
    *arms, last = said.out.splitlines()
    study = load(str(SMALL), seeds=3, epochs=1)
    assert said.code == 0 and len(arms) == len(study.arms)
    for line, design in zip(arms, study.arms, strict=True):
        assert line.startswith(design.name) and " 3 x " in line
        assert line.endswith(f"{design.recipe.objective} at {design.recipe.strength}, {design.recipe.epochs} epochs")
    assert last.startswith("30 runs: 10 arms x 3 seeds; about ") and " with 2 workers here" in last
    found = json.loads(typed(*words, "--json").out)
    assert (list(found["arms"]), found["seeds"], found["runs"], found["workers"]) == (names(study), [0, 1, 2], 30, 2)
    assert all(seconds > 0 for seconds in found["arms"].values())
    assert found["seconds"] == pytest.approx(3 * sum(found["arms"].values()) / 2)
    assert not any(tmp_path.iterdir())


def test_the_time_is_made_of_steps_looks_and_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where whatever is timed takes 12 s: the 6 of 8 steps that follow the first two, one look, or one chip of two scores."""

    def timed(do: Callable[[], object]) -> float:
        do()
        return 12.0

    monkeypatch.setattr("incorruptible.studies.estimate._timed", timed)
    study = load(str(SMALL))
    found = estimate(study, Tasks())
    task = Tasks()("digits")
    assert len(batches(task.train, 64)) == 8
    # strength 0 needs one chip, the others 3; of two corruptions, on three parts
    chips = 3 * 12 * ((1 + 3 + 3) + (1 + 3))
    looks = dict.fromkeys(names(study), 12) | {
        "rwp 1.5": 12 * (1 + 2 + 3),  # at its peak, after each epoch, and after three early steps
        "rwp 1.5, linear": 12 * (1 + 2),
        "rwp 1.5, reversed": 12 * (1 + 2),
    }
    epochs = {name: 4 if "twice" in name else 2 for name in names(study)}
    assert found == {name: pytest.approx(12 / 6 * 8 * epochs[name] + looks[name] + chips) for name in names(study)}


def test_the_longest_runs_come_first(tmp_path: Path) -> None:
    """By hand: epochs x passes, and looks of 2 draws, of which 8 cost an epoch, three times that where tolerance is sought."""
    study = load(str(SMALL))
    folder = plan.begin(study, tmp_path, threads=1, device=None, overrides={}, tasks=Tasks())
    order = list(dict.fromkeys(names(study)[job.arm] for job in folder.jobs))
    costs = {
        "rwp 0.1, twice the epochs": 4.0,
        "sam 0.2": 4.0,
        "rwp 1.5, linear": 3.5,
        "rwp 1.5, reversed": 3.5,
        "rwp 1.5": 3.25,
    }
    assert order == [*costs, *(name for name in names(study) if name not in costs)]
    assert [job.seed for job in folder.jobs[:4]] == [0, 1, 0, 1]


# where a key stands


def test_places_of_tables_keys_and_arrays() -> None:
    text = (
        "top = 1\n"  # 1
        "[recipe]  # a comment\n"  # 2
        'task = "[not.a.table]"\n'  # 3
        "probe.every = 3\n"  # 4
        "[recipe.deep]\n"  # 5
        "x = { a = 1, b = [1, 2] }\n"  # 6
        "[[arms]]\n"  # 7
        "list = [\n"  # 8
        "    1,  # ] no end\n"  # 9
        '    "a = 2",\n'  # 10
        "]\n"  # 11
        "after = 1\n"  # 12
        "[[arms]]\n"  # 13
        'text = """\n'  # 14
        "[[arms]]\n"  # 15
        "inside = 1\n"  # 16
        '"""\n'  # 17
        "'quoted key' = 1\n"  # 18
        "[arms.probe]\n"  # 19
        "every = 1\n"  # 20
        "[[arms.more]]\n"  # 21
        "y = 1\n"  # 22
    )
    found = toml_positions(text)
    assert {
        ("top",): 1,
        ("recipe",): 2,
        ("recipe", "task"): 3,
        ("recipe", "probe", "every"): 4,
        ("recipe", "deep"): 5,
        ("recipe", "deep", "x"): 6,
        ("arms", 0): 7,
        ("arms", 0, "list"): 8,
        ("arms", 0, "after"): 12,
        ("arms", 1): 13,
        ("arms", 1, "text"): 14,
        ("arms", 1, "quoted key"): 18,
        ("arms", 1, "probe"): 19,
        ("arms", 1, "probe", "every"): 20,
        ("arms", 1, "more", 0): 21,
        ("arms", 1, "more", 0, "y"): 22,
    }.items() <= found.items()
    assert not any("inside" in path or "a" in path or 2 in path for path in found)


def test_a_place_in_words() -> None:
    found = toml_positions("[recipe]\n[[arms]]\nprobe = { every = 1 }\n")
    assert spoken(("arms", 0, "probe", "every"), found) == "line 3, arms 1, probe.every"
    assert spoken(("arms", 0, "lr"), found) == "line 2, arms 1, lr"
    assert spoken(("recipe",), found) == "line 1, recipe"
    assert spoken(("claims", 1), found) == "claims 2"


def test_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'question = "Is it?"\r\n[test]\r\ncorruptions = "uniform-absolute:0,1"\r\ndraw = 3\r\n')
    with pytest.raises(UserError, match="line 4, test, draw: "):
        load(str(path))


def test_a_study_of_a_newer_version_is_left_as_it_is(typed: Type, tmp_path: Path) -> None:
    file = declared(tmp_path, "[[arms]]\nname = 'sgd'")
    note = tmp_path / "home" / "studies" / "mine" / "study.json"
    records.write(note, {"frame": {}})
    note.write_text(before := note.read_text().replace('"format": 1', '"format": 2'))
    for verb in ("study", "worker", "status"):
        said = typed(verb, file, "--home", tmp_path / "home")
        assert said.code == 2 and "newer version" in said.err
    assert note.read_text() == before and not (tmp_path / "home" / "trained").exists()
