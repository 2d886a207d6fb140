"""A module that Lightning fits under the callback ends in the bits of the plain loop."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import incorruptible as inc
from callbacks import AUTO, EPOCHS, LEARNING, OBJECTIVES, RAMP, RANDBET, SEED, SIZE, Broken, data, loop, state
from incorruptible.errors import UserError
from incorruptible.integrations.lightning import LightningHardening
from incorruptible.objectives import parse
from test_objectives import net

lightning = pytest.importorskip("lightning.pytorch")
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{line}")
    for line in (
        "The '.*_dataloader' does not have many workers",
        "The number of training batches",
        ".*does not have a predictable|.*LeafSpec|.*treespec",
        "Checkpoint directory",
        "You're resuming from a checkpoint",
        "`training_step` returned `None`",
    )
]


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """Someone's module, which knows nothing of hardening; noise goes by the names of its arrays, `model.0.weight`."""

    def __init__(self, model: nn.Module | None = None, break_at: int = -1) -> None:
        super().__init__()
        self.model = net() if model is None else model
        self.break_at = break_at

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.model(x)
        return found

    def training_step(self, batch: Any, index: int) -> Any:
        x, y = batch
        if index == self.break_at:
            raise Broken
        loss = cross_entropy(self(x), y)
        self.log("loss", loss)
        return {"loss": loss, "index": index}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), **LEARNING)


class Validated(Module):
    """Notes the weights that a validation sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def validation_step(self, batch: Any, index: int) -> None:
        self.seen.append(state(self.model))


def loader(count: int = 5) -> Any:
    return DataLoader(TensorDataset(*data(count)), batch_size=SIZE)


def trainer(folder: Path, *callbacks: Any, **options: Any) -> Any:
    options = {"max_epochs": EPOCHS, "num_sanity_val_steps": 0, "enable_checkpointing": False, **options}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lightning.Trainer(default_root_dir=folder, callbacks=list(callbacks), **quiet, **options)


def hardening(text: str = OBJECTIVES[1], strength: Any = RAMP, **more: Any) -> LightningHardening:
    return LightningHardening(parse(text), strength, seed=SEED, **more)


def fit(folder: Path, callback: Any, module: Any = None, **options: Any) -> Any:
    module = Module() if module is None else module
    trainer(folder, *([] if callback is None else [callback]), **options).fit(module, loader())
    return module


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("text", [*OBJECTIVES, RANDBET])
def test_same_bits_as_the_plain_loop(tmp_path: Path, text: str, accumulate: int) -> None:
    """Five batches: with two or three to a step, the last one of an epoch is short."""
    callback = hardening(text)
    module = fit(tmp_path, callback, accumulate_grad_batches=accumulate, gradient_clip_val=1.0)
    expected, robust = loop(text, accumulate=accumulate, norm=1.0, short=lambda m: accumulate, model=Module())
    assert state(module) == state(expected) != state(Module())
    assert callback.robust is not None and callback.robust.state_dict() == robust.state_dict()


def test_plain_is_what_lightning_does_alone(tmp_path: Path) -> None:
    alone = fit(tmp_path, None, accumulate_grad_batches=2)
    assert state(fit(tmp_path, hardening("plain"), accumulate_grad_batches=2).model) == state(alone.model)


def test_a_module_logs_what_the_hardener_says(tmp_path: Path) -> None:
    """After the short last step of an epoch as well, as `log_dict` and as rows of a logger; bits stay."""
    callback, rows = hardening("sam"), []

    class Logged(Module):
        def on_train_batch_end(self, *_: Any) -> None:
            self.log_dict(callback.robust.metrics())
            rows.append(callback.robust.metrics())

    module = fit(tmp_path, callback, Logged(), accumulate_grad_batches=2)
    assert state(module) == state(fit(tmp_path, hardening("sam"), accumulate_grad_batches=2))
    assert len(rows) == 5 * EPOCHS and rows[0].keys() == {"strength", "skipped"}
    assert all(row.keys() == {"strength", "perturbed_loss", "clean_loss", "skipped"} for row in rows[1:])
    assert rows[-1]["strength"] == pytest.approx(RAMP(1.0)) and math.isfinite(rows[-1]["perturbed_loss"])


def test_a_controller_hears_losses_of_whole_steps(tmp_path: Path) -> None:
    callback = hardening("sam", AUTO)
    fit(tmp_path, callback, accumulate_grad_batches=2)
    _, expected = loop("sam", accumulate=2, strength=AUTO, short=lambda m: 2, model=Module())
    assert callback.robust is not None and callback.robust.state_dict() == expected.state_dict()


def test_bf16(tmp_path: Path) -> None:
    class Autocast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = net()

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                found: Tensor = self.model(x)
            return found.float()

    module = fit(tmp_path, hardening("sam"), precision="bf16-mixed")
    model, _ = loop("sam", model=Autocast())
    assert state(module.model) == state(model.model) != state(loop("sam")[0])  # type: ignore[arg-type]


def test_ddp(tmp_path: Path) -> None:
    """Of one process, which is wrapped as each of several is."""
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    callback = hardening("mixed-rwp(gaussian-filter-max):share=0.25")
    before = dict(os.environ)  # Lightning leaves rank, world size and address there, and others believe them
    try:
        options = {"strategy": "ddp", "devices": 1, "use_distributed_sampler": False}  # which would shuffle
        module = fit(tmp_path, callback, accumulate_grad_batches=2, **options)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)
    expected, _ = loop(str(callback.objective), accumulate=2, short=lambda m: 2, model=Module())
    assert callback.robust is not None and type(callback.robust.model).__name__ == "DistributedDataParallel"
    assert state(module) == state(expected)


class Watch(lightning.Callback):  # type: ignore[misc, name-defined]
    """Which weights other callbacks see."""

    def __init__(self) -> None:
        self.between: list[Any] = []
        self.losses: list[float] = []
        self.before: Any = None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        self.before = state(module.model)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        clean = {name: value for name, value in self.before.items() if name.endswith(("weight", "bias"))}
        assert {name: value for name, value in state(module.model).items() if name in clean} == clean
        self.between.append(clean)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert outputs["index"] == index
        self.losses.append(float(outputs["loss"]))


def test_others_see_clean_weights_and_the_loss_of_the_objective(tmp_path: Path) -> None:
    """Before the optimiser's step, and in a validation in the middle of an epoch: what a step left is what is seen."""
    watch, module = Watch(), Validated()
    host = trainer(tmp_path, hardening("mixed-rwp(gaussian-filter-max):share=0.25"), watch, val_check_interval=1)
    host.fit(module, loader(), loader(1))
    assert len(watch.between) == len(module.seen) == 5 * EPOCHS
    for seen, next_ in zip(module.seen[:-1], watch.between[1:], strict=True):
        assert {name: seen[name] for name in next_} == next_
    model = Module()
    robust = inc.Hardener(model, parse("mixed-rwp(gaussian-filter-max):share=0.25"), RAMP, steps=5 * EPOCHS, seed=SEED)
    x, y = (part[:SIZE] for part in data())
    loss = float(robust.backward(lambda: cross_entropy(model(x), y)))
    assert watch.losses[0] == loss and len(watch.losses) == 5 * EPOCHS


