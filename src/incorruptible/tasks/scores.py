"""Scores: functions that judge a network's answers, one number for each example.

A `Score` knows its name, its unit, and whether more is better. `accuracy`, `cross_entropy` and the
other scores here serve classification; `per_token` turns them into scores for language models; a
score of the user's own is `Score(name, unit, higher_is_better, grade)`.

Relies on: a batch is a pair (inputs, labels), or a dictionary with "labels" as in transformers.
Keeps: every score gives one number for each example, [b]; an answer that is not finite is a wrong
one for `accuracy`, and as wrong as possible for `bounded_loss`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError, unknown

_Called = TypeVar("_Called", bound=Callable[..., Any])

IGNORED = -100  # the label of a token that does not count, in torch as in transformers


def each_tensor(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Returns `batch` with `change` applied to every tensor inside tuples, lists and dictionaries;
    all other members stay.
    """
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):  # a BatchEncoding of transformers is a Mapping, but no dict
        return {name: each_tensor(value, change) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return [each_tensor(value, change) for value in batch]
    return batch


def moved(batch: Any, device: torch.device) -> Any:
    """Returns `batch` with all its tensors on `device`."""
    return each_tensor(batch, lambda tensor: tensor.to(device))


def channels_last(batch: Any) -> Any:
    """Returns `batch` with every tensor of four dimensions, which are images [b, c, h, w], laid out
    so that the channels of a pixel lie next to each other.
    """
    return each_tensor(
        batch,
        lambda one: one.contiguous(memory_format=torch.channels_last) if one.dim() == 4 else one,
    )


def predict(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Returns the logits [b, classes] and the labels [b] of a batch, which is (inputs, labels) or,
    as in transformers, {"labels": ..., ...}.

    In a pair, logits may be [b, t, classes] if the labels are [b, t]: one label for each position,
    none of them shifted. Raises `UserError` for another form of batch, and for outputs of another
    shape.
    """
    positions = False
    # Language models of transformers shift the labels themselves, so positions in a dictionary must
    # not be scored as they are: `per_token` is for them.
    if isinstance(batch, Mapping):
        if "labels" not in batch:
            raise UserError(f"a batch holds {sorted(batch)}, but no 'labels'.")
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        output, labels = model(**inputs), batch["labels"]
    else:
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            came = (
                f"{len(batch)} members" if isinstance(batch, list | tuple) else type(batch).__name__
            )
            raise UserError(
                f"a batch is {came}; give (inputs, labels) or a dictionary with 'labels', or a "
                "score of your own."
            )
        inputs, labels = batch
        output, positions = model(inputs), isinstance(labels, Tensor) and labels.dim() == 2
    output = getattr(output, "logits", output)
    if (
        positions
        and isinstance(output, Tensor)
        and output.dim() == 3
        and output.shape[:2] == labels.shape
    ):
        return output, labels
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[0] != len(labels):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"the model answered {shape} to a batch of {len(labels)}; logits [b, classes] are "
            "needed, or a score of your own (scores.per_token makes one for language models of "
            "transformers)."
        )
    return output, labels


def finite_rows(outputs: Tensor, labels: Tensor | None = None) -> Tensor:
    """Whether all numbers in the answer to an example are finite: [b] for outputs [b, ...]."""
    return outputs.isfinite().flatten(1).all(1) if outputs.dim() > 1 else outputs.isfinite()


@dataclass(frozen=True)
class Score:
    """A function (model, batch) -> [b] that gives one number for each of b examples, with its name,
    its unit and its direction.

    `answer(model, batch)` returns the logits and the labels of a batch, and `grade(logits, labels)`
    judges them, so that several scores can share one forward pass. `finite(logits, labels)` tells
    for each example whether the answer to it is finite, [b]. Answers that are not finite are
    counted, and a `grade` that judges answers calls them wrong.
    """

    name: str
    unit: str
    higher_is_better: bool
    grade: Callable[[Tensor, Tensor], Tensor]
    answer: Callable[[nn.Module, Any], tuple[Tensor, Tensor]] = predict
    finite: Callable[[Tensor, Tensor], Tensor] = finite_rows

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        if isinstance(model, Tensor):
            raise UserError(
                f"{self.name} takes (model, batch); to judge logits and labels, use "
                "score.grade(logits, labels)."
            )
        return self.grade(*self.answer(model, batch))


def _by_position(grade: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns `grade` extended to logits [b, t, classes], for which it gives the mean over the t
    positions of each example.
    """

    def graded(logits: Tensor, labels: Tensor) -> Tensor:
        if logits.dim() == 2:
            return grade(logits, labels)
        return grade(logits.flatten(0, 1), labels.flatten()).view_as(labels).mean(1)

    return graded


def classes_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the labels [b] as whole numbers that are classes of `logits` [b, classes].

    Raises `UserError` if they cannot be: for a single logit for each example, for labels that are
    not whole numbers, and for labels outside the classes. Without these checks the argmax of a
    single logit would always be class 0, and a label that is shifted by one would always be wrong.
    """
    classes = logits.shape[1]
    if classes == 1:
        raise UserError(
            "the model answers one logit for each example, whose argmax is always class 0: give "
            "score=scores.binary_accuracy, which judges by the logit's sign, or a score of your "
            "own."
        )
    if labels.is_floating_point():
        whole = labels.long()
        if not bool((whole == labels).all()):
            raise UserError(
                "labels are real numbers, and classes are needed: for regression give a score of "
                "your own, inc.Score(name, unit, higher_is_better, grade), as Task(score=...) or "
                "to measure."
            )
        labels = whole
    if labels.numel():
        low, high = (int(end) for end in torch.stack(labels.aminmax()).tolist())
        if low < 0 or high >= classes:
            raise UserError(
                f"labels run from {low} to {high}, and the model has {classes} classes, which are "
                f"counted from 0 to {classes - 1}."
            )
    return labels


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    """1 for a right answer, 0 for a wrong one."""
    # the argmax of NaN is class 0, so an answer that is not finite has to be called wrong
    # explicitly
    return ((logits.argmax(1) == classes_of(logits, labels)) & finite_rows(logits)).float()


def _surprise(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each example, in nats."""
    # In training the labels are not checked, because a GPU would have to wait for the check. torch
    # raises an error of its own for labels outside the classes.
    if logits.shape[1] == 1 or not torch.is_grad_enabled():
        labels = classes_of(logits, labels)
    return F.cross_entropy(logits, labels, reduction="none")


def _bits(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each example, in bits."""
    return _surprise(logits, labels) / math.log(2)


def _doubt(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - the softmax probability of the label, which is 1 for an answer that is not finite."""
    doubt = 1 - logits.softmax(1).gather(1, classes_of(logits, labels)[:, None])[:, 0]
    return torch.where(finite_rows(logits), doubt, 1.0)


def _answer_by_one(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Returns the logit of each example [b], from an output [b] or [b, 1], and its label [b]."""
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise UserError("a score of one logit for each example needs batches (inputs, labels).")
    output = getattr(output := model(batch[0]), "logits", output)
    labels = batch[1].flatten()
    if (
        not isinstance(output, Tensor)
        or output.numel() != len(labels)
        or len(output) != len(labels)
    ):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"the model answered {shape} to a batch of {len(labels)}; one logit for each example "
            "is needed."
        )
    return output.flatten(), labels


def _binary(labels: Tensor) -> Tensor:
    """Returns the labels. Raises `UserError` unless all of them are 0 or 1."""
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise UserError(
            f"labels run from {labels.min():g} to {labels.max():g}; 0 and 1 are needed."
        )
    return labels


def _right_side(logits: Tensor, labels: Tensor) -> Tensor:
    return (((logits > 0) == (_binary(labels) == 1)) & logits.isfinite()).float()


def _binary_surprise(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(
        logits, _binary(labels).to(logits.dtype), reduction="none"
    )


accuracy = Score("accuracy", "fraction", True, _by_position(_right))
binary_accuracy = Score("accuracy", "fraction", True, _right_side, _answer_by_one)
binary_cross_entropy = Score("cross-entropy", "nats", False, _binary_surprise, _answer_by_one)
bits_per_byte = Score("code length", "bits per byte", False, _by_position(_bits))
bounded_loss = Score(
    "bounded loss", "1 - softmax probability of the label", False, _by_position(_doubt)
)
cross_entropy = Score("cross-entropy", "nats", False, _by_position(_surprise))

SCORES = {
    "accuracy": accuracy,
    "binary_accuracy": binary_accuracy,
    "binary_cross_entropy": binary_cross_entropy,
    "bits_per_byte": bits_per_byte,
    "bounded_loss": bounded_loss,
    "cross_entropy": cross_entropy,
}


def score_of(score: _Called | str, what: str = "score") -> _Called | Score:
    """Returns a score as it is, and the score of this package that a text names. `what` is the name
    of the argument in messages. Raises `UserError` for another text, and for anything that cannot
    be called.

    >>> score_of("accuracy") is accuracy
    True
    """
    if isinstance(score, str):
        if score not in SCORES:
            raise unknown(what, score, SCORES)
        return SCORES[score]
    if not callable(score):
        raise UserError(
            f"{what}={score!r} cannot be called: give a function of (model, batch), such as "
            "incorruptible.accuracy, or its name, 'accuracy'."
        )
    return score


def per_token(score: Score | str, *, causal: bool) -> Score:
    """Returns `score` for a language model of transformers and batches {"labels": [b, t], ...}: the
    mean over the tokens of each example.

    With `causal=True`, as for GPT-2, position i answers for label i + 1. With `causal=False`, as
    for BERT's masked tokens, position i answers for label i. Labels of -100 do not count. If each
    example is weighted by its number of labels that count, the mean of `per_token(cross_entropy,
    ...)` over a batch is `model(**batch).loss`. Raises `UserError` for an example in which no label
    counts, and for a function that is no `Score`.
    """
    if not isinstance(score := score_of(score), Score):
        raise UserError("per_token needs a Score, such as cross_entropy; a function has no grade.")

    def grade(logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        numbers = counted.sum(1)
        if not numbers.all():
            raise UserError(f"an example has no token to predict: all its labels are {IGNORED}.")
        # only the tokens that count are graded; their numbers go back to their places, and others
        # count 0
        each = score.grade(logits[counted], labels[counted])
        return each.new_zeros(labels.shape).masked_scatter(counted, each).sum(1) / numbers

    def finite(logits: Tensor, labels: Tensor) -> Tensor:
        """Only tokens that count are judged: the answer at padding may be anything."""
        return (logits.isfinite().all(-1) | (labels == IGNORED)).all(1)

    return replace(score, grade=grade, answer=_next_tokens if causal else _tokens, finite=finite)


def _tokens(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Returns the logits [b, t, classes] and labels [b, t], without a shift."""
    if not isinstance(batch, Mapping) or "labels" not in batch:
        raise UserError(
            "a score per token needs a dictionary with 'labels'; for batches (inputs, labels) use "
            "the score without per_token."
        )
    labels = batch["labels"]
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    if logits.dim() != 3 or logits.shape[:2] != labels.shape:
        raise UserError(
            f"the model answered {tuple(logits.shape)} to labels {tuple(labels.shape)}; logits [b, "
            "t, classes] are needed."
        )
    return logits, labels


def _next_tokens(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Returns logits [b, t - 1, classes], and the label that follows each position, [b, t - 1]."""
    logits, labels = _tokens(model, batch)
    return logits[:, :-1], labels[:, 1:]
