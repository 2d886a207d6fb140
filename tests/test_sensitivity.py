"""The map of layers: what hurts, what protecting buys, and that both are `measure` on the same chips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alarms import REPETITIONS, breaks
from incorruptible import accuracy, cross_entropy, load_weights, measure, select, sensitivity
from incorruptible.corruptions import Corruption, Gaussian, parse
from incorruptible.errors import UserError
from incorruptible.evaluation.sensitivity import blocks, named_by
from incorruptible.tasks.networks import small_conv
from incorruptible.tasks.scores import Score
from typing_commands import Type, typing

FILTER_MAX, ABSOLUTE = Gaussian("filter-max"), Gaussian("absolute")
Data = list[tuple[Tensor, Tensor]]
OUTPUT = Score("output", "1", True, lambda logits, labels: logits[:, 0])


def made(*layers: nn.Module | None) -> nn.Module:
    """A network of these layers; without any, three linear ones."""
    if not layers:
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    return nn.Sequential(*layers)


class Sum(nn.Module):
    """a(x) + b(x) + scale * c(x)."""

    def __init__(self, scale: float = 1.0, inputs: int = 6, outputs: int = 3) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(inputs, outputs, bias=False) for _ in "abc")
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.a(x) + self.b(x) + self.scale * self.c(x)
        return total


class Only(nn.Module):
    """b(x) alone decides: what a answers is multiplied by 0."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = 0 * self.a(x) + self.b(x)
        return answer


