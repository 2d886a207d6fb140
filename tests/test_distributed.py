"""Two processes under DistributedDataParallel: ranks stay equal, decide together, and do what one process would."""

from __future__ import annotations

import math
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from incorruptible.errors import UserError
from incorruptible.objectives import parse
from incorruptible.optim import SAMOptimizer
from incorruptible.schedules import Auto, Controller, Linear, Schedule
from incorruptible.training import Hardener
from test_objectives import bits, grads, net
from two_ranks import PATIENCE, saved_by_two_ranks

pytestmark = (
    pytest.mark.slow
)  # two processes train for half a minute; test_hardener.py has micro-batches, which ranks are like

RANDBET = "randbet(gaussian-filter-max):threshold=1.1"  # which the halves come below at different steps
OBJECTIVES = [
    "rwp(gaussian-filter-max)",
    "local-rwp(gaussian-filter-max)",
    "sam",
    "mixed-rwp(gaussian-filter-max):share=0.25",
    RANDBET,
]
RAMP = Linear(0.1, 0.3)
AUTO = Auto(classes=3, budget=1.2)  # between the losses of the two halves, so that each rank alone would go elsewhere
FLOOR = Auto(reference=10.0, budget=0.01)  # never met, so that a floor is learnt
STEPS = 20  # of training


