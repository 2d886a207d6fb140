"""Every chip at every strength: one after another here, or shared out among processes."""

from __future__ import annotations

import multiprocessing
import pickle
import traceback
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..errors import UserError
from ..weights.arrays import Array
from .chips import ProgrammedModel
from .sampling import Sampling
from .scoring import Examples, ScoreFunction, score_chip

Key = tuple[int, int, int]
ScoredChip = tuple[Key, dict[str, Examples]]


@dataclass(frozen=True, eq=False)
class ScoringJob:
    """What it takes to score a chip; the model is in eval mode. `ordered` asks for the order of the
    examples as well.
    """

    model: nn.Module
    scores: Mapping[str, ScoreFunction]
    data: Iterable[Any]
    sampling: Sampling
    arrays: Sequence[Array]
    ordered: bool = False


def work_items(sampling: Sampling, kept: Mapping[Key, Any]) -> list[list[Key]]:
    """For each chip the scorings that are not kept yet, each as (strength, chip, read) by
    number.
    """
    every = [
        [
            (place, chip, again)
            for place, at in enumerate(sampling.strengths)
            for again in range(sampling.reads)
        ]
        for chip in range(sampling.chips)
    ]
    wanted = [
        [
            key
            for key in item
            if key[1] < sampling.distinct(sampling.strengths[key[0]]) and key not in kept
        ]
        for item in every
    ]
    return [item for item in wanted if item]


def here(job: ScoringJob, work_items: Iterable[Sequence[Key]]) -> Generator[ScoredChip]:
    """Each scoring of each item, in order."""
    sampling = job.sampling
    again = sum(map(sampling.differ, sampling.strengths)) > 1  # a chip's noise comes more than once
    with ProgrammedModel(job.model, job.arrays, sampling, cache_noise=again) as programmed:
        for item in work_items:
            for place, chip, number in item:
                found = score_chip(
                    programmed,
                    job.scores,
                    job.data,
                    sampling.strengths[place],
                    chip,
                    number,
                    job.ordered,
                )
                yield (place, chip, number), found


def elsewhere(
    job: ScoringJob, work_items: Sequence[Sequence[Key]], workers: int
) -> Generator[ScoredChip]:
    """As `here`, by `workers` processes that are forked from this one, so that nothing needs to be
    pickled but numbers.

    torch's DataLoader keeps the processes and the order. Each has one thread: OpenMP's threads do
    not survive a fork, and a child that asked for two would wait for ever. Raises what was raised
    there. Raises `UserError` for a model that is not on the CPU or lies in shared memory, for data
    with workers of its own, and where processes cannot be forked.
    """
    _refuse_unshareable(job, workers)
    # The processes are held by no variable: the traceback of an error would keep them alive.
    for found in _forked(_WorkItems(job, work_items), workers):
        if isinstance(found, _Raised):
            raise found.problem
        yield from found


def _forked(work_items: Dataset[Any], workers: int) -> Iterator[Any]:
    with warnings.catch_warnings():
        # more processes than cores are the caller's wish; Python 3.12 warns of any fork beside
        # threads, and torch's do not matter to children of one thread
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        loader = DataLoader(
            work_items,
            batch_size=None,
            num_workers=workers,
            collate_fn=_as_it_is,
            multiprocessing_context="fork",
        )
        return iter(loader)


@dataclass(frozen=True)
class _Raised:
    problem: Exception


class _WorkItems(Dataset[Any]):
    def __init__(self, job: ScoringJob, work_items: Sequence[Sequence[Key]]) -> None:
        self.job, self.work_items = job, work_items

    def __len__(self) -> int:
        return len(self.work_items)

    def __getitem__(self, place: int) -> list[ScoredChip] | _Raised:
        try:
            return list(here(self.job, [self.work_items[place]]))
        except UserError as mistake:
            return _Raised(_portable(mistake))
        except Exception as problem:  # DataLoader would put its own words around both
            problem.add_note(f"in a worker process:\n{traceback.format_exc()}")
            return _Raised(_portable(problem))


def _as_it_is(found: Any) -> Any:
    return found


def _portable(problem: Exception) -> Exception:
    """The exception, or what can be told of it where it does not go from one process to another."""
    try:
        pickle.loads(pickle.dumps(problem))
    except Exception:
        if isinstance(problem, UserError):
            return UserError(str(problem))
        return RuntimeError(f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}")
    return problem


def _refuse_unshareable(job: ScoringJob, workers: int) -> None:
    elsewhere = next(
        (tensor.device for tensor in job.model.parameters() if tensor.device.type != "cpu"), None
    )
    if elsewhere is not None:
        raise UserError(
            f"workers={workers} share a processor's cores, and the model is on {elsewhere}: leave "
            "workers out, or model.cpu()."
        )
    if "fork" not in multiprocessing.get_all_start_methods():
        raise UserError(f"workers={workers}: this system cannot fork processes; leave workers out.")
    if any(array.parameter.is_shared() for array in job.arrays):  # type: ignore[no-untyped-call]
        raise UserError(
            f"workers={workers} would write their chips into the same shared memory: measure "
            "copy.deepcopy(model)."
        )
    for data in (job.data, job.sampling.calibration):
        if isinstance(data, DataLoader) and data.num_workers:
            raise UserError(
                f"workers={workers}, and the data have num_workers={data.num_workers}: processes "
                "of processes cannot be; give a DataLoader with num_workers=0."
            )
