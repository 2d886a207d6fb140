"""A strength that tunes itself: by hand, in a Hardener, over ranks and stops, and where a constant strength collapses."""

from __future__ import annotations

import json
import math
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from incorruptible.corruptions import Gaussian
from incorruptible.errors import Remark, UserError
from incorruptible.evaluation import measure
from incorruptible.files import records
from incorruptible.objectives import parse as parse_objective
from incorruptible.runs import Left, identity, train
from incorruptible.schedules import Auto, Constant, Seen, State, parse, peak
from incorruptible.tasks import batches, load
from incorruptible.tasks.data import named_randomness
from incorruptible.training import Hardener, Trainer
from incorruptible.training.recipe import Probe, Recipe
from incorruptible.training.recipe import parse as parse_recipe
from test_objectives import OBJECTIVES, ONE_PASS, bits, closure, grads, net

QUIET = Auto(classes=10)


def course(auto: Auto, losses: list[float]) -> list[State]:
    """The states of a training whose steps see these losses."""
    states = [auto.start()]
    for step, loss in enumerate(losses, 1):
        states.append(auto.next(step / len(losses), Seen(loss), states[-1]))
    return states


def test_it_climbs_at_full_rate_where_nothing_is_lost() -> None:
    states = course(QUIET, [0.0] * 1000)
    assert states[600]["strength"] == pytest.approx(0.05 * math.exp(12 * 0.6))


def test_it_holds_at_the_budget_and_falls_beyond_it() -> None:
    budget = 0.35 * math.log(10) * (1 + math.cos(0.31 * math.pi)) / 2
    assert QUIET.nats(0.31) == pytest.approx(budget) == Auto(reference=math.log(10)).nats(0.31)
    ready: State = {"strength": 0.2, "half": 0.2, "progress": 0.29, "below": 1.0}
    held = QUIET.next(0.31, Seen(budget), ready)
    fallen = QUIET.next(0.31, Seen(2 * budget), ready)
    assert held["strength"] == pytest.approx(0.2)
    assert fallen["strength"] == pytest.approx(0.2 * math.exp(-12 * 0.02))
    assert QUIET.next(0.31, Seen(math.nan), ready)["strength"] == fallen["strength"]
    assert QUIET.next(0.31, Seen(1e9), ready)["loss"] == pytest.approx(
        4 * QUIET.nats(0)
    )  # one bad step is soon forgotten


def test_the_budget_falls_with_a_cosine_learning_rate() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for step in range(100):
        assert QUIET.nats(step / 100) == pytest.approx(0.35 * math.log(10) * decay.get_last_lr()[0])
        optimizer.step()
        decay.step()
    states = course(QUIET, [0.3] * 1000)  # a loss that stays: below the budget at first, above it at the end
    strengths = [state["strength"] for state in states]
    turn = strengths.index(max(strengths))
    assert 0 < turn < 999 and states[-1]["strength"] < max(strengths)
    assert QUIET.nats(turn / 1000) == pytest.approx(0.3, abs=0.01)


def test_the_loss_is_averaged_over_two_percent_of_training() -> None:
    state = QUIET.next(0.3, Seen(0.0), QUIET.start())
    states = [state := QUIET.next(0.3 + (i + 1) / 1000, Seen(0.5), state) for i in range(20)]
    assert states[-1]["loss"] == pytest.approx(0.5 * (1 - 0.95**20))


def test_it_waits_until_the_loss_first_comes_below_the_budget() -> None:
    waiting = course(QUIET, [2.3] * 100)
    assert [state["strength"] for state in waiting[:11]] == [0.05] * 11  # a tenth of training, no longer
    assert waiting[20]["strength"] < 0.05
    assert waiting[100]["strength"] == pytest.approx(0.005)  # no further, so that it comes back in time
    early = course(QUIET, [2.3] * 5 + [0.0] * 95)
    assert early[5]["strength"] == 0.05 < early[9]["strength"]


def test_a_known_test_strength_is_where_it_ends() -> None:
    losses = [0.0] * 600 + [3.0] * 400
    ends = course(Auto(classes=10, cap=0.2, end=0.1), losses)
    assert max(state["strength"] for state in ends) == 0.2 and ends[1000]["strength"] == pytest.approx(0.1)
    assert course(Auto(classes=10, cap=0.2), losses)[1000]["strength"] < 0.01
    never = course(Auto(classes=10, end=9), [5.0] * 1000)  # what could not be borne at half is not asked for at the end
    assert never[1000]["strength"] == never[499]["strength"] < 0.05


