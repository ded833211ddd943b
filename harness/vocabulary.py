"""The scenarios that there are, by name."""

from __future__ import annotations

__all__ = ["SCENARIOS"]

SCENARIOS = {"single-stream": "one inference after the other, latency of each; batch as given"}
