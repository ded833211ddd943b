"""From an ONNX file to an AOTInductor package."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..models.errors import BakeoffError, Blame, StageError
from .base import CompileRequest
from .inductor_kernels import executed_precisions, read_kernels
from .inductor_nodes import save_nodes, watching
from .precision import count_stored_weights, count_weight_precisions, short_precision, simulated_mark
from .profile_graph import read_profiled_graph
from .signature import Signature
from .torch_import.autocast import autocast_module

__all__ = ["INSTALL_HINT", "PACKAGE", "compile_package", "cpp_compiler", "inductor_environment"]

PACKAGE = "model.pt2"

INSTALL_HINT = "install g++ (Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++) or set CXX"

_CACHE_DIR = "TORCHINDUCTOR_CACHE_DIR"


def cpp_compiler() -> str:
    """First line of `--version` of the compiler that Inductor takes (CXX, else g++); "" if it cannot be started."""
    command = shlex.split(os.environ.get("CXX", "g++"))
    if not command or shutil.which(command[0]) is None:
        return ""
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0] if done.returncode == 0 else ""


def inductor_environment() -> dict[str, str]:
    """Environment variables that change what Inductor generates."""
    return {k: v for k, v in os.environ.items() if k.startswith("TORCHINDUCTOR_") and k != _CACHE_DIR}


def compile_package(
    request: CompileRequest, signature: Signature, configs: Mapping[str, Any], autocast: str, *, profile: bool = False
) -> dict[str, Any]:
    """Write the package into `request.out`; return what `InductorSession.executed` tells of the generated code.

    *autocast* is "off", or the dtype that `torch.autocast` lowers convolutions and matrix products to. *profile*: the
    code tells torch's profiler of each kernel, and what these run lies beside the package.

    Raises `UnsupportedError` for an operator that the importer lacks, `StageError` for all else.
    """
    import onnx

    from .torch_import import import_onnx

    if not cpp_compiler():
        raise StageError(f"Inductor needs a C++ compiler; {INSTALL_HINT}", blame="compiler", stage="compile")
    imported = import_onnx(request.model, even=True)
    if imported.quantized:
        _register_int8_fusions()
    module = imported.module.to(request.device)
    if autocast != "off":
        module = autocast_module(module, request.device, autocast)
    program = _export(module, signature, request.device)
    watch, nodes = watching(imported.onnx_names, read_profiled_graph(request.model)) if profile else ({}, None)
    _probe_vectors()
    with _private_cache(request.out), _blaming("compiler", "Inductor"):
        import torch

        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(
                program, package_path=os.fspath(request.out / PACKAGE), inductor_configs={**configs, **watch}
            )
    if nodes is not None:
        save_nodes(request.out, nodes)
    kernels = read_kernels(request.out / PACKAGE)
    graph = onnx.load(request.model, load_external_data=False).graph
    asked = count_weight_precisions(graph, integer="fp32")
    if autocast != "off":
        asked = Counter({short_precision(autocast): asked.total()})
    precisions = executed_precisions(kernels, asked)
    return {
        "threads": request.threads,
        "kernels": kernels["counts"],
        "precisions": precisions,
        "stored": {} if imported.quantized else count_stored_weights(graph),
        "marks": simulated_mark(graph, precisions),
    }


def _export(module: Any, signature: Signature, device: str) -> Any:
    import torch

    examples = tuple(torch.zeros(s.shape, dtype=getattr(torch, s.dtype), device=device) for s in signature.inputs)
    with _blaming("importer", "torch.export"), torch.no_grad():
        return torch.export.export(module, examples)


def _probe_vectors() -> None:
    """Have Inductor try which vector instructions the C++ compiler builds, in torch's own cache.

    These are facts of the machine, like torch's precompiled headers, which lie there too: tried for each model anew, in
    a cache of its own, they took a third of the whole compilation.
    """
    from torch._inductor.cpu_vec_isa import valid_vec_isa_list

    with _blaming("compiler", "Inductor"):
        valid_vec_isa_list()


def _register_int8_fusions() -> None:
    """Without this import Inductor leaves int8 convolutions unfused, in float."""
    with _blaming("compiler", "torchao, which int8 models need,"), warnings.catch_warnings():
        # Python warns of the spelling of strings in torchao's own source.
        warnings.simplefilter("ignore")
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer  # noqa: F401


@contextmanager
def _blaming(blame: Blame, who: str) -> Iterator[None]:
    """Turn whatever *who* raises into a `StageError`."""
    try:
        yield
    except BakeoffError:
        raise
    except Exception as error:
        reason = f"{who} failed: {type(error).__name__}: {' '.join(str(error).split())[:1000]}"
        raise StageError(reason, blame=blame, stage="compile") from error


@contextmanager
def _private_cache(out: Path) -> Iterator[None]:
    """Have Inductor keep a model's files beside *out*, and remove them: each compilation starts from nothing."""
    before = os.environ.get(_CACHE_DIR)
    with tempfile.TemporaryDirectory(prefix=".inductor-", dir=out.parent) as folder:
        os.environ[_CACHE_DIR] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[_CACHE_DIR]
            else:
                os.environ[_CACHE_DIR] = before
