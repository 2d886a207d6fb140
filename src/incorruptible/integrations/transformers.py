"""A callback that hardens the model that the `Trainer` of transformers trains.

Relies on: `Trainer.training_step` calls `accelerator.backward` exactly once. Keeps: the trainer's
methods are as before after a training; every checkpoint holds the state after its last step;
weights are perturbed only during `training_step`.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import UserError
from ..renamed import missing
from .accelerate import checked_accelerator
from .callback import CallbackBase, base, put_aside

_CALLBACK = base("TrainerCallback", "transformers")
_KEY = "incorruptible.Hardening"


class TrainerHardening(CallbackBase, _CALLBACK or object):  # type: ignore[misc]
    """Hardens the model of a `Trainer`, or of a class that derives from it. Its `compute_loss` is
    called as usual.

        hardening = TrainerHardening(RWP(Gaussian("filter-max")), Quadratic(0, 0.1), seed=0)
        Trainer(model, args, train_dataset=data, callbacks=[hardening]).train()

    `training_step` runs once for each pass of the objective. Weights are perturbed only then: other
    callbacks, evaluation and checkpoints see clean weights. The number of steps is
    `state.max_steps` unless given. All that a resumed training needs for the same bits is in
    `trainer_state.json`, whatever `restore_callback_states_from_checkpoint` says. With fp16 the
    guard against losses that are not finite is left to the scaler.

    Raises `UserError` under FSDP, DeepSpeed and the like, for optimisers that step during backward
    (LOMO, layerwise ones), for a `training_step` that does not call `accelerator.backward` once,
    and for a checkpoint that was saved without this callback.
    """

    package, foreign = "transformers[torch]", _CALLBACK

    def __init__(self, *wanted: Any, **options: Any) -> None:
        super().__init__(*wanted, **options)
        self._wrapped = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Makes the `Hardener`, and makes the trainer's steps go through it."""
        trainer = self._trainer()
        accelerator = trainer.accelerator
        checked_accelerator(accelerator)
        optim = str(getattr(args.optim, "value", args.optim))
        if "lomo" in optim or "layerwise" in optim:
            raise UserError(
                f"optim={optim} steps during backward, when the weights are perturbed: use "
                "another, such as optim='adamw_torch'."
            )
        kept = state.stateful_callbacks.get(_KEY) if state.global_step else None
        if state.global_step and kept is None:
            raise UserError(
                f"the training goes on at step {state.global_step} from a checkpoint without "
                "TrainerHardening: begin anew from its weights, with from_pretrained and no "
                "resume_from_checkpoint."
            )
        scaler = accelerator.scaler
        self.robust = robust = self.hardener(
            trainer.model_wrapped,
            steps=state.max_steps,
            accumulate=args.gradient_accumulation_steps,
            backward=lambda loss: accelerator.backward(loss),
            # the last step of an epoch may have fewer micro-batches, and its losses are divided by
            # their number
            scale=lambda: (
                (1.0 if scaler is None else scaler.get_scale())
                * args.gradient_accumulation_steps
                / trainer.current_gradient_accumulation_steps
            ),
            guard=scaler is None,
            state=kept,
        )
        self._wrapped.close()  # undoes the changes of a training that an error ended
        hardened = self._hardened(trainer, trainer.training_step)
        self._wrapped.callback(put_aside(trainer, "training_step", hardened))
        state.stateful_callbacks[_KEY] = robust.state_dict()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Notes the state that a checkpoint is to hold."""
        if self.robust is not None:
            # An ExportableState is no way to keep the state: the Trainer would make the callback
            # anew from JSON, and objectives and arrays cannot be written as JSON.
            state.stateful_callbacks[_KEY] = self.robust.state_dict()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Puts the trainer's methods back as they were."""
        self._wrapped.close()

    def _trainer(self) -> Any:
        """The trainer that is calling. The Trainer passes everything to a callback except itself,
        so it is looked up among the frames of the callers.
        """
        frame = sys._getframe(1)
        while frame is not None:
            host = frame.f_locals.get("self")
            if self in getattr(getattr(host, "callback_handler", None), "callbacks", ()):
                return host
            frame = frame.f_back  # type: ignore[assignment]
        raise UserError(
            "TrainerHardening works only as a callback of a Trainer of transformers: Trainer(..., "
            "callbacks=[TrainerHardening(...)])."
        )

    def _hardened(self, trainer: Any, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Returns a training step with all passes of the objective."""
        robust, accelerator = self.robust, trainer.accelerator
        assert robust is not None

        def training_step(model: Any, inputs: Any, *more: Any, **named: Any) -> Tensor:
            if callable(getattr(trainer.optimizer, "train", None)):
                # A schedule-free optimiser moves the weights here, so this must happen while the
                # clean weights are in place.
                trainer.optimizer.train()

            def loss() -> Tensor:
                caught: list[Tensor] = []
                with ExitStack() as stack:
                    stack.callback(
                        put_aside(accelerator, "backward", lambda loss, **_: caught.append(loss))
                    )
                    original(model, copy.copy(inputs), *more, **named)
                if len(caught) != 1:
                    raise UserError(
                        f"{type(trainer).__name__}.training_step called accelerator.backward "
                        f"{len(caught)} times; once is needed."
                    )
                return caught[0]

            found = robust.backward(loss)
            if accelerator.sync_gradients:
                # the Trainer has divided each loss by the number of micro-batches
                robust.finish_step(weight=1.0)
            return found

        return training_step


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