class Encoder(nn.Module):
    """Attention, whose arrays are of two modules, twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16) for _ in range(2))
        self.head = nn.Linear(8, 3)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def data() -> Data:
    source = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 6, generator=source), torch.randint(0, 3, (40,), generator=source)
    return list(zip(x.split(16), y.split(16), strict=True))


@pytest.mark.parametrize("text", ["gaussian-filter-max", "lognormal", "pcm-joshi:time=1d"])
@pytest.mark.parametrize("score", [accuracy, cross_entropy])
def test_every_row_is_measured_on_the_same_chips_bit_for_bit(text: str, score: Score, data: Data) -> None:
    model, corruption = made(), parse(text)
    found = sensitivity(model, score, data, corruption, 0.3, chips=4, seed=7, what_if_digital=["0.*,4.*"])

    def values(*names: str) -> list[float]:
        chosen = [array for array in select(model) if array.name in names]
        asked = model, score, data, corruption, [0.3]
        row: list[float] = measure(*asked, chips=4, seed=7, purpose="validation", arrays=chosen).values[0].tolist()
        return row

    every = ("0.weight", "2.weight", "4.weight")
    assert [group.name for group in found.groups] == list(every)
    for group in found.groups:
        assert group.alone is not None and group.alone.tolist() == values(group.name)
        assert group.kept.tolist() == values(*(name for name in every if name != group.name))
    assert found.joint.tolist() == values(*every)
    assert found.patterns[0].kept.tolist() == values("2.weight") and found.patterns[0].alone is None
    assert found.clean == measure(model, score, data, corruption, [0.0], chips=1, seed=0).values[0, 0]


@pytest.mark.parametrize("policy", ["folded", "recalibrated"])
def test_batchnorm_has_the_policies_of_measure(policy: str) -> None:
    model = small_conv(width=4)
    images = [(torch.rand(20, 1, 8, 8), torch.randint(0, 10, (20,)))]
    model(images[0][0])
    given: dict[str, Any] = {"chips": 3, "seed": 0, "batchnorm": policy, "purpose": "test"}
    given["calibration"] = images if policy == "recalibrated" else None
    found = sensitivity(model, cross_entropy, images, ABSOLUTE, 0.1, **given)
    first = select(model)[:1]
    one = measure(model, cross_entropy, images, ABSOLUTE, [0.0, 0.1], arrays=first, **given)
    assert found.groups[0].alone is not None and found.groups[0].alone.tolist() == one.values[1].tolist()
    assert found.clean == one.values[0, 0]


def test_the_only_layer_that_matters_is_found(data: Data) -> None:
    model = Only()
    found = sensitivity(model, cross_entropy, data, ABSOLUTE, 1.0, chips=8, seed=0)
    nothing, all_of_it = found.losses()
    assert nothing.group.name == "a.weight" and tuple(nothing.difference.interval) == (0, 0, 0)
    assert nothing.adjusted == 1 and all_of_it.adjusted < 0.05
    assert all_of_it.group.alone is not None and all_of_it.group.alone.tolist() == found.joint.tolist()
    assert all_of_it.difference == found.loss()
    useless, saves = found.gains()
    assert tuple(useless.difference.interval) == (0, 0, 0) and useless.tail == useless.worst == 0
    assert saves.group.kept.tolist() == [found.clean] * 8  # exactly
    assert saves.difference.interval.estimate == pytest.approx(found.loss().interval.estimate)
    assert found.interaction().interval.estimate == 0


def test_protecting_all_is_clean_exactly(data: Data) -> None:
    found = sensitivity(made(), cross_entropy, data, FILTER_MAX, 1.0, chips=5, seed=0, what_if_digital=["*"])
    (everything,) = found.patterns
    assert everything.share == 1 and everything.kept.tolist() == [found.clean] * 5
    gain, loss = found.gains()[-1].difference.interval, found.loss().interval
    assert tuple(gain) == pytest.approx(tuple(loss)) and loss.estimate > 0


def test_a_network_of_one_layer_loses_by_it_alone(data: Data) -> None:
    found = sensitivity(made(nn.Linear(6, 3)), accuracy, data, FILTER_MAX, 0.5, chips=5, seed=0)
    assert found.losses()[0].difference == found.loss() and found.groups[0].kept.tolist() == [found.clean] * 5
    assert found.groups[0].weights == 18 and found.groups[0].share == 1


def test_losses_of_a_sum_add_up_and_of_a_product_do_not(data: Data) -> None:
    """By hand: the joint loss of u v x is that of u, and of v, and -du dv x."""
    adds = sensitivity(Sum(), OUTPUT, data, ABSOLUTE, 0.3, chips=6, seed=0).interaction()
    assert abs(adds.interval.estimate) < 1e-6
    model = made(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    ones = [(torch.ones(3, 1), torch.zeros(3, dtype=torch.long))]
    found = sensitivity(model, OUTPUT, ones, ABSOLUTE, 0.5, chips=6, seed=0)
    u, v = (float(parameter.detach()) for parameter in model.parameters())
    one, other = (group.alone for group in found.groups)
    assert one is not None and other is not None
    du, dv = one / v - u, other / u - v
    assert found.interaction().interval.estimate == pytest.approx(-float(np.mean(du * dv)), abs=1e-5)
    assert found.losses()[0].difference.interval.estimate == pytest.approx(-float(np.mean(du)) * v, abs=1e-5)


def test_more_is_lost_where_less_is_better(data: Data) -> None:
    model = Only()
    surprise = sensitivity(model, cross_entropy, data, ABSOLUTE, 1.0, chips=6, seed=0)
    better = Score("likelihood", "nats", True, lambda logits, labels: -cross_entropy.grade(logits, labels))
    likelihood = sensitivity(model, better, data, ABSOLUTE, 1.0, chips=6, seed=0)
    assert likelihood.loss().interval.estimate > 0
    for one, other in zip(
        [*surprise.losses(), *surprise.gains()], [*likelihood.losses(), *likelihood.gains()], strict=True
    ):
        assert tuple(one.difference.interval) == pytest.approx(tuple(other.difference.interval))
        assert (one.tail, one.worst) == pytest.approx((other.tail, other.worst), nan_ok=True)
    worst = float(surprise.joint.max() - surprise.groups[1].kept.max())
    assert surprise.gains()[1].worst == pytest.approx(worst) and worst > 0
    tail = float(np.quantile(surprise.joint, 0.95) - surprise.clean)
    assert surprise.gains()[1].tail == pytest.approx(tail)


@pytest.mark.slow
def test_intervals_cover_and_false_alarms_are_rare() -> None:
    """A linear score: every mean loss and gain is 0 and chips are normal, so Student's interval is exact.

    Misses of a row's interval are .05 at most, and maps of six rows with any adjusted p at or below .05 as well, each by an
    exact binomial test at .001 over 200 maps, seeds fixed: a false alarm of this test has a chance of .002 at most.
    """
    model, ones = Sum(inputs=2, outputs=1), [(torch.ones(1, 2), torch.zeros(1, dtype=torch.long))]
    misses = alarms = 0
    for seed in range(REPETITIONS):
        found = sensitivity(model, OUTPUT, ones, ABSOLUTE, 1.0, chips=3, seed=seed)
        low, _, high = found.losses()[0].difference.interval
        misses += not low <= 0 <= high
        alarms += any(one.adjusted <= 0.05 for one in [*found.losses(), *found.gains()])
    assert not breaks(misses) and not breaks(alarms)
    assert breaks(REPETITIONS // 5)


def test_what_is_written_down_of_a_map(data: Data) -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 3))
    found = sensitivity(model, cross_entropy, data, Gaussian("filter-max"), 0.3, chips=4, seed=3, purpose="test")
    plain = found.plain()
    losses, gains, joint, interaction = (plain.pop(name) for name in ("losses", "gains", "joint", "interaction"))
    assert plain == {
        "corruption": "gaussian-filter-max",
        "unit": Gaussian("filter-max").unit,
        "score": "cross-entropy",
        "score_unit": "nats",
        "higher_is_better": False,
        "draws": 4,
        "examples": 40,
        "seed": 3,
        "purpose": "test",
        "batchnorm": "as-is",
        "strength": 0.3,
        "by": "layer",
        "weights": 27,
        "level": 0.95,
        "clean": found.clean,
    }
    assert joint["score"] == found.joint.mean() and np.array_equal(joint["values"], found.joint)
    assert joint["mean"] == pytest.approx(found.joint.mean() - found.clean)  # more nats are a loss
    assert interaction["mean"] == pytest.approx(joint["mean"] - sum(one["mean"] for one in losses))
    for one, group, weights in zip(losses, found.groups, (18, 9), strict=True):
        assert (one["name"], one["arrays"]) == (group.name, list(group.arrays))
        assert (one["weights"], one["share"]) == (weights, weights / 27)
        assert group.alone is not None and one["values"] is group.alone
        assert one["mean"] == pytest.approx(group.alone.mean() - found.clean)
        assert one["per_share"] == one["mean"] * 27 / weights and one["p_holm"] >= one["p"]
    for one, group in zip(gains, found.groups, strict=True):
        assert one["values"] is group.kept and one["mean"] == pytest.approx((found.joint - group.kept).mean())
        tails = [np.quantile(values, 0.95) for values in (found.joint, group.kept)]
        assert one["tail"] == pytest.approx(tails[0] - tails[1])
        assert one["worst"] == pytest.approx(found.joint.max() - group.kept.max())


def test_a_set_is_measured_once_and_progress_ends(data: Data) -> None:
    """Of two layers, all but the first is the second alone; and a pattern that names a layer is that layer kept."""
    told: list[tuple[int, int]] = []
    tell = lambda done, total: told.append((done, total))  # noqa: E731
    model = made(nn.Linear(6, 4), nn.Linear(4, 3))
    sensitivity(model, accuracy, data, FILTER_MAX, 0.5, chips=5, seed=0, what_if_digital=["0.*"], progress=tell)
    assert told == [(done, 15) for done in range(1, 16)]
    told.clear()
    sensitivity(made(), accuracy, data, FILTER_MAX, 0.5, chips=5, seed=0, what_if_digital=["0.*,2.*"], progress=tell)
    assert len(told) == 7 * 5  # all, three alone, three kept; the pattern leaves one alone


def test_moments_are_asked_for_once(data: Data) -> None:
    class Counting(Gaussian):
        asked: list[str] = []  # noqa: RUF012

        def moments(self, array: Any, strength: float) -> Any:
            self.asked.append(array.name)
            return super().moments(array, strength)

    corruption: Corruption = Counting("filter-max")
    sensitivity(made(), accuracy, data, corruption, 0.5, chips=2, seed=0)
    assert sorted(Counting.asked) == ["0.weight", "2.weight", "4.weight"]


def test_weights_and_modes_return(data: Data) -> None:
    model = made().train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    sensitivity(model, accuracy, data, FILTER_MAX, 0.5, chips=2, seed=0)
    assert model.training and all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_a_block_is_a_module_at_its_depth() -> None:
    arrays = select(Encoder())

    def names(by: str) -> list[str]:
        return [block.name for block in blocks(arrays, by)[1]]

    assert names("block:1") == ["layers", "head"] and blocks(arrays, "block")[0] == "block:1"
    assert names("block:2") == ["layers.0", "layers.1", "head"]
    inner = ["self_attn", "linear1", "linear2"]
    assert names("block:3") == [*(f"layers.{n}.{one}" for n in (0, 1) for one in inner), "head"]
    attention = blocks(arrays, "block:3")[1][0]
    held = [array.name for array in attention.arrays]
    assert held == ["layers.0.self_attn.in_proj_weight", "layers.0.self_attn.out_proj.weight"]
    assert attention.weights == 8 * 24 + 8 * 8
    assert len(names("layer")) == len(arrays) == 9
    assert [sum(block.weights for block in blocks(arrays, by)[1]) for by in ("layer", "block:2")] == [
        sum(array.value.numel() for array in arrays)
    ] * 2
    # where all is in one module, the first depth that parts it
    wrapped = select(nn.ModuleDict({"model": Encoder()}))
    assert blocks(wrapped, "block")[0] == "block:2"
    assert [block.name for block in blocks(select(nn.Linear(2, 2)), "block")[1]] == ["(the model's own)"]


def test_a_pattern_keeps_what_measure_protects() -> None:
    model = made()
    model[4].weight = nn.Parameter(model[4].weight.detach())
    tied = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    tied[1].weight = tied[0].weight
    for network, patterns in ((model, "2.*"), (model, "0.*,4.*"), (model, "*.weight"), (tied, "1.weight")):
        arrays = select(network)
        held = {array.name for array in named_by(network, arrays, patterns).arrays}
        left = {array.name for array in arrays} - held
        try:
            assert {array.name for array in select(network, protect=patterns.split(","))} == left
        except UserError:  # nothing is left
            assert not left
    with_bias = select(model, also=("0.bias",))
    assert [array.name for array in named_by(model, with_bias, "*.bias").arrays] == ["0.bias"]


def infinite_where_it_differs() -> Score:
    """A score that is 0 while the first layer's weights are those that it saw first, and infinite with others."""
    first: list[Tensor] = []

    def answer(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        weight = next(model.parameters()).detach().clone()
        first.append(weight)
        return torch.full((len(batch[1]), 2), 0.0 if torch.equal(weight, first[0]) else float("inf")), batch[1]

    return Score("inverse", "1", True, lambda logits, labels: logits[:, 0], answer)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no such parameter": ({"what_if_digital": ["3.*"]}, "No parameter '3.\\*' here.*0.weight"),
    "digital already": ({"what_if_digital": ["*.bias"]}, "'\\*.bias' names only what is digital already.*0.weight"),
    "two strengths": ({"strength": (0.1, 0.2)}, "2 strengths are given; sensitivity is measured at one"),
    "strength 0": ({"strength": 0.0}, "gaussian-filter-max at strength 0: nothing is corrupted.*a strength above 0"),
    "negative": ({"strength": -0.1}, "strength -0.1: a finite number that is not negative"),
    "one chip": ({"chips": 1}, "chips=1: at least 2 chips"),
    "no such depth": ({"by": "block:2"}, "no weight lies at depth 2; choose one of: block:1"),
    "depth 0": ({"by": "block:0"}, "no weight lies at depth 0"),
    "no such way": ({"by": "module"}, "No way to part a network 'module' here.*block, block:1, layer"),
    "half a depth": ({"by": "block:x"}, "No way to part a network 'block:x'"),
    "no direction": ({"score": lambda model, batch: batch[1].float()}, "no direction.*wrap it in a Score"),
    "iterator": ({"data": iter([])}, "iterated only once"),
    "infinite": (
        {"score": infinite_where_it_differs()},
        "inverse is not finite on 3 of 3 chips with 0.weight.*such as accuracy",
    ),
}


