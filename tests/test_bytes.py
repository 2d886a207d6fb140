"""Language modelling of bytes: the data, the transformer, its score, and every command on them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import incorruptible as inc
from incorruptible.errors import UserError
from incorruptible.evaluation import measure
from incorruptible.reports import study_page
from incorruptible.runs import Run, identity, train
from incorruptible.studies.evidence import best
from incorruptible.studies.folder import Folder
from incorruptible.studies.plan import Tasks, begin
from incorruptible.studies.results import arms, conclude, mean
from incorruptible.studies.spec import load as load_study
from incorruptible.studies.worker import work
from incorruptible.tasks import canonical, load
from incorruptible.tasks.data import sources as stdlib
from incorruptible.tasks.data.sources import origin, sources, windows
from incorruptible.tasks.networks import IMAGES, SEQUENCES, transformer
from incorruptible.tasks.scores import accuracy, bits_per_byte, bounded_loss, cross_entropy
from incorruptible.training.recipe import Probe, Recipe
from incorruptible.weights.arrays import select, survey
from typing_commands import Type, typing

TINY = "bytes:train=64:length=16"


class Uniform(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(*x.shape, 256)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a standard library's: every file with lines of its own, and what must be left out."""
    root = tmp_path_factory.mktemp("lib")
    for place in range(60):
        file = root / ("package" if place % 2 else "") / f"module{place}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"value_{place}_{line} = {place} + {line}\n" for line in range(240)))
    for name in ("test/test_a.py", "site-packages/b.py", "_sysconfigdata_x.py", "config-3/c.py", "data.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("left = 'out'\n" * 9)
    return root


@pytest.fixture
def here(library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stdlib, "folder", lambda: library)
    return library


@pytest.fixture
def run(here: Path, tmp_path: Path) -> Run:
    return train(Recipe(TINY, optimizer="adamw", lr=0.01, epochs=3, batch=8, probe=Probe(draws=0)), tmp_path / "runs")


@pytest.fixture
def type_(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    return typing(monkeypatch, capsys)


def test_files_are_split_by_their_names_and_nothing_else(library: Path) -> None:
    found = sources(library)
    names = [name for files in found.values() for name in files]
    assert len(names) == len(set(names)) == 60 and not any(
        "left" in text.decode() for f in found.values() for text in f.values()
    )
    assert all(found.values()) and len(found["train"]) > 36  # 8 of 10 of 60 are 48, their standard deviation 3.1
    assert {name.split("/")[-1] for name in names} == {f"module{place}.py" for place in range(60)}
    # written down, so that no version of the package moves a file into another part
    known = [stdlib._part(name) for name in ("os.py", "ast.py", "json/decoder.py", "abc.py")]
    assert known == [
        "validation",
        "train",
        "train",
        "train",
    ]


def test_the_same_files_give_the_same_bits_and_others_another_identity(here: Path) -> None:
    task = load(TINY)
    again = load(TINY)
    assert task.fingerprints == again.fingerprints and task.origin == origin(sources(here))
    assert ", 60 files, " in task.origin and "Python" in task.origin
    recipe = Recipe(TINY).resolved()
    named = identity(recipe, task)
    assert named["data"][3] == task.origin and identity(recipe, again) == named
    first = here / "module2.py"
    before = first.read_bytes()
    try:
        first.write_bytes(before + b"# one more\n")
        assert identity(recipe, load(TINY)) != named
    finally:
        first.write_bytes(before)
    assert identity(recipe, load(TINY)) == named
    assert len(identity(Recipe("digits").resolved(), load("digits"))["data"]) == 3  # as ever


@pytest.mark.slow
def test_the_standard_library_of_this_python_serves() -> None:
    found = sources()
    names = [name for files in found.values() for name in files]
    assert len(names) == len(set(names)) and "ast.py" in found["train"] and "os.py" in found["validation"]
    task = load("bytes")
    assert [len(part[0]) for part in (task.train, task.validation, task.test)] == [2048, 256, 512]
    assert task.reference is not None and 4 < task.reference / math.log(2) < 6


def test_windows_lie_within_files_and_each_byte_is_predicted_once(library: Path) -> None:
    files = sources(library)["validation"]
    text, starts = windows(files, 16, "validation")
    ends = np.cumsum([len(one) for one in files.values()])
    assert (np.searchsorted(ends, starts, side="right") == np.searchsorted(ends, starts + 16, side="right")).all()
    predicted = (np.sort(starts)[:, None] + 1 + np.arange(16)).ravel()
    assert len(np.unique(predicted)) == len(predicted) == sum((len(one) - 1) // 16 * 16 for one in files.values())
    assert text.tobytes() == b"".join(files.values())


def test_more_windows_are_the_same_and_more(here: Path) -> None:
    few, many = load(TINY), load("bytes:train=128:length=16")
    assert torch.equal(few.train[0], many.train[0][:64]) and torch.equal(few.test[1], many.test[1])
    for x, y in (few.train, few.validation, few.test):
        assert x.shape == y.shape and x.shape[1] == 16 and torch.equal(x[:, 1:], y[:, :-1])
    assert [len(part[0]) for part in (few.train, few.validation, few.test)] == [64, 256, 512]
    lines = {part: b"".join(files.values()) for part, files in sources(here).items()}
    for part in ("train", "validation", "test"):
        for window in load(TINY).part(part)[0][:40]:
            assert bytes(window.tolist()) in lines[part]


@pytest.mark.parametrize("network", SEQUENCES)
def test_a_later_byte_changes_no_earlier_answer(network: str) -> None:
    torch.manual_seed(0)
    model = SEQUENCES[network](16).eval()
    x = torch.randint(256, (3, 16))
    changed = x.clone()
    changed[:, 9] = (x[:, 9] + 1) % 256
    before, after = model(x), model(changed)
    assert before.shape == (3, 16, 256)
    torch.testing.assert_close(after[:, :9], before[:, :9], atol=0, rtol=0)
    assert all((after[:, place] != before[:, place]).any() for place in range(9, 16))
    torch.testing.assert_close(model(x[:, :5]), before[:, :5])


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    block = transformer(12).blocks[0].attention  # type: ignore[union-attr]
    theirs = nn.MultiheadAttention(64, 4, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": block.in_proj.weight,
            "in_proj_bias": block.in_proj.bias,
            "out_proj.weight": block.out_proj.weight,
            "out_proj.bias": block.out_proj.bias,
        }
    )
    x = torch.randn(2, 12, 64)
    mask = torch.ones(12, 12, dtype=torch.bool).triu(1)
    torch.testing.assert_close(block(x), theirs(x, x, x, attn_mask=mask)[0], atol=1e-5, rtol=1e-5)


def test_projections_perceptrons_and_head_sit_in_arrays() -> None:
    model = transformer()
    names = [array.name for array in select(model)]
    inner = ("attention.in_proj", "attention.out_proj", "mlp.0", "mlp.2")
    assert names == [*(f"blocks.{i}.{name}.weight" for i in range(2) for name in inner), "head.weight"]
    digital = {one.name: one.reason for one in survey(model) if one.array is None and one.parameter.dim() > 1}
    assert digital == dict.fromkeys(("symbols.weight", "positions.weight"), "Embedding stays digital")
    assert {"symbols.weight", *names} == {array.name for array in select(model, also=("symbols.*",))}
    assert set(names) == {
        *(name for name in names if "attention" in name),
        *(a.name for a in select(model, protect=("*attention*",))),
    }


def test_bits_per_byte_by_hand(here: Path) -> None:
    task = load(TINY)
    for score, uniform in ((bits_per_byte, 8.0), (cross_entropy, math.log(256)), (bounded_loss, 1 - 1 / 256)):
        torch.testing.assert_close(score(Uniform(), task.test), torch.full((512,), uniform))
    y = task.test[1][:5]
    logits = torch.randn(5, 16, 256, generator=torch.Generator().manual_seed(0))
    by_hand = [[-math.log2(logits[i, j].double().softmax(0)[y[i, j]]) for j in range(16)] for i in range(5)]
    torch.testing.assert_close(bits_per_byte.grade(logits, y), torch.tensor(by_hand).mean(1))
    right = (logits.argmax(2) == y).float().mean(1)
    torch.testing.assert_close(accuracy.grade(logits, y), right)
    assert (bits_per_byte.unit, bits_per_byte.higher_is_better) == ("bits per byte", False)
    torch.testing.assert_close(task.loss(Uniform(), task.test), torch.full((512,), math.log(256)))


def test_labels_for_positions_must_fit_and_dictionaries_are_refused() -> None:
    x = torch.zeros(4, 6, dtype=torch.long)
    with pytest.raises(UserError, match=r"answered \(4, 6, 256\) to a batch of 4"):
        bits_per_byte(Uniform(), (x, x[:, :5]))

    class Named(Uniform):
        def forward(self, input_ids: Tensor) -> Tensor:
            return super().forward(input_ids)

    with pytest.raises(UserError, match="a score of your own"):  # transformers shift such labels inside
        bits_per_byte(Named(), {"input_ids": x, "labels": x})


@pytest.mark.parametrize("objective", [inc.RWP(inc.Gaussian("filter-max")), inc.SAM()], ids=["rwp", "sam"])
def test_a_hardened_step_puts_the_weights_back(here: Path, objective: inc.RWP | inc.SAM) -> None:
    torch.manual_seed(0)
    task = load(TINY)
    model = task.model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = torch.autograd.grad(task.loss(model, task.train).mean(), [model.head.weight])[0]  # type: ignore[union-attr]
    robust = inc.Hardener(model, objective, inc.Constant(0.1), steps=1, seed=0)
    robust.backward(lambda: task.loss(model, task.train).mean())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert not torch.allclose(model.head.weight.grad, plain)  # type: ignore[union-attr,arg-type]


def test_a_short_training_learns_and_noise_costs_bits(run: Run) -> None:
    """Untrained, a network needs about 8 bits; 60 files of one kind are learnt in a few steps: at least 1.5 bits less."""
    task = run.task()
    model = run.model(task)
    fresh = float(bits_per_byte(run.start(task).eval(), task.validation).detach().mean())
    assert 7.5 < fresh < 9
    scores = measure(model, task.score, task.validation, inc.Gaussian("filter-max"), [0.0, 0.5], chips=3, seed=0)
    clean, noisy = scores.values
    assert clean[0] < fresh - 1.5
    assert (noisy > clean + 0.05).all() and list(scores.worst()) == [clean[0], noisy.max()]
    assert scores.unit == "bits per byte" and scores.n_examples == 256


def test_it_learns_more_than_the_frequencies_of_bytes(here: Path, tmp_path: Path) -> None:
    recipe = Recipe(TINY.replace("64", "512"), optimizer="adamw", lr=0.01, epochs=6, probe=Probe(draws=0))
    run = train(recipe, tmp_path)
    task = run.task()
    assert task.reference is not None
    assert float(cross_entropy(run.model(task).eval(), task.validation).detach().mean()) < task.reference - 0.3


def test_the_reference_is_the_entropy_of_single_bytes(here: Path) -> None:
    task = load(TINY)
    values, counts = np.unique(task.train[1].numpy(), return_counts=True)
    shares = counts / counts.sum()
    assert len(values) > 5 and task.reference == pytest.approx(-(shares * np.log(shares)).sum())


def test_other_files_are_not_measured_as_if_they_were_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.task().origin
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    with pytest.raises(UserError, match=f"bytes:train=64:length=16 has changed since .* --weights {run.weights}"):
        run.task()


def test_commands(run: Run, type_: Type, tmp_path: Path) -> None:
    folder, noise = str(run.folder), "gaussian-filter-max"
    measured = type_("measure", folder, "--corruption", f"{noise}:0,0.3", "--chips", "2")
    assert "code length (bits per byte; lower is better)" in measured.out
    assert "blocks.1.attention.in_proj.weight" in type_("audit", folder, "--corruption", f"{noise}:0.1").out
    mapped = type_("sensitivity", folder, "--corruption", f"{noise}:0.3", "--chips", "2", "--by", "block")
    assert "all 114,688 weights corrupted" in mapped.out
    refused = type_("certify", folder, "--corruption", f"{noise}:0.1", "--accuracy", "0.5")
    assert refused.code == 2 and "of code length (in bits per byte) less is better" in refused.err
    trained = type_("train", TINY, "--epochs", "1", "--home", str(tmp_path / "other"), "--json")
    assert json.loads(trained.out)["identity"]["data"] == run.record["identity"]["data"]


@pytest.mark.slow
def test_a_study_chooses_what_needs_fewer_bits(here: Path, tmp_path: Path) -> None:
    """Trained at strength 6 nothing is learnt, so selection by validation must take the other one."""
    study = load_study(str(Path(__file__).with_name("studies") / "bytes.toml"))
    tasks = Tasks()
    folder = begin(study, tmp_path, threads=1, device="cpu", overrides={}, tasks=tasks)
    work(folder, tasks=tasks)
    found = {arm.name: arm for arm in arms(folder)}
    few, many = (found[name].validation.mean() for name in ("rwp 0.1", "rwp 6"))
    assert few < many - 0.5 and best([found["rwp 6"], found["rwp 0.1"]], 0.2).name == "rwp 0.1"
    assert {arm.sign for arm in found.values()} == {-1} and {arm.unit for arm in found.values()} == {"bits per byte"}
    assert found["digital attention: plain"].held == "digital: *attention*" and found["plain"].held == ""
    _every_unit_is_right(folder)


def _every_unit_is_right(folder: Folder) -> None:
    """What a study in bits per byte says has no points, no accuracy and no images in it."""
    verdicts = {verdict.claim: verdict for verdict in conclude(folder, arms(folder))}
    compared = [row for verdict in verdicts.values() for row in verdict.rows if row.difference is not None]
    assert {row.unit for row in compared} == {"bits per byte"}
    assert (
        len(compared) == 2 * 5 - 1
    )  # five claims at two strengths; above .2 no training strength is up to 4 times as large
    (over,) = (row for row in verdicts["C1"].rows if row.difference is not None)
    assert re.search(r"noisy training score ahead by [+-]\d\.\d{3} \(.*\) bits per byte; ", over.note)
    assert (
        verdicts["mechanism"].word == "undecided" and "fraction of right answers" in verdicts["mechanism"].rows[0].note
    )
    # an ahead that is a fall of bits: digital attention, of networks with the same bits, needs fewer
    (last,) = (row for row in verdicts["attention"].rows if row.at == "0.2")
    pair = [mean(arm, 0.2).estimate for arm in arms(folder) if arm.name in (last.left, last.right)]
    assert last.difference is not None and last.difference.interval.estimate == pytest.approx(pair[0] - pair[1])
    said = study_page(folder, "incorruptible report bytes")
    assert "equivalent (within 0.003 or 0.02 bits per byte)" in " ".join(said.summary)
    arm, *cells, seeds = said.tables[0].rows[0]
    assert (arm, seeds) == ("plain", "2") and all(re.fullmatch(r"\d\.\d{3} ± \d\.\d{3}", str(cell)) for cell in cells)
    drawn = [chart for section in said.sections for chart in section.charts]
    assert {chart.title.rpartition(": ")[2] for chart in drawn} >= {"*attention*"}
    words = json.dumps([[one.title, one.caption, one.alt, repr(vars(one))] for one in drawn] + list(said.summary))
    assert not re.search(r"\bpoints\b|ccuracy \(|\bimages\b|%\)", words)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bytes:network=mlp", "No network 'mlp'"),
        ("bytes:train=0", "at least 1 window"),
        ("bytes:length=1", "2 to 256 bytes are possible"),
        ("bytes:length=512", "2 to 256 bytes are possible"),
        ("bytes:trian=5", "Did you mean 'train'?"),
        ("bytes:train=1000000", r"1000000 train windows of 64 bytes are needed, but .* has only \d+"),
        ("digits:network=transformer", "No network 'transformer'"),
    ],
)
def test_what_cannot_be_is_refused(here: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load(text)


def test_names_and_an_installation_without_sources(tmp_path: Path) -> None:
    assert canonical("bytes:length=64:train=100") == "bytes:train=100"
    assert not set(IMAGES) & set(SEQUENCES)
    with pytest.raises(UserError, match=r"holds no \.py files"):
        sources(tmp_path)
    with pytest.raises(UserError, match="sequences of 9 symbols: this transformer has positions for 8"):
        transformer(8)(torch.zeros(1, 9, dtype=torch.long))
