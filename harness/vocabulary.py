"""The scenarios and variants that there are, by name."""

from __future__ import annotations

__all__ = ["SCENARIOS", "VARIANTS"]

SCENARIOS = {"single-stream": "one inference after the other, latency of each; batch as given"}

VARIANTS = {"fp32": "the model as exported, 32-bit floating point throughout"}
