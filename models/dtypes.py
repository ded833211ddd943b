"""Sizes of tensors and our words for their types."""

from __future__ import annotations

__all__ = ["short_precision", "tensor_bytes"]

_SHORT = {
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float64": "fp64",
    "int8": "int8",
    "uint8": "int8",
    "int4": "int4",
    "uint4": "int4",
}

_PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
"""Types of which several values share a byte."""


def short_precision(dtype: str) -> str:
    """Our word for a dtype's name: "fp32" for "float32"; a name that we have no word for stays."""
    return _SHORT.get(dtype, dtype)


def tensor_bytes(element_type: int, count: int) -> int:
    """Bytes of *count* values of the ONNX type *element_type* (a member of `onnx.TensorProto.DataType`)."""
    import onnx

    bits = _PACKED_BITS.get(onnx.TensorProto.DataType.Name(element_type))
    if bits is not None:
        return -(-count * bits // 8)
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(element_type).itemsize)
