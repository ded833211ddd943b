"""Static 8-bit quantization to one QDQ file that ONNX Runtime, OpenVINO, TVM and our torch importer all run.

Done by `onnxruntime.quantization`: uint8 activations (asymmetric, calibrated), int8 weights (symmetric, per output
channel), int32 biases. Scales and rounding of the weights are ours (`saturation`, `rounding`), and each bias is
corrected for the mean error that is left of its layer's weights (`bias`).

Tried against `nncf.quantize` 3.4 on eleven models of the zoo (random weights but for efficientnet_lite0; 32 images to
calibrate, 48 to compare, random ones but for efficientnet_lite0; one core of a CPU with VNNI; speed as a ratio to the
same runtime's fp32, SNR of ONNX Runtime's outputs in dB; onnxruntime alone, without what is ours, in brackets):

| model | ONNX Runtime: here / nncf | OpenVINO: here / nncf | SNR: here (plain) / nncf |
|---|---|---|---|
| resnet18 | 3.0 / 3.5 | 3.4 / 3.8 | 27.4 (25.7) / 22.4 |
| resnet50 | 3.2 / 3.0 | 3.3 / 2.2 | 16.1 (16.0) / 12.3 |
| efficientnet_lite0 | 2.4 / 0.36 | 2.7 / 2.7 | 22.4 (17.6) / - |
| mobilenet_v2 | 2.1 / 0.42 | 2.3 / 2.6 | 14.5 (14.5) / 14.6 |
| squeezenet1_1 | 2.1 / 1.2 | 2.9 / 2.9 | 50.9 (40.6) / 38.3 |
| shufflenet_v2_x1_0 | 1.5 / 0.68 | 1.8 / 1.8 | 15.5 (15.5) / 15.6 |
| mobilenet_v3_large | 1.2 / 0.35 | 2.0 / 2.1 | 10.9 (10.6) / 3.0 |
| regnet_y_400mf | 1.4 / 1.4 | 2.6 / 2.8 | 1.9 (1.8) / 1.4 |
| efficientnet_b0 | 0.74 / 0.38 | 1.1 / 1.5 | 3.8 (3.7) / 0.4 |
| convnext_tiny | 2.0 / 0.72 | 2.2 / 2.2 | 33.5 (32.8) / 33.3 |
| vit_b_16 | 2.1 / 0.68 | 2.7 / 3.1 | 26.7 (26.9) / 26.5 |

nncf is ahead in OpenVINO alone, where swish follows a convolution: it quantizes after the activation only, and for
such a convolution ONNX Runtime has no integer kernel (nor behind a Clip: 37 of efficientnet_lite0's 49 convolutions ran
in float behind DequantizeLinear, 7 times slower). Here all convolutions of all eleven become QLinearConv. nncf was left
out for that, and for its telemetry.

Which operators: Conv, Gemm, MatMul, and the Relu or Clip behind them, whose work the range of uint8 does. Asking for
Add, Concat, Reshape and Transpose too gains nothing (between quantized layers ONNX Runtime finds QLinearAdd and
QLinearConcat by itself), slows shufflenet_v2 down by a fifth and costs vit_b_16 11 dB. Asking for Sigmoid and Mul
brings efficientnet_b0 from 0.73 to 0.93 in ONNX Runtime and from 1.0 to 0.89 in OpenVINO: left alone, int8 does not pay
for it. The outputs of Gemm stay in float: with 256 levels for all logits the best two may tie.

CPUs without VNNI add products of u8 and s8 in pairs in 16 bits, which saturate. `reduce_range` (7-bit weights) is the
usual remedy; on efficientnet_lite0 and photographs it costs 5.0 dB, scales by pairs (`saturation`) 1.8 dB, corrected
biases bring 4.2 dB, and rounding in sums (`rounding`) 2.4 more.

Most of what is left comes from activations, and nothing that was tried takes much of it away (Q/DQ in float, 290 views
of 29 photographs, calibrated on four others):

| what | SNR, dB | first class of fp32 |
|---|---|---|
| scales as calibrated | 22.4 | 97.9% |
| the same activations, weights in fp32 | 24.2 | 99.0% |
| the finest scales, saturation or not | 22.8 | 95.5% |
| calibrated on nine more, which are among those evaluated | 22.8 | 97.9% |
| `int8:percentile` | 22.8 | 98.3% |
| `int8:entropy` | 21.5 | 96.2% |
| weights rounded by GPTQ (E. Frantar et al., 2023) | 22.5 | 97.6% |
| biases corrected for the rounding of inputs too | 22.5 | 97.2% |
| biases corrected layer by layer on the quantized graph | 22.5 | 97.9% |
| channels of residual streams equalized (half way) | 23.1 | 99.0% |
| channels behind Clip equalized, by their calibrated maxima | 10.3 | 89.7% |
| the same by bounds, which is exact | 22.4 | 98.6% |
| first convolution and classifier in fp32 | 22.8 | 96.2% |

One view is 0.3 points, and bfloat16 has 27.2 dB and 98.3% in OpenVINO: at such ratios agreement is a matter of ties.
Wherever int8 names another class, fp32's own first two lie within 0.13, as they do on 6% of all views (0.16 with the
scales below). On 200 labelled views of 20 photographs int8 loses 1.0 points of top-1 there.

With scales as they were calibrated, runtimes lay nearly as far from one another as from fp32. Piecewise linear nets get
scales that leave nothing to the last bit of fp32 instead (`portable`), at about the same distance from fp32. Outputs
in dB, without VNNI but for efficientnet_lite0's portable scales (efficientnet_lite0: all 290 views; others: random
weights, calibrated on 32 random images, compared on 48, with inputs in powers of two):

| model | from fp32 in ONNX Runtime: portable / as calibrated | ONNX Runtime from OpenVINO |
|---|---|---|
| efficientnet_lite0 | 22.3 / 22.4 | 147 (same class on all views) / 27.9 (on 97%) |
| resnet18 | 25.8 / 27.4 | 42.1 / 31.1 |
| mobilenet_v2 | 14.1 / 14.5 | 27.4 / 16.6 |
| squeezenet1_1 | 51.7 / 50.9 | 65.7 / 62.9 |
| shufflenet_v2_x1_0 | 15.4 / 15.5 | 27.6 / 23.0 |

What is left there begins at the input (seen on mobilenet_v2): OpenVINO adds the zero point before it rounds, and one in
100,000 values of an image that was normalized in float falls to the other side. efficientnet_lite0's inputs lie on
multiples of 1/128, which are exact: OpenVINO and Inductor agree in every bit, ONNX Runtime with them to the seventh
digit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..graph import tensor_specs
from ..spec import PORTABLE, SCALES
from ..variants import Step
from .base import Feeds, StepContext, StepResult, versions_of
from .bias import correct_biases
from .layers import Layer, check_layers, lift_constants, upgrade
from .portable import Portable, make_portable
from .rounding import ROUNDING, round_in_sums
from .saturation import safe_scales

__all__ = ["apply", "apply_float", "check_feeds"]

_KINDS = ("Conv", "Gemm", "MatMul")
_REMOVED = ("Relu", "Clip")
_OPSET = 13
"""The first with a scale for each channel."""


def apply(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model*, quantized, calibrated on *context*; nodes that are left keep their names.

    Raises `UserError` where there is no calibration data or it does not fit the graph's inputs, and what
    `check_layers` raises.
    """
    import onnx

    plain, feeds, found = _prepared(model, step, context)
    layers = check_layers(plain.graph, step, _KINDS)
    scales = _scales(layers, found)
    even = found.even if found else frozenset()
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as folder:
        source, result = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(_rounded(plain, layers, scales, even), source)
        _quantize(source, result, {**_overrides(layers, scales), **_steps(found)}, feeds, step)
        made = onnx.load(result)
    corrected = correct_biases(plain, made, feeds, odd=even)
    done = {node.name for node in made.graph.node if node.op_type in _KINDS and _fed_by_integers(node, made.graph)}
    heavy = check_layers(plain.graph, Step(kind=step.kind, text=step.text))
    left = [layer.node.name for layer in heavy if layer.node.name not in done]
    facts = {"quantized layers": f"{len(heavy) - len(left)} of {len(heavy)}", "corrected biases": str(corrected)}
    if left:
        facts["layers in fp32"] = ", ".join(left)
    parameters = {
        "calibration": step.parameters.get("calibration", "minmax"),
        "calibration calls": str(len(feeds)),
        "activations": "uint8, asymmetric, per tensor",
        SCALES: PORTABLE if found else "as calibrated",
        "weights": f"int8, symmetric, per output channel, free of saturation in 16 bits, {ROUNDING}",
        "biases": "int32, corrected for the mean error of the weights",
        "keep": "|".join(step.keep),
    }
    return StepResult(
        model=made, parameters=parameters, versions=versions_of("onnxruntime", "onnxruntime-gpu", "onnx"), facts=facts
    )