def data(step: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(step)
    return torch.randn(16, 4, generator=source), torch.randint(0, 3, (16,), generator=source)


def half(step: int, rank: int) -> tuple[Tensor, Tensor]:
    x, y = data(step)
    return x[8 * rank : 8 * rank + 8], y[8 * rank : 8 * rank + 8]


def train(
    model: nn.Module, text: str, ranks: list[int], bad: int | None = None, strength: Schedule | Controller = RAMP
) -> dict[str, Any]:
    """Steps of SGD on the halves of `ranks` in turn; at step `bad` the loss of rank 1 is nan."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    robust = Hardener(model, parse(text), strength, steps=STEPS, seed=0, accumulate=len(ranks))
    course, strengths, passes = [], [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        for rank in ranks:
            x, y = half(step, rank)
            factor = math.nan if step == bad and rank == 1 else 1 / len(ranks)
            passes.append(0)

            def loss(x: Tensor = x, y: Tensor = y, factor: float = factor) -> Tensor:
                passes[-1] += 1
                return cross_entropy(model(x), y) * factor

            robust.backward(loss)
        course.append(grads(model))
        strengths.append(robust.strength)
        optimizer.step()
    weights = [p.detach().clone() for p in model.parameters()]
    return {"weights": weights, "grads": course, "skipped": robust.skipped, "strengths": strengths, "passes": passes}


def interrupted(rank: int) -> dict[str, Any]:
    """Steps of two micro-batches, averaged in the last one alone; at steps 3 and 5 the last, and the first, is nan on rank 1."""
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    robust = Hardener(model, parse(OBJECTIVES[0]), RAMP, steps=STEPS, seed=0, accumulate=2)
    for step in range(STEPS):
        optimizer.zero_grad()
        for micro in range(2):
            x, y = half(2 * step + micro, rank)
            factor = math.nan if rank == 1 and (step, micro) in ((3, 1), (5, 0)) else 0.5
            with model.no_sync() if micro == 0 else nullcontext():
                robust.backward(lambda x=x, y=y, factor=factor: cross_entropy(model(x), y) * factor)
        if step == 3:
            third = grads(model)
        optimizer.step()
    return {"weights": [p.detach().clone() for p in model.parameters()], "third": third, "skipped": robust.skipped}


def accumulated(model: DistributedDataParallel, rank: int, late: bool) -> list[Tensor]:
    """The gradient of four quarters, two on each rank, averaged over the ranks at each call or once, in the last one."""
    robust = Hardener(model, parse(RANDBET), RAMP, steps=STEPS, seed=0, accumulate=2)
    for micro in range(2):
        x, y = half(micro, rank)
        with model.no_sync() if late and micro == 0 else nullcontext():
            robust.backward(lambda x=x, y=y: cross_entropy(model(x), y) / 2)
        if late and micro == 0:
            alone = grads(model)
    return [*grads(model), *(alone if late else [])]


class Fork(nn.Module):
    """One layer for all ranks, one for rank 1 alone, one for none; with a BatchNorm."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
            self.second, self.third = nn.Linear(3, 3), nn.Linear(3, 3)
        self.rank = rank

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        return self.second(x) if self.rank == 1 else x


def forked(rank: int) -> dict[str, Any]:
    model = DistributedDataParallel(Fork(rank), find_unused_parameters=True)
    robust = Hardener(model, parse(RANDBET), RAMP, steps=STEPS, seed=0)
    for step in range(3):
        x, y = half(step, rank)
        model.zero_grad()
        robust.backward(lambda x=x, y=y: cross_entropy(model(x), y))
    found = {name: p.grad for name, p in model.module.named_parameters()}
    model.eval()(half(3, rank)[0])  # the next pass, which brings the buffers of rank 0 first
    return {**found, "buffer": model.module.norm.running_mean}


def optimised(rank: int) -> dict[str, Any]:
    """SAM as an optimiser, the first pass each rank's own; on rank 1 both passes, the first, the second are nan in turn."""
    model = DistributedDataParallel(net())
    optimizer = SAMOptimizer(model.parameters(), torch.optim.SGD, 0.3, lr=0.05, momentum=0.9)
    for step in range(STEPS):
        x, y = half(step, rank)
        bad = {5: (0, 1), 9: (0,), 12: (1,)}.get(step, ()) if rank == 1 else ()
        with model.no_sync():
            (cross_entropy(model(x), y) * (math.nan if 0 in bad else 1)).backward()
        optimizer.first_step(zero_grad=True)
        (cross_entropy(model(x), y) * (math.nan if 1 in bad else 1)).backward()
        optimizer.second_step(zero_grad=True)
    return {"weights": [p.detach().clone() for p in model.parameters()], "skipped": optimizer.skipped}


def refused(rank: int) -> str:
    model = DistributedDataParallel(nn.Sequential(nn.Embedding(4, 3, sparse=True), nn.Flatten(), nn.Linear(6, 3)))
    robust = Hardener(model, parse(RANDBET), RAMP, steps=STEPS, seed=0)
    try:
        robust.backward(lambda: model(torch.tensor([[0, 1], [2, 3]])).square().sum())
    except UserError as problem:
        return str(problem)
    return ""


def run(rank: int, folder: Path) -> None:
    """What one of the two processes does."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=PATIENCE)
    found = {}
    for text in OBJECTIVES:
        found[text] = train(DistributedDataParallel(net()), text, [rank])
        found[f"{text}, nan"] = train(DistributedDataParallel(net()), text, [rank], bad=5)
        found[f"{text}, auto"] = train(DistributedDataParallel(net()), text, [rank], strength=AUTO)
    found["floor"] = train(DistributedDataParallel(net()), OBJECTIVES[0], [rank], strength=FLOOR)
    found["at once"], found["late"] = (
        accumulated(DistributedDataParallel(net()), rank, late) for late in (False, True)
    )
    found["interrupted"] = interrupted(rank)
    found["forked"], found["refused"], found["optimised"] = forked(rank), refused(rank), optimised(rank)
    compiled = torch.compile(DistributedDataParallel(net()), backend="eager")
    found["compiled"] = train(compiled, OBJECTIVES[0], [rank])
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return saved_by_two_ranks(run, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize(
    "text", [*OBJECTIVES, *(f"{text}, {what}" for text in OBJECTIVES for what in ("nan", "auto")), "compiled"]
)
def test_ranks_end_bit_equal(ranks: list[dict[str, Any]], text: str) -> None:
    assert bits(ranks[0][text]["weights"]) == bits(ranks[1][text]["weights"])
    assert bits(ranks[0][text]["weights"]) != bits(net().parameters())


@pytest.mark.parametrize("text", OBJECTIVES)
def test_two_ranks_are_two_micro_batches(ranks: list[dict[str, Any]], text: str) -> None:
    one = train(net(), text, [0, 1])
    torch.testing.assert_close(ranks[0][text]["weights"], one["weights"], rtol=0, atol=1e-6)
    torch.testing.assert_close(ranks[0][text]["grads"][0], one["grads"][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", OBJECTIVES)
def test_a_controller_hears_all_ranks(ranks: list[dict[str, Any]], text: str) -> None:
    """Both ranks go the same way, and it is that of one process with both halves."""
    first, second = (found[f"{text}, auto"]["strengths"] for found in ranks)
    assert first == second and len(set(first)) > STEPS // 2
    one = train(net(), text, [0, 1], strength=AUTO)
    assert first == pytest.approx(one["strengths"], rel=1e-5)
    alone = train(net(), text, [0], strength=AUTO)
    assert first != pytest.approx(alone["strengths"], rel=1e-3)


def test_ranks_learn_one_floor(ranks: list[dict[str, Any]]) -> None:
    """They step at the clean weights together, and hold the same strength, which is that of one process with both halves."""
    first, second = (found["floor"]["strengths"] for found in ranks)
    assert first == second and first.count(0.0) >= 2
    assert first == pytest.approx(train(net(), OBJECTIVES[0], [0, 1], strength=FLOOR)["strengths"], rel=1e-5)
    assert bits(ranks[0]["floor"]["weights"]) == bits(ranks[1]["floor"]["weights"])


def test_compiled_ranks_draw_their_own_noise(ranks: list[dict[str, Any]]) -> None:
    """torch.compile wraps what says that there are ranks."""
    torch.testing.assert_close(ranks[0]["compiled"]["weights"], ranks[0][OBJECTIVES[0]]["weights"], rtol=0, atol=1e-6)


def test_ranks_judge_by_their_own_loss(ranks: list[dict[str, Any]]) -> None:
    """One rank may be below the threshold of RandBET where the other is not; neither waits for passes that do not come."""
    first, second = (found[RANDBET]["passes"] for found in ranks)
    assert {1, 2} == set(first) == set(second)
    assert first != second
    one = train(net(), RANDBET, [0, 1])["passes"]
    assert one == [count for pair in zip(first, second, strict=True) for count in pair]


def test_averaging_may_be_put_off(ranks: list[dict[str, Any]]) -> None:
    """Inside `no_sync` a rank keeps its gradient to itself; the call after it averages all."""
    count = len(ranks[0]["at once"])
    for found in ranks:
        torch.testing.assert_close(found["late"][:count], found["at once"], rtol=0, atol=1e-7)
    assert bits(ranks[0]["late"][:count]) == bits(ranks[1]["late"][:count])
    assert bits(ranks[0]["late"][count:]) != bits(ranks[1]["late"][count:])


def test_a_skipped_last_micro_batch_does_not_part_the_ranks(ranks: list[dict[str, Any]]) -> None:
    """What the micro-batches before it left on each rank is averaged as if it had come: otherwise each would step on its own."""
    first, second = (found["interrupted"] for found in ranks)
    assert first["skipped"] == second["skipped"] == 2
    assert bits(first["third"]) == bits(second["third"]) != []
    assert bits(first["weights"]) == bits(second["weights"]) != bits(net().parameters())


def test_a_parameter_that_one_rank_does_not_use(ranks: list[dict[str, Any]]) -> None:
    """Nobody waits for its gradient, and it counts as zero there; one that no rank uses gets none. Buffers are those of rank 0."""
    first, second = (found["forked"] for found in ranks)
    assert first["third.weight"] is second["third.weight"] is None
    assert float(first["second.weight"].abs().sum()) > 0
    for name, grad in first.items():
        if grad is not None:
            assert bits([grad]) == bits([second[name]])


def test_ranks_skip_the_same_steps_of_an_optimiser(ranks: list[dict[str, Any]]) -> None:
    """Two: where the second gradient, which is everybody's, is not finite."""
    first, second = (found["optimised"] for found in ranks)
    assert bits(first["weights"]) == bits(second["weights"]) != bits(net().parameters())
    assert all(tensor.isfinite().all() for tensor in first["weights"])
    assert first["skipped"] == second["skipped"] == 2


def test_sparse_gradients_are_refused_under_ranks(ranks: list[dict[str, Any]]) -> None:
    assert all("0.weight: its gradient is sparse" in found["refused"] for found in ranks)


def test_sam_of_ranks_is_m_sharpness(ranks: list[dict[str, Any]]) -> None:
    """Each rank climbs by the gradient of its own half: the mean of two SAM gradients, and not SAM's of the whole."""

    def sam(x: Tensor, y: Tensor) -> list[Tensor]:
        model = net()
        robust = Hardener(model, parse("sam"), RAMP, steps=STEPS, seed=0)
        robust.backward(lambda: cross_entropy(model(x), y))
        return grads(model)

    first = ranks[0]["sam"]["grads"][0]
    expected = [(one + other) / 2 for one, other in zip(sam(*half(0, 0)), sam(*half(0, 1)), strict=True)]
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-6)
    assert max(float((one - other).abs().max()) for one, other in zip(first, sam(*data(0)), strict=True)) > 1e-4


@pytest.mark.parametrize("text", OBJECTIVES)
def test_a_bad_loss_on_one_rank_is_skipped_by_both(ranks: list[dict[str, Any]], text: str) -> None:
    for found in ranks:
        bad = found[f"{text}, nan"]
        assert bad["skipped"] == 1
        assert bad["grads"][5] == []  # as zero_grad left them
        assert bits(bad["grads"][4]) == bits(found[text]["grads"][4])
        assert all(bool(g.isfinite().all()) for step in bad["grads"] for g in step)
        assert found[text]["skipped"] == 0
