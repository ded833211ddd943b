"""Quantizing and dequantizing in TVM: ONNX Runtime's bits, and in passing, within the kernels around."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bakeoff.harness.subjects import variant_request
from bakeoff.harness.suite import load_suite
from bakeoff.models.variant_build import build_variant
from bakeoff.models.zoo import resolve
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.slow

# In a process of its own, as TVM's sessions are. It compiles a file, runs it, and prints the names of its kernels.
_CODE = """
import sys
from pathlib import Path
import numpy as np
from bakeoff.backends.tvm import pipeline
pipeline.import_tvm(1)
from bakeoff.backends.host import host_features
from bakeoff.backends.tvm import lowering, operators, schedules

model, feeds, out = map(Path, sys.argv[1:])
target = pipeline.host_target(host_features())
module = pipeline.import_onnx(model, None, operators.own_operators())
prepared, _ = pipeline.prepare(module, target, lowering.lowerings(lowering.plan_of({})))
pipeline.link(schedules.schedule(prepared, target), target, out.with_suffix(".so"))
run = pipeline.caller(out.with_suffix(".so"))
found = [[np.array(value) for value in run([call])] for call in np.load(feeds)]
np.savez(out, *map(np.stack, zip(*found)))
print(*sorted(name.name_hint for name in prepared.get_global_vars()))
"""

TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int16": TensorProto.INT16, "uint16": TensorProto.UINT16}


def _tvm(model: Any, calls: Sequence[Any], folder: Path) -> tuple[list[Any], list[str]]:
    """Outputs of *model* of one input, for all *calls* together, and the names of its kernels."""
    onnx.save(model, folder / "model.onnx")
    np.save(folder / "feeds.npy", np.stack(calls))
    arguments = [str(folder / name) for name in ("model.onnx", "feeds.npy", "out.npz")]
    command = [sys.executable, "-c", _CODE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    with np.load(folder / "out.npz") as stored:
        return [stored[name] for name in stored.files], done.stdout.splitlines()[-1].split()


def _onnxruntime(model: Any, calls: Sequence[Any], level: str = "ORT_DISABLE_ALL") -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [np.stack(values) for values in zip(*(session.run(None, {name: call}) for call in calls), strict=True)]


def _pair(step: Any, zero: Any, shape: Sequence[int], axis: int = 1) -> Any:
    """A net that quantizes its input, and gives the levels and what they stand for."""
    kind = TYPES[str(zero.dtype)]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["levels"], name="round", axis=axis),
        helper.make_node("DequantizeLinear", ["levels", "step", "zero"], ["y"], name="back", axis=axis),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("levels", kind, shape),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, shape),
        ],
        [numpy_helper.from_array(step, "step"), numpy_helper.from_array(zero, "zero")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


CASES: Mapping[str, tuple[Any, Any]] = {
    "power of two": (np.float32(0.25), np.uint8(0)),
    "even zero point": (np.float32(0.25), np.uint8(130)),
    "odd zero point": (np.float32(0.25), np.uint8(3)),
    "signed": (np.float32(2.0), np.int8(-7)),
    "no power of two": (np.float32(0.1), np.uint8(117)),
    "sixteen bits": (np.float32(0.0078125), np.int16(5)),
    "sixteen bits without sign": (np.float32(3e-3), np.uint16(32768)),
    "tiny": (np.float32(2.0**-140), np.int8(1)),
    "by channel": (np.array([0.25, 0.1, 4.0], np.float32), np.array([-128, 0, 11], np.int8)),
}


@pytest.mark.parametrize("case", CASES)
def test_levels_have_onnx_runtimes_bits(case: str, tmp_path: Path) -> None:
    """Halves between even and odd levels on both sides of zero and of the zero point, their neighbours in fp32, values
    beyond the range, and random ones."""
    step, zero = CASES[case]
    ranges = np.iinfo(zero.dtype)
    halves = np.concatenate([np.arange(-300, 300), [ranges.min, ranges.max, 0]]).astype(np.float32) + np.float32(0.5)
    near = np.concatenate([np.nextafter(halves, np.float32(side)) for side in (-1e6, 1e6)])
    far = np.array([1e9, -1e9, 3e38, -3e38, np.inf, -np.inf, 0.0, -0.0], np.float32)
    random = np.random.default_rng(0).normal(0, 200, 4096).astype(np.float32)
    levels = np.concatenate([halves, near, far, random])
    levels = levels[: len(levels) // 16 * 16].reshape(1, 1, -1, 16)
    wide = np.broadcast_to(levels, (1, 3, *levels.shape[2:]))
    with np.errstate(over="ignore"):
        call = np.ascontiguousarray(wide * np.reshape(step, (-1, 1, 1)).astype(np.float32))
    model = _pair(step, zero, call.shape)
    (levels_found, values_found), _ = _tvm(model, [call], tmp_path)
    levels_wanted, values_wanted = _onnxruntime(model, [call])

    assert len(np.unique(levels_wanted)) > 200
    np.testing.assert_array_equal(levels_found, levels_wanted)
    np.testing.assert_array_equal(values_found, values_wanted)


def test_halves_go_to_the_even_level(tmp_path: Path) -> None:
    """As ONNX has it: neither upwards nor away from zero. The zero point is added to what has been rounded."""
    call = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1e3, -1e3]], np.float32)
    (levels, _), _ = _tvm(_pair(np.float32(1.0), np.uint8(3), call.shape), [call], tmp_path)

    np.testing.assert_array_equal(levels[0], np.array([[1, 1, 3, 3, 5, 5, 255, 0]], np.uint8))


def test_a_range_of_its_own_is_rounded_so_too(tmp_path: Path) -> None:
    """DynamicQuantizeLinear: levels, step and zero point are ONNX Runtime's."""
    shape = [4, 64]
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "step", "zero"], name="dynamic")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("y", TensorProto.UINT8, shape),
            helper.make_tensor_value_info("step", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("zero", TensorProto.UINT8, []),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    # The range makes the step a half, so that quarters lie in the middle between two levels.
    call = (np.random.default_rng(0).integers(-200, 310, shape) / 4).astype(np.float32)
    call[0, :2] = -50.0, 77.5
    found, _ = _tvm(model, [call], tmp_path)

    assert np.float32(0.5) == found[1][0]
    for own, wanted in zip(found, _onnxruntime(model, [call]), strict=True):
        np.testing.assert_array_equal(own, wanted)


@pytest.mark.parametrize("name", ["digits_resnet", "digits_shufflenet"])
def test_a_quantized_net_computes_what_onnx_runtime_does(name: str, tmp_path: Path) -> None:
    """Every class, and sums behind the pooling to a few bits; each convolution's kernel rounds its own result."""
    file = build_variant(variant_request(resolve(name), load_suite("quick"), name, "int8", 1), tmp_path).exported.path
    model = onnx.load(file)
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    calls = list(np.random.default_rng(0).normal(0, 1, (24, *shape)).astype(np.float32))
    (found,), kernels = _tvm(model, calls, tmp_path)
    (plain,), (integers,) = (_onnxruntime(model, calls, level) for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"))

    for wanted in (plain, integers):
        np.testing.assert_array_equal(found.argmax(-1), wanted.argmax(-1))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    fused = [kernel for kernel in kernels if "conv" in kernel]
    assert fused
    assert all("round" in kernel for kernel in fused)