@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(given: dict[str, Any], message: str, data: Data) -> None:
    asked: dict[str, Any] = {"score": accuracy, "data": data, "strength": 0.1, "chips": 3, "seed": 0, **given}
    with pytest.raises(UserError, match=message) as caught:
        sensitivity(made(), asked.pop("score"), asked.pop("data"), FILTER_MAX, asked.pop("strength"), **asked)
    assert "\n" not in str(caught.value)


def test_a_pinned_fault_shows_at_strength_0(data: Data) -> None:
    pinned = parse("stored(weights|fixed(drop):0.5|drop)")
    assert sensitivity(made(), cross_entropy, data, pinned, 0.0, chips=3, seed=0).loss().error > 0


def test_the_table_is_sorted_and_says_what_it_is(data: Data) -> None:
    found = sensitivity(
        Sum(scale=3.0), cross_entropy, data, ABSOLUTE, 1.0, chips=8, seed=0, what_if_digital=["a.*,c.*"]
    )
    head, second, _, titles, *lines = str(found).split("\n")
    assert all(fact in head for fact in ("cross-entropy", "8 chips", "40 examples", "(validation)", "strength 1"))
    assert f"clean {found.clean:.4f}" in second and "all 54 weights corrupted" in second and "loss" in titles
    losses, gains = lines[:3], lines[6:10]
    assert losses[0].startswith("c.weight") and gains[0].startswith("'a.*,c.*'")
    for rows, place in ((losses, 3), (gains, 3)):
        sizes = [float(row.split()[place]) for row in rows]
        assert sizes == sorted(sizes, reverse=True)
    assert lines[3].startswith("their sum") and "each row by itself" in lines[-3] and "Holm" in lines[-2]
    assert repr(found) == str(found) and losses[0].split()[1:3] == ["18", "33.3%"]


