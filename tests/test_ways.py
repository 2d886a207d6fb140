"""How a training uses its device: accumulation, 16 bits, memory layout, compilation; and that it is never a matter of results."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as distributed
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import incorruptible as inc
from incorruptible.errors import UserError
from incorruptible.objectives import parse
from incorruptible.runs import Left, Run, train
from incorruptible.schedules import Constant
from incorruptible.tasks import Task, load
from incorruptible.training import Hardener, RankGroup, Trainer
from incorruptible.training.precision import Precision, part
from incorruptible.training.recipe import Probe, Recipe
from incorruptible.weights.arrays import Array, select
from incorruptible.weights.swap import replaced
from test_objectives import bits, grads
from typing_commands import Type, typing

RWP, SAM, MIXED = "rwp(gaussian-filter-max)", "sam", "mixed-rwp(gaussian-filter-max)"
QUIET = Probe(draws=0)
MLP = Recipe("digits", RWP, "0.2", epochs=2, batch=100, probe=QUIET)
CONV = replace(MLP, task="digits:network=conv")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")),
]


@pytest.fixture
def type_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    monkeypatch.chdir(tmp_path)
    return typing(monkeypatch, capsys)


def trained(recipe: Recipe, device: str = "cpu", task: Task | None = None) -> Trainer:
    fit = Trainer(task or load(recipe.task), recipe.resolved(), device)
    while fit.done < recipe.epochs:
        fit.epoch()
    return fit


def apart(one: nn.Module, other: nn.Module) -> float:
    """The largest difference between parameters."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


# Accumulation: a batch in parts.


