"""What the Trainer of transformers trains under the callback ends in the bits of the plain loop."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

import incorruptible as inc
from callbacks import AUTO, EPOCHS, LEARNING, OBJECTIVES, RAMP, RANDBET, SEED, SIZE, Broken, data, loop, state
from incorruptible.errors import UserError
from incorruptible.integrations.transformers import TrainerHardening
from incorruptible.objectives import parse
from test_objectives import net

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator")


class Model(nn.Module):
    """A model as the Trainer wants it: labels in, a loss and logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.model = net()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        logits: Tensor = self.model(x)
        return logits if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}


class Asking(Model):
    """As language models are: told how many items there are in all micro-batches of a step."""

    def forward(self, x: Tensor, labels: Tensor, num_items_in_batch: Any = None, **_: Any) -> Any:
        logits = self.model(x)
        found = cross_entropy(logits, labels, reduction="sum") / (num_items_in_batch or len(labels))
        return {"loss": found, "logits": logits}


class Loop(nn.Module):
    """The same arrays by the same names, for the plain loop."""

    def __init__(self) -> None:
        super().__init__()
        self.model = net()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.model(x)
        return found


class Examples(Dataset[Any]):
    def __init__(self) -> None:
        self.x, self.y = data()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "labels": self.y[index]}


class Ordered(transformers.Trainer):  # type: ignore[misc, name-defined]
    """A trainer of someone's own, here one that does not shuffle."""

    def _get_train_sampler(self, *_: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trainer(folder: Path, *callbacks: Any, model: nn.Module | None = None, kind: Any = Ordered, **options: Any) -> Any:
    options = {"num_train_epochs": EPOCHS, "save_strategy": "no", "max_grad_norm": 0.0, **options}
    fixed = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "per_device_train_batch_size": SIZE}
    args = transformers.TrainingArguments(
        str(folder), logging_strategy="no", lr_scheduler_type="constant", **fixed, **options
    )
    model = Model() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), **LEARNING)
    return kind(
        model,
        args,
        train_dataset=Examples(),
        eval_dataset=Examples(),
        callbacks=list(callbacks),
        optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)),
    )


def hardening(text: str = OBJECTIVES[1], strength: Any = RAMP, **more: Any) -> TrainerHardening:
    return TrainerHardening(parse(text), strength, seed=SEED, **more)


def fit(folder: Path, *callbacks: Any, **options: Any) -> Any:
    host = trainer(folder, *callbacks, **options)
    host.train()
    return host.model


@pytest.mark.parametrize("accumulate", [*(pytest.param(one, marks=pytest.mark.slow) for one in (1, 3)), 2])
@pytest.mark.parametrize("text", [*OBJECTIVES, RANDBET])
def test_same_bits_as_the_plain_loop(tmp_path: Path, text: str, accumulate: int) -> None:
    """Five batches: with two or three to a step the last one of an epoch is short, and its losses are divided by fewer."""
    callback = hardening(text)
    model = fit(tmp_path, callback, gradient_accumulation_steps=accumulate, max_grad_norm=1.0)
    expected, robust = loop(text, accumulate=accumulate, norm=1.0, weight=1.0, model=Loop(), scaled=True)
    assert state(model) == state(expected) != state(Loop())
    assert callback.robust is not None and callback.robust.state_dict() == robust.state_dict()


def test_plain_is_what_the_trainer_does_alone(tmp_path: Path) -> None:
    alone = fit(tmp_path, gradient_accumulation_steps=2)
    assert state(fit(tmp_path, hardening("plain"), gradient_accumulation_steps=2)) == state(alone)


def test_the_trainer_logs_what_the_hardener_says(tmp_path: Path) -> None:
    callback = hardening("sam")

    class Logging(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            host.log(callback.robust.metrics())

    host = trainer(tmp_path, callback, Logging(), gradient_accumulation_steps=2)
    host.train()
    rows = [row for row in host.state.log_history if "strength" in row]
    assert len(rows) == callback.robust.steps and rows[-1]["strength"] == pytest.approx(RAMP(1.0))
    assert all(row["skipped"] == 0.0 and math.isfinite(row["perturbed_loss"] + row["clean_loss"]) for row in rows)


@pytest.mark.parametrize("text", ["plain", "sam"])
def test_models_that_are_told_the_number_of_items(tmp_path: Path, text: str) -> None:
    """To 1e-6, for a mean of means is another sum."""
    model = fit(tmp_path, hardening(text), model=Asking(), gradient_accumulation_steps=2)
    expected, _ = loop(text, accumulate=2, weight=1.0, model=Loop())
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=1e-6)


def test_a_controller_hears_losses_of_whole_steps(tmp_path: Path) -> None:
    callback = hardening("sam", AUTO)
    fit(tmp_path, callback, gradient_accumulation_steps=2)
    _, expected = loop("sam", accumulate=2, strength=AUTO, weight=1.0, model=Loop())
    assert callback.robust is not None and callback.robust.state_dict() == expected.state_dict()


