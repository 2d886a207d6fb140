"""Which chips are looked at: one object, or the same as options, for every function that scores chips."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from torch import Tensor, nn

import incorruptible as inc
from incorruptible.certificates import certify, certify_fresh
from incorruptible.errors import UserError
from incorruptible.evaluation import measure, measure_mean, measure_until
from incorruptible.evaluation.sampling import Sampling, SamplingOptions
from incorruptible.evaluation.sensitivity import sensitivity
from incorruptible.files import records
from small_network import Data

NOISE = inc.Gaussian("filter-max")

# Each function with what it needs besides chips, and the chips that it takes by itself.
FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any], tuple[int, str]]] = {
    "measure": (measure, {}, (25, "test")),
    "measure_until": (measure_until, {"half_width": 0.1}, (10_000, "test")),
    "measure_mean": (measure_mean, {"half_width": 0.1}, (20_000, "test")),
    "certify": (certify, {"accuracy": 0.3}, (61, "certify")),
    "certify_fresh": (certify_fresh, {"accuracy": 0.3}, (1, "certify, fresh")),
    "sensitivity": (sensitivity, {}, (25, "validation")),
}
EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
def test_an_object_and_its_options_are_the_same_chips(name: str, model: nn.Module, data: Data) -> None:
    function, more, _ = FUNCTIONS[name]
    chips: dict[str, Any] = {} if name == "certify_fresh" else {"chips": 64}
    strength: Any = 0.1 if name == "sensitivity" else [0.1]

    def found(*sampling: Any, **options: Any) -> Any:
        return records.plain(function(model, inc.accuracy, data, *sampling, **options, **more).plain())

    whole = found(Sampling(NOISE, [0.1], **chips, seed=3))
    assert found(NOISE, strength, **chips, seed=3) == whole
    assert found(Sampling("gaussian-filter-max:.1", **chips, seed=3)) == whole
    assert found(Sampling(NOISE, [0.1], **chips, seed=4)) != whole


@EACH
def test_each_function_has_chips_of_its_own(
    name: str, model: nn.Module, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, more, (chips, purpose) = FUNCTIONS[name]
    asked: list[tuple[int, str]] = []
    old = Sampling.filled

    def filled(sampling: Sampling, chips: int, purpose: str) -> Sampling:
        asked.append((chips, purpose))
        return old(sampling, chips, purpose)

    monkeypatch.setattr(Sampling, "filled", filled)
    function(model, inc.accuracy, data, Sampling(NOISE, [0.1]), **more)
    assert asked[0] == (chips, purpose)


@EACH
def test_what_stands_in_a_sampling_is_not_said_again(name: str, model: nn.Module, data: Data) -> None:
    function, more, _ = FUNCTIONS[name]
    with pytest.raises(UserError, match="strengths, seed: given beside a Sampling"):
        function(model, inc.accuracy, data, Sampling(NOISE, [0.1]), 0.1, seed=1, **more)


@EACH
def test_one_signature(name: str) -> None:
    """Chips are said in the same way everywhere, and no function takes more than twelve things."""
    parameters = list(inspect.signature(FUNCTIONS[name][0]).parameters.values())
    assert [one.name for one in parameters[:4]] == ["model", "score", "data", "sampling"]
    assert (parameters[-1].name, parameters[-1].kind) == ("options", inspect.Parameter.VAR_KEYWORD)
    assert len(parameters) <= 12


def test_the_options_are_the_fields() -> None:
    own = [field.name for field in fields(Sampling)]
    assert own[:2] == ["corruption", "strengths"] and own[-1] == "pairs"  # which estimators decide by themselves
    assert own[2:-1] == list(SamplingOptions.__annotations__)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Sampling(NOISE), r"strengths are missing: Sampling\('gaussian-filter-max', \[0.1\]\)"),
        (lambda: Sampling("gaussian-filter-max"), "strengths"),
        (lambda: Sampling(NOISE, [0.1], chips=0), "chips=0 and reads=1: both are at least 1"),
        (lambda: Sampling(NOISE, [0.1], reads=0), "chips=None and reads=0: both are at least 1"),
    ],
)
def test_mistakes(wrong: Callable[[], Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        wrong()


@EACH
@pytest.mark.parametrize("option", ["chps", "pairs"])
def test_an_option_that_there_is_not(name: str, option: str, model: nn.Module, data: Data) -> None:
    function, more, _ = FUNCTIONS[name]
    with pytest.raises(TypeError, match=f"there is no option {option}"):
        function(model, inc.accuracy, data, NOISE, 0.1, **{option: 3}, **more)


@EACH
def test_mirrored_chips_are_not_independent(name: str, model: nn.Module, data: Data) -> None:
    function, more, _ = FUNCTIONS[name]
    with pytest.raises(UserError, match="mirrored chips are not"):
        function(model, inc.accuracy, data, Sampling(NOISE, [0.1], pairs=True), **more)


@EACH
def test_a_corruption_by_its_old_name_is_answered(name: str, model: nn.Module, data: Data) -> None:
    function, more, _ = FUNCTIONS[name]
    with pytest.raises(UserError, match=rf"{name}\(corruption=...\) was renamed to {name}\(sampling=...\)"):
        function(model, inc.accuracy, data, corruption=NOISE, **more)


def test_a_number_of_chips_is_said_once(model: nn.Module, data: Data) -> None:
    with pytest.raises(UserError, match="chips and max_chips are both given"):
        measure_until(model, inc.accuracy, data, NOISE, [0.1], half_width=0.1, chips=5, max_chips=30)
    with pytest.raises(UserError, match="a chip for each example: leave chips out"):
        certify_fresh(model, inc.accuracy, data, NOISE, [0.1], accuracy=0.3, chips=5)
    with pytest.raises(UserError, match="leaves the number of chips open"):
        _ = Sampling(NOISE, [0.1]).total


def test_what_each_read_adds_is_stated(model: nn.Module, data: Data) -> None:
    for reads, said in ((1, "(read with gaussian-filter-max:0.05)"), (2, "x 2 reads (gaussian-filter-max:0.05)")):
        chips = Sampling(NOISE, [0.1], chips=64, reads=reads, read=(NOISE, 0.05))
        for found in (
            measure(model, inc.accuracy, data, chips),
            measure_until(model, inc.accuracy, data, chips, half_width=0.2),
        ):
            assert said in str(found)
            assert (found.plain()["reads"], found.plain()["read"]) == (reads, "gaussian-filter-max:0.05")


def test_errors_whose_size_cannot_be_told_are_noticed_before_the_first_chip(model: nn.Module, data: Data) -> None:
    class Sizeless:
        unit = formula = source = "nothing"

        def __call__(self, array: Any, strength: float, noise: Any) -> Tensor:
            raise AssertionError("no chip is made")

        def moments(self, array: Any, strength: float) -> Any:
            raise ValueError("of no size")

    with pytest.raises(ValueError, match="of no size"):
        measure(model, inc.accuracy, data, Sizeless(), [0.1])  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [certify, certify_fresh])
@pytest.mark.parametrize("more", [{"read": (NOISE, 0.1)}, {"autocast": "bf16"}, {"channels_last": True}], ids=str)
def test_a_certificate_promises_only_what_it_states(
    function: Callable[..., Any], more: dict[str, Any], model: nn.Module, data: Data
) -> None:
    with pytest.raises(UserError, match="a certificate is about"):
        function(model, inc.accuracy, data, Sampling(NOISE, [0.1], **more), accuracy=0.3)


def test_few_images_read_a_chip_once(model: nn.Module, data: Data) -> None:
    chips = Sampling(NOISE, [0.1], chips=64, reads=2, read=(NOISE, 0.1))
    with pytest.raises(UserError, match="reads each chip once"):
        measure_mean(model, inc.accuracy, data, chips, half_width=0.1)
