"""ONNX Runtime: optimizes the graph once, saves it, and runs it by one of its execution providers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..models.errors import StageError, UnsupportedError
from .base import Array, CompileRequest, Device, Executed, LoadRequest, Probe
from .host import code_digest, isa, package_versions
from .onnxruntime_graph import (
    ACCURACY_KEY,
    MODEL,
    disabled_optimizers,
    onnxruntime_module,
    open_session,
    read_facts,
    session_settings,
    write_graph,
)
from .options import check_device, read_options
from .precision import precision_name, stored_details
from .profile import ProfiledSession
from .signature import load_signature, read_signature, save_signature

__all__ = ["OnnxRuntimeBackend", "OnnxRuntimeSession"]

_OPTIONS = {"intra_op_spinning": ("1", "0"), "int4_compute": ("fp32", "int8")}

# Products with weights in blocks of 4 bits: in int8 the activations are quantized as they come, which nobody asked for.
_ACCURACY_LEVELS = {"fp32": "1", "int8": "4"}

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn")

# Sends the work to a server: not a device of this target.
_REMOTE = "AzureExecutionProvider"

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
    settings.add_session_config_entry({accuracy_key!r}, {accuracy_level!r})
    session = ort.InferenceSession(model, settings, providers={providers!r}, disabled_optimizers={disabled!r})
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
            onnxruntime = onnxruntime_module()
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
        options = read_options("onnxruntime", request.options, _OPTIONS)
        return {
            **package_versions(*_DISTRIBUTIONS),
            "device": request.device,
            "isa": isa(),
            "int4_compute": options["int4_compute"],
            "code": code_digest("onnxruntime_graph.py", "precision.py"),
        }

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Write the optimized graph (on other devices than "cpu" the plain one) and its signature."""
        options = _check(request)
        signature = read_signature(request.model)
        level = _ACCURACY_LEVELS[options["int4_compute"]]
        write_graph(request.model, request.out, device=request.device, accuracy_level=level)
        save_signature(request.out, signature)
        return ()

    def load(self, request: LoadRequest) -> OnnxRuntimeSession:
        """Make a session of the artifact."""
        options = _check(request)
        try:
            return OnnxRuntimeSession(request, spinning=options["intra_op_spinning"])
        except (OSError, ValueError) as error:
            raise StageError(f"the artifact cannot be read: {error}", blame="harness", stage="load") from error

    def profiling_options(self, _request: CompileRequest) -> Mapping[str, str]:
        """None: what is timed is what is profiled."""
        return {}

    def load_profiled(self, request: LoadRequest, model: Path) -> ProfiledSession:
        """Make a session of the artifact that keeps a log of its nodes; on the CPU only."""
        from .onnxruntime_profile import OnnxRuntimeProfile

        options = _check(request)
        if request.device != "cpu":
            reason = f"ONNX Runtime's log tells of launches, not of kernels, on {request.device!r}"
            raise UnsupportedError(reason, blame="runtime", stage="profile")
        return OnnxRuntimeProfile(request, model, spinning=options["intra_op_spinning"])

    def reproducer(self, request: CompileRequest) -> str:
        """One session from the ONNX file, with all optimizations."""
        options = _check(request)
        return _REPRODUCER.format(
            spinning=options["intra_op_spinning"],
            providers=_chain(request.device),
            accuracy_key=ACCURACY_KEY,
            accuracy_level=_ACCURACY_LEVELS[options["int4_compute"]],
            disabled=disabled_optimizers(request.model),
        )


class OnnxRuntimeSession:
    """An `onnxruntime.InferenceSession`. Outputs are new arrays that stay valid.

    Where *log* is given, the runtime's profiler writes a file whose name begins so.
    """

    def __init__(self, request: LoadRequest, *, spinning: str, log: Path | None = None) -> None:
        signature = load_signature(request.artifact)
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._feed_names = [spec.name for spec in self.inputs]
        self._output_names = [spec.name for spec in self.outputs]
        self._device = request.device
        self._facts = read_facts(request.artifact)
        self._session: Any = _session(request, spinning, log)

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
            precision=precision_name(self._facts["precisions"])
            if self._device in ("cpu", "cuda")
            else "as the provider chooses",
            threads=self._session.get_session_options().intra_op_num_threads,
            fallbacks=tuple(f"{count} nodes on {name}" for name, count in sorted(nodes.items()) if name != asked),
            details={
                "providers": ", ".join(self._session.get_providers()),
                "nodes": ", ".join(f"{name}: {count}" for name, count in sorted(nodes.items())),
                **stored_details(self._facts["stored"], "dequantized at every call"),
                "quantize and dequantize kernels": str(sum(self._facts["conversions"].values())),
                "provider_options": json.dumps(self._session.get_provider_options(), sort_keys=True),
            },
        )

    def close(self) -> None:
        """Drop the session; its threads end with it."""
        self._session = None


def _providers() -> dict[str, str]:
    """Device name -> execution provider, of all that the installed wheel brings."""
    onnxruntime = onnxruntime_module()

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


def _session(request: LoadRequest, spinning: str, log: Path | None) -> Any:
    onnxruntime = onnxruntime_module()

    levels = onnxruntime.GraphOptimizationLevel
    settings = session_settings(request.threads)
    settings.graph_optimization_level = levels.ORT_DISABLE_ALL if request.device == "cpu" else levels.ORT_ENABLE_ALL
    settings.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if log is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(log)
    session = open_session(str(request.artifact / MODEL), settings, _chain(request.device), "load")
    asked = _providers()[request.device]
    if asked not in session.get_providers():
        reason = (
            f"{asked} could not start (drivers or libraries missing?); started: {', '.join(session.get_providers())}"
        )
        raise StageError(reason, blame="runtime", stage="load")
    session.disable_fallback()
    return session
