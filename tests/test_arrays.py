"""Which weights are selected, what a filter is, and that the weights come back bit for bit.

One row of LAYERS for each layer type. `owner` says, by hand, for which output an index of a weight works; peaks and
norms are held against a loop over single weights, and, where there is an input to try, the layer's own answer says
whether a filter is what one output sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from incorruptible.errors import UserError
from incorruptible.weights.arrays import Array, select, survey, unwrapped
from incorruptible.weights.swap import replaced

Index = tuple[int, ...]


def first(index: Index) -> int:
    return index[0]


def second(index: Index) -> int:
    return index[1]


def conv1d(fan_out: int, fan_in: int) -> nn.Module:
    module: nn.Module = pytest.importorskip("transformers.pytorch_utils").Conv1D(fan_out, fan_in)
    return module


class Layer(NamedTuple):
    name: str
    make: Callable[[], nn.Module]
    selected: dict[str, int]  # array: how many filters
    owner: Callable[[Index], int] = first
    inputs: tuple[Index, ...] = ()  # shapes, where the layer is a weight and one output channel for each filter
    channel: int = 1  # the dimension of the output that counts channels


LSTM = [f"{kind}_l{layer}{way}" for layer in (0, 1) for way in ("", "_reverse") for kind in ("weight_ih", "weight_hh")]
PROJECTED = [f"weight_hr_l{layer}{way}" for layer in (0, 1) for way in ("", "_reverse")]

LAYERS = [
    Layer("linear", lambda: nn.Linear(4, 3), {"weight": 3}, inputs=((2, 4),)),
    Layer("bilinear", lambda: nn.Bilinear(2, 5, 3), {"weight": 3}, inputs=((2, 2), (2, 5))),
    Layer("conv1d", lambda: nn.Conv1d(2, 3, 3), {"weight": 3}, inputs=((2, 2, 5),)),
    Layer("conv2d", lambda: nn.Conv2d(2, 3, 2), {"weight": 3}, inputs=((2, 2, 4, 4),)),
    Layer("conv3d", lambda: nn.Conv3d(2, 3, 2), {"weight": 3}, inputs=((2, 2, 3, 3, 3),)),
    Layer("conv2d-grouped", lambda: nn.Conv2d(4, 6, 3, groups=2), {"weight": 6}, inputs=((2, 4, 4, 4),)),
    Layer("conv2d-depthwise", lambda: nn.Conv2d(4, 4, 3, groups=4), {"weight": 4}, inputs=((2, 4, 4, 4),)),
    Layer("transposed1d", lambda: nn.ConvTranspose1d(2, 3, 3), {"weight": 3}, second, ((2, 2, 4),)),
    Layer("transposed2d", lambda: nn.ConvTranspose2d(2, 3, 3), {"weight": 3}, second, ((2, 2, 4, 4),)),
    Layer("transposed3d", lambda: nn.ConvTranspose3d(2, 3, 2), {"weight": 3}, second, ((2, 2, 3, 3, 3),)),
    Layer(
        "transposed2d-grouped",  # 4 inputs and 3 outputs in each of 2 groups
        lambda: nn.ConvTranspose2d(8, 6, 3, groups=2),
        {"weight": 6},
        lambda index: index[0] // 4 * 3 + index[1],
        ((2, 8, 4, 4),),
    ),
    Layer(
        "transposed2d-depthwise",
        lambda: nn.ConvTranspose2d(4, 4, 3, groups=4),
        {"weight": 4},
        lambda index: index[0] + index[1],
        ((2, 4, 4, 4),),
    ),
    Layer("transformers-conv1d", lambda: conv1d(3, 4), {"weight": 3}, second, ((2, 4),)),
    Layer("attention", lambda: nn.MultiheadAttention(4, 2), {"in_proj_weight": 12, "out_proj.weight": 4}),
    Layer(
        "attention-kdim",
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
        {"q_proj_weight": 4, "k_proj_weight": 4, "v_proj_weight": 4, "out_proj.weight": 4},
    ),
    Layer("rnn", lambda: nn.RNN(3, 4), {"weight_ih_l0": 4, "weight_hh_l0": 4}),
    Layer("gru", lambda: nn.GRU(3, 4, 2, bidirectional=True), dict.fromkeys(LSTM, 12)),
    Layer(
        "lstm-projected",
        lambda: nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2),
        dict.fromkeys(LSTM, 16) | dict.fromkeys(PROJECTED, 2),
    ),
    Layer("rnn-cell", lambda: nn.RNNCell(3, 4), {"weight_ih": 4, "weight_hh": 4}),
    Layer("gru-cell", lambda: nn.GRUCell(3, 4), {"weight_ih": 12, "weight_hh": 12}),
    Layer("lstm-cell", lambda: nn.LSTMCell(3, 4), {"weight_ih": 16, "weight_hh": 16}),
    Layer(
        "transformer",
        lambda: nn.TransformerEncoderLayer(4, 2, 8),
        {"self_attn.in_proj_weight": 12, "self_attn.out_proj.weight": 4, "linear1.weight": 8, "linear2.weight": 4},
    ),
]
EACH = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
TRIED = pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.inputs], ids=lambda layer: layer.name)


def made(layer: Layer) -> nn.Module:
    torch.manual_seed(0)
    return layer.make()


def indices(value: Tensor) -> Iterator[Index]:
    return product(*map(range, value.shape))


def bits(arrays: list[Array]) -> list[bytes]:
    return [array.value.contiguous().view(torch.uint8).numpy().tobytes() for array in arrays]


@EACH
def test_what_is_selected(layer: Layer) -> None:
    assert {array.name: array.filters for array in select(made(layer))} == layer.selected


@EACH
def test_peak_and_norm_are_those_of_a_loop_over_single_weights(layer: Layer) -> None:
    for array in select(made(layer)):
        seen: dict[int, list[float]] = {}
        for index in indices(array.value):
            seen.setdefault(layer.owner(index), []).append(float(array.value[index]))
        assert len(seen) == array.filters
        peak, norm = array.peak().expand_as(array.value), array.norm().expand_as(array.value)
        for index in indices(array.value):
            mine = seen[layer.owner(index)]
            assert float(peak[index]) == max(map(abs, mine))
            assert float(norm[index]) == pytest.approx(math.sqrt(sum(w * w for w in mine)), rel=1e-5)


@TRIED
def test_a_filter_is_what_one_output_sees(layer: Layer) -> None:
    """Zero one filter, found by the array itself: exactly the output of that number changes."""
    module = made(layer)
    inputs = [torch.randn(shape) for shape in layer.inputs]
    (array,) = select(module)
    before = module(*inputs).detach()
    for index in indices(array.value):
        mark = torch.zeros_like(array.value)
        mark[index] = 1
        mine = array.reduce(torch.amax, mark).expand_as(mark)
        with replaced([array], lambda array, mine=mine: array.value * (1 - mine)):
            after = module(*inputs).detach()
        changed = (after != before).movedim(layer.channel, 0).flatten(1).any(1)
        assert changed.nonzero().flatten().tolist() == [layer.owner(index)]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.LayerNorm(3), "LayerNorm stays digital"),
        (nn.GroupNorm(1, 3), "GroupNorm stays digital"),
        (nn.RMSNorm(3), "RMSNorm stays digital"),
        (nn.BatchNorm2d(3), "BatchNorm2d stays digital"),
        (nn.InstanceNorm1d(3, affine=True), "InstanceNorm1d stays digital"),
        (nn.Embedding(5, 3), "Embedding stays digital"),
        (nn.EmbeddingBag(5, 3), "EmbeddingBag stays digital"),
        (nn.PReLU(), "a bias, scale or vector of PReLU"),
        (nn.ParameterList([torch.ones(2, 2)]), "no rule for ParameterList: name it in also=(...) to include it"),
        (nn.ParameterList([torch.ones(0, 2)]), "empty"),
        (
            nn.ParameterList([nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)]),
            "holds torch.int8, not floats",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_selected_and_why(module: nn.Module, reason: str) -> None:
    found = survey(nn.Sequential(module, nn.Linear(2, 2)))
    assert {one.reason for one in found if one.name.startswith("0.")} == {reason}
    assert [one.name for one in found if one.array] == ["1.weight"]
    assert [one.reason for one in found if one.name == "1.bias"] == ["a bias, scale or vector of Linear"]
    with pytest.raises(UserError, match=f"Sequential has no weight to perturb: it holds {type(module).__name__}"):
        select(nn.Sequential(module))


def test_a_model_without_parameters_says_so() -> None:
    with pytest.raises(UserError, match="ReLU has no weight to perturb: it holds no parameters at all"):
        select(nn.ReLU())


def test_frozen_weights_sit_on_the_chip_too() -> None:
    model = nn.Linear(3, 2).requires_grad_(False)
    assert [array.name for array in select(model)] == ["weight"]


def tiny_gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model: nn.Module = transformers.GPT2LMHeadModel(config)
    return model


def tiny_bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=11, max_position_embeddings=8, **sizes)
    model: nn.Module = transformers.BertForMaskedLM(config)
    return model


GPT2 = "transformer.h.0"
BERT = "bert.encoder.layer.0"


@pytest.mark.parametrize(
    ("make", "names", "table"),
    [
        (
            tiny_gpt2,
            {
                f"{GPT2}.attn.c_attn.weight": 24,
                f"{GPT2}.attn.c_proj.weight": 8,
                f"{GPT2}.mlp.c_fc.weight": 32,
                f"{GPT2}.mlp.c_proj.weight": 8,
            },
            "transformer.wte.weight",
        ),
        (
            tiny_bert,
            {
                **{f"{BERT}.attention.self.{name}.weight": 8 for name in ("query", "key", "value")},
                f"{BERT}.attention.output.dense.weight": 8,
                f"{BERT}.intermediate.dense.weight": 16,
                f"{BERT}.output.dense.weight": 8,
                "cls.predictions.transform.dense.weight": 8,
            },
            "bert.embeddings.word_embeddings.weight",
        ),
    ],
    ids=["gpt2", "bert"],
)
def test_transformers(make: Callable[[], nn.Module], names: dict[str, int], table: str) -> None:
    """The output layer is tied to the embedding: one array, once, since one of its owners is a Linear."""
    model = make()
    assert {array.name: array.filters for array in select(model)} == names | {table: 11}
    assert [one.module for one in survey(model) if one.name == table] == ["Linear"]
    assert not any("position" in array.name or "wpe" in array.name for array in select(model))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.table.weight


def test_a_tied_tensor_is_one_array_under_its_first_name_and_is_left_out_under_any() -> None:
    model = Tied()
    assert [array.name for array in select(model)] == ["table.weight"]
    for name in ("table.weight", "head.weight"):
        assert [one.reason for one in survey(model, protect=(name,))] == [f"left out by {name!r}"]
    ones = torch.ones(5, 3)
    with replaced(select(model), lambda array: ones):
        assert torch.equal(model.head.weight, ones) and torch.equal(model.table.weight, ones)


PATTERNS = [
    ((), (), ["0.weight", "2.weight"]),
    (("*.bias",), (), ["0.bias", "0.weight", "1.bias", "2.bias", "2.weight"]),
    (("1.*",), (), ["0.weight", "1.bias", "1.weight", "2.weight"]),
    ((), ("2.*",), ["0.weight"]),
    (("*",), ("0.*", "*.bias"), ["1.weight", "2.weight", "3.0"]),
    (("3.0",), (), ["0.weight", "2.weight", "3.0"]),
]


def patterned() -> nn.Module:
    scalar = nn.ParameterList([torch.tensor(2.0)])
    return nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2), scalar)


@pytest.mark.parametrize(("also", "protect", "names"), PATTERNS)
def test_patterns(also: tuple[str, ...], protect: tuple[str, ...], names: list[str]) -> None:
    arrays = select(patterned(), also=also, protect=protect)
    assert sorted(array.name for array in arrays) == names
    for array in arrays:  # a vector or a scalar is one filter
        if array.value.dim() < 2:
            assert array.filters == 1
            assert float(array.peak()) == float(array.value.abs().max())
            assert float(array.norm()) == pytest.approx(float(array.value.norm()))


@pytest.mark.parametrize("what", ["also", "protect"])
def test_a_pattern_that_matches_nothing_is_a_mistake_with_a_hint(what: str) -> None:
    patterns: Any = {what: ("0.wieght",)}
    with pytest.raises(UserError, match=r"No parameter '0.wieght' here. Did you mean '0.weight'\?"):
        select(patterned(), **patterns)


PARAMETRISED = [
    ("weight_norm", lambda: parametrizations.weight_norm(nn.Linear(3, 2))),
    ("spectral_norm", lambda: parametrizations.spectral_norm(nn.Conv2d(2, 3, 2))),
    ("orthogonal", lambda: parametrizations.orthogonal(nn.ConvTranspose2d(2, 3, 2))),
    ("weight_norm of Conv1D", lambda: parametrizations.weight_norm(conv1d(3, 4))),
    ("weight_norm of LSTM", lambda: parametrizations.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")),
    ("weight_norm of GRUCell", lambda: parametrizations.weight_norm(nn.GRUCell(2, 3), "weight_hh")),
    ("old weight_norm", lambda: nn.utils.weight_norm(nn.Linear(3, 2))),
    ("old weight_norm of LSTM", lambda: nn.utils.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")),
    ("old spectral_norm", lambda: nn.utils.spectral_norm(nn.Linear(3, 2))),
    ("prune", lambda: prune.l1_unstructured(nn.Linear(3, 2), "weight", amount=2)),
    ("prune of LSTM", lambda: prune.l1_unstructured(nn.LSTM(2, 3), "weight_hh_l0", amount=2)),
]


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize(("name", "make"), PARAMETRISED, ids=[name for name, _ in PARAMETRISED])
@pytest.mark.parametrize("prefix", ["", "0", "part", "part.0"])
def test_parametrised_weights_are_refused_with_the_line_that_helps(
    name: str, make: Callable[[], nn.Module], prefix: str
) -> None:
    layer = make()
    model = {
        "": lambda: layer,
        "0": lambda: nn.Sequential(layer),
        "part": lambda: nn.ModuleDict({"part": layer}),
        "part.0": lambda: nn.ModuleDict({"part": nn.Sequential(layer)}),
    }[prefix]()
    with pytest.raises(UserError, match="is computed from other parameters") as caught:
        select(model)
    line = str(caught.value).split("first: ")[1]
    eval(line, {"torch": torch, "model": model})
    arrays = select(model)
    assert all(array.name.rpartition(".")[2].startswith("weight") for array in arrays)
    assert len(arrays) == (2 if "LSTM" in name or "Cell" in name else 1)


@pytest.mark.parametrize("lazy", [nn.LazyLinear, nn.LazyConv2d, nn.LazyConvTranspose1d])
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_lazy_modules_are_refused(lazy: Callable[..., nn.Module]) -> None:
    model = nn.Sequential(lazy(3, *(() if lazy is nn.LazyLinear else (2,))))
    with pytest.raises(UserError, match=r"0\.weight has no shape yet: run one batch through the model first"):
        select(model)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize(
    "wrap",
    [compiled, nn.DataParallel, lambda model: compiled(nn.DataParallel(model))],
    ids=["compile", "DataParallel", "both"],
)
def test_wrapped_models_keep_their_names(wrap: Callable[[nn.Module], Any]) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    wrapped = wrap(model)
    assert wrapped is not model and unwrapped(wrapped) is model
    assert [array.name for array in select(wrapped)] == ["0.weight"]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_distributed_models_keep_their_names(tmp_path: Path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.Sequential(nn.Linear(2, 2))
        assert [array.name for array in select(nn.parallel.DistributedDataParallel(model))] == ["0.weight"]
    finally:
        torch.distributed.destroy_process_group()


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def shifted(array: Array) -> Tensor:
    return array.value + 0.3


@pytest.mark.parametrize("raises", [False, True])
def test_the_same_storage_holds_other_values_for_a_while(raises: bool) -> None:
    arrays = select(two_layers())
    before, places = bits(arrays), [array.parameter.data_ptr() for array in arrays]
    want = [array.value + 0.3 for array in arrays]
    try:
        with replaced(arrays, shifted):
            assert all(torch.equal(array.parameter, new) for array, new in zip(arrays, want, strict=True))
            assert [array.parameter.data_ptr() for array in arrays] == places
            if raises:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert bits(arrays) == before
    assert [array.parameter.data_ptr() for array in arrays] == places


def half_way(array: Array) -> Tensor:
    if array.name == "2.weight":
        raise RuntimeError("no values for this one")
    return array.value + 1


def misshapen(array: Array) -> Tensor:
    return array.value + 1 if array.name == "0.weight" else torch.zeros(2, 1)  # would broadcast, if it were let


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (half_way, RuntimeError, "no values for this one"),
        (misshapen, UserError, r"2.weight has shape \(2, 4\), but values of shape \(2, 1\) were given"),
    ],
)
def test_values_that_fail_half_way_leave_the_weights(values: Any, kind: type[Exception], message: str) -> None:
    arrays = select(two_layers())
    before = bits(arrays)
    with pytest.raises(kind, match=message), replaced(arrays, values):
        pytest.fail("the block must not run")
    assert bits(arrays) == before


def test_no_values_leave_all_as_it_is() -> None:
    arrays = select(two_layers())
    before = bits(arrays)
    with replaced(arrays, None):
        assert bits(arrays) == before


def test_a_replacement_within_a_replacement_gives_the_outer_one_back() -> None:
    arrays = select(two_layers())
    before = bits(arrays)
    with replaced(arrays, shifted):
        outer = bits(arrays)
        with replaced(arrays, lambda array: array.value * 2):
            assert bits(arrays) != outer
        assert bits(arrays) == outer
    assert bits(arrays) == before


def test_the_same_array_twice_comes_back() -> None:
    arrays = select(two_layers())
    before = bits(arrays)
    with replaced([*arrays, *arrays], shifted):
        assert bits(arrays) != before
    assert bits(arrays) == before


def test_bfloat16_weights_come_back_a_thousand_times() -> None:
    arrays = select(two_layers().to(torch.bfloat16))
    before = bits(arrays)
    for step in range(1000):
        with replaced(arrays, lambda array, step=step: array.value + 0.01 * step):
            pass
    assert bits(arrays) == before


def test_training_through_a_replacement() -> None:
    """Gradients are those at the replaced weights; the step starts from the clean ones, with the optimiser's state."""
    model, inputs = two_layers(), torch.randn(5, 3)
    arrays = select(model)
    twin = two_layers()
    for array in select(twin):
        array.parameter.data = array.value + 0.3
    (want,) = torch.autograd.grad(twin(inputs).square().sum(), [twin[0].weight])

    weight = model[0].weight
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    clean, version, momentum = weight.detach().clone(), weight._version, torch.zeros_like(weight)
    for _ in range(2):
        optimiser.zero_grad()
        start = weight.detach().clone()
        with replaced(arrays, shifted):
            model(inputs).square().sum().backward()
        if torch.equal(start, clean):
            assert torch.equal(weight.grad, want)
            assert weight._version == version  # else a backward pass after the block would be refused
        optimiser.step()
        momentum = 0.9 * momentum + weight.grad
        torch.testing.assert_close(weight.detach(), start - 0.1 * momentum)
        assert torch.equal(optimiser.state[weight]["momentum_buffer"], momentum)


def test_autocast_does_not_see_stale_copies() -> None:
    """Autocast keeps 16-bit copies of weights until its block ends; each replacement must reach the output."""
    model, inputs = nn.Linear(3, 2), torch.ones(1, 3)
    arrays = select(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        clean = model(inputs)
        with replaced(arrays, lambda array: torch.full_like(array.value, 1)):
            one = model(inputs)
        with replaced(arrays, lambda array: torch.full_like(array.value, 2)):
            two = model(inputs)
        again = model(inputs)
    assert torch.equal(again, clean)
    assert one.dtype == torch.bfloat16
    torch.testing.assert_close(two - one, torch.full((1, 2), 3.0, dtype=torch.bfloat16), rtol=0.05, atol=0)