def apply_float(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* in float, its values multiplied as those of the quantized one are: what that is compared with by layer.

    It computes what *model* does. Raises what `apply` raises.
    """
    plain, _, found = _prepared(model, step, context)
    return StepResult(model=plain if found else model, parameters={"calibration": "minmax"}, versions={})


def _prepared(model: Any, step: Step, context: StepContext) -> tuple[Any, Feeds, Portable | None]:
    """A copy of *model* to quantize, the calls to calibrate on, and how the copy was multiplied, if it was.

    Scales by powers of two are for ranges that are the largest seen: other calibrations choose theirs by themselves.
    """
    plain = type(model)()
    plain.CopyFrom(upgrade(model, _OPSET, step))
    lift_constants(plain.graph)
    names = [layer.node.name for layer in check_layers(plain.graph, step, _KINDS)]
    feeds = check_feeds(plain, context.calibration, step)
    largest = step.parameters.get("calibration", "minmax") == "minmax"
    found = make_portable(plain, names, feeds) if largest else None
    return (found.model if found else plain), feeds, found


def check_feeds(model: Any, feeds: Feeds | None, step: Step) -> Feeds:
    """*feeds*, if they fit the inputs of *model*.

    Raises `UserError`, one line, where there are none, or the number, shape or dtype of arrays is another, or values
    are not finite.
    """
    if not feeds:
        raise UserError(f"{step.text}: needs calibration data, and there is none; give some with --data")
    specs = tensor_specs(model.graph.input)
    for call in feeds:
        if len(call) != len(specs):
            raise UserError(f"{step.text}: calibration data has {len(call)} inputs, and the model {len(specs)}")
        for spec, array in zip(specs, call, strict=True):
            if array.shape != spec.shape or array.dtype.name != spec.dtype:
                given = f"{'x'.join(map(str, array.shape))} {array.dtype.name}"
                wanted = f"{'x'.join(map(str, spec.shape))} {spec.dtype}"
                raise UserError(f"{step.text}: calibration data for {spec.name!r} is {given}; the model takes {wanted}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise UserError(f"{step.text}: calibration data for {spec.name!r} holds NaN or infinite values")
    return feeds


def _fixed(layer: Layer) -> bool:
    """Whether scales and rounding of the layer are ours; what has batches of weights is left to onnxruntime."""
    return len(layer.tensor.dims) == 2 or layer.node.op_type == "Conv"


def _scales(layers: Sequence[Layer], found: Portable | None) -> dict[str, NDArray[np.float32]]:
    """Steps of the weights by their name; those of what is not `_fixed` are left to onnxruntime."""
    own = {layer.tensor.name: safe_scales(layer) for layer in layers if _fixed(layer)}
    return {**own, **(found.weights if found else {})}


def _rounded(
    plain: Any, layers: Sequence[Layer], scales: Mapping[str, NDArray[np.float32]], even: Collection[str]
) -> Any:
    """A copy of *plain* whose weights lie on the levels that they will be stored as, *even* ones in some layers."""
    from onnx import numpy_helper

    made = type(plain)()
    made.CopyFrom(plain)
    weights = {}
    for layer in layers:
        if layer.tensor.name in scales:
            turned = layer.by_output(layer.weight)
            unit = scales[layer.tensor.name] * np.float32(2 if layer.node.name in even else 1)
            unit = unit.reshape(-1, *[1] * (turned.ndim - 1))
            weights[layer.tensor.name] = layer.stored(round_in_sums(turned / unit) * unit)
    for tensor in made.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return made


def _overrides(layers: Sequence[Layer], scales: Mapping[str, NDArray[np.float32]]) -> dict[str, list[dict[str, Any]]]:
    """Scales of the weights by their name, as onnxruntime takes them; what it sets no channels on is left to it."""
    from onnxruntime.quantization import QuantType

    fixed = {"zero_point": np.int8(0), "quant_type": QuantType.QInt8}
    return {
        layer.tensor.name: [{"axis": layer.output_axis, "scale": scale, **fixed} for scale in scales[layer.tensor.name]]
        for layer in layers
        if layer.tensor.name in scales
    }


def _steps(found: Portable | None) -> dict[str, list[dict[str, Any]]]:
    """Scales of the activations by their name, as onnxruntime takes them."""
    from onnxruntime.quantization import QuantType

    return {
        name: [
            {
                "scale": np.array(step, np.float32),
                "zero_point": np.array(zero, np.uint8),
                "quant_type": QuantType.QUInt8,
            }
        ]
        for name, (step, zero) in (found.activations if found else {}).items()
    }


def _quantize(source: Path, result: Path, overrides: dict[str, Any], feeds: Feeds, step: Step) -> None:
    import onnx
    from onnxruntime import quantization

    names = [value.name for value in onnx.load(source).graph.input]
    methods = {
        "minmax": quantization.CalibrationMethod.MinMax,
        "entropy": quantization.CalibrationMethod.Entropy,
        "percentile": quantization.CalibrationMethod.Percentile,
    }
    quantization.quantize_static(
        str(source),
        str(result),
        _Reader(names, feeds),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=[*_KINDS, *_REMOVED],
        nodes_to_exclude=list(step.keep),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=methods[step.parameters.get("calibration", "minmax")],
        extra_options={
            "OpTypesToExcludeOutputQuantization": ["Gemm"],
            "TensorQuantOverrides": overrides,
            "CalibStridedMinMax": 1,  # one call at a time: else histograms hold all activations of all calls at once
        },
    )


class _Reader:
    """The calls as onnxruntime wants to be given them (its `CalibrationDataReader`)."""

    def __init__(self, names: Sequence[str], feeds: Feeds) -> None:
        self._calls = [dict(zip(names, call, strict=True)) for call in feeds]
        self._place, self._end = 0, len(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give the calls from *start_index* up to *end_index* next."""
        self._place, self._end = start_index, end_index

    def get_next(self) -> dict[str, Any] | None:
        """The next call, or None after the last."""
        if self._place >= self._end:
            return None
        self._place += 1
        return self._calls[self._place - 1]


def _fed_by_integers(node: Any, graph: Any) -> bool:
    """Whether both factors of the layer *node* come from DequantizeLinear."""
    made = {name for item in graph.node if item.op_type == "DequantizeLinear" for name in item.output}
    return set(node.input[:2]) <= made
