"""ONNX Runtime: optimizes the graph once, saves it, and runs it by one of its execution providers."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..models.errors import StageError, UnsupportedError
from .base import Array, CompileRequest, Device, Executed, LoadRequest, Probe
from .host import isa, package_versions
from .options import check_device, read_options
from .precision import count_weight_precisions, precision_name
from .signature import load_signature, read_signature, save_signature

__all__ = ["OnnxRuntimeBackend", "OnnxRuntimeSession"]

_MODEL = "model.onnx"
_WEIGHTS = "model.weights"
_PRECISIONS = "precisions.json"

_OPTIONS = {"intra_op_spinning": ("1", "0")}

# protobuf cannot hold more than 2 GiB in one message.
_EXTERNAL_ABOVE_BYTES = 1 << 30

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn")

# Providers that execute in the precision of the graph; others may choose a lower one.
_AS_IN_GRAPH = ("cpu", "cuda")

# Sends the work to a server: not a device of this target.
_REMOTE = "AzureExecutionProvider"

_LACKS = re.compile(
    r"implementation for (\S+) node|error: (\S+?)\(-?\d+\) is not a registered|No Op registered for (\S+)"
)

_REPRODUCER = """\
import numpy as np
import onnxruntime as ort


def build(model: str, threads: int):
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.add_session_config_entry("session.intra_op.allow_spinning", {spinning!r})
    session = ort.InferenceSession(model, settings, providers={providers!r})
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]

    def run(feeds: list[np.ndarray]) -> list[np.ndarray]:
        return session.run(outputs, dict(zip(inputs, feeds)))

    return run
"""


class OnnxRuntimeBackend:
    """Adapter of ONNX Runtime. Its devices are the execution providers of the installed wheel.

    On the CPU the artifact is the graph after all of the runtime's optimizations, those for this very CPU among them;
    loading it takes a fraction of the time and runs exactly as fast as the ONNX file itself. Other providers compile
    parts of the graph to forms that cannot be saved in ONNX: their artifact is the plain ONNX file.
    """

    name = "onnxruntime"
    extra = "onnxruntime"
    role: Literal["baseline", "compiler"] = "compiler"

    def probe(self) -> Probe:
        """Whether onnxruntime can be imported, and which execution providers its wheel brings."""
        try:
            onnxruntime = _onnxruntime()
        except ImportError as error:
            return Probe(available=False, reason=f"onnxruntime cannot be imported: {error}")
        devices = (
            Device(name=name, description=provider, tested=name == "cpu") for name, provider in _providers().items()
        )
        return Probe(
            available=True,
            version=onnxruntime.__version__,
            devices=tuple(devices),
            packages=package_versions(*_DISTRIBUTIONS),
            details={"providers": ", ".join(onnxruntime.get_available_providers())},
        )

    def cache_key(self, request: CompileRequest) -> Mapping[str, str]:
        """Version, device and ISA: layouts are chosen for this CPU. Threads and spinning are set at load."""
        return {**package_versions(*_DISTRIBUTIONS), "device": request.device, "isa": isa()}

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Write the optimized graph (on other devices than "cpu" the plain one) and its signature."""
        _check(request)
        signature = read_signature(request.model)
        if request.device == "cpu":
            _optimize(request.model, request.out)
        else:
            _copy(request.model, request.out)
        _save_precisions(request.out)
        save_signature(request.out, signature)
        return ()

    def load(self, request: LoadRequest) -> OnnxRuntimeSession:
        """Make a session of the artifact."""
        options = _check(request)
        try:
            return OnnxRuntimeSession(request, spinning=options["intra_op_spinning"])
        except (OSError, ValueError) as error:
            raise StageError(f"the artifact cannot be read: {error}", blame="harness", stage="load") from error

    def reproducer(self, request: CompileRequest) -> str:
        """One session from the ONNX file, with all optimizations."""
        options = _check(request)
        return _REPRODUCER.format(spinning=options["intra_op_spinning"], providers=_chain(request.device))


