"""A network in CrossSim's full simulation: converters, wires, and all else that happens in a
product.

Relies on: CrossSim draws every random number from numpy's global generator. Keeps: the model stays
as it is, because a copy is simulated; chip k has the same weights as in `measure` with
`CrossSim(programmed(params))`, for Linear and ungrouped convolutions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..corruptions import equivalent
from ..errors import UserError, renamed_arguments
from ..evaluation import Scores
from ..evaluation.scoring import ScoreFunction, scored
from ..randomness.streams import Draw
from ..tasks.data import batches
from ..tasks.scores import moved, predict, score_of
from ..weights.arrays import unwrapped
from ..weights.batchnorm import evaluating
from .circuits import described, programmed
from .crosssim import CrossSim, refusing, seeded
from .peers import PeerLayer, crosssim, layers, put

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@renamed_arguments(draws="chips", without="protect")
def evaluate(
    model: nn.Module,
    score: ScoreFunction | str,
    data: Iterable[Any],
    params: Any,
    *,
    chips: int,
    seed: int,
    purpose: str = "test",
    protect: Iterable[str] = (),
    calibration: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """The score of `model` on `chips` chips, each simulated by CrossSim's own layers, at strength
    1.

    `params` is a CrossSimParameters, such as `parameters` makes. `data`, `score`, `seed` and
    `purpose` are those of `measure`. For Linear and ungrouped convolutions, chip k holds exactly
    the weights that `measure` draws with `CrossSim(programmed(params))`, so the two results differ
    only by the errors that arise in a product.

    `calibration` are batches of inputs and labels that are not those of the test. With it, the DAC
    of each layer covers the largest input, and each ADC the largest output, that the clean network
    has there. Converters need a calibration unless `params` gives their ranges. Weights that
    `protect` names stay digital. BatchNorm is as it is.

    The simulation runs on the CPU, on a copy. Raises `UserError` if CrossSim is not installed, if
    it refuses the parameters, and if it has no layer for some weights.
    """
    score = score_of(score)
    if chips < 1:
        raise UserError(f"chips={chips}: at least 1 chip is needed.")
    for name, what in (("data", data), ("calibration", calibration)):
        if isinstance(what, Iterator):
            raise UserError(
                f"{name} is a {type(what).__name__}, which can be iterated only once; give a list "
                "or a DataLoader."
            )
    data = batches(data, 1024)
    calibration = None if calibration is None else batches(calibration, 1024)
    weights = CrossSim(programmed(params))
    chip, cells = converted(model, params, protect=protect, calibration=calibration)
    arrays = list({cell.array.name: cell.array for cell in cells}.values())
    values, count = [], 0
    with evaluating(chip):
        for draw in range(chips):
            drawn = Draw(seed, purpose, draw)
            with refusing():
                for cell in cells:
                    # seeded as `CrossSim` seeds it: the same chip has the same weights in `measure`
                    with seeded(drawn.of(cell.array.name)):
                        cell.analog.synchronize()
                # what the products draw has a name of its own, apart from what programming drew
                with seeded(drawn.of("").reading):
                    examples = scored(chip, {"": score}, data, torch.device("cpu"))[""]
            values.append(float(examples.mean(dtype=np.float64)))
            count = len(examples)
            if progress is not None:
                progress(draw + 1, chips)
    peaks = [array.peak() for array in arrays]
    return Scores(
        values=np.array([values]),
        strengths=(1.0,),
        corruption=f"crosssim:{described(params)}",
        corruption_unit=weights.unit,
        name=str(getattr(score, "name", None) or getattr(score, "__name__", "score")),
        unit=getattr(score, "unit", "mean over examples"),
        higher_is_better=getattr(score, "higher_is_better", None),
        n_examples=count,
        seed=seed,
        purpose=purpose,
        batchnorm="as-is",
        equivalent=(equivalent(weights, 1.0, arrays).strength,),
        peaks=(min(float(one.min()) for one in peaks), max(float(one.max()) for one in peaks)),
    )


class _Cell(NamedTuple):
    """One of CrossSim's layers with the array that it holds."""

    analog: Any
    array: Any