@pytest.mark.parametrize(
    ("joint", "said"),
    [
        ([0.1, 0.2, 0.15], "more than that"),
        ([0.79, 0.78, 0.77], "less than that"),
        ([0.3, 0.9, 0.5], "not told apart from it"),
    ],
)
def test_what_joint_corruption_adds_is_said(joint: list[float], said: str) -> None:
    from dataclasses import replace

    from incorruptible.evaluation.sensitivity import GroupScores, Sensitivity

    model = Sum(inputs=2, outputs=1)
    ones = [(torch.ones(1, 2), torch.zeros(1, dtype=torch.long))]
    together = measure(model, OUTPUT, ones, ABSOLUTE, [1.0], chips=3, seed=0)
    alone = np.array([0.6, 0.61, 0.59])  # two losses of .3 against clean .9, or less
    group = GroupScores("g", ("a.weight",), 2, 0.5, alone, alone)
    found = Sensitivity("layer", 0.9, replace(together, values=np.array([joint])), (group, group), ())
    assert said in str(found)


# As its users type it

OWN = """
import torch
from torch import nn
from incorruptible import Task

x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > x[:, 1]).long()


def model():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


task = Task(model, test=(x[:20], y[:20]), train=(x, y), validation=(x[20:], y[20:]))
none = Task(model, test=(x, y), train=(x, y))
"""
WORDS = ("sensitivity", "own.py:task", "--weights", "w.safetensors", "--corruption", "gaussian-filter-max:.3")


