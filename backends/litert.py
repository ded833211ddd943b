"""LiteRT (TensorFlow Lite's successor): converted by litert-torch, run by ai-edge-litert with XNNPACK."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..models.errors import StageError
from . import litert_quantize
from .base import Array, CompileRequest, Device, Executed, LoadRequest, Probe
from .host import code_digest, package_versions
from .litert_convert import MODEL, convert
from .litert_plan import Plan, read_plan
from .options import check_device, read_options
from .precision import precision_name
from .profile import ProfiledSession
from .signature import load_signature, read_signature, save_signature

__all__ = ["LiteRtBackend", "LiteRtSession", "read_nodes"]

_RUNTIME = ("ai-edge-litert", "numpy")
_CONVERTER = ("litert-torch", "litert-converter", "torch", "onnx")
_QUANTIZER = ("ai-edge-quantizer",)
_CODE = ("torch_import", "litert_convert.py", "litert_quantize.py")

_FACTS = "facts.json"
_NODES = "nodes.json"

_REPRODUCER = """\
import tempfile
from pathlib import Path

import litert_torch
import numpy as np
from ai_edge_litert.interpreter import Interpreter

# bakeoff's own importer is part of this backend: a failure here may be the importer's fault, not LiteRT's.
from bakeoff.backends.torch_import import import_onnx
from bakeoff.backends.torch_import.dtypes import graph_inputs

{quantizer}

def build(model: str, threads: int):
{source}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        litert_torch.convert(imported.module, graph_inputs(source)).export(str(path))
        content = path.read_bytes()
{quantize}
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    inputs = [d["index"] for _, d in sorted(runner.get_input_details().items(), key=lambda i: int(i[0][5:]))]
    outputs = [d["index"] for _, d in sorted(runner.get_output_details().items(), key=lambda i: int(i[0][7:]))]

    def run(feeds: list[np.ndarray]) -> list[np.ndarray]:
        for index, feed in zip(inputs, feeds):
            interpreter.set_tensor(index, feed)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run
"""

_SOURCE = """\
    source = Path(model)
    imported = import_onnx(source, zero_pads=True)"""

# LiteRT quantizes the float model by itself: that file and the calibration data are looked for beside the quantized one
# first, so that a bundle of all three can be carried elsewhere.
_FLOAT_SOURCE = """\
    source = beside(model, {float_model!r})
    imported = import_onnx(source, zero_pads=True)"""

_QUANTIZE = """\
        modules = {{node: module for module, node in imported.onnx_names.items()}}
        keep = {{node: modules[node] for node in {keep!r} if node in modules}}
        calibration = beside(model, {calibration!r}) if {calibration!r} else None
        content, _ = quantize(path, {kind!r}, calibration=calibration, keep=keep, module=imported.module)"""

_BESIDE = """

def beside(model: str, other: str) -> Path:
    near = Path(model).parent / Path(other).name
    return near if near.exists() else Path(other)

"""


class LiteRtBackend:
    """Adapter of LiteRT on the CPU. Inputs and outputs keep the ONNX graph's layout, NCHW."""

    name = "litert"
    extra = "litert"
    role: Literal["baseline", "compiler"] = "compiler"

    def probe(self) -> Probe:
        """Whether the runtime can be imported and the converter is installed (importing that one takes long)."""
        try:
            import ai_edge_litert.interpreter  # noqa: F401
        except ImportError as error:
            return Probe(available=False, reason=f"ai_edge_litert cannot be imported: {error}")
        for package in ("litert_torch", "torch"):
            if find_spec(package) is None:
                return Probe(available=False, reason=f"{package}, the converter, is not installed")
        packages = package_versions(*_RUNTIME, *_CONVERTER, *_QUANTIZER)
        cpu = Device(name="cpu", description="XNNPACK", tested=True)
        return Probe(available=True, version=packages["ai-edge-litert"], devices=(cpu,), packages=packages)

    def cache_key(self, request: CompileRequest) -> Mapping[str, str]:
        """Versions of converter and quantizer, our importer; of a quantized model all that the quantizer is given.

        The file fits every CPU, and threads are set at load.
        """
        _check(request)
        key = {**package_versions(*_CONVERTER, *_QUANTIZER), "code": code_digest(*_CODE)}
        if (quantization := request.quantization) is None:
            return key
        return {
            **key,
            "quantization": quantization.kind,
            "keep": json.dumps(sorted(quantization.keep)),
            "float model": _sha256(quantization.float_model),
            "calibration": _sha256(quantization.calibration) if quantization.calibration else "none",
        }

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Write the .tflite file, the signature, and what quantized it."""
        _check(request)
        signature = read_signature(request.model)
        save_signature(request.out, signature)
        nodes, notes = convert(request, signature)
        facts = {"quantizer": notes[0]} if request.quantization else {}
        (request.out / _FACTS).write_text(json.dumps(facts) + "\n")
        (request.out / _NODES).write_text(json.dumps(nodes) + "\n")
        return notes

    def load(self, request: LoadRequest) -> LiteRtSession:
        """Load the .tflite file; torch is not imported."""
        _check(request)
        return LiteRtSession(request)

    def profiling_options(self, _request: CompileRequest) -> Mapping[str, str]:
        """None: what is timed is what is profiled."""
        return {}

    def load_profiled(self, request: LoadRequest, model: Path) -> ProfiledSession:
        """Load the .tflite file by LiteRT's C interface, which alone has a profiler, once a trial has gone well."""
        from .litert_check import check_native
        from .litert_profile import LiteRtProfile

        _check(request)
        check_native(request)
        return LiteRtProfile(request, model)

    def reproducer(self, request: CompileRequest) -> str:
        """The importer, the converter, LiteRT's quantizer and the interpreter, without the rest of bakeoff."""
        _check(request)
        if (quantization := request.quantization) is None:
            return _REPRODUCER.format(quantizer="", source=_SOURCE, quantize="")
        calibration = str(quantization.calibration) if quantization.calibration else ""
        return _REPRODUCER.format(
            quantizer=f"{inspect.getsource(litert_quantize)}{_BESIDE}",
            source=_FLOAT_SOURCE.format(float_model=str(quantization.float_model)),
            quantize=_QUANTIZE.format(kind=quantization.kind, keep=quantization.keep, calibration=calibration),
        )


