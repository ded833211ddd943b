"""TorchInductor: compiles the imported graph ahead of time to an AOTInductor package."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..models.errors import StageError, UnsupportedError
from .base import Array, CompileRequest, Executed, LoadRequest, Probe
from .host import code_digest, isa
from .inductor_compile import INSTALL_HINT, PACKAGE, compile_package, cpp_compiler, inductor_environment
from .options import read_options
from .precision import precision_name, stored_details
from .profile import ProfiledSession
from .signature import load_signature, read_signature, save_signature
from .torch_runtime import check_torch_device, fp32_facts, set_up, to_arrays, to_tensors, torch_devices, torch_versions

__all__ = ["InductorBackend", "InductorSession"]

_FACTS = "facts.json"

_OPTIONS = {
    "autocast": ("off", "bfloat16", "float16"),
    "max_autotune": ("false", "true"),
    "profile": ("false", "true"),
}

_CODE = (
    "torch_import",
    "inductor_compile.py",
    "inductor_kernels.py",
    "inductor_nodes.py",
    "precision.py",
    "profile_graph.py",
    "torch_runtime.py",
)

_REPRODUCER = """\
import tempfile
from pathlib import Path

import numpy as np
import torch

# bakeoff's own importer is part of this backend: a failure here may be the importer's fault, not Inductor's.
from bakeoff.backends.torch_import import import_onnx
from bakeoff.backends.torch_import.autocast import autocast_module
from bakeoff.backends.torch_import.dtypes import graph_inputs


def build(model: str, threads: int):
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    imported = import_onnx(Path(model), even=True)
    if imported.quantized:
        import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # registers the int8 fusions
    module = imported.module.to({device!r})
    if {autocast!r} != "off":
        module = autocast_module(module, {device!r}, {autocast!r})
    examples = tuple(tensor.to({device!r}) for tensor in graph_inputs(Path(model)))
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        program = torch.export.export(module, examples)
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=folder + "/model.pt2", inductor_configs={configs!r}
        )
        loader = torch._C._aoti.AOTIModelPackageLoader(package, "model", False, 1, -1)

    def run(feeds: list[np.ndarray]) -> list[np.ndarray]:
        outputs = loader.boxed_run([torch.from_numpy(feed).to({device!r}) for feed in feeds])
        return [output.cpu().numpy() for output in outputs]

    return run
"""


class InductorBackend:
    """Adapter of TorchInductor through AOTInductor, with weights frozen into the library.

    The number of threads and the CPU's vector width are written into the generated C++ code. Its option `profile` has
    the code tell torch's profiler of each kernel that it calls.
    """

    name = "inductor"
    extra = "inductor"
    role: Literal["baseline", "compiler"] = "compiler"

    def probe(self) -> Probe:
        """Whether torch can be imported and a C++ compiler is there."""
        try:
            import torch
        except ImportError as error:
            return Probe(available=False, reason=f"torch cannot be imported: {error}")
        packages = torch_versions("torchao")
        compiler = cpp_compiler()
        if not compiler:
            return Probe(
                available=False,
                version=torch.__version__,
                reason=f"no C++ compiler; {INSTALL_HINT}",
                packages=packages,
            )
        return Probe(
            available=True,
            version=torch.__version__,
            devices=torch_devices(),
            packages=packages,
            details={"C++ compiler": compiler, **fp32_facts()},
        )

    def cache_key(self, request: CompileRequest) -> Mapping[str, str]:
        """Versions, our importer, C++ compiler, ISA, threads (which are built in), options, Inductor's environment."""
        options = read_options("inductor", request.options, _OPTIONS)
        return {
            **torch_versions("torchao"),
            **options,
            **inductor_environment(),
            "C++ compiler": cpp_compiler(),
            "code": code_digest(*_CODE),
            "device": request.device,
            "isa": f"{platform.machine()} {isa()}",
            "threads": str(request.threads),
        }

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Write the package, the signature, and what the generated code calls."""
        options = _check(request)
        signature = read_signature(request.model)
        save_signature(request.out, signature)
        set_up(request.threads)
        profile = options["profile"] == "true"
        facts = compile_package(request, signature, _configs(options), options["autocast"], profile=profile)
        (request.out / _FACTS).write_text(json.dumps(facts) + "\n")
        return ()

    def load(self, request: LoadRequest) -> InductorSession:
        """Load the package; neither Dynamo nor Inductor is imported."""
        _check(request)
        return InductorSession(request)

    def profiling_options(self, _request: CompileRequest) -> Mapping[str, str]:
        """Code that torch's profiler hears of; without the profiler it costs little, but is not what is timed."""
        return {"profile": "true"}

    def load_profiled(self, request: LoadRequest, model: Path) -> ProfiledSession:
        """Load the package under torch's profiler."""
        from .inductor_profile import InductorProfile

        options = _check(request)
        if options["profile"] != "true":
            reason = "Inductor profiles only what was compiled with the option profile"
            raise UnsupportedError(reason, blame="runtime", stage="profile")
        if request.device != "cpu":
            reason = f"bakeoff reads Inductor's profile on the CPU only, not on {request.device!r}"
            raise UnsupportedError(reason, blame="runtime", stage="profile")
        return InductorProfile(request, model)

    def reproducer(self, request: CompileRequest) -> str:
        """The importer, torch.export and AOTInductor, without the rest of bakeoff."""
        options = _check(request)
        return _REPRODUCER.format(device=request.device, configs=_configs(options), autocast=options["autocast"])


class InductorSession:
    """A loaded AOTInductor package. Outputs are new arrays that stay valid."""

    def __init__(self, request: LoadRequest) -> None:
        import torch

        signature = load_signature(request.artifact)
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._device = request.device
        self._facts: dict[str, Any] = json.loads((request.artifact / _FACTS).read_text())
        set_up(request.threads)
        try:
            # torch._inductor.aoti_load_package makes this loader too, but imports the whole compiler first.
            loader = torch._C._aoti.AOTIModelPackageLoader
            self._loader: Any = loader(os.fspath(request.artifact / PACKAGE), "model", False, 1, -1)
        except RuntimeError as error:
            raise StageError(" ".join(str(error).split()), blame="runtime", stage="load") from error

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once."""
        return to_arrays(self._loader.boxed_run(to_tensors(feeds, self._device)))

    def executed(self) -> Executed:
        """Threads as torch says now; precision and kernels by the calls in the generated code."""
        import torch

        kernels: dict[str, int] = self._facts["kernels"]
        return Executed(
            device=self._device,
            precision=precision_name(self._facts["precisions"]),
            threads=torch.get_num_threads(),
            marks=tuple(self._facts["marks"]),
            details={
                **fp32_facts(),
                **stored_details(self._facts["stored"], "dequantized once, when it is compiled"),
                "threads compiled for": str(self._facts["threads"]),
                "compiled for": str(self._loader.get_metadata().get("AOTI_CPU_ISA", "")),
                "kernels": ", ".join(f"{name}: {count}" for name, count in sorted(kernels.items())),
            },
        )

    def close(self) -> None:
        """Drop the library; the loader removes its temporary files."""
        self._loader = None


def _check(request: CompileRequest | LoadRequest) -> dict[str, str]:
    options = read_options("inductor", request.options, _OPTIONS)
    check_torch_device("inductor", request.device)
    return options


def _configs(options: Mapping[str, str]) -> dict[str, Any]:
    """Inductor's settings: *freezing* folds the weights in; one compile thread leaves no pool of processes behind."""
    return {"freezing": True, "compile_threads": 1, "max_autotune": options["max_autotune"] == "true"}
