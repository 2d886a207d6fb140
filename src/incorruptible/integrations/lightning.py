"""A callback that hardens a LightningModule without changes, under Lightning's automatic
optimisation.

Relies on: Lightning makes the closure of each step by the private method `_make_closure` of its
loop (lightning 2.2 to 2.6). Keeps: the module, the optimiser and the loop are as before after the
training, also after an error; weights are perturbed only while `training_step` and its backward
pass run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UserError
from ..renamed import missing
from .callback import CallbackBase, base, put_aside, sharded

_CALLBACK = base("Callback", "lightning.pytorch.callbacks", "pytorch_lightning.callbacks")
# Strategies are known by name, because the packages `lightning` and `pytorch_lightning` each have
# one of every name.
_WHOLE = {
    "SingleDeviceStrategy",
    "DDPStrategy",
}
# these derive from the strategies above, but cannot be hardened
_OTHERS = {"DeepSpeedStrategy", "SingleDeviceXLAStrategy"}


class _Skipped(Exception):
    """`training_step` returned None, by which a module skips a batch in Lightning."""


class LightningHardening(CallbackBase, _CALLBACK or object):  # type: ignore[misc]
    """Hardens the module that a `Trainer` fits. Neither the module nor the optimiser is changed.

        hardening = LightningHardening(RWP(Gaussian("filter-max")), Quadratic(0, 0.1), seed=0)
        trainer = Trainer(max_epochs=10, callbacks=[hardening])
        trainer.fit(module)

    `training_step` and its backward pass run once for each pass of the objective, instead of once,
    and log in each pass. Weights are perturbed only then: hooks, validation and checkpoints see
    clean weights. `outputs["loss"]` is the loss of the objective. The number of steps is
    `trainer.estimated_stepping_batches` unless given. A checkpoint holds all that a resumed
    training needs for the same bits. With 16-mixed, the guard against losses that are not finite is
    left to Lightning's scaler.

    Raises `UserError` under manual optimisation, for strategies other than one device and DDP, for
    optimisers that evaluate the loss several times (LBFGS), if accumulation changes during
    training, and for a checkpoint that was saved without this callback.
    """

    package, foreign = "lightning", _CALLBACK

    def __init__(self, *wanted: Any, **options: Any) -> None:
        super().__init__(*wanted, **options)
        self._loaded: dict[str, Any] | None = None
        self._wrapped = ExitStack()

    @property
    def state_key(self) -> str:
        """The name under which checkpoints hold the state of this callback."""
        return "incorruptible.Hardening"

    def state_dict(self) -> dict[str, Any]:
        """The state of the `Hardener`."""
        return self._loaded or {} if self.robust is None else self.robust.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the state until training starts and the `Hardener` is made."""
        self._loaded, self.robust = dict(state_dict), None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuses a training that cannot be hardened, before anything is set up."""
        if stage != "fit":
            return
        if not pl_module.automatic_optimization:
            raise UserError(
                f"{type(pl_module).__name__} optimises manually, so the callback has nothing to "
                "wrap: use a Hardener in its training_step, with robust.backward(lambda: loss, "
                "...) instead of self.manual_backward(loss)."
            )
        kinds = {kind.__name__ for kind in type(trainer.strategy).__mro__}
        if not kinds & _WHOLE or kinds & _OTHERS:
            raise sharded(
                type(trainer.strategy).__name__, "one device and with DDP: Trainer(strategy='ddp')"
            )
        for callback in trainer.callbacks:
            # only a GradientAccumulationScheduler has `scheduling`: epoch to number of
            # micro-batches
            if {*getattr(callback, "scheduling", {1: 1}).values()} != {1}:
                raise UserError(
                    "accumulation that changes in training is not supported: use a fixed number, "
                    "such as accumulate_grad_batches=4."
                )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Makes the `Hardener`, and makes Lightning's closures go through it."""
        if any(isinstance(one, torch.optim.LBFGS) for one in trainer.optimizers):
            raise UserError(
                "LBFGS evaluates the loss several times in one step: use another optimiser, such "
                "as torch.optim.SGD or AdamW."
            )
        state = self._loaded
        if state is None and trainer.global_step and self.robust is not None:
            state = self.robust.state_dict()  # fit was called again to continue the training
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
        """Puts Lightning's loop back as it was."""
        self._wrapped.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Puts Lightning's loop back as it was. The clean weights are back already."""
        self._wrapped.close()

    def _wrap(self, trainer: Any) -> None:
        """Makes the closures of this training go through the `Hardener`, until `_wrapped` is
        closed.
        """
        self._wrapped.close()
        loop = trainer.fit_loop.epoch_loop.automatic_optimization
        make = getattr(loop, "_make_closure", None)
        if make is None:
            raise UserError(
                "this version of lightning makes its closures in another place: pip install "
                "'lightning>=2.2,<2.7'"
            )

        def make_hardened(*given: Any) -> Any:
            closure = make(*given)
            closure.closure = self._hardened(closure, trainer)
            return closure

        self._wrapped.callback(put_aside(loop, "_make_closure", make_hardened))

    def _hardened(self, closure: Any, trainer: Any) -> Callable[..., Any]:
        """Returns a function that does what a closure of Lightning does (`training_step`,
        zero_grad, backward), with all passes of the objective.
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
