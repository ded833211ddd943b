"""What adapters say of the precision is what their runtimes' own graphs say, for all kinds of variants."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from bakeoff.backends.contract import Workbench
from bakeoff.backends.contract.nets import reference
from onnx import ModelProto, helper, numpy_helper

pytestmark = pytest.mark.slow

UNTUNED = {"records": "none"}
"""TVM without the records that ship with bakeoff, some of which serve kernels of any net."""

Ran = tuple[dict[str, Any], dict[str, Any], float]
"""What compiling gave, what the session said, and the error relative to the reference's largest value."""


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workbench]:
    """One bench for each backend."""
    made: dict[str, Workbench] = {}

    def bench(backend: str) -> Workbench:
        return made.setdefault(backend, Workbench(backend, tmp_path_factory.mktemp(backend)))

    return bench


def _run(bench: Workbench, net: str, model: Path, **settings: Any) -> Ran:
    artifact = bench.folder / "variants" / f"{net}{len(str(settings))}"
    artifact.mkdir(parents=True)
    step = {"model": model, "artifact": artifact, "threads": 1, **settings}
    out = bench.folder / f"{net}.npz"
    feeds = bench.save_feeds("qdq")
    compiled, facts = bench.steps({"do": "compile", **step}, {"do": "run", "feeds": feeds, "out": out, **step})
    if "error" in compiled:
        return compiled, {}, 0.0
    assert "error" not in facts, facts
    (expected,) = reference(model, bench.feeds("qdq")[0])
    with np.load(out, allow_pickle=False) as archive:
        error = np.abs(archive["call0/0"] - expected).max() / np.abs(expected).max()
    return {**compiled, "artifact": artifact}, facts["after"], float(error)


def _kept(bench: Workbench) -> Path:
    """The quantized net with its depthwise convolution left in float."""
    model, plain = onnx.load(bench.model("qdq")), onnx.load(bench.models / "qdq_float.onnx")
    (node,) = (node for node in plain.graph.node if any(a.name == "group" and a.i > 1 for a in node.attribute))
    (kept,) = (other for other in model.graph.node if other.name == node.name)
    kept.input[1:] = node.input[1:]
    model.graph.initializer.extend(tensor for tensor in plain.graph.initializer if tensor.name in node.input)
    return _save(bench, "kept", model)