def test_the_parts_make_the_batch() -> None:
    """In the order of the examples, none twice, none lost; the shares add up to 1."""
    for n in (1, 2, 5, 8):
        batch = [torch.arange(n), {"labels": torch.arange(n)}]
        for count in (1, 2, 3, 4):
            parts = [part(batch, index, count) for index in range(count)]
            assert sum(share for _, share in parts) == pytest.approx(1)
            assert torch.cat([one[1]["labels"] for one, share in parts if share]).tolist() == list(range(n))
            assert all(len(one[0]) == max(1, round(share * n)) for one, share in parts)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ([torch.zeros(4), "text"], "holds str"),
        ([torch.zeros(4), torch.tensor(1.0)], "holds a number"),
        ([torch.zeros(4), torch.zeros(3)], r"tensors of \[3, 4\] examples"),
        ([], r"tensors of \[\] examples"),
    ],
)
def test_what_cannot_be_cut_is_refused(batch: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        part(batch, 0, 2)
    assert part(batch, 0, 1) == (batch, 1.0)  # nor need it be


@pytest.mark.parametrize("device", DEVICES)
def test_plain_training_in_parts_is_plain_training(device: str) -> None:
    """Also where the batch does not divide by the parts: 500 images, 5 batches of 96 and one of 20, in 3 parts."""
    plain = replace(MLP, objective="plain", strength="0", batch=96)
    whole, parts = trained(plain, device), trained(replace(plain, accumulate=3), device)
    assert apart(whole.model, parts.model) < 1e-6
    assert bits(whole.model.parameters()) != bits(parts.model.parameters())
    assert parts.metrics[-1]["loss"] == pytest.approx(whole.metrics[-1]["loss"], rel=1e-6)
    assert parts.robust.step == whole.robust.step == parts.steps == 12


def test_each_part_draws_anew() -> None:
    """The same images in both halves: the gradient is the mean of two draws, those of a Hardener with two micro-batches."""
    task = load("digits")
    images, labels = task.train[0][:32], task.train[1][:32]
    doubled = [torch.cat([images, images]), torch.cat([labels, labels])]
    fit = Trainer(task, replace(MLP, accumulate=2).resolved())
    own = Trainer(task, MLP.resolved())
    robust = Hardener(own.model, parse(RWP), Constant(0.2), steps=fit.steps, seed=0, accumulate=2)
    seen = []
    for _ in range(2):
        own.model.zero_grad()
        robust.backward(lambda: cross_entropy(own.model(images), labels) / 2)
        seen.append(grads(own.model))
    assert bits(seen[0]) != bits(seen[1])
    fit.step(doubled)
    torch.testing.assert_close(grads(fit.model), [a + b for a, b in zip(*seen, strict=True)], rtol=0, atol=1e-6)


def test_dropout_in_parts_draws_by_name() -> None:
    """What was drawn in one part does not move what the next one draws: a second pass over the first changes nothing there."""
    x, y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    masks: list[Tensor] = []

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            masks.append(nn.functional.dropout(torch.ones(8)))
            return self.last(x)

    task = Task(Masked, test=(x, y), train=(x, y))
    seen = {}
    for text in ("plain", SAM):
        masks.clear()
        strength = "0" if text == "plain" else "0.1"
        trained(replace(MLP, objective=text, strength=strength, batch=40, accumulate=2, epochs=1), task=task)
        seen[text] = [mask.tolist() for mask in masks]
    assert len(seen["plain"]) == 2 and len(seen[SAM]) == 4
    assert seen["plain"] == [seen[SAM][0], seen[SAM][2]]
    assert seen["plain"][0] != seen["plain"][1]


def test_a_skipped_part_is_counted() -> None:
    fit = Trainer(load("digits"), replace(MLP, accumulate=2).resolved())
    images, labels = (tensor[:10] for tensor in fit.task.train)
    images = images.clone()
    images[7] = math.nan  # in the second part
    assert math.isnan(float(fit.step([images, labels])))
    assert fit.skipped == 1 and fit.robust.step == 1
    assert all(bool(p.isfinite().all()) for p in fit.model.parameters())


# 16 bits.


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("text", [RWP, SAM])
def test_bf16_is_near_fp32_and_gives_the_masters_back(text: str, device: str) -> None:
    """Weights and gradients are fp32, the passes are not, and every pass leaves the weights bit for bit."""
    task, recipe = load(CONV.task), replace(CONV, objective=text, autocast="bf16")
    fit = Trainer(task, recipe.resolved(), device)
    kinds, own = set(), fit.task.loss
    seen: list[list[int]] = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        hook = model[0].register_forward_hook(lambda module, given, out: kinds.add(out.dtype))
        seen.append(bits(fit.model.parameters()))
        found = own(model, batch)
        hook.remove()
        return found

    before = bits(fit.model.parameters())
    fit.task = replace(task, loss=loss)
    fit.precision.mean(lambda: fit.task.loss(fit.network, [t[:8].to(device) for t in task.train]))
    assert kinds == {torch.bfloat16}
    stood: list[list[int]] = []
    fit.optimizer.register_step_pre_hook(lambda *given: stood.append(bits(fit.model.parameters())))
    fit.step([t[:100] for t in task.train])
    assert stood == [before] and any(one != before for one in seen[1:])
    assert (
        {p.dtype for p in fit.model.parameters()} == {p.grad.dtype for p in fit.model.parameters()} == {torch.float32}
    )  # type: ignore[union-attr]
    half, full = trained(recipe, device), trained(replace(recipe, autocast="fp32"), device)
    assert apart(half.model, full.model) > 0
    assert half.metrics[-1]["loss"] == pytest.approx(full.metrics[-1]["loss"], rel=0.05)
    assert half.skipped == 0


@pytest.mark.parametrize("device", DEVICES)
def test_fp16_scales_and_leaves_overflows_out(device: str) -> None:
    """A scale that is too large at first: those steps change nothing, are counted, and training goes on."""
    recipe = replace(MLP, autocast="fp16", clip=1.0, accumulate=2)
    fit = Trainer(load("digits"), recipe.resolved(), device)
    fit.robust.steps = 40  # a recipe of one epoch has fewer steps than this scale has overflows
    scaler = fit.precision.scaler
    assert scaler is not None
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**40})
    images, labels = (tensor[:100] for tensor in fit.task.train)
    before, overflowed = bits(fit.model.parameters()), 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while fit.skipped == overflowed:
            fit.step([images, labels])
            overflowed += 1
            assert (bits(fit.model.parameters()) == before) == (fit.skipped == overflowed)
            assert overflowed < 40
    assert fit.skipped > 5 and fit.robust.step == overflowed
    full, half = trained(replace(recipe, autocast="fp32"), device), trained(recipe, device)
    assert half.metrics[-1]["loss"] == pytest.approx(full.metrics[-1]["loss"], rel=0.05)


