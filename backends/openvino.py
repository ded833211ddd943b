"""OpenVINO: compiles for a device by its name and keeps the exported blob."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from ..models.errors import StageError, UnsupportedError
from .base import Array, CompileRequest, Device, Executed, LoadRequest, Probe
from .host import isa, package_versions
from .openvino_layers import executed_type, heavy_layers
from .openvino_names import readable
from .options import SHARE, check_device, read_options
from .precision import precision_name
from .profile import ProfiledSession
from .signature import Signature, load_signature, read_signature, save_signature

__all__ = ["OpenVinoBackend", "OpenVinoSession", "import_blob"]

_BLOB = "model.blob"

_OPTIONS = {"precision": ("f32", "bf16", "f16"), "sparse_weights_rate": ("1", SHARE)}

_SPARSE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
_DYNAMIC = "DYNAMIC_QUANTIZATION_GROUP_SIZE"

_SHOWN = (
    "INFERENCE_NUM_THREADS",
    "NUM_STREAMS",
    "INFERENCE_PRECISION_HINT",
    "PERFORMANCE_HINT",
    "ENABLE_CPU_PINNING",
    "RUNTIME_REQUIREMENTS",
    _DYNAMIC,
    _SPARSE,
)

_LACKS = re.compile(r"No conversion rule found for operations: ([^-]+?)(?: --|$)")

_REPRODUCER = """\
import sys

sys.modules["openvino_telemetry"] = None  # no usage statistics
import numpy as np
import openvino


def build(model: str, threads: int):
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), {device!r}, {config})
    request = compiled.create_infer_request()

    def run(feeds: list[np.ndarray]) -> list[np.ndarray]:
        for port, feed in zip(compiled.inputs, feeds):
            request.set_tensor(port, openvino.Tensor(feed, shared_memory=True))
        request.infer(share_outputs=True)
        return [request.get_tensor(port).data for port in compiled.outputs]

    return run
"""


class OpenVinoBackend:
    """Adapter of OpenVINO. Devices are its own in lower case: "cpu", "gpu", "gpu.1", "npu".

    The blob that `export_model` writes runs as fast as the model that was compiled in the process. Precision is set
    explicitly, because OpenVINO would run fp32 models in bf16 by itself wherever the CPU can.
    """

    name = "openvino"
    extra = "openvino"
    role: Literal["baseline", "compiler"] = "compiler"

    def probe(self) -> Probe:
        """Whether openvino can be imported, and the devices that it sees."""
        try:
            core = _openvino().Core()
        except ImportError as error:
            return Probe(available=False, reason=f"openvino cannot be imported: {error}")
        devices = tuple(
            Device(name=name.lower(), description=core.get_property(name, "FULL_DEVICE_NAME"), tested=name == "CPU")
            for name in core.available_devices
        )
        packages = package_versions("openvino")
        return Probe(available=True, version=packages.get("openvino", ""), devices=devices, packages=packages)

    def cache_key(self, request: CompileRequest) -> Mapping[str, str]:
        """Version, device, ISA, and the configuration that the compiler is given, threads among it."""
        options = read_options("openvino", request.options, _OPTIONS)
        config = {key: str(value) for key, value in _config(request, options).items()}
        return {**package_versions("openvino"), "device": request.device, "isa": isa(), **config}

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Write the blob and the signature."""
        options = _check(request)
        signature = read_signature(request.model)
        core = _openvino().Core()
        try:
            model = core.read_model(readable(request.model))
        except Exception as error:
            raise _failed(error, "importer", "compile") from error
        try:
            compiled = core.compile_model(model, request.device.upper(), _config(request, options))
            blob = compiled.export_model()
        except Exception as error:
            raise _failed(error, "compiler", "compile") from error
        (request.out / _BLOB).write_bytes(blob if isinstance(blob, bytes) else blob.getvalue())
        save_signature(request.out, signature)
        return ()

    def load(self, request: LoadRequest) -> OpenVinoSession:
        """Import the blob."""
        compiled = import_blob(request)
        return OpenVinoSession(compiled, load_signature(request.artifact))

    def profiling_options(self, _request: CompileRequest) -> Mapping[str, str]:
        """None: what is timed is what is profiled."""
        return {}

    def load_profiled(self, request: LoadRequest, model: Path) -> ProfiledSession:
        """Import the blob with counters; on the CPU only."""
        from .openvino_profile import OpenVinoProfile

        if request.device != "cpu":
            reason = f"OpenVINO's counters are read on the CPU only, not on {request.device!r}"
            raise UnsupportedError(reason, blame="runtime", stage="profile")
        return OpenVinoProfile(request, model)

    def reproducer(self, request: CompileRequest) -> str:
        """The model compiled in the process, without the blob."""
        config = _config(request, _check(request))
        entries = (
            f'"{key}": threads' if key == "INFERENCE_NUM_THREADS" else f'"{key}": {config[key]!r}' for key in config
        )
        return _REPRODUCER.format(device=request.device.upper(), config=f"{{{', '.join(entries)}}}")


