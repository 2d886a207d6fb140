"""What every certificate rests on, as data and in a sentence, and the checks that refuse what no
certificate states.

Keeps: whatever changes the meaning of a promise is a field of `Assumptions` or is refused. Fields
that were added later are left out of the plain data where they have their usual value, so that
earlier certificates read the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..corruptions import traits
from ..errors import UserError
from ..evaluation.sampling import Sampling
from ..evaluation.scoring import ScoreFunction
from ..tasks.scores import Score
from ..weights.arrays import Array, unwrapped

OF_THE_POPULATION = (
    "the test examples are independent draws from the population and neither trained nor tuned nor "
    "chose the network"
)


@dataclass(frozen=True)
class Assumptions:
    """What a certificate rests on: what goes wrong, where, with which chips, and on which examples.

    - `corruption` and `unit` say what goes wrong, and `strengths` are all strengths that were to be
      tested. `conditions` is what a result on a device must state: range, mapping, time and drift
      compensation.
    - `network` is a hash of the network's parameters and buffers. `arrays` names the parameters
      that go wrong, and `weights` counts their numbers. Everything else in the network is assumed
      to be exact.
    - `score`, `score_unit` and `higher_is_better` describe the score, and `examples` is the number
      of test examples.
    - `batchnorm`, `seed` and `purpose` are those of the chips, as in `Sampling`.
    - `read_once` says that reads of one chip differ and that each chip was read once.
    """

    corruption: str
    unit: str
    strengths: tuple[float, ...]
    network: str
    arrays: tuple[str, ...]
    weights: int
    score: str
    examples: int
    batchnorm: str
    seed: int
    purpose: str
    conditions: str = ""
    score_unit: str = "fraction"
    higher_is_better: bool = True
    read_once: bool = False

    def error(self, strength: float) -> str:
        """What goes wrong at a strength, as part of a sentence."""
        return f"{self.corruption} errors of strength {strength:g} ({self.unit}) in {self.parts()}"

    def parts(self) -> str:
        """Which weights go wrong, as part of a sentence."""
        arrays = (
            "the one weight array"
            if len(self.arrays) == 1
            else f"the {len(self.arrays)} weight arrays"
        )
        return f"{arrays} ({self.weights:,} weights) of network {self.network}"

    def sentence(self, *more: str) -> str:
        """All that must be true for the certificate to hold, in one sentence. `more` are further
        assumptions.
        """
        said = [
            f"each chip's errors are drawn independently from {self.corruption}"
            + (f" ({self.conditions})" if self.conditions else ""),
            f"network, accuracy and strengths were fixed without these chips (seed {self.seed}, "
            f"{self.purpose!r})",
            *(
                [
                    "each chip was read once, so that its read noise is one draw of all that it "
                    "will show"
                ]
                if self.read_once
                else []
            ),
            *more,
            f"BatchNorm {self.batchnorm}",
            "parameters outside these arrays, activations and arithmetic are exact",
        ]
        return f"It assumes: {'; '.join(said)}."

    def plain(self) -> dict[str, Any]:
        """The assumptions as plain data. Fields that concern only some scores and devices appear
        only where they differ from the usual.
        """
        usual = {"score_unit": "fraction", "higher_is_better": True, "read_once": False}
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in usual or value != usual[name]
        }


def assumptions_of(
    model: nn.Module,
    sampling: Sampling,
    arrays: Sequence[Array],
    score: ScoreFunction,
    examples: int,
) -> Assumptions:
    """The assumptions of a certificate for `model`, whose chips are those of `sampling` with errors
    in `arrays`, scored by `score` on so many `examples`.
    """
    return Assumptions(
        corruption=str(sampling.corruption),
        unit=sampling.corruption.unit,
        strengths=tuple(sorted(sampling.strengths)),
        network=_hash(model),
        arrays=tuple(array.name for array in arrays),
        weights=sum(array.value.numel() for array in arrays),
        score=str(getattr(score, "name", "score")),
        examples=examples,
        batchnorm=sampling.batchnorm,
        seed=sampling.seed,
        purpose=sampling.purpose,
        conditions=traits(sampling.corruption).conditions,
        score_unit=str(getattr(score, "unit", "fraction")),
        higher_is_better=getattr(score, "higher_is_better", True) is not False,
        read_once=traits(sampling.corruption).rereads,
    )


def _hash(model: nn.Module) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of all parameters and buffers with their
    names.
    """
    digest = hashlib.sha256()
    # Sorted, so that the order in which modules were made does not matter.
    for name, tensor in sorted(unwrapped(model).state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            # As bytes, because numpy has no bfloat16.
            digest.update(
                tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()[:12]


def refuse_unstated(sampling: Sampling) -> None:
    """Raise `UserError` for what a certificate does not state: reads with errors of their own, and
    forward passes that do not use the network's own arithmetic.
    """
    if sampling.reads > 1 or sampling.read is not None:
        raise UserError(
            "a certificate is about chips that are read once: leave reads and read out."
        )
    if sampling.autocast is not None or sampling.channels_last:
        raise UserError(
            "a certificate is about the network's own arithmetic: leave autocast and channels_last "
            "out."
        )


def refuse_unfit(score: ScoreFunction) -> None:
    """Raise `UserError` for a score that is not a fraction of which more is better."""
    refuse_undirected(score)
    assert isinstance(score, Score)
    if score.unit != "fraction" or not score.higher_is_better:
        more, end = ("more", "smallest") if score.higher_is_better else ("less", "largest")
        raise UserError(
            f"accuracy is a fraction of which more is better, and of {score.name} (in "
            f"{score.unit}) {more} is better: certify(..., threshold=X), --threshold X, takes the "
            f"{end} {score.name} that a good chip may have."
        )


def refuse_undirected(score: ScoreFunction) -> None:
    """Raise `UserError` for a score that does not say whether more or less of it is better."""
    if not isinstance(score, Score):
        name = getattr(score, "__name__", "score")
        raise UserError(
            f"a certificate needs to know whether more or less of {name!r} is better: "
            f"inc.Score({name!r}, 'fraction', True, grade) with grade(logits, labels) says that "
            "more is, and False that less is."
        )
