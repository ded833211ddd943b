"""Steps from ONNX to ONNX: clean-up, masks, and every precision; each a function of a model, a step and a context."""

from __future__ import annotations

__all__: list[str] = []
