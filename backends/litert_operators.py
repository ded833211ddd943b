"""The operators of a .tflite file, with the ONNX nodes that their results are named after."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .litert_plan import HEAVY_OPERATORS, executed_precision, read_partitions
from .precision import short_precision

__all__ = ["Operator", "read_operators"]

_WEIGHTS = 1
"""Place of the weights among the inputs of a heavy operator."""

_MODULE = re.compile(r"OnnxCall_(\w+)")
"""In the name of a tensor, of each module of ours that it comes from; see `torch_import.node`."""

_TO_ONNX = {
    "CONV_2D": (0, 3, 1, 2),
    "CONV_3D": (4, 3, 0, 1, 2),
    "DEPTHWISE_CONV_2D": (3, 0, 1, 2),
    "TRANSPOSE_CONV": (3, 0, 1, 2),
}
"""Where the axes of a weight as ONNX has them lie in that of an operator."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of the file."""

    kind: str
    """As LiteRT calls it: "CONV_2D"."""
    modules: tuple[str, ...]
    """ONNX nodes that its result is named after, by their modules. The first made the result; others are what was fused
    behind it, and strays: a constant that several operators share brings the name of the first of them."""
    weight_modules: tuple[str, ...]
    """The same of the constant weight of a heavy operator."""
    output: int | None
    """Place among the graph's outputs of its result, if it is one."""
    reads: tuple[int, ...]
    """Tensors that it takes."""
    writes: tuple[int, ...]
    shape: tuple[int, ...]
    """Of its first result, in its own order of axes."""
    permutation: tuple[int, ...] | None
    """Of a transposition."""
    weight_shape: tuple[int, ...] | None
    """Of a heavy operator with constant weights, in ONNX's order of axes."""
    precision: str
    partition: int | None
    """The delegate that runs it, numbered in order of execution; None for LiteRT itself."""

    @property
    def heavy(self) -> bool:
        """Whether it is a convolution or a product."""
        return self.kind in HEAVY_OPERATORS


def read_operators(interpreter: Any, modules: Mapping[str, str]) -> list[Operator]:
    """The operators in the file's order; *interpreter* has its tensors allocated, *modules* are those of `Imported`."""
    tensors = {int(item["index"]): item for item in interpreter.get_tensor_details()}
    ordinary = [op for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    written = {int(tensor) for op in ordinary for tensor in op["outputs"]}
    given = {int(item["index"]) for item in interpreter.get_input_details()}
    constant = set(tensors) - written - given
    runner = interpreter.get_signature_runner()
    outputs = {int(item["index"]): _place(name) for name, item in runner.get_output_details().items()}
    runs = {place: number for number, places in enumerate(read_partitions(interpreter)) for place in places}
    found = []
    for place, op in enumerate(ordinary):
        reads, writes = (tuple(int(tensor) for tensor in op[side] if tensor >= 0) for side in ("inputs", "outputs"))
        weight = _weight(op["op_name"], reads, constant)
        shape = tuple(int(size) for size in tensors[writes[0]]["shape"])
        moves = op["op_name"] == "TRANSPOSE" and reads[1] in constant
        found.append(
            Operator(
                kind=op["op_name"],
                modules=_modules(tensors[writes[0]], modules),
                weight_modules=() if weight is None else _modules(tensors[weight], modules),
                output=outputs.get(writes[0]),
                reads=reads,
                writes=writes,
                shape=shape,
                permutation=tuple(int(axis) for axis in interpreter.get_tensor(reads[1])) if moves else None,
                weight_shape=None if weight is None else _weight_shape(op["op_name"], tensors[weight]),
                precision=_precision(op),
                partition=runs.get(place),
            )
        )
    return found


def _modules(tensor: Mapping[str, Any], modules: Mapping[str, str]) -> tuple[str, ...]:
    """ONNX nodes in the name of a tensor, each once."""
    found = (match[1] for match in _MODULE.finditer(tensor["name"]))
    return tuple(dict.fromkeys(modules[name] for name in found if name in modules))


def _place(name: str) -> int:
    """The number at the end of the name of an output."""
    return int(name.rpartition("_")[2])


def _weight(kind: str, reads: tuple[int, ...], constant: set[int]) -> int | None:
    """The tensor that a heavy operator multiplies with, if it is constant."""
    heavy = kind in HEAVY_OPERATORS and len(reads) > _WEIGHTS and reads[_WEIGHTS] in constant
    return reads[_WEIGHTS] if heavy else None


def _weight_shape(kind: str, tensor: Mapping[str, Any]) -> tuple[int, ...]:
    shape = [int(size) for size in tensor["shape"]]
    return tuple(shape[axis] for axis in _TO_ONNX.get(kind, range(len(shape))))


def _precision(op: Mapping[str, Any]) -> str:
    import numpy as np

    if op["op_name"] in HEAVY_OPERATORS:
        return executed_precision(op)
    return short_precision(str(np.dtype(op["result_types"][0]).name))