@pytest.mark.parametrize("strength", [RAMP, AUTO], ids=["ramp", "auto"])
def test_checkpoints_go_on_with_the_same_bits(tmp_path: Path, strength: Any) -> None:
    options = {"accumulate_grad_batches": 2}
    whole = fit(tmp_path, hardening("sam", strength), **options)
    half = trainer(tmp_path, hardening("sam", strength, steps=6), **{**options, "max_epochs": 1})
    half.fit(Module(), loader())
    half.save_checkpoint(tmp_path / "half.ckpt")
    module, callback = Module(), hardening("sam", strength)
    trainer(tmp_path, callback, **options).fit(module, loader(), ckpt_path=tmp_path / "half.ckpt")
    assert state(module.model) == state(whole.model)
    assert callback.robust is not None and callback.robust.step == callback.robust.steps


@pytest.mark.parametrize("text", ["rwp(gaussian-filter-max)", "sam"])
def test_an_exception_leaves_weights_as_they_were(tmp_path: Path, text: str) -> None:
    """And the trainer's loop as well."""
    module, callback = Module(break_at=2), hardening(text)
    host = trainer(tmp_path, callback, max_epochs=1)
    with pytest.raises(Broken):
        host.fit(module, loader())
    model = Module()
    optimizer = torch.optim.SGD(model.parameters(), **LEARNING)
    robust = inc.Hardener(model, parse(text), RAMP, steps=5, seed=SEED)
    x, y = data()
    for part, labels in list(zip(x.split(SIZE), y.split(SIZE), strict=True))[:2]:
        optimizer.zero_grad()
        robust.backward(lambda part=part, labels=labels: cross_entropy(model(part), labels))
        optimizer.step()
    assert state(module) == state(model)
    assert "_make_closure" not in vars(host.fit_loop.epoch_loop.automatic_optimization)


def test_a_batch_may_be_skipped(tmp_path: Path) -> None:
    """By None, which is Lightning's own way, and by a loss that is not finite."""

    class Skipping(Module):
        def training_step(self, batch: Any, index: int) -> Any:
            if index == 1:
                return None
            loss = super().training_step(batch, index)["loss"]
            return loss * math.nan if index == 3 else loss

    module, callback = Skipping(), hardening(OBJECTIVES[1])
    fit(tmp_path, callback, module, max_epochs=1)
    assert callback.robust is not None and (callback.robust.calls, callback.robust.skipped) == (4, 1)
    assert all(p.isfinite().all() for p in module.parameters()) and state(module.model) != state(net())


def test_frozen_layers_and_arrays_of_ones_own(tmp_path: Path) -> None:
    """Arrays may be given before the trainer has the module, or made when it has."""
    found = []
    for given in (
        lambda module: inc.select(module, protect=("model.0.*",)),
        None,
    ):
        module = Module()
        arrays = inc.select(module, protect=("model.0.*",)) if given is None else given
        callback = hardening(arrays=arrays)
        fit(tmp_path, callback, module)
        assert callback.robust is not None
        assert not any(array.name.startswith("model.0") for array in callback.robust.arrays)
        found.append(state(module))
    assert found[0] == found[1]


