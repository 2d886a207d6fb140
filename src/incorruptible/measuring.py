"""How well a network does on many chips: paired draws, and never a mean without its n."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .arrays import Array, replaced, select
from .batchnorm import Statistics, evaluating, fold_batchnorm, recalibrate_batchnorm
from .corruptions import Corruption, checked_strengths, equivalent
from .errors import Mistake, unknown
from .scores import Score, moved, predict
from .statistics import Interval, t_interval
from .streams import Draw

__all__ = ["Scores", "measure", "measure_all"]

POLICIES = ("as-is", "folded", "recalibrated")
ScoreFunction = Score | Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True, eq=False)
class Scores:
    """What `measure` found.

    `values` [strength, draw] is the mean score of each chip; `reads` [strength, draw, read] its single reads where there
    were several; `examples` [strength, draw, example], on request, the score of each example. `equivalent` [strength] is the
    strength of gaussian-filter-max that is as large for these weights, and `peaks` the smallest and largest max|W_f|:
    under an absolute or sqrtmax scale a network gains by growing its weights, and these tell.
    """

    values: NDArray[np.float64]
    strengths: tuple[float, ...]
    corruption: str
    corruption_unit: str
    name: str
    unit: str
    higher_is_better: bool
    n_examples: int
    seed: int
    purpose: str
    batchnorm: str
    equivalent: tuple[float, ...] = ()
    peaks: tuple[float, float] = (float("nan"), float("nan"))
    read: str | None = None
    reads: NDArray[np.float64] | None = None
    examples: NDArray[np.float32] | None = None

    @property
    def draws(self) -> int:
        """How many chips."""
        return int(self.values.shape[1])

    def mean(self) -> NDArray[np.float64]:
        """[strength] Mean over chips."""
        return np.asarray(self.values.mean(1))

    def spread(self) -> NDArray[np.float64]:
        """[strength] Standard deviation over chips (n - 1); nan for one chip."""
        return self.values.std(1, ddof=1) if self.draws > 1 else np.full(len(self.values), np.nan)

    def interval(self, level: float = 0.95) -> list[Interval]:
        """For each strength, Student's interval of the mean over all chips, on these examples; nan for one chip."""
        if self.draws < 2 or not np.isfinite(self.values).all():
            return [Interval(float("nan"), float(mean), float("nan")) for mean in self.mean()]
        return [t_interval(row, level) for row in self.values]

    def quantile(self, share: float) -> NDArray[np.float64]:
        """[strength] The score that a `share` of these chips does not exceed."""
        return np.asarray(np.quantile(self.values, share, axis=1))

    def worst(self) -> NDArray[np.float64]:
        """[strength] The worst chip, in the score's own direction."""
        return np.asarray(self.values.min(1) if self.higher_is_better else self.values.max(1))

    def rows(self, level: float = 0.95) -> list[dict[str, float]]:
        """One plain row for each strength: what the table prints and `--json` gives."""
        columns = zip(
            self.strengths,
            self.equivalent or [float("nan")] * len(self.strengths),
            self.interval(level),
            self.spread(),
            self.quantile(0.05),
            self.quantile(0.5),
            self.worst(),
            strict=True,
        )
        return [
            {
                "strength": strength,
                "equivalent": equal,
                "mean": float(interval.estimate),
                "low": float(interval.low),
                "high": float(interval.high),
                "sd": float(spread),
                "q05": float(q05),
                "median": float(median),
                "worst": float(worst),
            }
            for strength, equal, interval, spread, q05, median, worst in columns
        ]

    def header(self) -> str:
        """What was measured, in one line."""
        reads = f" x {self.reads.shape[2]} reads ({self.read})" if self.reads is not None else ""
        direction = "higher is better" if self.higher_is_better else "lower is better"
        return (
            f"{self.name} ({self.unit}; {direction}) under {self.corruption} [{self.corruption_unit}]; {self.draws} chips{reads}, "
            f"{self.n_examples} examples, seed {self.seed} ({self.purpose}), BatchNorm {self.batchnorm}"
        )

    def __str__(self) -> str:
        titles = ("strength", "filter-max", "mean", "95% interval", "sd", "5%", "median", "worst")
        lines = [self.header(), "  ".join(f"{t:>{w}}" for t, w in zip(titles, _WIDTHS, strict=True))]
        missing = "not finite" if self.draws > 1 else "needs 2 chips"
        for row in self.rows():
            cells = (
                f"{row['strength']:g}",
                f"{row['equivalent']:.4g}",
                f"{row['mean']:.4f}",
                f"{row['low']:.4f} to {row['high']:.4f}" if row["low"] == row["low"] else missing,
                f"{row['sd']:.4f}" if row["sd"] == row["sd"] else "-",
                *(f"{row[key]:.4f}" for key in ("q05", "median", "worst")),
            )
            lines.append("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)))
        lines.append(
            "interval: Student's, of the mean over chips, on these examples; 5%, median, worst: of these chips"
        )
        return "\n".join(lines)

    __repr__ = __str__


_WIDTHS = (8, 10, 7, 17, 7, 7, 7, 7)


def measure(
    model: nn.Module,
    score: ScoreFunction,
    data: Iterable[Any],
    corruption: Corruption,
    strengths: Sequence[float],
    *,
    draws: int,
    seed: int,
    purpose: str = "test",
    reads: int = 1,
    read: tuple[Corruption, float] | None = None,
    arrays: Sequence[Array] | None = None,
    batchnorm: str = "as-is",
    calibration: Iterable[Any] | None = None,
    keep_examples: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """The score of `model` on `draws` chips at each strength.

    `score(model, batch)` gives one number for each example, [b]; `data` is iterated once for each chip and strength, so
    it must start anew each time (a list or a DataLoader that does not shuffle, not a generator). Batches are moved to the
    model's device. Draw k is the same chip at every strength, and in every model whose arrays have the same names; chips
    of different `purpose` are different. At strength 0 all chips are the same, and one is measured.

    With `read=(corruption, strength)` each chip is read `reads` times, and each read adds an error of its own on top of
    the chip's. `batchnorm` is "as-is", "folded" (into the convolution before the noise is drawn) or "recalibrated"
    (running statistics computed anew on every chip from the inputs in `calibration`). Restores weights, statistics
    and modes, also after an error. Raises `Mistake` for data that is empty or cannot be iterated twice, a score of the
    wrong shape, draws or reads below 1, a negative strength, and a policy that does not fit the model.
    """
    one = measure_all(
        model,
        {"": score},
        data,
        corruption,
        strengths,
        draws=draws,
        seed=seed,
        purpose=purpose,
        reads=reads,
        read=read,
        arrays=arrays,
        batchnorm=batchnorm,
        calibration=calibration,
        keep_examples=keep_examples,
        progress=progress,
    )
    return one[""]


def measure_all(
    model: nn.Module,
    scores: Mapping[str, ScoreFunction],
    data: Iterable[Any],
    corruption: Corruption,
    strengths: Sequence[float],
    *,
    draws: int,
    seed: int,
    purpose: str = "test",
    reads: int = 1,
    read: tuple[Corruption, float] | None = None,
    arrays: Sequence[Array] | None = None,
    batchnorm: str = "as-is",
    calibration: Iterable[Any] | None = None,
    keep_examples: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Scores]:
    """Several scores on the same chips at once; otherwise as `measure`."""
    strengths = checked_strengths(strengths)
    if draws < 1 or reads < 1:
        raise Mistake(f"draws={draws} and reads={reads}: both are at least 1.")
    if reads > 1 and read is None:
        raise Mistake(
            f"reads={reads}: every read of a chip would be the same; say what a read adds: read=(corruption, strength)."
        )
    if batchnorm not in POLICIES:
        raise unknown("BatchNorm policy", batchnorm, POLICIES)
    if (batchnorm == "recalibrated") != (calibration is not None):
        raise Mistake(
            "batchnorm='recalibrated' and calibration=batches go together: the inputs to compute the statistics from."
        )
    for name, what in (("data", data), ("calibration", calibration)):
        if isinstance(what, Iterator):
            raise Mistake(
                f"{name} is a {type(what).__name__}, which can be iterated only once; give a list or a DataLoader."
            )
    if batchnorm == "folded":
        if arrays is not None:
            raise Mistake(
                "batchnorm='folded' measures a folded copy of the model: select the arrays of fold_batchnorm(model) instead."
            )
        model = fold_batchnorm(model)
    arrays = select(model) if arrays is None else arrays
    device = arrays[0].value.device
    equals = tuple(equivalent(corruption, strength, arrays).strength for strength in strengths)
    largest = [array.peak() for array in arrays]
    peaks = min(float(one.min()) for one in largest), max(float(one.max()) for one in largest)
    found: dict[str, list[list[list[NDArray[np.float32]]]]] = {name: [] for name in scores}
    total = sum(draws * reads if strength or read else 1 for strength in strengths)
    done = 0
    statistics = Statistics(model)
    before = statistics.take()
    with evaluating(model), _keeping(statistics, before):
        for strength in strengths:
            chips: dict[str, list[list[NDArray[np.float32]]]] = {name: [] for name in scores}
            for draw in range(draws if strength or read else 1):
                lines: dict[str, list[NDArray[np.float32]]] = {name: [] for name in scores}
                for again in range(reads):
                    with _chip(arrays, corruption, strength, read, Draw(seed, purpose, draw), again, reads):
                        if calibration is not None:
                            recalibrate_batchnorm(model, _moved(calibration, device), _forward)
                        for name, values in _scored(model, scores, data, device).items():
                            lines[name].append(values)
                    done += 1
                    if progress is not None:
                        progress(done, total)
                for name in scores:
                    chips[name].append(lines[name])
            for name in scores:
                found[name].append(chips[name] * (draws if len(chips[name]) < draws else 1))
    results = {}
    for name, score in scores.items():
        try:
            examples = np.array(found[name], dtype=np.float32)  # [strength, draw, read, example]
        except ValueError:
            raise Mistake(
                "data gave another number of examples the second time; it must be the same each time."
            ) from None
        each = examples.mean(3, dtype=np.float64)
        results[name] = Scores(
            values=each.mean(2),
            strengths=strengths,
            corruption=str(corruption),
            corruption_unit=corruption.unit,
            name=str(getattr(score, "name", None) or getattr(score, "__name__", "score")),
            unit=getattr(score, "unit", "mean over examples"),
            higher_is_better=getattr(score, "higher_is_better", True),
            n_examples=examples.shape[3],
            seed=seed,
            purpose=purpose,
            batchnorm=batchnorm,
            equivalent=equals,
            peaks=peaks,
            read=None if read is None else f"{read[0]}:{read[1]:g}",
            reads=each if reads > 1 else None,
            examples=examples.mean(2) if keep_examples else None,
        )
    return results


@contextmanager
def _keeping(statistics: Statistics, before: list[Tensor]) -> Iterator[None]:
    try:
        yield
    finally:
        statistics.put(before)


@contextmanager
def _chip(
    arrays: Sequence[Array],
    corruption: Corruption,
    strength: float,
    read: tuple[Corruption, float] | None,
    draw: Draw,
    again: int,
    reads: int,
) -> Iterator[None]:
    with replaced(arrays, lambda array: corruption(array, strength, draw.of(array.name))):
        if read is None:
            yield
            return
        adding, size = read
        fresh = Draw(draw.seed, f"{draw.purpose}, read", draw.index * reads + again)
        with replaced(arrays, lambda array: adding(array, size, fresh.of(array.name))):
            yield


def _moved(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    return (moved(batch, device) for batch in batches)


def _forward(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**{name: value for name, value in batch.items() if name != "labels"})
    return model(batch[0] if isinstance(batch, list) else batch)


def _scored(
    model: nn.Module, scores: Mapping[str, ScoreFunction], data: Iterable[Any], device: torch.device
) -> dict[str, NDArray[np.float32]]:
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in scores}
    with torch.inference_mode():
        for batch in _moved(data, device):
            answer = predict(model, batch) if all(isinstance(score, Score) for score in scores.values()) else None
            for name, score in scores.items():
                shared = isinstance(score, Score) and answer is not None
                values = score.grade(*answer) if shared else score(model, batch)  # type: ignore[union-attr,misc]
                parts[name].append(_checked(values, batch))
    if not next(iter(parts.values())):
        raise Mistake("data is empty: no batch came.")
    return {name: np.concatenate(values) for name, values in parts.items()}


def _checked(values: Any, batch: Any) -> NDArray[np.float32]:
    size = _size(batch)
    if not isinstance(values, Tensor) or values.dim() != 1 or (size is not None and len(values) != size):
        came = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise Mistake(
            f"the score returned {came} for a batch of {size}; one number for each example, shape ({size},), is needed."
        )
    return values.float().cpu().numpy()


def _size(batch: Any) -> int | None:
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    members = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list) else ()
    return next((len(m) for m in members if isinstance(m, Tensor) and m.dim()), None)
