"""Tuning of TVM's kernels: candidates, workers that measure them, a database of what they found."""

__all__: list[str] = []
