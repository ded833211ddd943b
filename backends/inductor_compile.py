"""From an ONNX file to an AOTInductor package."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..models.errors import BakeoffError, Blame, StageError
from .base import CompileRequest
from .precision import count_weight_precisions
from .signature import Signature

__all__ = ["INSTALL_HINT", "PACKAGE", "compile_package", "cpp_compiler", "inductor_environment"]

PACKAGE = "model.pt2"

INSTALL_HINT = "install g++ (Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++) or set CXX"

_CACHE_DIR = "TORCHINDUCTOR_CACHE_DIR"

# Calls of torch's own kernels in the generated C++ code.
_KERNEL = re.compile(r"\baoti_torch_(?:cpu|cuda)_(\w*(?:conv|linear|mm|attention)\w*)\(")


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


def compile_package(request: CompileRequest, signature: Signature, configs: Mapping[str, Any]) -> dict[str, Any]:
    """Write the package into `request.out`; return "threads", "kernels" and "precisions" of the generated code.

    Raises `UnsupportedError` for an operator that the importer lacks, `StageError` for all else.
    """
    import onnx

    from .torch_import import import_onnx

    if not cpp_compiler():
        raise StageError(f"Inductor needs a C++ compiler; {INSTALL_HINT}", blame="compiler", stage="compile")
    imported = import_onnx(request.model)
    if imported.quantized:
        _register_int8_fusions()
    program = _export(imported.module.to(request.device), signature, request.device)
    with _private_cache(request.out), _blaming("compiler", "Inductor"):
        import torch

        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(
                program, package_path=os.fspath(request.out / PACKAGE), inductor_configs=dict(configs)
            )
    kernels = _kernels(request.out / PACKAGE)
    graph = onnx.load(request.model, load_external_data=False).graph
    return {
        "threads": request.threads,
        "kernels": kernels,
        "precisions": _precisions(kernels, count_weight_precisions(graph)),
    }


def _export(module: Any, signature: Signature, device: str) -> Any:
    import torch

    examples = tuple(torch.zeros(s.shape, dtype=getattr(torch, s.dtype), device=device) for s in signature.inputs)
    with _blaming("importer", "torch.export"), torch.no_grad():
        return torch.export.export(module, examples)


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
    """Have Inductor keep its files beside *out*, and remove them: each compilation starts from nothing."""
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


def _kernels(package: Path) -> dict[str, int]:
    """How often the generated code calls each of torch's own heavy kernels."""
    counts: Counter[str] = Counter()
    with zipfile.ZipFile(package) as archive:
        for name in archive.namelist():
            if name.endswith(".cpp"):
                counts.update(_KERNEL.findall(archive.read(name).decode()))
    return dict(counts)


def _precisions(kernels: Mapping[str, int], weights: Mapping[str, int]) -> dict[str, int]:
    """Heavy operators by precision: those in int8 kernels, and the rest as their weights are multiplied."""
    integer = sum(count for name, count in kernels.items() if re.match(r"_q(conv|linear)", name))
    rest = {name: count for name, count in weights.items() if name != "fp32"}
    return {**rest, "int8": integer, "fp32": max(0, weights.get("fp32", 0) - integer)}