@pytest.mark.parametrize("losses", [[0.0] * 50, [0.0] * 5 + [5.0] * 45, [math.inf] * 50])
def test_the_cap_holds_and_strengths_stay_plain(losses: list[float]) -> None:
    states = course(Auto(classes=10, cap=0.07), losses)
    assert all(0 <= state["strength"] <= 0.07 for state in states)
    assert json.loads(json.dumps(states)) == states
    assert all(type(value) is float for state in states for value in state.values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("auto:classes=10:reference=2.3", "give one"),
        ("auto:classes=1", "2 at least"),
        ("auto:classes=2.5", "whole number"),
        ("auto:reference=0", "above 0"),
        ("auto:classes=10:budget=-1", "above 0"),
        ("auto:classes=10:rate=0", "above 0"),
        ("auto:classes=10:cap=0", "above 0"),
        ("auto:classes=10:cap=0.1:end=0.2", "from 0 to the cap"),
        ("auto:classes=10:peak=2", "peak"),
        ("reversed(auto:classes=10)", "takes a schedule"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(text)


@pytest.mark.parametrize(
    "auto",
    [
        Auto(),
        QUIET,
        Auto(reference=1.5),
        Auto(classes=3, cap=0.2, end=0.1),
        Auto(classes=2, budget=0.5, rate=8.0, learn=False),
    ],
)
def test_it_reads_what_it_writes(auto: Auto) -> None:
    assert parse(str(auto)) == auto
    assert peak(auto) == auto.cap or (math.isinf(auto.cap) and math.isnan(peak(auto)))


def test_auto_alone_takes_the_unit_from_the_task() -> None:
    """ln n for a whole n is n classes; what was said goes before what the task states."""
    assert Auto(cap=1.0).for_task(math.log(10)) == Auto(classes=10, cap=1.0)
    assert Auto().for_task(math.log(10) + 1e-6) == Auto(reference=math.log(10) + 1e-6)
    assert Auto().for_task(5000.0) == Auto(reference=5000.0)
    assert Auto(classes=3).for_task(2.5) == Auto(classes=3) and Auto(reference=1.0).for_task(2.5).reference == 1.0
    assert Auto().for_task(None) == Auto()
    with pytest.raises(UserError, match="unit of its budget"):
        Auto().start()
    with pytest.raises(UserError, match=r"auto:classes=10.*Task\(reference=2\.3\)"):
        Hardener(net(), parse_objective("sam"), Auto(), steps=5, seed=0)


@pytest.mark.parametrize(
    ("task", "text"),
    [("digits", "auto:classes=10:cap=1"), ("digits:network=conv", "auto:classes=10:cap=1"), ("bytes:train=64", None)],
)
def test_auto_alone_is_the_run_of_the_task_s_unit(task: str, text: str | None) -> None:
    """Its name is that of the run whose recipe says the unit, before and after training."""
    loaded = load(task)
    text = text or f"auto:reference={loaded.reference!r}:cap=1"
    recipe = replace(QUICK, task=task, objective="sam", strength="auto:cap=1").resolved()
    assert recipe.strength == "auto:cap=1"
    assert identity(recipe, loaded) == identity(replace(recipe, strength=text), loaded)
    assert Trainer(loaded, recipe).recipe.strength == text
    nameless = replace(loaded, reference=None)
    with pytest.raises(UserError, match="unit of its budget"):
        Trainer(nameless, recipe)


def test_training_with_auto_alone_has_the_same_bits(tmp_path: Path) -> None:
    recipe = replace(QUICK, epochs=2, objective="rwp(gaussian-filter-max)")
    alone = train(replace(recipe, strength="auto"), tmp_path / "alone")
    told = train(replace(recipe, strength="auto:classes=10"), tmp_path / "told")
    assert alone.folder.name == told.folder.name and alone.recipe == told.recipe
    assert alone.record["weights"] == told.record["weights"] and alone.record["metrics"] == told.record["metrics"]


class Ear:
    """A controller that hears, and answers with a strength of its own."""

    heard: ClassVar[list[tuple[float, Seen]]]

    def __init__(self) -> None:
        self.heard = []  # type: ignore[misc]

    def start(self) -> State:
        return {"strength": 0.1}

    def next(self, progress: float, seen: Seen, state: State) -> State:
        self.heard.append((progress, seen))
        return {"strength": state["strength"] + 0.1}


@pytest.mark.parametrize("text", OBJECTIVES)
def test_a_controller_hears_each_step_and_costs_no_pass(text: str) -> None:
    model, ear, passes = net(), Ear(), 0
    robust = Hardener(model, parse_objective(text), ear, steps=5, seed=0)
    loss = closure(model)

    def counted() -> Any:
        nonlocal passes
        passes += 1
        return loss()

    returned = [float(robust.backward(counted)) for _ in range(3)]
    assert passes == 3 * parse_objective(text).passes
    assert robust.strength == pytest.approx(0.4) and [progress for progress, _ in ear.heard] == [0.25, 0.5, 0.75]
    clean, share = float(loss().detach()), getattr(parse_objective(text), "share", 1.0)
    for value, (_, seen) in zip(returned, ear.heard, strict=True):
        assert (seen.clean_loss is not None) == parse_objective(text).clean
        if seen.clean_loss is not None:
            assert seen.clean_loss == pytest.approx(clean)
        assert value == pytest.approx(share * seen.loss + (1 - share) * clean)


@pytest.mark.parametrize("text", ONE_PASS)
def test_a_controller_hears_in_the_context_too(text: str) -> None:
    model, ear = net(), Ear()
    robust = Hardener(model, parse_objective(text), ear, steps=5, seed=0)
    with robust.perturbed() as look:
        value = look(closure(model)())
        value.backward()
    assert [seen.loss for _, seen in ear.heard] == pytest.approx([float(value.detach())])


def test_micro_batches_are_one_step() -> None:
    model, ear = net(), Ear()
    robust = Hardener(model, parse_objective("rwp(gaussian-filter-max)"), ear, steps=5, seed=0, accumulate=2)
    values = [float(robust.backward(lambda: closure(model)() / 2)) for _ in range(4)]
    assert [seen.loss for _, seen in ear.heard] == pytest.approx([values[0] + values[1], values[2] + values[3]])


def test_a_loss_that_is_not_finite_is_heard() -> None:
    model, ear = net(), Ear()
    robust = Hardener(model, parse_objective("sam"), ear, steps=5, seed=0)
    robust.backward(lambda: closure(model)() * math.nan)
    assert robust.skipped == 1 and not math.isfinite(ear.heard[0][1].loss)


def test_a_strength_that_is_none_of_both_is_refused() -> None:
    with pytest.raises(UserError, match="no schedule"):
        Hardener(net(), parse_objective("sam"), 0.3, steps=5, seed=0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no schedule"):
        Hardener(net(), parse_objective("sam"), Auto, steps=5, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [3, 4])  # in the middle of a step, and between two
def test_a_stopped_run_goes_on_with_the_same_bits(stop: int) -> None:
    def work(model: torch.nn.Module, robust: Hardener, optimizer: Any, calls: range) -> list[float]:
        strengths = []
        for call in calls:
            if call % 2 == 0:
                optimizer.zero_grad()
            strengths.append(robust.strength)
            robust.backward(lambda: closure(model)() / 2)
            if call % 2:
                optimizer.step()
        return strengths

    def begun() -> tuple[Any, Any, Any]:
        model = net()
        auto = Auto(classes=3, budget=1.5)
        robust = Hardener(model, parse_objective("rwp(gaussian-filter-max)"), auto, steps=8, seed=0, accumulate=2)
        return model, robust, torch.optim.SGD(model.parameters(), lr=0.1)

    straight = begun()
    all_ = work(*straight, range(12))
    assert len(set(all_)) > 3
    first = begun()
    work(*first, range(stop))
    again = begun()
    again[0].load_state_dict(first[0].state_dict())
    for ours, theirs in zip(again[0].parameters(), first[0].parameters(), strict=True):
        ours.grad = None if theirs.grad is None else theirs.grad.clone()
    again[1].load_state_dict(json.loads(json.dumps(first[1].state_dict())))
    assert work(*again, range(stop, 12)) == all_[stop:]
    assert bits(again[0].parameters()) == bits(straight[0].parameters())
    with pytest.raises(UserError, match="lacks control"):
        again[1].load_state_dict({k: v for k, v in first[1].state_dict().items() if k != "control"})
    for strength, says in ((Constant(0.1), "under a controller"), (Auto(classes=3, cap=0.01), "with controller=")):
        other = Hardener(net(), parse_objective("sam"), strength, steps=8, seed=0, accumulate=2)
        with pytest.raises(UserError, match=says):
            other.load_state_dict(first[1].state_dict())


QUICK = Recipe(task="digits", epochs=40, lr=0.2, clip=1.0, probe=Probe(draws=0))


@pytest.mark.parametrize(
    "objective",
    [
        "rwp(gaussian-filter-max)",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("sam", "sam:metric=filter-max")),
    ],
)
def test_it_does_not_collapse_where_a_constant_strength_does(objective: str, tmp_path: Path) -> None:
    """Eight times a strength at which constant training fails is no danger where it is only a cap."""
    cap = {"rwp(gaussian-filter-max)": 4.8, "sam": 8.0, "sam:metric=filter-max": 64.0}[objective]
    task = load("digits")
    losses = {}
    for strength in (f"constant:{cap}", f"auto:classes=10:cap={cap:g}"):
        made = train(parse_recipe({**QUICK.plain(), "objective": objective, "strength": strength}), tmp_path, task=task)
        x, y = task.test
        model = made.model(task).eval()
        with torch.no_grad():
            losses[strength] = float((model(x).argmax(1) == y).float().mean())
    constant, auto = losses.values()
    assert constant < 0.5 and auto > 0.94


def test_checkpoints_are_kept_and_found(tmp_path: Path) -> None:
    recipe = parse_recipe(
        {**QUICK.plain(), "epochs": 4, "checkpoints": [0.25, 0.6], "objective": "sam", "strength": "auto:classes=10"}
    )
    run = train(recipe, tmp_path)
    short = train(parse_recipe({**recipe.plain(), "checkpoints": [], "epochs": 4}), tmp_path)
    assert run.folder != short.folder and bits(run.model().parameters()) == bits(short.model().parameters())
    early, late = (run.model(at=at) for at in (0.25, 0.6))
    assert len({tuple(bits(model.parameters())) for model in (early, late, run.model())}) == 3
    with pytest.raises(UserError, match=r"no checkpoint at 0\.5; it has: 0\.25, 0\.6"):
        run.model(at=0.5)
    run.file(0.25).write_bytes(b"torn")
    with pytest.raises(UserError, match="checksum"):
        run.model(at=0.25)
    again = train(recipe, tmp_path)
    assert bits(again.model(at=0.25).parameters()) == bits(early.parameters())


def test_a_run_that_was_left_keeps_the_same_checkpoints(tmp_path: Path) -> None:
    """Left after every epoch, before and after the places where weights are kept; the first lies in the first step."""
    recipe = parse_recipe({**QUICK.plain(), "epochs": 4, "checkpoints": [0.01, 0.3, 0.9], "strength": "0.1"})
    straight = train(recipe, tmp_path / "straight")
    leaves = 0
    while True:
        try:
            broken = train(recipe, tmp_path / "broken", leave=lambda: True)
            break
        except Left:
            leaves += 1
    assert leaves == 3
    damaged = tmp_path / "damaged"
    for _ in range(2):
        with pytest.raises(Left):
            train(recipe, damaged, leave=lambda: True)
    (kept,) = damaged.glob("*/weights-0.3.safetensors")
    kept.write_bytes(b"torn")  # after its place was passed: the training begins anew
    assert train(recipe, damaged).digest(0.3) == straight.digest(0.3)
    for at in (None, 0.01, 0.3, 0.9):
        assert broken.digest(at) == straight.digest(at)


def test_runs_without_later_entries_keep_their_names() -> None:
    task, noisy = load("digits"), replace(QUICK, objective="rwp(gaussian-filter-max)", strength="constant:0.1")
    named = identity(noisy.resolved(), task)["recipe"]
    later = {"checkpoints", "clip_weights", "also", "protect"}
    later |= {"accumulate", "precision", "channels_last", "compiled", "ranks", "noise"}
    assert set(named) == {*QUICK.plain()} - later
    for entry, value in {
        "accumulate": 2,
        "autocast": "bf16",
        "channels_last": True,
        "ranks": 2,
        "noise": "banked",
    }.items():
        assert identity(replace(noisy, **{entry: value}).resolved(), task)["recipe"] == {
            **named,
            records.KEPT.get(entry, entry): value,
        }


@pytest.mark.parametrize("places", [[0.5, 0.5], [0.6, 0.5], [0.0], [1.0]])
def test_checkpoints_are_rising_shares(places: list[float]) -> None:
    with pytest.raises(UserError, match="rising shares"):
        parse_recipe({"task": "digits", "checkpoints": places})


def test_gradients_flow_as_under_a_schedule_of_the_same_strength() -> None:
    """What a controller asks for is used as what a schedule asks for."""
    model, other = net(), net()
    ear = Hardener(model, parse_objective("rwp(gaussian-filter-max)"), Ear(), steps=5, seed=0)
    constant = Hardener(other, parse_objective("rwp(gaussian-filter-max)"), Constant(0.1), steps=5, seed=0)
    ear.backward(closure(model))
    constant.backward(closure(other))
    assert bits(grads(model)) == bits(grads(other))


# ---- where the loss that can be reached lies above the budget


def world(auto: Auto, floor: float, slope: float = 1.0, steps: int = 400, shown: bool = False) -> list[State]:
    """The states of a training whose loss is `slope` times the strength above what it falls to, `floor`."""
    states = [auto.start()]
    for step in range(1, steps + 1):
        clean = floor + (2.3 - floor) * math.exp(-30 * step / steps)
        seen = Seen(clean + slope * states[-1]["strength"], clean if shown else None)
        states.append(auto.next(step / steps, seen, states[-1]))
    return states


def held(states: list[State]) -> list[float]:
    """The strength of each state, but for single steps at the clean weights."""
    return [state.get("held", state["strength"]) for state in states]


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("floor", [1.1, 1.4, 1.8])
def test_a_floor_above_the_budget_is_learnt(floor: float, shown: bool) -> None:
    """The rise of the loss, here the strength itself, is what the budget is for."""
    states = world(QUIET, floor, shown=shown)
    unit = math.log(10)
    assert states[-1]["floor"] == pytest.approx(floor, abs=0.01)
    for place in (200, 240):  # half of training, and a little later
        rise = 0.35 * (unit - floor) * (1 + math.cos(math.pi * place / 400)) / 2
        assert held(states)[place] == pytest.approx(rise, rel=0.25)
    assert held(states)[-1] < 0.2 * max(held(states))
    without = held(world(replace(QUIET, learn=False), floor, shown=shown))
    assert max(without[160:]) < 0.007
    clean = [state["strength"] for state in states].count(0.0)
    assert clean == (0 if shown else pytest.approx(0.9 * 400 / 8, abs=3))


def test_a_floor_that_the_budget_comes_to_late_is_learnt_as_well() -> None:
    """The loss is below the first budgets, and the strength falls in the middle of training."""
    at_half = {learn: held(world(replace(QUIET, learn=learn), 0.7))[260] for learn in (False, True)}
    assert at_half[False] < 0.01 < 0.05 < at_half[True]


@pytest.mark.parametrize(
    "losses", [[0.2] * 1000, [2.3] * 70 + [0.1] * 930, [2.3] * 50 + [0.4, 0.1] * 475, [0.0] * 1000]
)
def test_no_floor_is_learnt_where_the_budget_is_met(losses: list[float]) -> None:
    assert course(QUIET, losses) == course(replace(QUIET, learn=False), losses)


@pytest.mark.parametrize("loss", [2.25, 2.3, 5.0, math.nan])
def test_no_floor_is_learnt_from_a_network_that_learns_nothing(loss: float) -> None:
    states = course(QUIET, [loss] * 200)
    assert states == course(replace(QUIET, learn=False), [loss] * 200)
    assert states[-1]["strength"] == pytest.approx(0.005)


def test_the_floor_never_rises() -> None:
    """Noise that spoils the network does not pay for more noise."""
    states = course(QUIET, [1.5] * 400 + [4.0] * 600)
    floors = [state["floor"] for state in states if "floor" in state]
    assert floors == sorted(floors, reverse=True) and floors[0] == pytest.approx(1.5)
    assert held(states)[-1] == pytest.approx(0.005)
    assert all(type(value) is float for state in states for value in state.values())
    assert json.loads(json.dumps(states)) == states


def test_cap_and_end_hold_above_a_floor() -> None:
    states = held(world(replace(QUIET, cap=0.08, end=0.06), 1.4))
    assert max(states) == 0.08 and states[-1] == pytest.approx(0.06)


FAR = Auto(reference=10.0, budget=0.01)  # the loss of `net` is never below this budget, and well below its reference


@pytest.mark.parametrize("stop", [9, 10, 47, 48])  # before the floor and after it, within a step and between two
def test_a_run_stopped_above_its_floor_goes_on_with_the_same_bits(stop: int) -> None:
    def work(robust: Hardener, optimizer: Any, calls: range) -> list[float]:
        strengths = []
        for call in calls:
            strengths.append(robust.strength)
            robust.backward(lambda: closure(robust.model)() / 2)
            if call % 2:
                optimizer.step()
                optimizer.zero_grad()
        return strengths

    def begun() -> tuple[Hardener, Any]:
        model = net()
        robust = Hardener(model, parse_objective("rwp(gaussian-filter-max)"), FAR, steps=40, seed=0, accumulate=2)
        return robust, torch.optim.SGD(model.parameters(), lr=0.1)

    straight, optimizer = begun()
    all_ = work(straight, optimizer, range(80))
    assert all_[1::2] == all_[::2], "both parts of a step have one strength"
    assert all_.count(0.0) > 2 and straight.held > 0.0
    (first, half_way), (again, rest) = begun(), begun()
    work(first, half_way, range(stop))
    again.model.load_state_dict(first.model.state_dict())
    for ours, theirs in zip(again.model.parameters(), first.model.parameters(), strict=True):
        ours.grad = None if theirs.grad is None else theirs.grad.clone()
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert work(again, rest, range(stop, 80)) == all_[stop:]
    assert bits(again.model.parameters()) == bits(straight.model.parameters())


def test_a_floor_reads_the_loss_once_a_step() -> None:
    """Nothing but the losses is read from the device, as without a floor."""

    def reads(auto: Auto) -> int:
        robust = Hardener(net(), parse_objective("rwp(gaussian-filter-max)"), auto, steps=30, seed=0)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(29):
                robust.backward(closure(robust.model))
        assert ("floor" in robust.state_dict()["control"]) == auto.learn
        return sum(event.count for event in profile.key_averages() if event.key == "aten::_local_scalar_dense")

    with pytest.warns(Remark, match="learn=true"):
        without = reads(replace(FAR, learn=False))
    assert reads(FAR) <= without  # at strength 0 nothing is drawn, so a step there may read less


@pytest.mark.parametrize(
    ("auto", "says"),
    [
        (
            Auto(reference=0.01),
            r"predictor that knows nothing \(0\.01\), or more\. Set reference= .* constant strength",
        ),
        (replace(FAR, learn=False), "Set learn=true, or choose a constant strength"),
        (Auto(classes=3, budget=1.5), None),
    ],
)
def test_half_of_training_without_strength_is_said_once(auto: Auto, says: str | None) -> None:
    robust = Hardener(net(), parse_objective("rwp(gaussian-filter-max)"), auto, steps=21, seed=0)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(21):
            robust.backward(closure(robust.model))
    said = [str(one.message) for one in heard if one.category is Remark]
    assert len(said) == (says is not None) == len(heard)
    if says is not None:
        assert re.search(says, said[0]) and "\n" not in said[0]


def test_random_labels_do_not_switch_the_noise_off() -> None:
    """Digits with 40% of their labels drawn at random, whose loss cannot come below 1.4 but by heart; the budget begins at .8."""
    task = load("digits")
    images, labels = task.train
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(len(labels), generator=generator) < 0.4
    labels = torch.where(drawn, torch.randint(10, labels.shape, generator=generator), labels)

    def under_noise(auto: Auto) -> tuple[float, float]:
        with named_randomness(0, "weights"):
            model = task.model()
        steps = 20 * len(batches((images, labels), 64))
        robust = Hardener(model, parse_objective("rwp(gaussian-filter-max)"), auto, steps=steps, seed=0)
        optimizer = torch.optim.SGD(model.parameters(), 0.2, 0.9)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        strengths = []
        for epoch in range(20):
            for batch in batches((images, labels), 64, order=("order", epoch)):
                strengths.append(robust.held)
                optimizer.zero_grad()
                robust.backward(lambda batch=batch: task.loss(model, batch).mean())
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                decay.step()
        found = measure(model, task.score, task.test, Gaussian("filter-max"), [0.3], chips=5, seed=0)
        return float(found.values.mean()), strengths[steps // 2]

    with pytest.warns(Remark, match="learn=true"):
        before, low = under_noise(replace(QUIET, learn=False))
    after, high = under_noise(QUIET)
    assert low < 0.006 < 0.15 < high
    assert after > before + 0.1