def test_fit_again_goes_on(tmp_path: Path) -> None:
    """With another length of training the strength would have to jump, and that is refused."""
    callback, module = hardening(steps=10), Module()
    host = trainer(tmp_path, callback, max_epochs=1)
    host.fit(module, loader())
    assert callback.robust is not None and callback.robust.step == 5
    host.fit_loop.max_epochs = 2
    host.fit(module, loader())
    assert callback.robust.step == callback.robust.calls == 10
    callback.steps, host.fit_loop.max_epochs = None, 3
    with pytest.raises(UserError, match="was saved with steps=10, and the Hardener has steps=15"):
        host.fit(module, loader())


def manual() -> Module:
    module = Module()
    module.automatic_optimization = False
    return module


def lbfgs() -> Module:
    module = Module()
    module.configure_optimizers = lambda: torch.optim.LBFGS(module.parameters())
    return module


@pytest.mark.parametrize(
    ("make", "options", "line"),
    [
        (manual, {}, "Module optimises manually"),
        (lbfgs, {}, "LBFGS evaluates the loss several times"),
        (Module, {"max_epochs": -1}, "announces inf steps"),
    ],
)
def test_refusals(tmp_path: Path, make: Any, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        fit(tmp_path, hardening(), make(), **options)


def test_strategies_that_cut_weights(tmp_path: Path) -> None:
    """Asked by class, as no accelerator is here for which Lightning would make one."""
    callback, host = hardening(), trainer(tmp_path)
    strategies = lightning.strategies
    for name in ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy", "SingleDeviceXLAStrategy"):
        host._accelerator_connector.strategy = object.__new__(getattr(strategies, name))
        with pytest.raises(UserError, match=f"{name} holds pieces .*strategy='ddp'"):
            callback.setup(host, Module(), "fit")
        callback.setup(host, Module(), "validate")


def test_accumulation_that_changes(tmp_path: Path) -> None:
    other = lightning.callbacks.GradientAccumulationScheduler({0: 2})
    with pytest.raises(UserError, match="accumulate_grad_batches=4"):
        trainer(tmp_path, hardening(), other).fit(Module(), loader())


def test_a_checkpoint_without_the_callback(tmp_path: Path) -> None:
    host = trainer(tmp_path, max_epochs=1)
    host.fit(Module(), loader())
    host.save_checkpoint(tmp_path / "bare.ckpt")
    with pytest.raises(UserError, match="at step 5 from a checkpoint without LightningHardening"):
        trainer(tmp_path, hardening()).fit(Module(), loader(), ckpt_path=tmp_path / "bare.ckpt")


def test_noise_from_a_bank(tmp_path: Path) -> None:
    callback = hardening(noise="banked")
    trained = fit(tmp_path, callback)
    expected, robust = loop(OBJECTIVES[1], weight=1.0, model=Module(), noise="banked")
    assert state(trained) == state(expected) != state(loop(OBJECTIVES[1], weight=1.0, model=Module())[0])
    assert callback.robust is not None and callback.robust.state_dict() == robust.state_dict()


def test_mistakes_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"No noise .bankd. here\. Did you mean .banked."):
        hardening(noise="bankd")
    with pytest.raises(UserError, match=r"objective=<class .*SAM'> is no objective"):
        LightningHardening(inc.SAM, RAMP, seed=0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="at most 1"):
        LightningHardening(parse("rwp(stuck)"), inc.Constant(2.0), seed=0)
    monkeypatch.setattr(LightningHardening, "foreign", None)
    with pytest.raises(UserError, match="pip install 'lightning'"):
        hardening()


def test_a_state_that_was_loaded_takes_the_place_of_an_earlier_training() -> None:
    """`fit` was called before with the same callback; what the checkpoint holds counts, until the next training begins."""
    callback = hardening()
    callback.robust = inc.Hardener(Module().model, callback.objective, RAMP, steps=9, seed=SEED)
    earlier, loaded = callback.state_dict(), {"calls": 4}
    assert earlier["calls"] == 0
    callback.load_state_dict(loaded)
    assert callback.state_dict() == loaded and callback.robust is None


def test_it_can_be_sent_to_another_process() -> None:
    found = pickle.loads(pickle.dumps(hardening(strength=inc.Constant(0.1))))
    assert isinstance(found, LightningHardening) and str(found.objective) == OBJECTIVES[1]


def test_the_other_package(tmp_path: Path) -> None:
    """`pytorch_lightning` is the same under another name, with classes of its own."""
    other = pytest.importorskip("pytorch_lightning")

    class Other(other.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = net()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), **LEARNING)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    module = Other()
    callbacks = [hardening("sam")]
    host = other.Trainer(
        default_root_dir=tmp_path, callbacks=callbacks, max_epochs=EPOCHS, enable_checkpointing=False, **quiet
    )
    host.fit(module, loader())
    assert state(module.model) == state(loop("sam")[0])