def test_fp16_clips_gradients_of_their_true_size() -> None:
    """A gradient of norm .5 is not cut at 1, whatever the loss was scaled by."""
    layer = nn.Linear(1, 1, bias=False)
    precision, start = Precision("fp16", torch.device("cpu")), layer.weight.item()
    precision.hooks["backward"](0.5 * layer.weight.sum())
    assert layer.weight.grad is not None and layer.weight.grad.item() > 1000
    precision.step(torch.optim.SGD(layer.parameters(), 1.0), layer, clip=1.0)
    assert layer.weight.item() == pytest.approx(start - 0.5)


def test_fp16_goes_on_with_its_scale(tmp_path: Path) -> None:
    recipe = replace(MLP, autocast="fp16", epochs=3)
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(Left):
        train(recipe, tmp_path / "left", leave=lambda: True)
    (checkpoint,) = (tmp_path / "left").glob("*/checkpoint.pt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["scaler"]["_growth_tracker"] == 5 - state["overflows"]
    again = train(recipe, tmp_path / "left")
    assert again.weights.read_bytes() == whole.weights.read_bytes()
    before, after = (Precision("fp16", torch.device("cpu")) for _ in range(2))
    before.skipped = 3  # overflows, which are counted on
    assert before.scaler is not None and after.scaler is not None
    before.scaler.scale(torch.ones(()))
    before.scaler.update(4.0)
    after.load(before.state())
    assert (after.skipped, after.scaler.get_scale()) == (3, 4.0)


def test_the_optimiser_is_the_one_of_the_recipe() -> None:
    """What the recipe says reaches torch; the cosine ends with the last step, and a constant rate stays."""
    recipe = replace(MLP, lr=0.03, momentum=0.7, weight_decay=0.02, epochs=2)
    task = load(recipe.task)
    sgd = Trainer(task, recipe.resolved())
    assert isinstance(sgd.optimizer, torch.optim.SGD) and isinstance(
        sgd.decay, torch.optim.lr_scheduler.CosineAnnealingLR
    )
    (group,) = sgd.optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.03, 0.7, 0.02)
    assert sgd.decay.T_max == sgd.steps == sgd.robust.steps == 2 * -(-len(task.train[0]) // recipe.batch)
    adamw = Trainer(task, replace(recipe, optimizer="adamw", decay="constant").resolved())
    assert isinstance(adamw.optimizer, torch.optim.AdamW)
    (group,) = adamw.optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.03, (0.7, 0.999), 0.02)
    batch = [part[: recipe.batch] for part in task.train]
    rates = []
    for fit in (sgd, adamw):
        for _ in range(fit.steps // 2):
            fit.step(batch)
        rates.append(fit.optimizer.param_groups[0]["lr"])
    assert rates == [pytest.approx(0.03 / 2), 0.03]  # half way


def test_a_gradient_is_clipped_where_the_recipe_says() -> None:
    """Of a first step without momentum and decay, whose length is the rate times the gradient's norm."""
    recipe = replace(MLP, lr=1.0, momentum=0.0, weight_decay=0.0, objective="plain", strength="constant:0")
    lengths = []
    for clip in (None, 1e-3):
        fit = Trainer(load(recipe.task), replace(recipe, clip=clip).resolved())
        before = [parameter.detach().clone() for parameter in fit.model.parameters()]
        fit.step([part[: recipe.batch] for part in fit.task.train])
        moves = [p.detach() - old for p, old in zip(fit.model.parameters(), before, strict=True)]
        lengths.append(float(torch.cat([move.flatten() for move in moves]).norm()))
    assert lengths[0] > 0.1 and lengths[1] == pytest.approx(1e-3, rel=1e-3)


def test_means_of_sixteen_bits_are_taken_in_thirty_two() -> None:
    """A loss of one's own that stays in bf16: a mean in bf16 knows 8 bits, so that 1 + 1 / 256 would be 1."""
    each = torch.ones(256, dtype=torch.bfloat16)
    each[0] = 2
    found = Precision("bf16", torch.device("cpu")).mean(lambda: each)
    assert found.dtype == torch.float32 and float(found) == 1 + 1 / 256


def test_a_device_without_autocast_is_refused() -> None:
    from incorruptible.training.precision import Precision

    with pytest.raises(UserError, match="autocast 'bf16': torch has no autocast for meta; use fp32"):
        Precision("bf16", torch.device("meta"))


# Channels-last.


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("text", [RWP, SAM, "rwp(pcm-joshi)", "rwp(dropconnect)"])
def test_channels_last_arrays_keep_their_layout(text: str, raises: bool) -> None:
    """Bits, strides and, afterwards, addresses; and values are those of any layout."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(80, 2))
    plain = nn.Sequential(*(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(80, 2)))
    plain.load_state_dict(model.state_dict())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)

    def look(model: nn.Module) -> Tensor:
        seen[-1] += [(p.stride(), p.detach().clone()) for p in model.parameters()]
        if raises:
            raise RuntimeError
        return model(x).square().mean()

    def places() -> list[Any]:
        return [(p.stride(), p.data_ptr(), *bits([p])) for p in model.parameters()]

    before, seen = places(), []
    assert model[2].weight.stride()[1] == 1 != plain[2].weight.stride()[1]
    for one in (model, plain):
        seen.append([])
        robust = Hardener(one, parse(text), Constant(0.1), steps=3, seed=0)
        if raises:
            with pytest.raises(RuntimeError):
                robust.backward(lambda one=one: look(one))
        else:
            robust.backward(lambda one=one: look(one))
    assert places() == before
    assert [stride for stride, _ in seen[0]] == [one[0] for one in before] * (len(seen[0]) // len(before))
    tolerance = 0 if text != SAM else 1e-6  # SAM's ascent depends on gradients that another kernel computed
    torch.testing.assert_close([v for *_, v in seen[0]], [v for *_, v in seen[1]], rtol=0, atol=tolerance)


def test_a_replaced_array_is_the_same_memory() -> None:
    """What DDP's buckets, compiled graphs and CUDA graphs hold on to."""
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    (array,) = select(model)
    held, before = array.parameter.data, array.value.clone()
    with replaced([array], lambda array: Array.peak(array).expand_as(array.value)):
        assert torch.equal(held, array.reduce(torch.amax, before.abs()).expand_as(held))
    assert torch.equal(held, before) and held.stride() == before.stride() and held.data_ptr() == array.value.data_ptr()


@pytest.mark.parametrize("device", DEVICES)
def test_channels_last_trains_as_before(device: str) -> None:
    plain, last = (trained(replace(CONV, channels_last=one), device) for one in (False, True))
    (wide,) = [m for m in last.model.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 1][:1]
    assert wide.weight.is_contiguous(memory_format=torch.channels_last) and not wide.weight.is_contiguous()
    assert last.metrics[-1]["loss"] == pytest.approx(plain.metrics[-1]["loss"], rel=1e-3)
    assert apart(plain.model, last.model) < 1e-3


# torch.compile.


def test_no_compiler_is_one_line(type_: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    said = type_("train", "digits", "--epochs", 1, "--compile", "--home", tmp_path)
    assert said.code == 2 and said.err.count("\n") == 1 and "needs a C++ compiler" in said.err
    assert not list((tmp_path / "trained").glob("*/*"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("device", DEVICES)
def test_a_compiled_network_is_compiled_once(device: str) -> None:
    """Weights are swapped below it, twice a step; it sees them, and nothing is compiled again."""
    # in a process of its own: torch's compiler needs setuptools' distutils, and fails where Python's was imported first
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        difference, loss, eager, names = alone.submit(compiled_once, device).result()
    assert difference < 1e-5
    assert loss == pytest.approx(eager, rel=1e-5)
    assert names and not any("_orig_mod" in name for name in names)


def compiled_once(device: str) -> tuple[float, float, float, list[str]]:
    """How far the weights of a compiled training are from those of one that is not, the last loss of each, and the names in the
    first one's state. The last batch is as large as the others, for another size is another graph."""
    recipe = replace(MLP, objective=MIXED, epochs=3, compiled=True, noise="banked")
    fit = Trainer(load("digits"), recipe.resolved(), device)
    assert fit.network is not fit.model
    fit.step([tensor[:100] for tensor in fit.task.train])  # compiled here
    fit.robust.load_state_dict({**fit.robust.state_dict(), "calls": 0})
    fit.model.load_state_dict(Trainer(fit.task, replace(recipe, compiled=False).resolved()).model.state_dict())
    fit.optimizer.state.clear()
    fit.decay.load_state_dict({**fit.decay.state_dict(), "last_epoch": 0})
    fit.optimizer.param_groups[0]["lr"] = recipe.lr
    with torch.compiler.set_stance("fail_on_recompile"):
        for _ in range(3):
            fit.epoch()
    eager = trained(replace(recipe, compiled=False), device)
    losses = [one.metrics[-1]["loss"] for one in (fit, eager)]
    return apart(fit.model, eager.model), losses[0], losses[1], list(fit.state()["model"])


# The command line, and what is refused.


def test_the_command_line_takes_them_all(type_: Type, tmp_path: Path) -> None:
    words = ("--accumulate", 2, "--autocast", "bf16", "--channels-last", "--epochs", 1, "--objective", RWP)
    said = type_("train", "digits:network=conv", *words, "--strength", ".2", "--home", tmp_path)
    assert said.code == 0
    (folder,) = (tmp_path / "trained").iterdir()
    recipe = inc.open_run(folder).recipe
    assert (recipe.accumulate, recipe.autocast, recipe.channels_last) == (2, "bf16", True)
    assert (recipe.compiled, recipe.ranks) == (False, 1)
    assert load_file(folder / "weights.safetensors")["0.weight"].is_contiguous()
    assert type_("measure", folder, "--corruption", "gaussian-filter-max:0,.1", "--chips", 2).code == 0


def test_ranks_are_promised(type_: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As many processes as --ranks says, or one line with what to type; nothing is written."""
    command = "torchrun --nproc-per-node 2 -m incorruptible train digits"
    said = type_("train", "digits", "--ranks", 2)
    assert said.code == 2 and said.err.count("\n") == 1
    assert "without torchrun" in said.err and f"{command} --ranks 2" in said.err
    started = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "localhost"}
    for name, value in started.items():
        monkeypatch.setenv(name, str(value))
    said = type_("train", "digits")
    assert said.code == 2 and "torchrun started 2" in said.err and f"{command} --ranks 2" in said.err
    said = type_("train", "digits", "--ranks", 3)
    assert said.code == 2 and "torchrun started 2" in said.err and "--nproc-per-node 3" in said.err
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert type_("train", "digits")[:] == (2, "", "")  # the first of its machine says it
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mine", "alike"), [(5, True), (4, False), (6, False), (0, False)])
def test_two_ranks_agree_on_one_number_only(mine: int, alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other rank found 5, is asked to leave, and has losses of 3: as `all_reduce` would bring its numbers here."""

    def all_reduce(values: Tensor, how: Any) -> None:
        other = torch.tensor([5, -5] if len(values) == 2 else [1] if values.dtype == torch.int64 else [3.0])
        values.copy_(torch.maximum(values, other) if how == distributed.ReduceOp.MAX else values + other)

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    group = RankGroup(0, 2)
    assert group.alike(mine) is alike and group.any(False) is True
    own = torch.tensor([1.0])
    assert group.mean(own).tolist() == [2.0] and own.tolist() == [1.0]
    alone = RankGroup()
    assert alone.alike(mine) is True and alone.any(False) is False and alone.mean(own) is own


def test_a_fit_of_ranks_needs_its_group() -> None:
    with pytest.raises(UserError, match=r"ranks=2, and this training has 1; .* ranks=1 and accumulate=2"):
        Trainer(load("digits"), replace(MLP, ranks=2).resolved())
    with pytest.raises(UserError, match="ranks=1, and this training has 2"):
        Trainer(load("digits"), MLP.resolved(), group=RankGroup(0, 2))


@pytest.mark.parametrize(("device", "says"), [("mps", "train on cpu or cuda only"), ("cuda:0", "--device cuda")])
def test_ranks_have_devices_of_their_own(
    device: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UserError, match=says):
        train(replace(MLP, ranks=2), tmp_path, device=device)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UserError, match="has no GPU"):
        train(replace(MLP, ranks=2), tmp_path, device="cuda")


def test_a_study_refuses_ranks(tmp_path: Path) -> None:
    from incorruptible.studies.spec import load as load_study

    file = tmp_path / "s.toml"
    file.write_text(
        'question = "q"\nseeds = 2\n[recipe]\ntask = "digits"\nranks = 2\naccumulate = 2\n[[arms]]\nname = "a"\n'
        '[test]\ncorruptions = "gaussian-filter-max:0.1"\n'
    )
    with pytest.raises(UserError, match="workers are single processes"):
        load_study(str(file))
    file.write_text(file.read_text().replace("ranks = 2\n", 'precision = "bf16"\n'))
    (design,) = load_study(str(file)).arms
    assert (design.recipe.accumulate, design.recipe.autocast) == (2, "bf16")


# FSDP.


@pytest.fixture
def alone(tmp_path: Path) -> Any:
    """A process group of one."""
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # torch's own, about FSDP on the CPU
def test_sharded_weights_are_refused(alone: None, kind: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    arrays, data = select(model), (torch.randn(6, 4), torch.zeros(6, dtype=torch.long))
    mesh = init_device_mesh("cpu", (1,))
    sharded: Any = (
        fully_shard(model, mesh=mesh) if kind == 2 else FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    )
    noise = inc.Gaussian("filter-max")
    for refused in (
        lambda: Hardener(sharded, inc.RWP(noise), Constant(0.1), steps=1, seed=0),
        lambda: Hardener(sharded, inc.RWP(noise), Constant(0.1), steps=1, seed=0, arrays=arrays),
        lambda: select(sharded),
        lambda: inc.audit(sharded, noise, 0.1),
        lambda: inc.measure(sharded, inc.accuracy, data, noise, [0.1], chips=2, seed=0),
    ):
        with pytest.raises(UserError, match=r"under FSDP each rank holds shards .* DistributedDataParallel\(model\)"):
            refused()


def test_a_run_is_a_run(tmp_path: Path) -> None:
    """What decides speed decides the folder too, for it decides bits."""
    folders = {
        train(replace(MLP, epochs=1, **more), tmp_path).folder
        for more in ({}, {"accumulate": 2}, {"autocast": "bf16"}, {"channels_last": True})
    }
    assert len(folders) == 4 and all(isinstance(inc.open_run(folder), Run) for folder in folders)