@pytest.fixture
def type_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    from safetensors.torch import save_file

    (tmp_path / "own.py").write_text(OWN)
    save_file(made(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).state_dict(), tmp_path / "w.safetensors")
    monkeypatch.chdir(tmp_path)
    return typing(monkeypatch, capsys)


def test_the_verb_gives_what_the_function_finds(type_: Type, tmp_path: Path) -> None:
    from incorruptible.tasks import load

    said = type_(
        *WORDS, "--chips", "4", "--seed", "3", "--what-if-digital", "2.*", "--figure", "f", "--out", "o.json", "--json"
    )
    assert (said.code, said.err) == (0, "")
    given = json.loads(said.out)
    task = load("own.py:task")
    model = task.model()
    load_weights(model, tmp_path / "w.safetensors")
    x, y = task.validation
    found = sensitivity(model, accuracy, [(x, y)], FILTER_MAX, 0.3, chips=4, seed=3, what_if_digital=["2.*"])
    assert given["losses"][0]["values"] == found.losses()[0].group.alone.tolist()  # type: ignore[union-attr]
    assert given["joint"]["values"] == found.joint.tolist() and given["clean"] == found.clean
    assert [one["name"] for one in given["gains"]] == ["0.weight", "2.weight", "'2.*'"]
    assert given["part"] == given["purpose"] == "validation" and given["examples"] == 40 and given["weights"] == 64
    assert (tmp_path / "f.png").stat().st_size > 10_000 and (tmp_path / "f.svg").exists()
    kept = json.loads((tmp_path / "o.json").read_text())
    assert kept["interaction"] == given["interaction"] and kept["command"].startswith("incorruptible sensitivity")


