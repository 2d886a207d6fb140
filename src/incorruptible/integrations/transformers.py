"""A callback that hardens what the `Trainer` of transformers trains."""

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

__all__ = ["TrainerHardening"]

_CALLBACK = base("TrainerCallback", "transformers")
_KEY = "incorruptible.Hardening"


class TrainerHardening(CallbackBase, _CALLBACK or object):  # type: ignore[misc]
    """Hardens the model of a `Trainer`, or of a class that derives from it; its `compute_loss` is
    asked as ever.

        hardening = TrainerHardening(RWP(Gaussian("filter-max")), Quadratic(0, 0.1), seed=0)
        Trainer(model, args, train_dataset=data, callbacks=[hardening]).train()

    `training_step` is run once for each pass of the objective, its `accelerator.backward` where the
    objective says. Weights are perturbed only then: other callbacks, evaluation and checkpoints see
    clean ones. The steps are `state.max_steps` unless given. What a resumed training needs for the
    same bits is in `trainer_state.json`, whatever `restore_callback_states_from_checkpoint` says.
    With fp16 the guard for losses that are not finite is left to the scaler.

    Raises `UserError` under FSDP, DeepSpeed and the like, for optimisers that step during backward
    (LOMO, layerwise ones), for a `training_step` that does not call `accelerator.backward` once,
    and for a checkpoint that was saved without this callback.
    """

    package, foreign = "transformers[torch]", _CALLBACK

    def __init__(self, *wanted: Any, **options: Any) -> None:
        super().__init__(*wanted, **options)
        self._wrapped = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Make the `Hardener`, and let the trainer's steps go through it."""
        trainer = self._trainer()
        accelerator = trainer.accelerator
        checked_accelerator(accelerator)
        optim = str(getattr(args.optim, "value", args.optim))
        if "lomo" in optim or "layerwise" in optim:
            raise UserError(
                f"optim={optim} steps during backward, when the weights are perturbed: "
                "optim='adamw_torch'."
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
            # a short last step divides by fewer than `accumulate`
            scale=lambda: (
                (1.0 if scaler is None else scaler.get_scale())
                * args.gradient_accumulation_steps
                / trainer.current_gradient_accumulation_steps
            ),
            guard=scaler is None,
            state=kept,
        )
        self._wrapped.close()  # of a training that an error ended
        hardened = self._hardened(trainer, trainer.training_step)
        self._wrapped.callback(put_aside(trainer, "training_step", hardened))
        state.stateful_callbacks[_KEY] = robust.state_dict()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep what a checkpoint is to hold."""
        if self.robust is not None:
            # not as an ExportableState, which the Trainer makes anew from JSON: objectives and
            # arrays are no JSON
            state.stateful_callbacks[_KEY] = self.robust.state_dict()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the trainer as it was."""
        self._wrapped.close()

    def _trainer(self) -> Any:
        """The trainer that is calling: an event names everything but that."""
        frame = sys._getframe(1)
        while frame is not None:
            host = frame.f_locals.get("self")
            if self in getattr(getattr(host, "callback_handler", None), "callbacks", ()):
                return host
            frame = frame.f_back  # type: ignore[assignment]
        raise UserError(
            "TrainerHardening is a callback for a Trainer of transformers: Trainer(..., "
            "callbacks=[TrainerHardening(...)])."
        )

    def _hardened(self, trainer: Any, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """A training step with all passes of the objective."""
        robust, accelerator = self.robust, trainer.accelerator
        assert robust is not None

        def training_step(model: Any, inputs: Any, *more: Any, **named: Any) -> Tensor:
            if callable(getattr(trainer.optimizer, "train", None)):
                # A schedule-free optimiser moves the weights here, so the clean weights must be in place.
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
                robust.finish_step(weight=1.0)  # its losses are divided by how many there are
            return found

        return training_step


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
