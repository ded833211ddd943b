"""From an ONNX file to the graph that ONNX Runtime executes, and what is in it."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..models.errors import StageError, UnsupportedError
from .precision import count_stored_weights, count_weight_precisions, has_float_bias, has_float_weights

__all__ = [
    "ACCURACY_KEY",
    "MODEL",
    "disabled_optimizers",
    "onnxruntime_module",
    "open_session",
    "read_facts",
    "session_settings",
    "write_graph",
]

MODEL = "model.onnx"

ACCURACY_KEY = "session.qdq_matmulnbits_accuracy_level"
"""Session setting: how products with weights in blocks of 4 bits are computed, "1" in fp32, "4" in int8."""

_WEIGHTS = "model.weights"
_FACTS = "precisions.json"

# protobuf cannot hold more than 2 GiB in one message.
_EXTERNAL_ABOVE_BYTES = 1 << 30

_LACKS = re.compile(
    r"implementation for (\S+) node|error: (\S+?)\(-?\d+\) is not a registered|No Op registered for (\S+)"
)

_CONVERSIONS = frozenset(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"))

_QUANTIZES_WEIGHTS = "WeightBiasQuantization"


def write_graph(model: Path, out: Path, *, device: str, accuracy_level: str) -> None:
    """Write the optimized graph (on other devices than "cpu" the plain one) into *out*, and what `read_facts` reads.

    *accuracy_level* is the value of `ACCURACY_KEY`.
    """
    if device == "cpu":
        _optimize(model, out, accuracy_level)
    else:
        _copy(model, out)
    _save_facts(out)


def read_facts(artifact: Path) -> dict[str, dict[str, int]]:
    """Of the executed graph: "precisions" of the heavy operators, "stored" weights, "conversions" of activations.

    "stored" counts the quantized weights that are dequantized at every call, "conversions" the nodes that quantize or
    dequantize activations in a kernel of their own.
    """
    facts: dict[str, dict[str, int]] = json.loads((artifact / _FACTS).read_text())
    return facts


def disabled_optimizers(model: Path) -> list[str]:
    """The optimizer that quantizes weights by itself, if *model* has operators that were kept in float on purpose.

    ONNX Runtime runs an operator in int8 if only its neighbours are quantized. It turns float biases of quantized
    operators into int32 by the same optimizer, though: where there are any, it stays.
    """
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    quantized = any(node.op_type == "QuantizeLinear" for node in graph.node)
    return [_QUANTIZES_WEIGHTS] if quantized and has_float_weights(graph) and not has_float_bias(graph) else []


def onnxruntime_module() -> Any:
    """The module, without its telemetry: the wheels for Linux report to a server and leave an identity in the home."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
    import onnxruntime

    return onnxruntime


def session_settings(threads: int) -> Any:
    """`SessionOptions` for *threads* threads, one operator after the other."""
    onnxruntime = onnxruntime_module()

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return settings


def open_session(model: str, settings: Any, providers: list[Any], stage: str, disabled: Sequence[str] = ()) -> Any:
    """An `InferenceSession`; raises `UnsupportedError` that names a lacking operator, else `StageError`."""
    onnxruntime = onnxruntime_module()

    try:
        return onnxruntime.InferenceSession(model, settings, providers=providers, disabled_optimizers=list(disabled))
    except Exception as error:  # its errors share no base class
        text = " ".join(str(error).split())
        if lacking := _LACKS.search(text):
            operator = next(name for name in lacking.groups() if name)
            raise UnsupportedError(f"operator {operator}: {text}", blame="importer", stage=stage) from error
        raise StageError(text, blame="compiler" if stage == "compile" else "runtime", stage=stage) from error


def _optimize(model: Path, out: Path, accuracy_level: str) -> None:
    onnxruntime = onnxruntime_module()

    settings = session_settings(1)
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.optimized_model_filepath = str(out / MODEL)
    # The one warning here says that the saved graph fits this machine only; the cache key says so too.
    settings.log_severity_level = 3
    if _bytes(model) > _EXTERNAL_ABOVE_BYTES:
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
    settings.add_session_config_entry(ACCURACY_KEY, accuracy_level)
    open_session(str(model), settings, ["CPUExecutionProvider"], "compile", disabled_optimizers(model))


def _copy(model: Path, out: Path) -> None:
    import onnx

    loaded = onnx.load(model)
    external = _bytes(model) > _EXTERNAL_ABOVE_BYTES
    onnx.save(loaded, out / MODEL, save_as_external_data=external, location=_WEIGHTS)


def _bytes(model: Path) -> int:
    """Size of the ONNX file with its external data."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    tensors = onnx.load(model, load_external_data=False).graph.initializer
    external = sum(ExternalDataInfo(tensor).length or 0 for tensor in tensors if uses_external_data(tensor))
    return model.stat().st_size + external


def _save_facts(out: Path) -> None:
    import onnx

    graph = onnx.load(out / MODEL, load_external_data=False).graph
    stored = count_stored_weights(graph)
    conversions = Counter(node.op_type for node in graph.node if node.op_type in _CONVERSIONS)
    conversions["DequantizeLinear"] -= stored.total()
    facts = {"precisions": count_weight_precisions(graph), "stored": stored, "conversions": +conversions}
    (out / _FACTS).write_text(json.dumps(facts) + "\n")