def test_the_table_on_the_screen(type_: Type) -> None:
    said = type_(*WORDS, "--chips", "3", "--by", "block")
    assert (said.code, said.err) == (0, "") and "(validation)" in said.out and "by block:1" in said.out
    told = type_(*WORDS, "--chips", "3", "--part", "test")
    assert told.code == 0 and "choice" in told.err and "20 examples" in told.out


REFUSED = {
    "two strengths": (("--corruption", "gaussian-filter-max:.1,.2"), "one strength"),
    "nothing to see": (("--corruption", "gaussian-filter-max:0"), "nothing to see"),
    "rounding alone": (("--corruption", "quantised:0:bits=3"), "all chips are alike"),
    "no strength": (("--corruption", "gaussian-filter-max"), "strengths are missing"),
    "pattern": (("--what-if-digital", "1.*"), "No parameter '1.*' here"),
    "chips": (("--chips", "1"), "chips=1"),
    "depth": (("--by", "block:3"), "block:1"),
    "figure": (("--figure", "f.pdf"), ".png or .svg"),
    "part": (("--part", "tset"), "Did you mean 'test'?"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_and_2(words: tuple[str, str], said: str, type_: Type) -> None:
    asked = WORDS[:-2] if words[0] == "--corruption" else WORDS
    answer = type_(*asked, *words)
    assert answer.code == 2 and answer.out == "" and answer.err.count("\n") == 1 and said in answer.err


def test_without_validation_data_it_says_what_to_give(type_: Type) -> None:
    answer = type_("sensitivity", "own.py:none", *WORDS[2:])
    assert answer.code == 2 and "validation=(inputs, labels)" in answer.err and "--part train" in answer.err
    assert type_("sensitivity", "own.py:none", *WORDS[2:], "--part", "train", "--chips", "2").code == 0
