"""Small networks truly trained on real handwritten digits: architecture, training script, weights, data split."""

from __future__ import annotations

__all__: list[str] = []
