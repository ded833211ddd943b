"""The layers of a compiled OpenVINO model, as its runtime graph tells of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["HEAVY_LAYERS", "executed_type", "heavy_layers"]

HEAVY_LAYERS = frozenset(("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul"))
"""Types of layers that hold the arithmetic."""
_SHORT = {"f32": "fp32", "f16": "fp16", "f64": "fp64", "i8": "int8", "u8": "int8"}

# A kernel's name ends with the type that it multiplies in; the layer's own precision may be that of stored weights.
_KERNEL_TYPE = re.compile(r"_(f32|f16|bf16|f64|i8|u8)$", re.IGNORECASE)


def heavy_layers(compiled: Any) -> list[dict[str, str]]:
    """Convolutions and matrix products: "name", "layerType", "runtimePrecision" and "primitiveType" (the kernel)."""
    keys = ("layerType", "runtimePrecision", "primitiveType")
    layers = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        facts = {key: str(info[key].astype(str)) for key in keys if key in info}
        layers.append({"name": node.get_friendly_name(), **dict.fromkeys(keys, ""), **facts})
    return [layer for layer in layers if layer["layerType"] in HEAVY_LAYERS]


def executed_type(layer: Mapping[str, str]) -> str:
    """The precision that one of such layers multiplies in: "fp32", "bf16", "int8", ..."""
    kernel = _KERNEL_TYPE.search(layer["primitiveType"])
    name = kernel[1].lower() if kernel else layer["runtimePrecision"]
    return _SHORT.get(name, name)