class LiteRtSession:
    """A LiteRT interpreter. Outputs are copies that stay valid."""

    def __init__(self, request: LoadRequest) -> None:
        from ai_edge_litert.interpreter import Interpreter

        signature = load_signature(request.artifact)
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._threads = request.threads
        self._facts = _read(request.artifact / _FACTS)
        try:
            path = os.fspath(request.artifact / MODEL)
            self._interpreter: Any = Interpreter(model_path=path, num_threads=request.threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise StageError(" ".join(str(error).split()), blame="runtime", stage="load") from error
        runner = self._interpreter.get_signature_runner()
        self._inputs = _in_order(runner.get_input_details(), len(self.inputs))
        self._outputs = _in_order(runner.get_output_details(), len(self.outputs))

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once."""
        interpreter = self._interpreter
        for (index, dtype), feed in zip(self._inputs, feeds, strict=True):
            interpreter.set_tensor(index, feed.astype(dtype, copy=False))
        interpreter.invoke()
        return [
            interpreter.get_tensor(index).astype(spec.dtype, copy=False)
            for (index, _), spec in zip(self._outputs, self.outputs, strict=True)
        ]

    def executed(self) -> Executed:
        """What XNNPACK took over, by the interpreter's own list of operators; threads as the interpreter was given."""
        plan = read_plan(self._interpreter)
        return Executed(
            device="cpu",
            precision=precision_name(plan.precisions),
            threads=self._threads,
            fallbacks=tuple(f"{count} x {name} in LiteRT's own kernel" for name, count in sorted(plan.left.items())),
            details={
                "delegates": str(plan.delegates),
                "operators in XNNPACK": str(sum(plan.taken.values())),
                "operators in LiteRT's own kernels": str(sum(plan.left.values())),
                **self._facts,
                **_stored(plan),
            },
        )

    def close(self) -> None:
        """Drop the interpreter; its threads end with it."""
        self._interpreter = None


def _check(request: CompileRequest | LoadRequest) -> None:
    read_options("litert", request.options, {})
    check_device("litert", request.device, ["cpu"])


def read_nodes(artifact: Path) -> dict[str, str]:
    """Names of ONNX nodes by the name of the module that each was converted from."""
    return _read(artifact / _NODES)


def _read(path: Path) -> dict[str, str]:
    try:
        content: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StageError(f"{path} cannot be read: {error}", blame="harness", stage="load") from error
    return content


def _stored(plan: Plan) -> dict[str, str]:
    if not plan.stored:
        return {}
    when = "once, when it is loaded" if plan.unpacked else "at every call where LiteRT's own kernels take them"
    return {"quantized weights": f"{plan.stored}, dequantized {when}"}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_order(details: Mapping[str, Mapping[str, Any]], count: int) -> list[tuple[int, np.dtype[Any]]]:
    """Tensor index and dtype of each input or output; the converter names them args_0, args_1, output_0, ..."""
    if len(details) != count:
        reason = f"the converted model has {len(details)} inputs or outputs where the ONNX graph has {count}"
        raise StageError(reason, blame="converter", stage="load")
    ordered = sorted(details.items(), key=lambda item: int(item[0].rpartition("_")[2]))
    return [(int(detail["index"]), np.dtype(detail["dtype"])) for _, detail in ordered]