def converted(
    model: nn.Module,
    params: Any,
    *,
    protect: Iterable[str] = (),
    calibration: Iterable[Any] | None = None,
) -> tuple[nn.Module, list[_Cell]]:
    """Returns a copy of `model` with CrossSim's layers in place of ours, and a list of these
    layers, each with its array.
    """
    (convert,) = crosssim("algorithms.dnn.torch.convert")
    native = copy.deepcopy(unwrapped(model)).cpu().eval()
    found = layers(native, KINDS, "CrossSim", protect)
    if calibration is None and _needs_range(params):
        raise UserError(
            "converters have ranges: give calibration=batches of inputs that are not the test's, "
            "or set xbar.adc.mvm.adc_range_option and core.mapping.inputs.mvm.percentile in params."
        )
    ranges = {} if calibration is None else _ranges(native, found, params, calibration)
    made: dict[int, Any] = {}
    for layer in found:
        if id(layer.module) not in made:
            own = _with_range(params, *ranges[id(layer.module)]) if ranges else params
            # making a layer programs it, and so draws; `evaluate` programs it anew for each chip
            with refusing(), seeded(Draw(0, "conversion", 0).of("")):
                made[id(layer.module)] = convert.from_torch(layer.module, own)
        native = put(native, layer.name, made[id(layer.module)])
    return native, [
        _Cell(made[key], array)
        for key, array in {id(one.module): one.array for one in found}.items()
    ]


def _needs_range(params: Any) -> bool:
    """Whether `params` has converters without ranges."""
    adc, dac, inputs = params.xbar.adc.mvm, params.xbar.dac.mvm, params.core.mapping.inputs.mvm
    default = inputs.percentile is None and (inputs.min, inputs.max) == (-1.0, 1.0)
    return bool((dac.bits and default) or (adc.bits and default))


def _ranges(
    model: nn.Module, found: list[PeerLayer], params: Any, calibration: Iterable[Any]
) -> dict[int, tuple[float, float]]:
    """For each layer, the ranges of its converters: max|x| of its inputs, and max|W x| in the units
    of its ADC, which is max|W x| / (max|W| max|x|) times the range of a cell.
    """
    style = str(params.core.style.name)
    if style != "BALANCED" or params.core.rows_max or params.core.mapping.weights.percentile != 1.0:
        raise UserError(
            "calibration works only for one balanced array for each layer, mapped by its largest "
            "weight (style BALANCED, rows_max 0, percentile 1); otherwise set the ranges in "
            "params, and leave calibration out."
        )
    seen: dict[int, tuple[float, float]] = {}

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        # the bias is added after the converter, which therefore does not see it
        product = output
        if isinstance(module.bias, Tensor):
            sizes = [1] * (0 if isinstance(module, nn.Linear) else output.dim() - 2)
            product = output - module.bias.reshape(-1, *sizes)
        x, y = seen.get(id(module), (0.0, 0.0))
        seen[id(module)] = max(x, float(inputs[0].abs().max())), max(y, float(product.abs().max()))

    hooks = [
        module.register_forward_hook(watch)
        for module in {id(one.module): one.module for one in found}.values()
    ]
    try:
        with torch.inference_mode():
            for batch in calibration:
                predict(model, moved(batch, torch.device("cpu")))
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise UserError("calibration is empty: it holds no batch.")
    span, ranges = params.xbar.device.Grange_norm, {}
    for layer in found:
        x, y = seen.get(id(layer.module), (0.0, 0.0))
        largest = float(layer.array.value.abs().max())
        x = x or 1.0
        ranges[id(layer.module)] = x, (y * span / (largest * x) if largest and y else 1.0)
    return ranges


def _with_range(params: Any, x: float, y: float) -> Any:
    """`params` with the range of inputs [-x, x] and, for an ADC, the calibrated range [-y, y]."""
    (xbar,) = crosssim("parameters.xbar_parameters")
    own = params.copy()
    inputs = own.core.mapping.inputs.mvm
    inputs.min, inputs.max, inputs.percentile = -x, x, None
    if own.xbar.adc.mvm.bits:
        own.xbar.adc.mvm.adc_range_option = xbar.ADCRangeLimits.CALIBRATED
        own.xbar.adc.mvm.calibrated_range = [-y, y]
    return own
