"""A callback that hardens a LightningModule as it is, under Lightning's automatic optimisation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UserError
from ..renamed import missing
from .callback import CallbackBase, base, put_aside, sharded

__all__ = ["LightningHardening"]

_CALLBACK = base("Callback", "lightning.pytorch.callbacks", "pytorch_lightning.callbacks")
# Strategies by name, because two packages have one of each.
_WHOLE = {
    "SingleDeviceStrategy",
    "DDPStrategy",
}
_OTHERS = {"DeepSpeedStrategy", "SingleDeviceXLAStrategy"}  # which derive from those


class _Skipped(Exception):
    """training_step returned None, which is Lightning's way to skip a batch."""


class LightningHardening(CallbackBase, _CALLBACK or object):  # type: ignore[misc]
    """Hardens the module that a `Trainer` fits; neither the module nor the optimiser is changed.

        trainer = Trainer(max_epochs=10, callbacks=[LightningHardening(RWP(Gaussian("filter-max")),
    Quadratic(0, 0.1), seed=0)]) trainer.fit(module)

    `training_step` and its backward pass are run once for each pass of the objective, in place of
    once; what they log is logged in each. Weights are perturbed only then: hooks, validation and
    checkpoints see clean ones. `outputs["loss"]` is the objective's. The steps are
    `trainer.estimated_stepping_batches` unless given. A checkpoint holds what a resumed training
    needs for the same bits. With 16-mixed the guard for losses that are not finite is left to
    Lightning's scaler.

    Raises `UserError` under manual optimisation, for strategies other than one device and DDP, for
    optimisers that evaluate the loss several times (LBFGS), where accumulation changes, and for a
    checkpoint that was saved without this callback.
    """

    package, foreign = "lightning", _CALLBACK

    def __init__(self, *wanted: Any, **options: Any) -> None:
        super().__init__(*wanted, **options)
        self._loaded: dict[str, Any] | None = None
        self._wrapped = ExitStack()

    @property
    def state_key(self) -> str:
        """Under which name checkpoints hold the state."""
        return "incorruptible.Hardening"

    def state_dict(self) -> dict[str, Any]:
        """That of the `Hardener`."""
        return self._loaded or {} if self.robust is None else self.robust.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until training starts."""
        self._loaded, self.robust = dict(state_dict), None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse what cannot be hardened, before anything is set up."""
        if stage != "fit":
            return
        if not pl_module.automatic_optimization:
            raise UserError(
                f"{type(pl_module).__name__} optimises manually, so the callback has nothing to "
                "wrap: Hardener in its training_step, robust.backward(lambda: loss, ...) for "
                "self.manual_backward(loss)."
            )
        kinds = {kind.__name__ for kind in type(trainer.strategy).__mro__}
        if not kinds & _WHOLE or kinds & _OTHERS:
            raise sharded(
                type(trainer.strategy).__name__, "one device and with DDP: Trainer(strategy='ddp')"
            )
        for callback in trainer.callbacks:
            # A GradientAccumulationScheduler.
            if {*getattr(callback, "scheduling", {1: 1}).values()} != {1}:
                raise UserError(
                    "accumulation that changes in training is not supported: "
                    "accumulate_grad_batches=4, say."
                )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the `Hardener`, and let Lightning's closures go through it."""
        if any(isinstance(one, torch.optim.LBFGS) for one in trainer.optimizers):
            raise UserError(
                "LBFGS evaluates the loss several times in one step: torch.optim.SGD or AdamW, say."
            )
        state = self._loaded
        if state is None and trainer.global_step and self.robust is not None:
            state = self.robust.state_dict()  # fit was called again, to go on
        if state is None and trainer.global_step:
            raise UserError(
                f"the training goes on at step {trainer.global_step} from a checkpoint without "
                "LightningHardening: begin anew from its weights, with load_from_checkpoint and "
                "no ckpt_path."
            )
        strategy = trainer.strategy
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.robust = self.hardener(
            strategy.model,
            steps=trainer.estimated_stepping_batches,
            accumulate=trainer.accumulate_grad_batches,
            backward=lambda loss: strategy.backward(loss, trainer.optimizers[0]),
            scale=None if scaler is None else scaler.get_scale,
            guard=scaler is None,
            state=state or None,
        )
        self._loaded = None
        self._wrap(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the loop as it was."""
        self._wrapped.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the loop as it was; the weights are back already."""
        self._wrapped.close()

    def _wrap(self, trainer: Any) -> None:
        self._wrapped.close()
        loop = trainer.fit_loop.epoch_loop.automatic_optimization
        make = getattr(loop, "_make_closure", None)
        if make is None:
            raise UserError(
                "this version of lightning makes its closures elsewhere: pip install "
                "'lightning>=2.2,<2.7'"
            )

        def make_hardened(*given: Any) -> Any:
            closure = make(*given)
            closure.closure = self._hardened(closure, trainer)
            return closure

        self._wrapped.callback(put_aside(loop, "_make_closure", make_hardened))

    def _hardened(self, closure: Any, trainer: Any) -> Callable[..., Any]:
        """What one closure of Lightning's does, with all passes of the objective: training_step,
        zero_grad, backward.
        """
        robust = self.robust
        assert robust is not None

        @torch.enable_grad()
        def run(*_: Any) -> Any:
            outputs: list[Any] = []

            def loss() -> Tensor:
                outputs.append(closure._step_fn())
                if outputs[-1].closure_loss is None:
                    raise _Skipped
                found: Tensor = outputs[-1].closure_loss
                return found

            if closure._zero_grad_fn is not None:
                closure._zero_grad_fn()
            try:
                mean = robust.backward(loss)
            except _Skipped:
                pass
            else:
                outputs[-1].loss = mean
            if not trainer.fit_loop._should_accumulate():
                robust.finish_step()
            return outputs[-1]

        return run


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
