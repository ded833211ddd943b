"""Every operator of the importer against ONNX Runtime or onnx's reference evaluator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import helper

_RANDOM = np.random.default_rng(7)


@dataclass(frozen=True)
class Const:
    """An input that is an initializer."""

    value: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Case:
    """One node; inputs are arrays, `Const`s or None for an absent one."""

    op: str
    inputs: Sequence[np.ndarray | Const | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 20
    by: str = "onnxruntime"
    atol: float = 0.0

    def __str__(self) -> str:
        kinds = "".join("c" if isinstance(x, Const) else "-" if x is None else "x" for x in self.inputs)
        settings = ",".join(f"{k}={v}" for k, v in self.attributes.items())
        return f"{self.op}-{self.opset}({kinds};{settings})"[:110]


def _x(*shape: int) -> np.ndarray:
    return _RANDOM.standard_normal(shape).astype(np.float32)


def _positive(*shape: int) -> np.ndarray:
    return _RANDOM.uniform(0.1, 2.0, shape).astype(np.float32)


def _inside(*shape: int) -> np.ndarray:
    return _RANDOM.uniform(-0.9, 0.9, shape).astype(np.float32)


def _ints(*values: int) -> Const:
    return Const(np.array(values, np.int64))


def _floats(*values: float) -> Const:
    return Const(np.array(values, np.float32))


def _scalar(value: float) -> Const:
    return Const(np.array(value, np.float32))


def _case(op: str, *inputs: np.ndarray | Const | None, opset: int = 20, outputs: int = 1, **attributes: Any) -> Case:
    return Case(op=op, inputs=inputs, attributes=attributes, opset=opset, outputs=outputs)


def _by_onnx(op: str, *inputs: np.ndarray | Const | None, opset: int = 20, **attributes: Any) -> Case:
    return Case(op=op, inputs=inputs, attributes=attributes, opset=opset, by="onnx")


_A, _B = _x(2, 3, 4), _x(2, 3, 4)
_IMAGE = _x(2, 3, 7, 6)
_BITS, _OTHER_BITS = _A > 0, _B > 0
_WHOLE = np.array([[-7, 5, 3], [7, -5, 2]], np.int64)
_WHOLE_DIVISOR = np.array([[2, -2, 2], [-2, 3, 5]], np.int64)

_UNARY = [
    *(_case(op, _x(2, 5)) for op in ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Neg", "Relu", "Round", "Sigmoid")),
    *(_case(op, _x(2, 5)) for op in ("Sign", "Sin", "Sinh", "Cosh", "Atan", "Softsign", "Tanh", "Softplus")),
    _case("Identity", _x(2, 5)),
    *(_case(op, _positive(2, 5)) for op in ("Log", "Reciprocal", "Sqrt")),
    *(_case(op, _inside(2, 5)) for op in ("Acos", "Asin", "Tan")),
    _case("Not", _BITS),
    _case("IsNaN", np.array([1.0, np.nan], np.float32)),
    _case("Round", np.array([0.5, 1.5, -0.5, 2.5], np.float32)),
]

_ACTIVATIONS = [
    *(_case(op, _x(2, 9)) for op in ("LeakyRelu", "Elu", "Selu", "HardSigmoid", "HardSwish", "Mish", "Gelu")),
    *(_case(op, _x(2, 9), alpha=0.3) for op in ("LeakyRelu", "Elu", "HardSigmoid", "ThresholdedRelu", "Celu")),
    _case("Selu", _x(2, 9), alpha=1.2, gamma=1.1),
    _case("HardSigmoid", _x(2, 9), alpha=1 / 6, beta=0.5),
    _case("Gelu", _x(2, 9), approximate="tanh"),
    _case("PRelu", _IMAGE, Const(_positive(3, 1, 1))),
    _case("PRelu", _IMAGE, Const(_positive(1))),
    _case("Clip", _A, _scalar(-0.5), _scalar(0.5)),
    _case("Clip", _A, None, _scalar(0.5)),
    _case("Clip", _A, _scalar(0.0)),
    _case("Clip", _A),
    _case("Clip", _A, np.array(-0.5, np.float32), np.array(0.5, np.float32)),
    _case("Clip", _WHOLE, Const(np.array(-3, np.int64)), Const(np.array(4, np.int64))),
    _case("Clip", _A, opset=6, min=0.0, max=6.0),
    *(_case(op, _A, opset=opset) for op in ("Softmax", "LogSoftmax") for opset in (11, 20)),
    *(_case(op, _A, axis=1, opset=opset) for op in ("Softmax", "LogSoftmax") for opset in (11, 20)),
]

_BINARY = [
    *(_case(op, _A, _B) for op in ("Add", "Sub", "Mul", "Div", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")),
    *(_case(op, _A, Const(_x(3, 1))) for op in ("Add", "Sub", "Mul", "Div")),
    *(_case(op, Const(_x(4)), _B) for op in ("Add", "Sub", "Mul", "Div")),
    *(_case(op, _A, _scalar(1.5)) for op in ("Add", "Sub", "Mul", "Div", "Greater")),
    *(_case(op, _BITS, _OTHER_BITS) for op in ("And", "Or", "Xor")),
    _case("Equal", _WHOLE, Const(np.array(5, np.int64))),
    _case("Div", _WHOLE, _WHOLE_DIVISOR),
    _case("Mod", _WHOLE, _WHOLE_DIVISOR),
    _case("Mod", _A, _B, fmod=1),
    _case("Pow", _positive(2, 3), _x(2, 3)),
    _case("Pow", _A, _scalar(2.0)),
    _case("Pow", _A, Const(np.array(3, np.int64))),
    _case("Where", _BITS, _A, _B),
    _case("Where", _BITS, _A, _scalar(0.0)),
    *(_case(op, _A, _B, Const(_x(4))) for op in ("Max", "Min", "Sum", "Mean")),
    *(_case(op, _A) for op in ("Max", "Sum")),
]

_LINEAR = [
    _case("MatMul", _x(2, 3, 4), Const(_x(4, 5))),
    _case("MatMul", _x(2, 3, 4), _x(2, 4, 5)),
    _case("MatMul", _x(4), _x(4, 5)),
    *(
        _case("Gemm", _x(*((4, 2) if a else (2, 4))), Const(_x(*((5, 4) if b else (4, 5)))), c, transA=a, transB=b)
        for a in (0, 1)
        for b in (0, 1)
        for c in (None, Const(_x(5)), Const(_x(2, 5)))
    ),
    _case("Gemm", _x(2, 4), Const(_x(5, 4)), Const(_x(5)), transB=1, alpha=0.5, beta=2.0),
    _case("Gemm", _x(2, 4), Const(_x(5, 4)), Const(_x(5)), transB=1, beta=0.0),
    _case("Gemm", _x(2, 4), _x(4, 5), _x(1, 5)),
    _case("Einsum", _x(2, 3, 4), _x(2, 4, 5), equation="bij, bjk -> bik"),
    _case("Einsum", _x(2, 3, 4), equation="...ij->...ji"),
]

_NORM = [
    _case("BatchNormalization", _IMAGE, *(Const(_positive(3)) for _ in range(4)), epsilon=1e-3),
    _case("InstanceNormalization", _IMAGE, Const(_x(3)), Const(_x(3))),
    _case("LayerNormalization", _A, Const(_x(4)), Const(_x(4))),
    _case("LayerNormalization", _A, Const(_x(3, 4)), None, axis=1, epsilon=1e-3),
    _case("LayerNormalization", _A, Const(_x(1)), Const(_x(4))),
    _by_onnx("GroupNormalization", _x(2, 6, 3, 3), Const(_x(2)), Const(_x(2)), num_groups=2),
    _case("GroupNormalization", _x(2, 6, 3, 3), Const(_x(6)), Const(_x(6)), num_groups=2, opset=21),
    *(_case("LRN", _x(1, 6, 2, 2), size=size, alpha=0.5, beta=0.6, bias=1.5) for size in (3, 5)),
    # As many images as channels: the reference evaluator mixes the two up.
    _by_onnx("LRN", _x(6, 6, 2, 2), size=4, alpha=0.5),
    *(_case("LpNormalization", _A, axis=1, p=p) for p in (1, 2)),
    _case("MeanVarianceNormalization", _IMAGE),
]

_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
_LOG_REDUCTIONS = ("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")

_REDUCE = [
    *(_case(op, _positive(2, 3, 4), _ints(1, -1)) for op in (*_REDUCTIONS, *_LOG_REDUCTIONS)),
    *(_case(op, _positive(2, 3, 4), keepdims=0) for op in (*_REDUCTIONS, *_LOG_REDUCTIONS)),
    *(_case(op, _positive(2, 3, 4), axes=[0, 2], keepdims=0, opset=11) for op in (*_REDUCTIONS, *_LOG_REDUCTIONS)),
    _case("ReduceSum", _WHOLE, _ints(0)),
    _case("ReduceSum", _A, None, noop_with_empty_axes=1),
    *(_case(op, _A, axis=axis, keepdims=k) for op in ("ArgMax", "ArgMin") for axis in (0, -1) for k in (0, 1)),
    _case("ArgMax", np.array([[1.0, 3.0, 3.0]], np.float32), axis=1, select_last_index=1),
    _case("ArgMax", np.array([[1.0, 3.0, 3.0]], np.float32), axis=1),
    _case("TopK", _x(3, 9), _ints(4), outputs=2),
    _case("TopK", _x(3, 9), _ints(2), outputs=2, axis=0, largest=0),
    _case("TopK", np.array([2.0, 1.0, 2.0, 2.0], np.float32), _ints(2), outputs=2),
    *(_case("CumSum", _A, _ints(1), exclusive=e, reverse=r) for e in (0, 1) for r in (0, 1)),
]

_MOVE = [
    _case("Reshape", _A, _ints(0, -1)),
    _case("Reshape", _A, _ints(4, 6), allowzero=1),
    *(_case("Flatten", _A, axis=axis) for axis in (0, 1, 2, -1)),
    _case("Transpose", _A),
    _case("Transpose", _A, perm=[2, 0, 1]),
    _case("Squeeze", _x(1, 3, 1), _ints(0)),
    _case("Squeeze", _x(1, 3, 1)),
    _case("Squeeze", _x(1, 3, 1), axes=[2], opset=11),
    _case("Unsqueeze", _A, _ints(0, -1)),
    _case("Unsqueeze", _A, axes=[1, 2], opset=11),
    _case("Concat", _A, Const(_x(2, 1, 4)), _B, axis=1),
    _case("Split", _x(2, 7), _ints(3, 4), outputs=2, axis=1),
    _case("Split", _x(2, 7), outputs=3, axis=1, num_outputs=3),
    _case("Split", _x(6, 2), outputs=2, opset=13),
    _case("Split", _x(6, 2), outputs=2, opset=11, split=[1, 5]),
    _case("Slice", _x(5, 6), _ints(1), _ints(4)),
    _case("Slice", _x(5, 6), _ints(-1, 4), _ints(-(2**40), 0), _ints(0, 1), _ints(-2, -1)),
    _case("Slice", _x(5, 6), _ints(0), _ints(2**62), _ints(-1), _ints(2)),
    _case("Slice", _x(5, 6), _ints(3), _ints(1), _ints(1)),
    _case("Slice", _x(5, 6), starts=[1, 0], ends=[3, -1], opset=9),
    _case("Expand", _x(3, 1), _ints(2, 1, 4)),
    _case("Expand", _x(3, 4), _ints(1, 1)),
    _case("Tile", _x(2, 3), _ints(2, 3)),
    _case("Pad", _IMAGE, _ints(0, 0, 1, 2, 0, 1, 3, 0), _scalar(1.5)),
    _case("Pad", _IMAGE, _ints(0, 0, -1, 0, 0, 0, 0, -2)),
    _case("Pad", _IMAGE, _ints(1, 2), _scalar(0.5), _ints(-1)),
    *(_case("Pad", _IMAGE, _ints(0, 1, 2, 3, 0, 1, 3, 2), mode=mode) for mode in ("reflect", "edge", "wrap")),
    _case("Pad", _x(2, 3), pads=[0, 1, 2, 0], value=2.0, opset=2),
    *(_case("DepthToSpace", _x(2, 8, 2, 3), blocksize=2, mode=mode) for mode in ("DCR", "CRD")),
    _case("SpaceToDepth", _x(2, 3, 4, 6), blocksize=2),
]

_GATHER = [
    _case("Gather", _A, Const(np.array(-1, np.int64)), axis=1),
    _case("Gather", _A, Const(np.array([[0, 2], [-1, 1]], np.int64)), axis=1),
    _case("Gather", _A, np.array([1, -3], np.int32), axis=1),
    _case("Gather", _A, np.array(1, np.int64), axis=-1),
    _case("GatherElements", _x(3, 3), Const(np.array([[1, -1, 0], [2, 0, 0]], np.int64)), axis=0),
    _case("GatherND", _A, Const(np.array([[0, 1], [1, -1]], np.int64))),
    _case("ScatterND", _x(4, 3), Const(np.array([[1], [-1]], np.int64)), Const(_x(2, 3))),
    _case("OneHot", np.array([0, 2, -1], np.int64), _ints(4), _floats(0.5, 2.0)),
    _case("OneHot", np.array([0, 2, -1], np.int64), _ints(4), _floats(0.5, 2.0), axis=0),
    *(_case("Trilu", _x(3, 4), _ints(k), upper=u) for k in (-1, 1) for u in (0, 1)),
    _case("Trilu", _x(3, 4)),
]

_CONSTANTS = [
    *(_case("Cast", _A, to=to) for to in (6, 7, 9, 10, 11)),
    _case("CastLike", _A, Const(np.zeros(1, np.int32))),
    _case("Dropout", _A),
    _case("Dropout", _A, outputs=2),
    _case("Shape", _A),
    _case("Shape", _A, start=1, end=-1),
    _case("Size", _A),
    _case("ConstantOfShape", _ints(2, 3)),
    _case("ConstantOfShape", _ints(2, 3), value=helper.make_tensor("v", 7, [1], [4])),
    _case("Range", Const(np.array(2, np.int64)), Const(np.array(9, np.int64)), Const(np.array(3, np.int64))),
    _case("Constant", value=helper.make_tensor("v", 1, [2], [1.0, 2.0])),
    _case("Constant", value_ints=[1, 2]),
    _case("Constant", value_float=0.5),
    _case("NonZero", Const(np.array([[1, 0], [2, 3]], np.int64))),
]

_U8, _I8 = Const(np.array(128, np.uint8)), Const(np.array(0, np.int8))
_SCALES = _floats(0.02, 0.05, 0.01)
_STEPS = np.round(_x(2, 3, 4) * 40).astype(np.float32) * 0.05  # no value lies between two steps

_LEVELS = np.arange(-8, 8, dtype=np.int8).repeat(3).reshape(2, 24)
_BLOCKS = Const(np.array([[0.5, 0.25], [2.0, 0.125]], np.float32))  # the second block is shorter
_ZEROS = np.array([[1, -2], [3, 0]], np.int8)
_BYTES = _RANDOM.integers(0, 256, (2, 4, 6), dtype=np.uint8)
_WEIGHT_BYTES = _RANDOM.integers(0, 128, (6, 5), dtype=np.uint8)
_SMALL_WEIGHTS = (_WEIGHT_BYTES // 2).astype(np.int8)
_IMAGE_BYTES = _RANDOM.integers(0, 256, (1, 3, 6, 6), dtype=np.uint8)
_NINE = Const(np.array(9, np.uint8))
_KERNEL_BYTES = _RANDOM.integers(0, 256, (4, 3, 3, 3), dtype=np.uint8)

_QUANT = [
    _case("QuantizeLinear", _STEPS, _scalar(0.05), _U8),
    _case("QuantizeLinear", _STEPS, _scalar(0.05), _I8),
    _case("QuantizeLinear", _STEPS, _scalar(0.05)),
    _case("QuantizeLinear", _STEPS, _floats(0.05, 0.1, 0.025), Const(np.array([3, 4, 5], np.uint8)), axis=1),
    _case("DequantizeLinear", np.arange(24, dtype=np.uint8).reshape(2, 3, 4), _scalar(0.05), _U8),
    _case("DequantizeLinear", np.arange(24, dtype=np.int8).reshape(2, 3, 4), _SCALES, axis=1),
    _case("DequantizeLinear", Const(np.arange(-12, 12, dtype=np.int8).reshape(3, 8)), _SCALES, axis=0),
    _case("DequantizeLinear", Const(np.arange(-12, 12, dtype=np.int8).reshape(3, 8)), _scalar(0.1), _I8),
    _case("DequantizeLinear", Const(np.array([-70000, 5, 90000], np.int32)), _SCALES, axis=0),
    _case("DequantizeLinear", Const(np.array([-70000, 5, 90000], np.int32)), _scalar(0.5)),
    _case("DequantizeLinear", _LEVELS, _BLOCKS, Const(_ZEROS), axis=1, block_size=16, opset=21),
    _case("DequantizeLinear", Const(_LEVELS), _BLOCKS, Const(_ZEROS), axis=1, block_size=16, opset=21),
    _case("DequantizeLinear", Const(_LEVELS.astype(ml_dtypes.int4)), _BLOCKS, axis=1, block_size=16, opset=21),
    _case("DynamicQuantizeLinear", _x(2, 5), outputs=3),
    _case("DynamicQuantizeLinear", _positive(2, 5), outputs=3),
    _case("DynamicQuantizeLinear", np.zeros((2, 5), np.float32), outputs=3),
    _case("MatMulInteger", _BYTES, Const(_WEIGHT_BYTES), Const(np.array(3, np.uint8)), Const(np.array(7, np.uint8))),
    # Small: without VNNI ONNX Runtime adds pairs of products in 16 bits, where larger weights saturate.
    _case("MatMulInteger", _BYTES, Const(_SMALL_WEIGHTS), None, Const(np.arange(5, dtype=np.int8))),
    _case("MatMulInteger", _BYTES, _WEIGHT_BYTES),
    _case(
        "ConvInteger", _IMAGE_BYTES, Const(_KERNEL_BYTES), Const(np.array(9, np.uint8)), Const(np.array(7, np.uint8))
    ),
    _case("ConvInteger", _IMAGE_BYTES, Const(_KERNEL_BYTES), Const(np.array(9, np.uint8)), pads=[0, 1, 2, 0]),
    _case("ConvInteger", _IMAGE_BYTES, _KERNEL_BYTES, group=1, strides=[2, 2]),
]

_ALL = (
    _UNARY, _ACTIVATIONS, _BINARY, _LINEAR, _NORM, _REDUCE, _MOVE, _GATHER, _CONSTANTS, _QUANT,
)  # fmt: skip


@pytest.mark.parametrize("case", [case for group in _ALL for case in group], ids=str)
def test_operator(
    case: Case, graph_type: Any, reference: Callable[[Any, str], list[np.ndarray]], imported: Callable[[Any], Any]
) -> None:
    """The imported operator gives the reference's values, shapes and dtypes, to 1e-6 of the largest value."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(case.inputs)]
    outputs = [f"y{i}" for i in range(case.outputs)]
    graph = graph_type(
        nodes=[helper.make_node(case.op, names, outputs, name="node", **case.attributes)],
        feeds={f"x{i}": x for i, x in enumerate(case.inputs) if isinstance(x, np.ndarray)},
        constants={f"x{i}": x.value for i, x in enumerate(case.inputs) if isinstance(x, Const)},
        outputs=outputs,
        opset=case.opset,
    )

    for expected, got in zip(reference(graph, case.by), imported(graph), strict=True):
        assert expected.dtype == got.dtype
        assert expected.shape == got.shape
        scale = max(1.0, float(np.abs(expected.astype(np.float64)).max(initial=0)))
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * scale)


def test_every_operator_is_tested() -> None:
    """No operator is imported that no test compares."""
    from bakeoff.backends.torch_import import supported_ops

    here = {case.op for group in _ALL for case in group}
    # These have files of their own: test_torch_import_windows.py and test_torch_import_resize.py.
    elsewhere = {"AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}
    assert supported_ops() == here | elsewhere | {"Resize", "Upsample"}
