"""Where the text recogniser lies inside package rapidocr-onnxruntime, which is never imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .errors import WeightsError

__all__ = ["recogniser_file"]

_PACKAGE = "rapidocr_onnxruntime"
_FILE = "ch_PP-OCRv4_rec_infer.onnx"
# It says Python < 3.13, which holds for its code; only a file of it is read.
_INSTALL = "python -m pip install --no-deps --ignore-requires-python rapidocr-onnxruntime==1.4.4"


def recogniser_file(model: str) -> Path:
    """The ONNX file of PP-OCRv4's recogniser. Raises `WeightsError` naming *model* where the package is missing."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.origin:
        raise WeightsError(f"{model}: comes inside package rapidocr-onnxruntime; install it with: {_INSTALL}")
    path = Path(found.origin).parent / "models" / _FILE
    if not path.is_file():
        raise WeightsError(f"{path}: no such file in this rapidocr-onnxruntime; install it anew with: {_INSTALL}")
    return path
