"""From an ONNX file to a .tflite file, through torch."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..models.errors import StageError, UnsupportedError
from .signature import Signature

__all__ = ["MODEL", "convert"]

MODEL = "model.tflite"

_QUIET = {"LITERT_TORCH_SHOW_PROGRESS": "n", "TF_CPP_MIN_LOG_LEVEL": "3", "ABSL_MIN_LOG_LEVEL": "3"}


def convert(model: Path, signature: Signature, out: Path) -> None:
    """Write the .tflite file into the folder *out*.

    Raises `UnsupportedError` for an operator that the importer lacks and for a quantized graph that the converter
    refuses, `StageError` for any other failure of the converter.
    """
    import torch

    from .torch_import import import_onnx

    imported = import_onnx(model)
    examples = tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in signature.inputs)
    with _quiet():
        try:
            import litert_torch

            litert_torch.convert(imported.module, examples).export(os.fspath(out / MODEL))
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}"
            if imported.quantized:
                # It knows no weights that are stored in int8.
                reason = f"litert-torch cannot convert this quantized graph: {reason}"
                raise UnsupportedError(reason, blame="converter", stage="compile") from error
            raise StageError(f"litert-torch failed: {reason}", blame="converter", stage="compile") from error


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