class OpenVinoSession:
    """A compiled model with one request for `infer`, whose outputs the next call overwrites, and more for `submit`."""

    def __init__(self, compiled: Any, signature: Signature) -> None:
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._compiled = compiled
        self._inputs = [_port(compiled.inputs, spec.name) for spec in self.inputs]
        self._outputs = [_port(compiled.outputs, spec.name) for spec in self.outputs]
        self._request = compiled.create_infer_request()
        self._tensor = _openvino().Tensor
        self._idle: list[Any] = []

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once; the outputs are views of the runtime's own memory.

        By tensors: the request's `infer` with arrays spends 0.2 ms of each call in Python, for checks and a dictionary.
        Feeds that are writable are not copied.
        """
        for port, feed in zip(self._inputs, feeds, strict=True):
            self._request.set_input_tensor(port, self._tensor(feed, shared_memory=feed.flags.writeable))
        self._request.infer(share_outputs=True)
        return [self._request.get_output_tensor(port).data for port in self._outputs]

    def submit(self, feeds: Sequence[Array]) -> Any:
        """Start one inference on an idle request, or on a new one if all are busy."""
        request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        request.start_async(dict(zip(self._inputs, feeds, strict=True)), share_inputs=True)
        return request

    def wait(self, handle: Any) -> Sequence[Array]:
        """Wait for one inference; its outputs are copies."""
        handle.wait()
        outputs: list[Array] = [np.array(handle.get_output_tensor(port).data) for port in self._outputs]
        self._idle.append(handle)
        return outputs

    def executed(self) -> Executed:
        """Devices, threads and streams by the compiled model's properties; precisions and kernels by its layers."""
        heavy = heavy_layers(self._compiled)
        precisions = Counter(executed_type(layer) for layer in heavy)
        kernels = Counter(layer["primitiveType"] for layer in heavy)
        reference = [layer for layer in heavy if layer["primitiveType"].startswith("ref")]
        supported = self._compiled.get_property("SUPPORTED_PROPERTIES")
        properties = {name: str(self._compiled.get_property(name)) for name in _SHOWN if name in supported}
        return Executed(
            device=", ".join(self._compiled.get_property("EXECUTION_DEVICES")).lower(),
            precision=precision_name(precisions),
            threads=int(properties.get("INFERENCE_NUM_THREADS", 0)),
            fallbacks=tuple(f"reference kernel for {layer['layerType']} {layer['name']}" for layer in reference),
            details={
                **properties,
                "kernels": ", ".join(f"{kernel}: {n}" for kernel, n in sorted(kernels.items())),
                "kernels for sparse weights": str(sum(n for kernel, n in kernels.items() if "sparse" in kernel)),
            },
        )

    def close(self) -> None:
        """Drop the requests and the compiled model."""
        self._idle.clear()
        self._request = self._compiled = None


def import_blob(request: LoadRequest, properties: Mapping[str, Any] | None = None) -> Any:
    """The compiled model of an artifact, with *properties* besides those that it was compiled with."""
    config = {**_config(request, _check(request)), **(properties or {})}
    try:
        blob = (request.artifact / _BLOB).read_bytes()
        return _openvino().Core().import_model(blob, request.device.upper(), config)
    except Exception as error:
        raise _failed(error, "runtime", "load") from error


def _openvino() -> Any:
    """The module, imported without its telemetry package, for which it has a stub; no consent file is touched."""
    if "openvino" not in sys.modules:
        cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def _check(request: CompileRequest | LoadRequest) -> dict[str, str]:
    options = read_options("openvino", request.options, _OPTIONS)
    names = [name.lower() for name in _openvino().Core().available_devices]
    # "gpu" is the first of "gpu.0", "gpu.1", ...
    check_device("openvino", request.device, {*names, *(name.split(".")[0] for name in names)})
    return options


def _config(request: CompileRequest | LoadRequest, options: Mapping[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": options["precision"],
    }
    if request.device == "cpu":
        # The harness pins whole workers; a runtime that pins its threads too may leave that set of cores.
        config |= {"INFERENCE_NUM_THREADS": request.threads, "ENABLE_CPU_PINNING": False}
        # Products with weights stored in 8 bits would quantize their activations, which nobody asked for.
        config[_DYNAMIC] = 0
        if float(options["sparse_weights_rate"]) < 1:
            config[_SPARSE] = float(options["sparse_weights_rate"])
    return config


def _port(ports: Sequence[Any], name: str) -> int:
    """Position of the port that bears the ONNX *name*: OpenVINO promises no order."""
    for index, port in enumerate(ports):
        if name in port.names:
            return index
    raise StageError(f"the compiled model has no input or output {name!r}", blame="importer", stage="load")


def _failed(error: Exception, blame: Literal["importer", "compiler", "runtime"], stage: str) -> Exception:
    """What to raise for OpenVINO's *error*: its errors are RuntimeErrors whose kind stands in the text."""
    text = " ".join(str(error).split())
    if lacking := _LACKS.search(text):
        return UnsupportedError(f"operator {lacking[1]}: {text}", blame=blame, stage=stage)
    return StageError(text, blame=blame, stage=stage)
