"""Models of `transformers`, from configs on this machine: made, hardened, measured, saved, loaded, audited, trained."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import incorruptible as inc
from incorruptible.errors import UserError
from incorruptible.tasks.data import fingerprint
from incorruptible.tasks.networks import IMAGES, image_network, local_model
from incorruptible.tasks.scores import Score, accuracy, cross_entropy, per_token
from incorruptible.training import Trainer, load_weights, save_weights
from incorruptible.training.recipe import parse
from incorruptible.weights.arrays import survey
from typing_commands import Type, typing

transformers = pytest.importorskip("transformers", reason="pip install 'incorruptible[models]'")
NOISE = inc.Gaussian("filter-max")
TOKENS = {"vocab_size": 23, "bos_token_id": 0, "eos_token_id": 0}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


class Row(NamedTuple):
    """A small model: its config, its kind, what scores it, and how many parameters are in arrays, by hand, and why the others
    are not, with their number."""

    config: Callable[[], Any]
    kind: str
    score: Score
    arrays: int
    skipped: dict[str, int]


# ViT: a convolution, six Linear in each of 2 blocks, the head. ResNet: the stem, and in each of 2 blocks two convolutions,
# a shortcut where shapes change, the head. MobileNetV2: by its own modules, below. BERT: six Linear in each block, the
# transform of the head, the table that the decoder shares. GPT-2: four Conv1D in each block, the shared table.
MODELS = {
    "vit": Row(
        lambda: transformers.ViTConfig(**SMALL, image_size=8, patch_size=4, num_channels=1, num_labels=5),
        "images",
        cross_entropy,
        1 + 2 * 6 + 1,
        {
            "a bias, scale or vector of Linear": 2 * 6 + 1,
            "a bias, scale or vector of Conv2d": 1,
            "LayerNorm stays digital": 2 * 2 * 2 + 2,
            "no rule for ViTEmbeddings: name it in also=(...) to include it": 2,  # class token, positions
        },
    ),
    "resnet": Row(
        lambda: transformers.ResNetConfig(
            embedding_size=4,
            hidden_sizes=[4, 8],
            depths=[1, 1],
            layer_type="basic",
            num_channels=1,
            num_labels=5,
        ),
        "images",
        cross_entropy,
        1 + 2 * 2 + 1 + 1,
        {"a bias, scale or vector of Linear": 1, "BatchNorm2d stays digital": 2 * (1 + 2 * 2 + 1)},
    ),
    "mobilenet-v2": Row(
        lambda: transformers.MobileNetV2Config(
            depth_multiplier=0.1, depth_divisible_by=4, min_depth=4, image_size=32, num_channels=1, num_labels=5
        ),
        "images",
        cross_entropy,
        2 + 3 * 16 + 1 + 1 + 1,
        {"a bias, scale or vector of Linear": 1, "BatchNorm2d stays digital": 2 * (2 + 3 * 16 + 1 + 1)},
    ),
    "bert": Row(
        lambda: transformers.BertConfig(**SMALL, **TOKENS, max_position_embeddings=12),
        "masked",
        per_token(cross_entropy, causal=False),
        2 * 6 + 1 + 1,
        {
            "a bias, scale or vector of Linear": 2 * 6 + 1,
            "LayerNorm stays digital": 2 * 2 * 2 + 2 + 2,
            "Embedding stays digital": 2,  # positions, segments
            "a bias, scale or vector of BertLMPredictionHead": 1,
        },
    ),
    "gpt2": Row(
        lambda: transformers.GPT2Config(**TOKENS, n_positions=12, n_embd=16, n_layer=2, n_head=2),
        "causal",
        per_token(cross_entropy, causal=True),
        2 * 4 + 1,
        {
            "a bias, scale or vector of Conv1D": 2 * 4,
            "LayerNorm stays digital": 2 * 2 * 2 + 2,
            "Embedding stays digital": 1,  # positions
        },
    ),
}
TABLES = {
    "bert": ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
    "gpt2": ("transformer.wte.weight", "lm_head.weight"),
}
INSIDE = {"bert": "bert.encoder.layer.0.intermediate", "gpt2": "transformer.h.0.mlp"}  # what is computed again
each = pytest.mark.parametrize("name", MODELS)
language = pytest.mark.parametrize("name", TABLES)


def made(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return local_model(MODELS[name].config(), MODELS[name].kind)()


def batch(name: str, n: int = 6) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    if MODELS[name].kind == "images":
        size = 32 if name == "mobilenet-v2" else 8
        images = torch.randn(n, 1, size, size, generator=draw)
        return {"pixel_values": images, "labels": torch.randint(5, (n,), generator=draw)}
    words = torch.randint(23, (n, 10), generator=draw)
    labels = words.clone()
    labels[torch.rand(n, 10, generator=draw) < 0.4] = -100  # another number in each example
    return {"input_ids": words, "labels": labels}


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def logits(model: nn.Module, name: str) -> Tensor:
    inputs = {key: value for key, value in batch(name).items() if key != "labels"}
    with torch.no_grad():
        found: Tensor = model.eval()(**inputs).logits
    return found


@each
@pytest.mark.parametrize("objective", [inc.RWP(NOISE), inc.SAM()], ids=["rwp", "sam"])
def test_hardened_one_step(name: str, objective: inc.Objective) -> None:
    """The loss is the model's own; weights come back bit for bit, every gradient is there, and the optimiser then moves them."""
    model, data = made(name), batch(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = bits(model)
    weights = {name for name, _ in model.named_parameters()}
    robust = inc.Hardener(model, objective, inc.Constant(0.1), steps=2, seed=0)
    loss = robust.backward(lambda: model(**data).loss)
    assert torch.isfinite(loss) and robust.skipped == 0 and model.training
    after = bits(model)
    assert {one for one in before if before[one] != after[one]}.isdisjoint(weights)  # running statistics may have moved
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    optimizer.step()
    moved = bits(model)
    assert all(moved[array.name] != before[array.name] for array in robust.arrays)
    model.eval()
    robust.backward(lambda: model(**data).loss)
    assert not model.training and bits(model) == moved  # the mode is the user's, and nothing else moves in it


@each
def test_measured(name: str) -> None:
    row, model = MODELS[name], made(name)
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        # fresh convolutions are so small that without statistics of their own nothing comes through
        inc.recalibrate_batchnorm(model, [batch(name)], lambda model, data: model(data["pixel_values"]))
    before = bits(model)
    found = inc.measure(model, row.score, [batch(name)], NOISE, [0.0, 0.5], chips=3, seed=0)
    assert bits(model) == before and model.training
    assert found.values.shape == (2, 3) and found.n_examples == 6
    assert len(set(found.values[0])) == 1 and len(set(found.values[1])) == 3
    with torch.no_grad():
        clean = row.score(model.eval(), batch(name)).mean()
    assert found.values[0, 0] == pytest.approx(float(clean), rel=1e-5)


@pytest.mark.parametrize("name", ["resnet", "mobilenet-v2"])
def test_folding_says_that_it_cannot_follow_them(name: str) -> None:
    with pytest.raises(UserError, match=r"torch.fx cannot trace \w+ForImageClassification .*as-is or recalibrated"):
        inc.fold_batchnorm(made(name).eval())
    model, clean = made(name), made(name)
    found = inc.measure(
        model,
        cross_entropy,
        [batch(name)],
        NOISE,
        [0.3],
        chips=2,
        seed=0,
        batchnorm="recalibrated",
        calibration=[batch(name)],
    )
    assert bits(model) == bits(clean) and len(set(found.values[0])) == 2


@each
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    """By us, and by transformers itself; a tied table is stored once and is one tensor again after."""
    model, other = made(name), made(name, seed=1)
    file = tmp_path / "own.safetensors"
    save_weights(model, file)
    assert bits(other) != bits(model)
    load_weights(other, file)
    assert bits(other) == bits(model)
    assert torch.equal(logits(other, name), logits(model, name))
    model.save_pretrained(tmp_path / "theirs")  # type: ignore[operator]
    third = local_model(tmp_path / "theirs")()
    assert bits(third) == bits(model)
    for one in (other, third):
        if name in TABLES:
            first, second = map(one.get_parameter, TABLES[name])
            assert first is second
            assert file.stat().st_size < sum(len(value) for value in bits(model).values()) + 20_000


@each
def test_the_audit_is_complete(name: str) -> None:
    """Every parameter is in an array or is skipped for a reason; the counts are by hand."""
    row, model = MODELS[name], made(name)
    found = inc.audit(model, NOISE, 0.1)
    assert [one.name for one in found.rows] == [one for one, _ in model.named_parameters()]
    assert len(found.touched) == row.arrays
    reasons = [one.reason for one in found.skipped]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == row.skipped
    assert all(one.relative_to_max for one in found.touched)
    kinds = nn.Linear | nn.Conv2d | transformers.pytorch_utils.Conv1D
    held = {id(module.weight) for module in model.modules() if isinstance(module, kinds)}
    assert {id(one.parameter) for one in survey(model) if one.array} == held


def test_names_that_transformers_changes_in_files(tmp_path: Path) -> None:
    """Its vision transformer is written under older names: such a file is refused, and the folder is what is to be named."""
    model = made("vit")
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    with pytest.raises(UserError, match="these are the weights of another model"):
        load_weights(model, tmp_path / "model.safetensors")
    for name in ("bert", "gpt2"):
        other = made(name, seed=1)
        made(name).save_pretrained(tmp_path / name)  # type: ignore[operator]
        load_weights(other, tmp_path / name / "model.safetensors")
        assert bits(other) == bits(made(name)) and bits(other) != bits(made(name, seed=1))


def test_what_a_filter_is_in_them() -> None:
    """Depthwise kernels are one each, Conv1D counts its outputs though they come last, and a tied table its words."""
    deep = {array.name: array for array in inc.select(made("mobilenet-v2"))}
    modules = dict(made("mobilenet-v2").named_modules())
    depthwise = [name for name, one in modules.items() if isinstance(one, nn.Conv2d) and one.groups > 1]
    assert len(depthwise) == 17  # one in each of the 16 inverted residuals, and the stem's
    for name in depthwise:
        assert modules[name].groups == deep[f"{name}.weight"].filters == deep[f"{name}.weight"].peak().numel()
    arrays = {array.name: array.filters for array in inc.select(made("gpt2"))}
    block = {"attn.c_attn": 48, "attn.c_proj": 16, "mlp.c_fc": 64, "mlp.c_proj": 16}
    table = {"transformer.wte.weight": 23}
    assert arrays == table | {f"transformer.h.{k}.{name}.weight": n for k in (0, 1) for name, n in block.items()}


@language
def test_a_tied_table_is_one_chip_for_both_of_its_uses(name: str) -> None:
    model = made(name)
    first, second = TABLES[name]
    (table,) = [array for array in inc.select(model) if array.name in (first, second)]
    assert table.name == first
    with inc.replaced([table], lambda array: array.value + 1):
        assert torch.equal(model.get_parameter(first), model.get_parameter(second))
        changed = model.get_parameter(second).clone()
    assert not torch.equal(model.get_parameter(second), changed)
    assert all(array.name != first for array in inc.select(model, protect=(second,)))


@language
@pytest.mark.parametrize("objective", [inc.RWP(NOISE), inc.SAM()], ids=["rwp", "sam"])
def test_a_draw_lasts_through_gradient_checkpointing(name: str, objective: inc.Objective) -> None:
    """Activations are computed again in the backward pass, and see the same noisy weights: equal gradients."""
    grads, still = (
        [],
        {
            "attention_probs_dropout_prob": 0,
            "hidden_dropout_prob": 0,
            "attn_pdrop": 0,
            "embd_pdrop": 0,
            "resid_pdrop": 0,
        },
    )
    for again in (False, True):
        torch.manual_seed(0)
        config = MODELS[name].config()
        config.update({one: p for one, p in still.items() if hasattr(config, one)})
        model = local_model(config, MODELS[name].kind)()
        if again:
            model.activation_checkpointing_enable()  # type: ignore[operator]
        passes: list[int] = []
        model.get_submodule(INSIDE[name]).register_forward_pre_hook(lambda *_, passes=passes: passes.append(1))  # type: ignore[misc]
        robust = inc.Hardener(model, objective, inc.Constant(0.3), steps=1, seed=0)
        data = batch(name)
        robust.backward(lambda model=model, data=data: model(**data).loss)  # type: ignore[misc]
        assert len(passes) == objective.passes * (1 + again)
        grads.append({one: p.grad for one, p in model.named_parameters()})
    assert all(torch.equal(grads[0][one], grads[1][one]) for one in grads[0])


@each
def test_parametrised_weights_are_refused(name: str) -> None:
    model = made(name)
    array = inc.select(model)[-1]
    parametrizations.weight_norm(model.get_submodule(array.name.rpartition(".")[0]))
    with pytest.raises(
        UserError, match=r"is computed from other parameters and cannot be held in an array; .* first: "
    ):
        inc.Hardener(model, inc.RWP(NOISE), inc.Constant(0.1), steps=1, seed=0)


@language
def test_a_score_per_token_is_the_models_own_loss(name: str) -> None:
    """Weighted by how many labels count; example by example, it is the model's loss on that example alone."""
    model, data, score = made(name).eval(), batch(name), MODELS[name].score
    with torch.no_grad():
        ours = score(model, data)
        whole = model(**data).loss
        alone = [model(**{key: value[k : k + 1] for key, value in data.items()}).loss for k in range(6)]
    labels = data["labels"][:, 1:] if name == "gpt2" else data["labels"]
    counts = (labels != -100).sum(1)
    assert len(set(counts.tolist())) > 1
    assert torch.allclose(ours, torch.stack(alone), atol=1e-6)
    assert torch.allclose((ours * counts).sum() / counts.sum(), whole, atol=1e-6)
    right = per_token(accuracy, causal=name == "gpt2")(model, data)
    answer = model(**data).logits.argmax(2)
    answer = answer[:, :-1] if name == "gpt2" else answer
    assert torch.allclose(right, ((answer == labels) & (labels != -100)).sum(1) / counts)


def test_scores_per_token_share_one_forward_pass() -> None:
    model, passes = made("gpt2"), []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    scores = {name: per_token(score, causal=True) for name, score in (("a", accuracy), ("c", cross_entropy))}
    found = inc.measure_all(model, scores, [batch("gpt2")], inc.Sampling(NOISE, [0.1], 2, 0))
    looks = 2  # before the first chip: at the answers, and whether they change with the weights
    assert len(passes) == looks + 2 and [one.unit for one in found.values()] == ["fraction", "nats"]
    inc.measure_all(model, {**scores, "u": MODELS["bert"].score}, [batch("gpt2")], inc.Sampling(NOISE, [0.1], 2, 0))
    assert len(passes) == 2 * looks + 2 + 2 * 3  # they ask the model for different things


def test_what_cannot_be_scored_per_token() -> None:
    model, data = made("gpt2"), batch("gpt2")
    score = per_token(cross_entropy, causal=True)
    with pytest.raises(UserError, match="all its labels are -100"):
        score(model, {**data, "labels": torch.full((6, 10), -100)})
    with pytest.raises(UserError, match="needs a dictionary with 'labels'"):
        score(model, (data["input_ids"], data["labels"]))
    with pytest.raises(UserError, match=r"answered \(6, 10, 23\) to labels \(6, 9\)"):
        score(model, {**data, "labels": data["labels"][:, 1:]})
    with pytest.raises(UserError, match=r"scores\.per_token"):
        cross_entropy(model, data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trained network, as transformers leaves it: 5 classes, 1x8x8."""
    made("vit").save_pretrained(tmp_path / "vit")  # type: ignore[operator]
    return tmp_path / "vit"


def digest(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_a_folder_brings_its_weights_and_keeps_them(folder: Path) -> None:
    """Whatever the generators are at; in training mode and float32; and what is done to the model does not reach the file."""
    files = digest(folder)
    torch.manual_seed(7)
    model = image_network(str(folder))(channels=1, classes=5, size=8)
    assert bits(model) == bits(made("vit")) and model.training
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert digest(folder) == files
    again = local_model(folder)()  # all as the config has it
    assert bits(again) == bits(made("vit"))


def test_a_config_alone_makes_fresh_weights_from_the_global_generator(folder: Path) -> None:
    fresh = image_network(str(folder / "config.json"))
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(bits(fresh(channels=1, classes=5, size=8)))
    assert models[0] == models[1] == bits(made("vit")) and models[0] != models[2]
    torch.manual_seed(0)
    assert bits(local_model(folder, "images").blank()) == models[0]
    (folder / "model.safetensors").unlink()
    torch.manual_seed(1)
    assert bits(local_model(folder)()) == models[2]


def test_another_number_of_classes_gets_a_fresh_head_and_nothing_else(folder: Path) -> None:
    torch.manual_seed(3)
    model = image_network(str(folder))(channels=1, classes=7, size=8)
    trunk = made("vit")
    assert {one for one in bits(model) if bits(model)[one] != bits(trunk)[one]} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert model.get_parameter("classifier.weight").shape == (7, 16)
    torch.manual_seed(3)
    assert bits(image_network(str(folder))(channels=1, classes=7, size=8)) == bits(model)


@pytest.mark.parametrize(
    ("shape", "first"),
    [({"channels": 3}, r"patch_embeddings.projection.weight has \(16, 1, 4, 4\)"), ({"size": 16}, "position")],
)
def test_nothing_but_a_head_is_made_anew_in_silence(folder: Path, shape: dict[str, int], first: str) -> None:
    """transformers itself draws new patches and positions, and says so in a table of its log."""
    with pytest.raises(UserError, match=first) as caught:
        local_model(folder, "images")(**shape)
    assert str(folder / "config.json") in str(caught.value)
    model = local_model(folder / "config.json", "images")(**shape)
    assert model(torch.randn(2, shape.get("channels", 1), shape.get("size", 8), shape.get("size", 8))).logits.shape == (
        2,
        5,
    )


def test_a_folder_that_lacks_layers_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"layer.*\.2\..* is not there \(and \d+ more\)"):
        local_model(folder)()


def test_a_trunk_alone_gets_a_head_and_is_refused_where_it_lacks_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trunk = transformers.ViTModel(MODELS["vit"].config(), add_pooling_layer=False)
    trunk.save_pretrained(tmp_path)
    model = local_model(tmp_path, "images")(classes=3)
    assert all(torch.equal(value, model.get_parameter(f"vit.{one}")) for one, value in trunk.named_parameters())
    assert type(local_model(tmp_path)()).__name__ == "ViTModel"
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    for kind in (None, "images"):
        with pytest.raises(UserError, match=r"layer.*\.2\..* is not there"):
            local_model(tmp_path, kind)()


def test_weights_in_several_files(tmp_path: Path) -> None:
    """Each of them is part of what identifies the model."""
    made("bert").save_pretrained(tmp_path, max_shard_size="20KB")  # type: ignore[operator]
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1 and bits(local_model(tmp_path)()) == bits(made("bert"))
    origin = local_model(tmp_path).origin
    shards[-1].write_bytes(b"other")
    assert local_model(tmp_path).origin != origin


def test_a_pooler_and_a_head_may_be_new(tmp_path: Path) -> None:
    """A masked language model fine-tuned for sequences, as BERT's authors did."""
    made("bert").save_pretrained(tmp_path)  # type: ignore[operator]
    model = local_model(tmp_path, "sequences")(classes=3)
    assert model(input_ids=torch.zeros(2, 10, dtype=torch.long)).logits.shape == (2, 3)
    shared = {name for name, _ in model.named_parameters() if name.startswith("bert.") and ".pooler." not in name}
    assert shared and all(torch.equal(model.get_parameter(one), made("bert").get_parameter(one)) for one in shared)
    assert type(local_model(tmp_path)()).__name__ == "BertForMaskedLM"  # the config's own word


def test_bfloat16_files_are_trained_in_float32(tmp_path: Path) -> None:
    made("gpt2").bfloat16().save_pretrained(tmp_path)  # type: ignore[operator]
    for source in (tmp_path, tmp_path / "config.json"):
        for kind in (None, "causal"):
            assert {p.dtype for p in local_model(source, kind)().parameters()} == {torch.float32}


def test_what_identifies_a_model(folder: Path, tmp_path: Path) -> None:
    """Its config and weights, wherever they lie and whoever wrote the file; a config object says what its file says."""
    origin = local_model(folder).origin
    assert origin.startswith("vit ") and origin.endswith(f", transformers {transformers.__version__}")
    made("vit").save_pretrained(tmp_path / "other")  # type: ignore[operator]
    assert image_network(str(tmp_path / "other")).origin == origin
    alone = local_model(folder / "config.json").origin
    assert alone == local_model(transformers.AutoConfig.from_pretrained(folder)).origin != origin
    made("vit", seed=1).save_pretrained(folder)  # type: ignore[operator]
    assert local_model(folder).origin not in (origin, alone)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    assert local_model(folder / "config.json").origin != alone
    assert image_network("resnet8").origin == ""


@pytest.mark.parametrize("name", IMAGES)
def test_catalogued_networks_are_called_alike(name: str) -> None:
    network = image_network(name)
    with torch.device("meta"):
        for model in (network(channels=1, classes=7, size=16), network.blank(channels=1, classes=7, size=16)):
            assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 7)


def test_images_need_not_be_square(folder: Path) -> None:
    for text in ("mlp", "resnet8", str(folder / "config.json")):
        model = image_network(text)(channels=1, classes=7, size=(8, 12))
        answer = model(torch.zeros(2, 1, 8, 12))
        assert getattr(answer, "logits", answer).shape == (2, 7)
    with pytest.raises(UserError, match="images of 8x12: vit takes square ones only"):
        image_network("vit")(channels=1, classes=7, size=(8, 12))


MISTAKES = [
    ("resnet9", r"No network 'resnet9' here. Did you mean 'resnet18'|Did you mean 'resnet\d+'\?.* Or name a folder"),
    ("nowhere/vit", r"nowhere/vit/config.json: no such file; model.save_pretrained\(folder\) writes one"),
    ("empty", r"empty/config.json: no such file"),
    ("torn.json", r"torn.json cannot be read as JSON"),
    ("list.json", r"list.json is no config of transformers: it names no model_type"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_names_that_are_neither(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("torn.json").write_text('{"model_type": ')
    Path("list.json").write_text("[]")
    with pytest.raises(UserError, match=said):
        image_network(text)


def test_other_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"No kind of model 'image' here\. Did you mean 'images'\?"):
        local_model(folder, "image")
    with pytest.raises(UserError, match="a dict is no model of transformers"):
        local_model({})
    with pytest.raises(UserError, match=r"names no architecture.*give kind, one of images"):
        local_model(MODELS["vit"].config())()
    with pytest.raises(UserError, match="patches of 4x4 are larger than images of 2 pixels"):
        local_model(folder)(size=2)
    with pytest.raises(UserError, match="gpt2 has no num_channels"):
        local_model(MODELS["gpt2"].config(), "causal")(channels=1)
    with pytest.raises(UserError, match="transformers cannot make a gpt2 of this config: ValueError"):
        local_model(MODELS["gpt2"].config(), "images")()
    (folder / "strange.json").write_text('{"model_type": "strange"}')
    with pytest.raises(UserError, match="transformers cannot read its config: ValueError"):
        local_model(folder / "strange.json")()
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="transformers cannot load it"):
        local_model(folder)()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds pytorch_model.bin and no model.safetensors"):
        local_model(folder)()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'incorruptible\[models\]'"):
        local_model(folder)


@pytest.mark.parametrize("weights", [True, False], ids=["weights", "config"])
def test_code_of_a_folder_is_neither_run_nor_asked_about(
    weights: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A type of model that transformers knows, with a class of the folder's own for the kind that is wanted."""
    made("gpt2").save_pretrained(tmp_path / "own")  # type: ignore[operator]
    file = tmp_path / "own" / "config.json"
    plain = {**json.loads(file.read_text()), "auto_map": {"AutoModelForImageClassification": "own.Own"}}
    file.write_text(json.dumps(plain))
    (tmp_path / "own" / "own.py").write_text("raise SystemExit('run')\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(UserError, match=r"transformers cannot .*: ValueError"):
        local_model(tmp_path / "own" if weights else file, "images")()


def test_transformers_speaks_again_afterwards(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    local_model(folder, "images")(classes=7)
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before
    assert capfd.readouterr().err == ""


OWN = """
from functools import partial
from pathlib import Path

import incorruptible as inc
from incorruptible.tasks.data import digits
from incorruptible.tasks.networks import local_model

network = local_model(Path(__file__).parent / "vit", "images")
shape = {"channels": 1, "classes": 10, "size": 8}
parts = digits()
task = inc.Task(
    partial(network, **shape), test=parts["test"], train=tuple(part[:200] for part in parts["train"]), origin=network.origin,
    blank=partial(network.blank, **shape),
)
"""


@pytest.fixture
def type_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    monkeypatch.chdir(tmp_path)
    return typing(monkeypatch, capsys)


def test_from_the_command_line(folder: Path, tmp_path: Path, type_: Type) -> None:
    """A vision transformer from a folder, trained plainly, fine-tuned under noise from there, measured and audited."""
    (tmp_path / "mine.py").write_text(OWN)
    words = ("train", "mine.py:task", "--epochs", 2, "--optimizer", "adamw", "--lr", 0.003, "--json")
    plain = type_(*words)
    assert plain.code == 0, plain.err
    first = json.loads(plain.out)
    again = json.loads(type_(*words).out)
    assert again["folder"] == first["folder"] and again["metrics"] == first["metrics"]
    hard = type_(*words, "--objective", "rwp(gaussian-filter-max)", "--strength", 0.1, "--from", first["folder"])
    assert hard.code == 0, hard.err
    second = json.loads(hard.out)
    assert second["folder"] != first["folder"]
    assert second["metrics"][-1]["loss"] < first["metrics"][-1]["loss"] < 2.31
    said = type_("measure", second["folder"], "--corruption", "gaussian-filter-max:0,.1", "--chips", 3, "--json")
    assert said.code == 0 and [row["strength"] for row in json.loads(said.out)["rows"]] == [0, 0.1]
    said = type_("audit", second["folder"], "--json")
    rows = json.loads(said.out)["rows"]
    assert said.code == 0 and sum(not row["reason"] for row in rows) == MODELS["vit"].arrays
    assert len(rows) == len(list(made("vit").parameters()))
    made("vit", seed=1).save_pretrained(folder)  # type: ignore[operator]
    other = json.loads(type_(*words).out)
    assert other["folder"] != first["folder"]  # other weights in the folder are another training
    refused = type_("measure", first["folder"], "--corruption", "gaussian-filter-max:0")
    assert refused.code == 2 and "mine.py:task has changed since" in refused.err


def test_a_language_model_is_trained_as_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are transformers' own dictionaries; other words in them are other data."""
    words = [transformers.BatchEncoding(batch("gpt2")) for _ in range(4)]
    assert fingerprint(words) != fingerprint([*words[:3], transformers.BatchEncoding(batch("bert", n=5))])
    network = local_model(MODELS["gpt2"].config(), "causal")
    task = inc.Task(
        network,
        train=words,
        test=words,
        loss=per_token(cross_entropy, causal=True),
        score=per_token(accuracy, causal=True),
        origin=network.origin,
    )
    said = {"objective": "rwp(gaussian-filter-max)", "strength": "constant:0.02", "optimizer": "adamw", "lr": 0.02}
    fit = Trainer(task, parse({"task": "digits", "epochs": 4, **said}))
    losses = [fit.epoch()["loss"] for _ in range(4)]
    assert losses[3] < losses[0] - 0.5 and losses[0] > 2.5  # ln 23 = 3.1 is where it starts
    assert fit.metrics[-1]["probe_clean_accuracy"] > 1 / 23
