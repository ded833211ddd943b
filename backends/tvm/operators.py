"""Own imports of ONNX operators to Relax, where TVM's stop the conversion to NHWC and fusion, or round otherwise.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.

An operator is made of elementwise ones, which TVM's passes know: Clip, HardSigmoid and HardSwish of maximum and
minimum; quantizing and dequantizing of multiplication, rounding, addition and casts. As operators of their own the last
two keep the layout of the ONNX file, so that kernels stand around each which change the layout there and back; and they
round halves away from zero, where ONNX rounds them to even (`relax.round` does, too).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["own_operators"]

_LEVELS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}
"""Least and largest of the types that are quantized to; of others TVM's own import is taken."""
_INTEGERS = (*_LEVELS, "int32")
"""What is dequantized so; int32 only without a zero point, as ONNX has it."""


def own_operators() -> Mapping[str, Callable[[Sequence[Any], Mapping[str, Any], int], Any]]:
    """By ONNX's name: a function of an operator's inputs, attributes and opset to its Relax expression.

    It returns None where TVM's own import has to serve.
    """
    return {
        "Clip": _clip,
        "DequantizeLinear": _dequantize,
        "DynamicQuantizeLinear": _quantize_dynamically,
        "HardSigmoid": _hard_sigmoid,
        "HardSwish": _hard_swish,
        "QuantizeLinear": _quantize,
    }


def _clip(inputs: Sequence[Any], attributes: Mapping[str, Any], opset: int) -> Any:
    data = inputs[0]
    if opset >= 11:
        return _between(data, *[*inputs, None, None][1:3])
    bounds = (attributes.get("min"), attributes.get("max"))
    return _between(data, *(None if bound is None else _like(data, bound) for bound in bounds))


def _hard_sigmoid(inputs: Sequence[Any], attributes: Mapping[str, Any], _opset: int) -> Any:
    from tvm import relax

    data = inputs[0]
    line = relax.op.multiply(data, _like(data, attributes.get("alpha", 0.2)))
    return _between(relax.op.add(line, _like(data, attributes.get("beta", 0.5))), _like(data, 0.0), _like(data, 1.0))


def _hard_swish(inputs: Sequence[Any], _attributes: Mapping[str, Any], opset: int) -> Any:
    from tvm import relax

    return relax.op.multiply(inputs[0], _hard_sigmoid(inputs, {"alpha": 1 / 6, "beta": 0.5}, opset))


def _quantize(inputs: Sequence[Any], attributes: Mapping[str, Any], _opset: int) -> Any:
    data, step, zero = [*inputs, None][:3]
    kind = _dtype(zero) if zero is not None else "uint8"
    own = _dtype(data) == _dtype(step) == "float32" and kind in _LEVELS
    if not own or attributes.get("block_size") or (attributes.get("output_dtype") and zero is None):
        return None
    shape = _broadcast(data, step, attributes)
    return _levels(data, _shaped(step, shape), None if _is_zero(zero) else _shaped(zero, shape), kind)


def _quantize_dynamically(inputs: Sequence[Any], _attributes: Mapping[str, Any], _opset: int) -> Any:
    """Steps and zero point of the range that these very values have, zero included."""
    from tvm import relax

    data = inputs[0]
    if _dtype(data) != "float32":
        return None
    nothing, most = _like(data, 0.0), _like(data, 255.0)
    low, high = relax.op.minimum(relax.op.min(data), nothing), relax.op.maximum(relax.op.max(data), nothing)
    step = relax.op.divide(relax.op.subtract(high, low), most)
    place = _between(relax.op.divide(relax.op.subtract(nothing, low), step), nothing, most)
    zero = relax.op.astype(relax.op.round(place), "uint8")
    return relax.Tuple([_levels(data, step, zero, "uint8"), step, zero])


def _levels(data: Any, step: Any, zero: Any, kind: str) -> Any:
    """*data* in steps of *step* around *zero*, None for 0, as the integers *kind*; all of them can be broadcast."""
    from tvm import relax

    inverse = _exact_inverse(step)
    steps = relax.op.divide(data, step) if inverse is None else relax.op.multiply(data, inverse)
    levels = relax.op.round(steps)
    if zero is not None:
        levels = relax.op.add(levels, _floats(zero))
    least, largest = _LEVELS[kind]
    return relax.op.astype(_between(levels, _like(data, least), _like(data, largest)), kind)


def _dequantize(inputs: Sequence[Any], attributes: Mapping[str, Any], _opset: int) -> Any:
    from tvm import relax

    data, step, zero = [*inputs, None][:3]
    zero = None if _is_zero(zero) else zero
    own = _dtype(step) == "float32" and _dtype(data) in _INTEGERS and (zero is None or _dtype(data) in _LEVELS)
    if not own or attributes.get("block_size"):
        return None
    shape = _broadcast(data, step, attributes)
    step, zero = _shaped(step, shape), None if zero is None else _shaped(zero, shape)
    if all(isinstance(value, relax.Constant) for value in (data, step, zero) if value is not None):
        # Weights: once and for all, without a kernel for each shape.
        levels = data.data.numpy().astype("float32")
        levels = levels if zero is None else levels - zero.data.numpy().astype("float32")
        return relax.const(levels * step.data.numpy())
    levels = _floats(data)
    return relax.op.multiply(levels if zero is None else relax.op.subtract(levels, _floats(zero)), step)


def _between(value: Any, low: Any, high: Any) -> Any:
    from tvm import relax

    value = value if low is None else relax.op.maximum(value, low)
    return value if high is None else relax.op.minimum(value, high)


def _like(data: Any, value: float) -> Any:
    """The constant *value* in the type of *data*."""
    from tvm import relax

    return relax.const(value, _dtype(data))


def _dtype(value: Any) -> str:
    return str(value.ty.dtype)


def _floats(value: Any) -> Any:
    from tvm import relax

    if isinstance(value, relax.Constant):
        return relax.const(value.data.numpy().astype("float32"))
    return relax.op.astype(value, "float32")


def _is_zero(zero: Any) -> bool:
    """Whether a zero point is left out, or 0 throughout."""
    from tvm import relax

    return zero is None or (isinstance(zero, relax.Constant) and not zero.data.numpy().any())


def _broadcast(data: Any, step: Any, attributes: Mapping[str, Any]) -> list[int]:
    """The shape that lets *step* be broadcast to *data*: () for one for all, else its length along the axis."""
    rank, sizes = len(data.ty.shape), [int(size) for size in step.ty.shape]
    if all(size == 1 for size in sizes):
        return []
    axis = attributes.get("axis", 1) % rank if rank > 1 else 0
    return [sizes[0] if place == axis else 1 for place in range(rank)]


def _shaped(value: Any, shape: Sequence[int]) -> Any:
    """*value* in *shape*, which has as many elements."""
    from tvm import relax

    if [int(size) for size in value.ty.shape] == list(shape):
        return value
    if isinstance(value, relax.Constant):
        return relax.const(value.data.numpy().reshape(shape))
    return relax.op.reshape(value, shape)


def _exact_inverse(step: Any) -> Any:
    """The inverse of a constant *step* that is a power of two: multiplying gives the same bits, and is faster."""
    import numpy as np
    from tvm import relax

    if not isinstance(step, relax.Constant):
        return None
    steps = step.data.numpy()
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1.0) / steps
    exact = (np.abs(np.frexp(steps)[0]) == 0.5) & np.isfinite(inverse)
    return relax.const(inverse) if exact.all() else None
