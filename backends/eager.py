"""torch eager: the baseline that every speed-up refers to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .base import Array, CompileRequest, Executed, LoadRequest, Probe
from .host import code_digest
from .options import read_options
from .precision import count_stored_weights, count_weight_precisions, precision_name, stored_details
from .signature import load_signature, read_signature, save_signature
from .torch_runtime import check_torch_device, fp32_facts, set_up, to_arrays, to_tensors, torch_devices, torch_versions

__all__ = ["EagerBackend", "EagerSession"]

_MODEL = "model.onnx"
_FACTS = "facts.json"
_WEIGHTS = "model.weights"

# protobuf cannot hold more than 2 GiB in one message.
_EXTERNAL_ABOVE_BYTES = 1 << 30

_REPRODUCER = """\
from pathlib import Path

import numpy as np
import torch

# bakeoff's own importer is part of this backend: a failure here may be the importer's fault, not torch's.
from bakeoff.backends.torch_import import import_onnx


def build(model: str, threads: int):
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    module = import_onnx(Path(model), stage="load").module.to({device!r})

    def run(feeds: list[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = module(*(torch.from_numpy(feed).to({device!r}) for feed in feeds))
        return [output.cpu().numpy() for output in outputs]

    return run
"""


class EagerBackend:
    """Adapter of torch's eager mode: the imported graph, one kernel call after the other, nothing compiled.

    The artifact is the ONNX file itself; it is imported at load.
    """

    name = "eager"
    extra = "eager"
    role: Literal["baseline", "compiler"] = "baseline"

    def probe(self) -> Probe:
        """Whether torch can be imported, and the devices that it sees."""
        try:
            import torch
        except ImportError as error:
            return Probe(available=False, reason=f"torch cannot be imported: {error}")
        return Probe(
            available=True,
            version=torch.__version__,
            devices=torch_devices(),
            packages=torch_versions(),
            details=fp32_facts(),
        )

    def cache_key(self, request: CompileRequest) -> Mapping[str, str]:
        """Nothing but the form: the artifact is the model's own bytes and what is counted in them."""
        _check(request)
        return {"form": "onnx", "code": code_digest("eager.py", "precision.py")}

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Copy the model in one file (large weights in a second one)."""
        import onnx

        _check(request)
        save_signature(request.out, read_signature(request.model))
        model = onnx.load(request.model)
        facts = {
            "precisions": count_weight_precisions(model.graph, integer="fp32"),
            "stored": count_stored_weights(model.graph),
        }
        (request.out / _FACTS).write_text(json.dumps(facts) + "\n")
        external = model.ByteSize() > _EXTERNAL_ABOVE_BYTES
        onnx.save(model, request.out / _MODEL, save_as_external_data=external, location=_WEIGHTS)
        return ()

    def load(self, request: LoadRequest) -> EagerSession:
        """Import the graph into torch."""
        _check(request)
        return EagerSession(request)

    def reproducer(self, request: CompileRequest) -> str:
        """The importer and torch, without the rest of bakeoff."""
        _check(request)
        return _REPRODUCER.format(device=request.device)


class EagerSession:
    """An imported graph under `torch.inference_mode`. Outputs are new arrays that stay valid."""

    def __init__(self, request: LoadRequest) -> None:
        from .torch_import import import_onnx

        signature = load_signature(request.artifact)
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._device = request.device
        self._facts: dict[str, dict[str, int]] = json.loads((request.artifact / _FACTS).read_text())
        set_up(request.threads)
        imported = import_onnx(request.artifact / _MODEL, stage="load")
        self._quantized = imported.quantized
        self._module: Any = imported.module.to(request.device)

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once."""
        import torch

        with torch.inference_mode():
            return to_arrays(self._module(*to_tensors(feeds, self._device)))

    def executed(self) -> Executed:
        """Threads as torch says; precision by the weights as they are multiplied."""
        import torch

        stored = "dequantized at every call" if self._quantized else "dequantized once, when it is loaded"
        return Executed(
            device=self._device,
            precision=precision_name(self._facts["precisions"]),
            threads=torch.get_num_threads(),
            marks=("int8 simulated in float",) if self._quantized else (),
            details={
                **fp32_facts(),
                **stored_details(self._facts["stored"], stored),
                "interop threads": str(torch.get_num_interop_threads()),
            },
        )

    def close(self) -> None:
        """Drop the module."""
        self._module = None


def _check(request: CompileRequest | LoadRequest) -> None:
    read_options("eager", request.options, {})
    check_torch_device("eager", request.device)