def _stored(bench: Workbench, bits: int) -> Path:
    """The float net with weights in 8 bits for each channel, or the Gemm's in 4 bits and blocks of 16."""
    model = onnx.load(bench.models / "qdq_float.onnx")
    model.opset_import[0].version = 21
    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm") and (bits == 8 or node.op_type == "Gemm"):
            name = node.input[1]
            weight = arrays[name]
            if bits == 4:
                # As (in, out), which runtimes have kernels for.
                weight = np.ascontiguousarray(weight.T)
                del node.attribute[:]
            steps, levels, settings = _levels(weight, bits)
            graph.initializer.append(numpy_helper.from_array(levels, f"{name}_levels"))
            graph.initializer.append(numpy_helper.from_array(steps, f"{name}_steps"))
            inputs = [f"{name}_levels", f"{name}_steps"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_d"], name=f"{name}_d", **settings))
            node.input[1] = f"{name}_d"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return _save(bench, f"stored{bits}", model)


def _levels(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    if bits == 8:
        steps = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
        return steps, np.rint(weight / steps.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8), {"axis": 0}
    blocks = weight.reshape(-1, 16, weight.shape[1])
    steps = np.abs(blocks).max(axis=1) / 7
    levels = np.rint(blocks / steps[:, None]).reshape(weight.shape)
    return steps, levels.astype(ml_dtypes.int4), {"axis": 0, "block_size": 16}


def _save(bench: Workbench, name: str, model: ModelProto) -> Path:
    path = bench.folder / f"{name}.onnx"
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_kept_nodes_stay_in_float(benches: Callable[[str], Workbench], backend: str) -> None:
    """A node that was kept in float among quantized ones runs in float, the others in int8."""
    bench = benches(backend)
    _, executed, error = _run(bench, "kept", _kept(bench))

    assert "mixed(fp32: 1, int8: 4)" == executed["precision"]
    assert error < 0.02


def test_onnxruntime_says_what_its_graph_holds(benches: Callable[[str], Workbench]) -> None:
    """The saved graph of a quantized net is fused throughout and still is when it is loaded again."""
    bench = benches("onnxruntime")
    compiled, executed, _ = _run(bench, "qdq", bench.model("qdq"))
    operators = Counter(node.op_type for node in onnx.load(compiled["artifact"] / "model.onnx").graph.node)

    assert (4, 1) == (operators["QLinearConv"], operators["QGemm"])
    assert "int8" == executed["precision"]
    conversions = operators["QuantizeLinear"] + operators["DequantizeLinear"]
    assert str(conversions) == executed["details"]["quantize and dequantize kernels"]
    assert f"CPUExecutionProvider: {operators.total()}" == executed["details"]["nodes"]


@pytest.mark.parametrize(("compute", "precision"), [("fp32", "fp32"), ("int8", "mixed(fp32: 4, int8: 1)")])
def test_onnxruntime_int4(benches: Callable[[str], Workbench], compute: str, precision: str) -> None:
    """Weights in 4 bits run in their own kernel, in fp32 unless int8 is asked for."""
    bench = benches("onnxruntime")
    options = {"int4_compute": compute}
    compiled, executed, error = _run(bench, f"int4{compute}", _stored(bench, 4), options=options)
    operators = [node.op_type for node in onnx.load(compiled["artifact"] / "model.onnx").graph.node]

    assert "MatMulNBits" in operators
    assert precision == executed["precision"]
    assert error < (1e-4 if compute == "fp32" else 0.02)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tvm", "eager"])
def test_weights_in_8_bits_multiply_in_float(benches: Callable[[str], Workbench], backend: str) -> None:
    """Weights alone in int8: nobody quantizes activations behind the user's back, and fp32 is what is told."""
    bench = benches(backend)
    _, executed, error = _run(bench, "stored8", _stored(bench, 8), options=UNTUNED if backend == "tvm" else {})

    assert "fp32" == executed["precision"]
    assert not executed["marks"] or ["untuned"] == executed["marks"]
    assert error < 1e-4


def test_openvino_tells_of_sparse_weights(benches: Callable[[str], Workbench]) -> None:
    """The rate that the plugin accepted is told, and how many kernels make use of it."""
    bench = benches("openvino")
    _, executed, error = _run(bench, "zeros", bench.model("zeros"), options={"sparse_weights_rate": "0.5"})

    assert 0.5 == float(executed["details"]["CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"])
    assert int(executed["details"]["kernels for sparse weights"]) >= 0
    assert "fp32" == executed["precision"]
    assert error < 1e-4


def test_openvino_says_what_its_kernels_are(benches: Callable[[str], Workbench]) -> None:
    """A quantized net is in int8 kernels throughout after the blob went to disk and back."""
    bench = benches("openvino")
    _, executed, _ = _run(bench, "qdq", bench.model("qdq"))
    kernels = dict(part.split(": ") for part in executed["details"]["kernels"].split(", "))

    assert "int8" == executed["precision"]
    assert 5 == sum(int(count) for name, count in kernels.items() if name.lower().endswith(("i8", "u8")))


def test_tvm_marks_simulation(benches: Callable[[str], Workbench]) -> None:
    """TVM multiplies a quantized net in fp32, and the figure bears the mark."""
    bench = benches("tvm")
    _, executed, error = _run(bench, "qdq", bench.model("qdq"), options=UNTUNED)

    assert ("fp32", ["untuned", "int8 simulated in float"]) == (executed["precision"], executed["marks"])
    assert error < 0.02


def test_tvm_refuses_blocks(benches: Callable[[str], Workbench]) -> None:
    """Weights in blocks of 4 bits are beyond TVM's importer, which is said with the node's name."""
    bench = benches("tvm")
    refused, _, _ = _run(bench, "int4", _stored(bench, 4))

    assert "UnsupportedError" == refused["error"], json.dumps(refused)
    assert "DequantizeLinear at node" in refused["reason"]
