"""Every chip at every strength: one after another in this process (`here`), or shared among forked
processes (`elsewhere`).

The unit of work is one chip with all of its strengths and reads, so that its random numbers are
drawn once.

Relies on: processes can be forked, and the model lies in the CPU's memory, which a forked process
copies when it writes. Keeps: both ways give the same numbers in the same order; an exception in a
process is raised here.
"""

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
    """Everything that scoring a chip needs. The model is in eval mode; `ordered` asks for the order
    of the examples as well.
    """

    model: nn.Module
    scores: Mapping[str, ScoreFunction]
    data: Iterable[Any]
    sampling: Sampling
    arrays: Sequence[Array]
    ordered: bool = False


def work_items(sampling: Sampling, kept: Mapping[Key, Any]) -> list[list[Key]]:
    """For each chip its scorings that are not in `kept` yet, each as the indices (strength, chip,
    read). Chips with nothing left to score are left out.
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
    """Score each item in order, in this process."""
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
    """As `here`, by `workers` processes that are forked from this process, so that only numbers
    need to be pickled.

    torch's DataLoader runs the processes and keeps the order. Each process has one thread: OpenMP's
    threads do not survive a fork, and a child that asked for two would wait for ever. An exception
    in a process is raised here. Raises `UserError` for a model that is not on the CPU or lies in
    shared memory, for data with workers of its own, and where processes cannot be forked.
    """
    _refuse_unshareable(job, workers)
    # No variable holds the loader with its processes: the traceback of an error would keep it
    # alive.
    for found in _forked(_WorkItems(job, work_items), workers):
        if isinstance(found, _Raised):
            raise found.problem
        yield from found


def _forked(work_items: Dataset[Any], workers: int) -> Iterator[Any]:
    with warnings.catch_warnings():
        # The caller may want more processes than cores. Python 3.12 warns of any fork while other
        # threads run; torch's threads do not matter to children that have one thread.
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
        except Exception as problem:  # the DataLoader would wrap either in a message of its own
            problem.add_note(f"in a worker process:\n{traceback.format_exc()}")
            return _Raised(_portable(problem))


def _as_it_is(found: Any) -> Any:
    return found


def _portable(problem: Exception) -> Exception:
    """The exception; where it cannot be pickled, another exception with its text."""
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
            "workers out, or move the model by model.cpu()."
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
                f"workers={workers}, and the data have num_workers={data.num_workers}: a "
                "worker cannot start workers of its own; give a DataLoader with num_workers=0."
            )
