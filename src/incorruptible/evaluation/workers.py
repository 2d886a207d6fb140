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

from ..errors import Mistake
from ..weights.arrays import Array
from .chips import Chips, Socket
from .scoring import Examples, ScoreFunction, read

__all__ = ["Bench", "Key", "elsewhere", "here", "turns"]

Key = tuple[int, int, int]
Reading = tuple[Key, dict[str, Examples]]


@dataclass(frozen=True, eq=False)
class Bench:
    """What it takes to read a chip; the model is in eval mode."""

    model: nn.Module
    scores: Mapping[str, ScoreFunction]
    data: Iterable[Any]
    chips: Chips
    arrays: Sequence[Array]


def turns(chips: Chips, kept: Mapping[Key, Any]) -> list[list[Key]]:
    """For each chip its readings, (strength, chip, read) by number, that are not kept yet."""
    every = [
        [(place, chip, again) for place, at in enumerate(chips.strengths) for again in range(chips.reads)]
        for chip in range(chips.draws)
    ]
    wanted = [
        [key for key in turn if key[1] < chips.distinct(chips.strengths[key[0]]) and key not in kept] for turn in every
    ]
    return [turn for turn in wanted if turn]


def here(bench: Bench, turns: Iterable[Sequence[Key]]) -> Generator[Reading]:
    """Each reading of each turn, in order."""
    chips = bench.chips
    again = sum(map(chips.differ, chips.strengths)) > 1  # a chip's noise comes more than once
    with Socket(bench.model, bench.arrays, chips, remember=again) as socket:
        for turn in turns:
            for place, chip, number in turn:
                found = read(socket, bench.scores, bench.data, chips.strengths[place], chip, number)
                yield (place, chip, number), found


def elsewhere(bench: Bench, turns: Sequence[Sequence[Key]], workers: int) -> Generator[Reading]:
    """As `here`, by `workers` processes that are forked from this one, so that nothing needs to be pickled but numbers.

    torch's DataLoader keeps the processes and the order. Each has one thread: OpenMP's threads do not survive a fork, and a
    child that asked for two would wait for ever. Raises what was raised there. Raises `Mistake` for a model that is not on
    the CPU or lies in shared memory, for data with workers of its own, and where processes cannot be forked.
    """
    _refuse_unshareable(bench, workers)
    for found in _forked(
        _Turns(bench, turns), workers
    ):  # in no variable: an error's traceback would keep the processes
        if isinstance(found, _Raised):
            raise found.problem
        yield from found


def _forked(turns: Dataset[Any], workers: int) -> Iterator[Any]:
    with warnings.catch_warnings():
        # more processes than cores are the caller's wish; Python 3.12 warns of any fork beside threads, and torch's do not
        # matter to children of one thread
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        loader = DataLoader(
            turns, batch_size=None, num_workers=workers, collate_fn=_as_it_is, multiprocessing_context="fork"
        )
        return iter(loader)


@dataclass(frozen=True)
class _Raised:
    problem: Exception


class _Turns(Dataset[Any]):
    def __init__(self, bench: Bench, turns: Sequence[Sequence[Key]]) -> None:
        self.bench, self.turns = bench, turns

    def __len__(self) -> int:
        return len(self.turns)

    def __getitem__(self, place: int) -> list[Reading] | _Raised:
        try:
            return list(here(self.bench, [self.turns[place]]))
        except Mistake as mistake:
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
        if isinstance(problem, Mistake):
            return Mistake(str(problem))
        return RuntimeError(f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}")
    return problem


def _refuse_unshareable(bench: Bench, workers: int) -> None:
    elsewhere = next((tensor.device for tensor in bench.model.parameters() if tensor.device.type != "cpu"), None)
    if elsewhere is not None:
        raise Mistake(
            f"workers={workers} share a processor's cores, and the model is on {elsewhere}: leave workers out, or model.cpu()."
        )
    if "fork" not in multiprocessing.get_all_start_methods():
        raise Mistake(f"workers={workers}: this system cannot fork processes; leave workers out.")
    if any(array.parameter.is_shared() for array in bench.arrays):  # type: ignore[no-untyped-call]
        raise Mistake(
            f"workers={workers} would write their chips into the same shared memory: measure copy.deepcopy(model)."
        )
    for data in (bench.data, bench.chips.calibration):
        if isinstance(data, DataLoader) and data.num_workers:
            raise Mistake(
                f"workers={workers}, and the data have num_workers={data.num_workers}: processes of processes cannot be; "
                "give a DataLoader with num_workers=0."
            )
