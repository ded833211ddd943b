"""From an ONNX file to a .tflite file, through torch."""

from __future__ import annotations

import os
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..models.errors import StageError, UnsupportedError
from .base import CompileRequest, Quantization
from .litert_quantize import RECIPES, quantize
from .signature import Signature
from .torch_import import Imported

__all__ = ["MODEL", "convert"]

MODEL = "model.tflite"

_QUIET = {"LITERT_TORCH_SHOW_PROGRESS": "n", "TF_CPP_MIN_LOG_LEVEL": "3", "ABSL_MIN_LOG_LEVEL": "3"}


def convert(request: CompileRequest, signature: Signature) -> tuple[dict[str, str], tuple[str, ...]]:
    """Write the .tflite file into `request.out`; a quantized model is quantized by LiteRT's own tool.

    Returns the ONNX node of each module, after which the converter calls its operators, and notes. Raises
    `UnsupportedError` for an operator that the importer lacks, and for a graph that is quantized or in half precision
    and that the converter refuses, `StageError` for any other failure of the converter.
    """
    import torch

    from .torch_import import import_onnx

    quantization = request.quantization
    _check(quantization, signature)
    imported = import_onnx(quantization.float_model if quantization else request.model, zero_pads=True)
    examples = tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in signature.inputs)
    path = request.out / MODEL
    with _quiet():
        try:
            import litert_torch

            litert_torch.convert(imported.module, examples).export(os.fspath(path))
        except Exception as error:
            reason = f"{type(error).__name__}: {_gist(error)}"
            if special := _special(imported):
                reason = f"litert-torch cannot convert this {special} graph: {reason}"
                raise UnsupportedError(reason, blame="converter", stage="compile") from error
            raise StageError(f"litert-torch failed: {reason}", blame="converter", stage="compile") from error
        notes = _quantize(path, quantization, imported) if quantization else ()
    return dict(imported.onnx_names), notes


def _gist(error: Exception) -> str:
    """What happened, in one line; what follows in such messages prints the graph, weights and all."""
    return textwrap.shorten(str(error).split("While executing")[0], 300, placeholder=" …")


def _check(quantization: Quantization | None, signature: Signature) -> None:
    if quantization is None or quantization.kind != "int8":
        return
    if quantization.calibration is None or len(signature.inputs) != 1:
        reason = f"LiteRT's quantizer needs calibration images for its one input; inputs: {len(signature.inputs)}"
        raise UnsupportedError(reason, blame="converter", stage="compile")


def _special(imported: Imported) -> str:
    """What makes a graph one that the converter knows little of; "" for a plain one in fp32."""
    import torch

    if imported.quantized:
        return "quantized"
    dtypes = {buffer.dtype for buffer in imported.module.buffers()}
    return "fp16" if torch.float16 in dtypes else "bf16" if torch.bfloat16 in dtypes else ""


def _quantize(path: Path, quantization: Quantization, imported: Imported) -> tuple[str, ...]:
    modules = {node: module for module, node in imported.onnx_names.items()}
    lost = [node for node in quantization.keep if node not in modules]
    keep = {node: modules[node] for node in quantization.keep if node in modules}
    try:
        content, notes = quantize(
            path, quantization.kind, calibration=quantization.calibration, keep=keep, module=imported.module
        )
    except Exception as error:  # its errors share no base class
        reason = f"ai-edge-quantizer failed: {type(error).__name__}: {' '.join(str(error).split())[:1000]}"
        raise StageError(reason, blame="converter", stage="compile") from error
    path.write_bytes(content)
    own = f"quantized by LiteRT's own tool (ai-edge-quantizer, {RECIPES[quantization.kind]}) from the float model"
    return (own, *notes, *(f"{node} is not kept in float: the float model has no such node" for node in lost))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's chatter down, and what is left of it away from stdout.

    stdout belongs to the caller; TensorFlow and JAX write to the file descriptor itself.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with warnings.catch_warnings():
            # They are about the insides of packages that the converter imports.
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