def test_bf16(tmp_path: Path) -> None:
    class Autocast(Loop):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x).float()

    class Casting(Model):
        """In float32 from the logits on, as most models compute their loss."""

        def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
            return {"loss": cross_entropy(self.model(x).float(), labels)}

    model = fit(tmp_path, hardening("sam"), model=Casting(), bf16=True)
    assert state(model) == state(loop("sam", model=Autocast())[0]) != state(loop("sam", model=Loop())[0])


class Watch(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
    """Which weights other callbacks see at every event of one step."""

    def __init__(self) -> None:
        self.stepped: list[Any] = []
        self.evaluated: list[Any] = []
        self.now: Any = None

    def on_step_begin(self, *_: Any, model: nn.Module, **__: Any) -> None:
        self.now = parameters(model)

    def on_substep_end(self, *_: Any, model: nn.Module, **__: Any) -> None:
        assert parameters(model) == self.now

    def on_pre_optimizer_step(self, *_: Any, model: nn.Module, **__: Any) -> None:
        assert parameters(model) == self.now

    def on_step_end(self, *_: Any, model: nn.Module, **__: Any) -> None:
        self.stepped.append(parameters(model))

    def on_evaluate(self, *_: Any, model: nn.Module, **__: Any) -> None:
        self.evaluated.append(parameters(model))


def parameters(model: nn.Module) -> dict[str, bytes]:
    return {name: parameter.detach().numpy().tobytes() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("text", OBJECTIVES[1:3])
def test_others_see_clean_weights(tmp_path: Path, text: str) -> None:
    """Also evaluations and checkpoints in the middle of an epoch."""
    from safetensors.torch import load_file

    watch = Watch()
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    fit(tmp_path, hardening(text), watch, gradient_accumulation_steps=2, **options)
    assert watch.stepped == watch.evaluated and len(watch.stepped) == 3 * EPOCHS
    for step, expected in enumerate(watch.stepped, start=1):
        saved = load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors")
        assert {name: saved[name].numpy().tobytes() for name in expected} == expected


@pytest.mark.parametrize("restore", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("strength", [RAMP, AUTO], ids=["ramp", "auto"])
def test_checkpoints_go_on_with_the_same_bits(tmp_path: Path, strength: Any, restore: bool) -> None:
    """Also where the Trainer makes callbacks anew from JSON: this one is left as its user made it."""
    options: dict[str, Any] = {"gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": 2}
    whole = fit(tmp_path, hardening("sam", strength), **options)
    kept = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())["stateful_callbacks"]
    assert kept["incorruptible.Hardening"]["calls"] == 8
    callback = hardening("sam", strength)
    host = trainer(tmp_path / "2", callback, restore_callback_states_from_checkpoint=restore, **options)
    host.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert state(host.model) == state(whole)
    assert callback in host.callback_handler.callbacks
    assert callback.robust is not None and callback.robust.step == callback.robust.steps == 6


class Breaking(Ordered):
    """Fails in the third batch, once."""

    count = 0

    def compute_loss(self, *given: Any, **named: Any) -> Any:
        self.count += 1
        found = super().compute_loss(*given, **named)
        if self.count == 3:
            raise Broken
        return found


def test_an_exception_leaves_weights_as_they_were_and_training_can_begin_again(tmp_path: Path) -> None:
    watch = Watch()
    host = trainer(tmp_path, hardening(), watch, kind=Breaking)
    with pytest.raises(Broken):
        host.train()
    assert parameters(host.model) == watch.stepped[-1] and len(watch.stepped) == 2
    host.model.load_state_dict(Model().state_dict())
    host.optimizer.state.clear()
    host.train()
    assert state(host.model) == state(loop(OBJECTIVES[1], model=Loop())[0])
    assert "training_step" not in vars(host) and "backward" not in vars(host.accelerator)


def test_a_loss_that_is_not_finite_is_skipped(tmp_path: Path) -> None:
    class Nan(Ordered):
        count = 0

        def compute_loss(self, *given: Any, **named: Any) -> Any:
            self.count += 1
            return super().compute_loss(*given, **named) * (math.nan if self.count == 3 else 1)

    callback = hardening()
    model = fit(tmp_path, callback, kind=Nan, max_grad_norm=1.0)
    assert callback.robust is not None and callback.robust.skipped == 1
    assert all(p.isfinite().all() for p in model.parameters())


def test_inputs_that_a_loss_takes_apart_are_there_in_the_next_pass(tmp_path: Path) -> None:
    class Popping(Ordered):
        def training_step(self, model: Any, inputs: Any, *more: Any) -> Any:
            labels = inputs.pop("labels")
            return super().training_step(model, {**inputs, "labels": labels}, *more)

    assert state(fit(tmp_path, hardening("sam"), kind=Popping)) == state(loop("sam", model=Loop())[0])


def test_steps_that_were_put_on_the_trainer_or_its_accelerator_are_asked_and_stay(tmp_path: Path) -> None:
    """As some packages do that speed a Trainer up: by an attribute of the object, and not by a class."""
    host = trainer(tmp_path, hardening("sam"))
    own, counts = (host.training_step, host.accelerator.backward), [0, 0]

    def step(*given: Any, **named: Any) -> Any:
        counts[0] += 1
        return own[0](*given, **named)

    def backward(*given: Any, **named: Any) -> Any:
        counts[1] += 1
        return own[1](*given, **named)

    host.training_step, host.accelerator.backward = step, backward
    host.train()
    assert counts == [2 * 5 * EPOCHS] * 2  # two passes in each step
    assert (host.training_step, host.accelerator.backward) == (step, backward)
    assert state(host.model) == state(loop("sam", model=Loop())[0])


def test_optimisers_that_move_weights_between_training_and_evaluation(tmp_path: Path) -> None:
    """Schedule-free ones do when the Trainer calls `optimizer.train()`, inside its step: then the weights are clean."""
    seen = []

    class Asked(torch.optim.SGD):
        def train(self) -> None:
            seen.append(parameters(host.model))

    host = trainer(tmp_path, hardening(), num_train_epochs=1)
    clean = parameters(host.model)
    host.optimizer, host.lr_scheduler = Asked(host.model.parameters(), **LEARNING), None
    host.train()
    assert seen[0] == clean and seen[1] != clean  # the second call, of the Trainer itself, moves nothing any more


def test_a_model_of_transformers(tmp_path: Path) -> None:
    """With tied weights and Conv1D; its checkpoint holds one of the tied pair."""
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    text = [{"input_ids": torch.arange(i, i + 6) % 11, "labels": torch.arange(i, i + 6) % 11} for i in range(16)]
    callback = hardening("mixed-rwp(gaussian-filter-max)", inc.Constant(0.05))
    args = transformers.TrainingArguments(
        str(tmp_path), use_cpu=True, disable_tqdm=True, report_to=[], save_strategy="no", max_steps=4, seed=0
    )
    before = parameters(model)
    transformers.Trainer(model, args, train_dataset=text, callbacks=[callback]).train()
    assert callback.robust is not None and callback.robust.step == 4
    assert any("c_attn" in array.name for array in callback.robust.arrays)
    assert parameters(model) != before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda host: setattr(host, "accelerator", SimpleNamespace(distributed_type="FSDP")), "accelerate with FSDP"),
        (lambda host: setattr(host.args, "optim", "galore_adamw_layerwise"), "steps during backward"),
        (lambda host: setattr(host.args, "optim", "lomo"), "optim=lomo steps during backward"),
    ],
)
def test_refusals(tmp_path: Path, change: Any, line: str) -> None:
    """Asked of the event alone: none of these can be set up here."""
    callback = hardening()
    host = trainer(tmp_path, callback)
    change(host)
    with pytest.raises(UserError, match=line):
        Event(host).begin()


