"""8-bit weights, and activations quantized call by call, by `onnxruntime.quantization`.

ConvInteger and MatMulInteger with DynamicQuantizeLinear in front. Weights are uint8: ONNX Runtime's ConvInteger with
int8 weights is six times slower (resnet18: 0.18 of fp32's speed, with uint8 1.04), and u8 x u8 kernels saturate on no
CPU. Finding an activation's range at every call costs what the integers save: mobilenet_v2 comes to 0.37 of fp32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..variants import Step
from .base import StepContext, StepResult, versions_of
from .layers import check_layers, find_layers, lift_constants, upgrade

__all__ = ["apply"]

_KINDS = ("Conv", "Gemm", "MatMul")
_INTEGER = ("ConvInteger", "MatMulInteger")
_OPSET = 13
_SUFFIX = "_quant"
"""What onnxruntime adds to the name of a layer."""


def apply(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* with integer layers, which keep their names. Raises what `check_layers` raises."""
    import onnx
    from onnxruntime import quantization

    plain = type(model)()
    plain.CopyFrom(upgrade(model, _OPSET, step))
    lift_constants(plain.graph)
    check_layers(plain.graph, step, _KINDS)
    heavy = [layer.node.name for layer in find_layers(plain.graph)]
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as folder:
        source, result = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(plain, source)
        quantization.quantize_dynamic(
            str(source),
            str(result),
            op_types_to_quantize=["Conv", "MatMul"],  # it makes MatMul and Add of Gemm by itself
            nodes_to_exclude=list(step.keep),
            per_channel=True,
            weight_type=quantization.QuantType.QUInt8,
        )
        made = onnx.load(result)
    done = [node for node in made.graph.node if node.op_type in _INTEGER]
    taken = {node.name for node in made.graph.node}
    for node in done:
        name = _original(node.name, heavy)
        if name not in taken:
            node.name = name
    left = [name for name in heavy if name not in {node.name for node in done}]
    facts = {"quantized layers": f"{len(heavy) - len(left)} of {len(heavy)}"}
    if left:
        facts["layers in fp32"] = ", ".join(left)
    parameters = {
        "activations": "uint8, asymmetric, per tensor, at every call",
        "weights": "uint8, asymmetric, per output channel",
        "keep": "|".join(step.keep),
    }
    return StepResult(
        model=made, parameters=parameters, versions=versions_of("onnxruntime", "onnxruntime-gpu", "onnx"), facts=facts
    )


def _original(name: str, heavy: list[str]) -> str:
    """The layer that the integer node called *name* was made of."""
    stem = name.removesuffix(_SUFFIX)
    # Of a Gemm, onnxruntime first makes "<name>_MatMul".
    return next((known for known in (stem, stem.removesuffix("_MatMul")) if known in heavy), stem)
