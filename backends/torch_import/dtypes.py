"""ONNX element types as torch dtypes, and tensors of a graph's inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["graph_inputs", "onnx_element_type", "torch_dtype"]

_NAMES = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "FLOAT16": "float16",
    "BFLOAT16": "bfloat16",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "BOOL": "bool",
}


def torch_dtype(element_type: int) -> Any:
    """The torch dtype of ONNX's TensorProto.DataType *element_type*; raises `ValueError` if torch has none."""
    import torch
    from onnx import TensorProto

    name = TensorProto.DataType.Name(element_type)
    if name not in _NAMES:
        raise ValueError(f"torch has no element type {name}")
    return getattr(torch, _NAMES[name])


def onnx_element_type(dtype: Any) -> int:
    """The reverse of `torch_dtype`."""
    from onnx import TensorProto

    names = {ours: theirs for theirs, ours in _NAMES.items()}
    return int(TensorProto.DataType.Value(names[str(dtype).removeprefix("torch.")]))


def graph_inputs(model: Path) -> tuple[Any, ...]:
    """Zeros in the shapes of the inputs of the ONNX file *model*, which must be static, in order."""
    import onnx
    import torch

    graph = onnx.load(model, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    types = [value.type.tensor_type for value in graph.input if value.name not in constants]
    return tuple(
        torch.zeros([dim.dim_value for dim in tensor.shape.dim], dtype=torch_dtype(tensor.elem_type))
        for tensor in types
    )