class Event:
    """A trainer at the beginning of a training."""

    def __init__(self, host: Any) -> None:
        self.callback_handler, self.host, self.accelerator = host.callback_handler, host, host.accelerator

    def begin(self) -> None:
        self.callback_handler.on_train_begin(self.host.args, self.host.state, self.host.control)


def test_a_checkpoint_without_the_callback(tmp_path: Path) -> None:
    fit(tmp_path, save_strategy="steps", save_steps=5)
    with pytest.raises(UserError, match="at step 5 from a checkpoint without TrainerHardening"):
        trainer(tmp_path / "2", hardening()).train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))


def test_a_step_without_backward(tmp_path: Path) -> None:
    class Own(Ordered):
        def training_step(self, model: Any, inputs: Any, *more: Any) -> Any:
            loss = self.compute_loss(model, inputs)
            loss.backward()
            return loss.detach()

    with pytest.raises(UserError, match=r"Own.training_step called accelerator.backward 0 times"):
        fit(tmp_path, hardening(), kind=Own)


def test_noise_from_a_bank(tmp_path: Path) -> None:
    callback = hardening(noise="banked")
    trained = fit(tmp_path, callback)
    expected, robust = loop(OBJECTIVES[1], weight=1.0, model=Loop(), noise="banked")
    assert state(trained) == state(expected) != state(loop(OBJECTIVES[1], weight=1.0, model=Loop())[0])
    assert callback.robust is not None and callback.robust.state_dict() == robust.state_dict()


def test_mistakes_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"No noise .bankd. here\. Did you mean .banked."):
        hardening(noise="bankd")
    with pytest.raises(UserError, match="objective='sam' is no objective"):
        TrainerHardening("sam", RAMP, seed=0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="works only as a callback of a Trainer"):
        hardening().on_train_begin(None, None, None)
    monkeypatch.setattr(TrainerHardening, "foreign", None)
    with pytest.raises(UserError, match=r"pip install 'transformers\[torch\]'"):
        hardening()
