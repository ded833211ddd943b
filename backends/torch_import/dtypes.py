"""ONNX element types as torch dtypes, and tensors of a graph's constants and inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["graph_inputs", "onnx_element_type", "tensor_of", "torch_dtype"]

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


def tensor_of(proto: Any) -> Any:
    """The value of the TensorProto *proto* as a tensor of its own, writable memory; raises `ValueError` as above.

    4-bit integers, which torch has none of, come as 8-bit ones of the same values.
    """
    import torch
    from onnx import TensorProto, numpy_helper

    widened = {TensorProto.INT4: "int8", TensorProto.UINT4: "uint8"}
    array = numpy_helper.to_array(proto)
    if proto.data_type in widened:
        return torch.from_numpy(array.astype(widened[proto.data_type]))
    dtype = torch_dtype(proto.data_type)
    if dtype == torch.bfloat16:
        # NumPy's own types have no bfloat16: the bits go over as integers.
        return torch.from_numpy(array.view("int16").copy()).view(dtype)
    return torch.from_numpy(array.copy())


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
