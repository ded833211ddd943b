"""ONNX element types as torch dtypes."""

from __future__ import annotations

from typing import Any

__all__ = ["torch_dtype"]

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