class OnnxRuntimeSession:
    """An `onnxruntime.InferenceSession`. Outputs are new arrays that stay valid."""

    def __init__(self, request: LoadRequest, *, spinning: str) -> None:
        signature = load_signature(request.artifact)
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._feed_names = [spec.name for spec in self.inputs]
        self._output_names = [spec.name for spec in self.outputs]
        self._device = request.device
        self._precisions: dict[str, int] = json.loads((request.artifact / _PRECISIONS).read_text())
        self._session: Any = _session(request, spinning)

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once."""
        outputs: list[Array] = self._session.run(self._output_names, dict(zip(self._feed_names, feeds, strict=True)))
        return outputs

    def executed(self) -> Executed:
        """Providers by the nodes that the runtime assigned to them; precision by the weights of the executed graph."""
        nodes: Counter[str] = Counter()
        for part in self._session.get_provider_graph_assignment_info():
            nodes[part.ep_name] += len(part.get_nodes())
        asked = _providers()[self._device]
        return Executed(
            device=self._device,
            precision=precision_name(self._precisions)
            if self._device in ("cpu", "cuda")
            else "as the provider chooses",
            threads=self._session.get_session_options().intra_op_num_threads,
            fallbacks=tuple(f"{count} nodes on {name}" for name, count in sorted(nodes.items()) if name != asked),
            details={
                "providers": ", ".join(self._session.get_providers()),
                "nodes": ", ".join(f"{name}: {count}" for name, count in sorted(nodes.items())),
                "provider_options": json.dumps(self._session.get_provider_options(), sort_keys=True),
            },
        )

    def close(self) -> None:
        """Drop the session; its threads end with it."""
        self._session = None


def _onnxruntime() -> Any:
    """The module, without its telemetry: the wheels for Linux report to a server and leave an identity in the home."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
    import onnxruntime

    return onnxruntime


def _providers() -> dict[str, str]:
    """Device name -> execution provider, of all that the installed wheel brings."""
    onnxruntime = _onnxruntime()

    present = onnxruntime.get_available_providers()
    return {name.removesuffix("ExecutionProvider").lower(): name for name in present if name != _REMOTE}


def _check(request: CompileRequest | LoadRequest) -> dict[str, str]:
    options = read_options("onnxruntime", request.options, _OPTIONS)
    check_device("onnxruntime", request.device, _providers())
    return options


def _chain(device: str) -> list[Any]:
    """What `InferenceSession` takes as *providers*: the device's, then the CPU's for what that one lacks."""
    provider = _providers()[device]
    if device == "cpu":
        return [provider]
    # CUDA would multiply fp32 in TF32 without saying so.
    return [(provider, {"use_tf32": "0"}) if device == "cuda" else provider, "CPUExecutionProvider"]


def _settings(threads: int) -> Any:
    onnxruntime = _onnxruntime()

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return settings


def _optimize(model: Path, out: Path) -> None:
    onnxruntime = _onnxruntime()

    settings = _settings(1)
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.optimized_model_filepath = str(out / _MODEL)
    # The one warning here says that the saved graph fits this machine only; the cache key says so too.
    settings.log_severity_level = 3
    if _bytes(model) > _EXTERNAL_ABOVE_BYTES:
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
    _open(str(model), settings, ["CPUExecutionProvider"], "compile")


def _copy(model: Path, out: Path) -> None:
    import onnx

    loaded = onnx.load(model)
    external = _bytes(model) > _EXTERNAL_ABOVE_BYTES
    onnx.save(loaded, out / _MODEL, save_as_external_data=external, location=_WEIGHTS)


def _bytes(model: Path) -> int:
    """Size of the ONNX file with its external data."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    tensors = onnx.load(model, load_external_data=False).graph.initializer
    external = sum(ExternalDataInfo(tensor).length or 0 for tensor in tensors if uses_external_data(tensor))
    return model.stat().st_size + external


def _save_precisions(out: Path) -> None:
    import onnx

    counts = count_weight_precisions(onnx.load(out / _MODEL, load_external_data=False).graph)
    (out / _PRECISIONS).write_text(json.dumps(counts) + "\n")


def _session(request: LoadRequest, spinning: str) -> Any:
    onnxruntime = _onnxruntime()

    levels = onnxruntime.GraphOptimizationLevel
    settings = _settings(request.threads)
    settings.graph_optimization_level = levels.ORT_DISABLE_ALL if request.device == "cpu" else levels.ORT_ENABLE_ALL
    settings.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = _open(str(request.artifact / _MODEL), settings, _chain(request.device), "load")
    asked = _providers()[request.device]
    if asked not in session.get_providers():
        reason = (
            f"{asked} could not start (drivers or libraries missing?); started: {', '.join(session.get_providers())}"
        )
        raise StageError(reason, blame="runtime", stage="load")
    session.disable_fallback()
    return session


def _open(model: str, settings: Any, providers: list[Any], stage: str) -> Any:
    onnxruntime = _onnxruntime()

    try:
        return onnxruntime.InferenceSession(model, settings, providers=providers)
    except Exception as error:  # its errors share no base class
        text = " ".join(str(error).split())
        if lacking := _LACKS.search(text):
            operator = next(name for name in lacking.groups() if name)
            raise UnsupportedError(f"operator {operator}: {text}", blame="importer", stage=stage) from error
        raise StageError(text, blame="compiler" if stage == "compile" else "runtime", stage=stage) from error
