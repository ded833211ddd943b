"""Whose fault a mismatch looks like, told from who else differs from the reference."""

from __future__ import annotations

from ..models.errors import Blame

__all__ = ["blame_mismatch"]


def blame_mismatch(*, stage: str, baseline: bool, baseline_mismatched: bool) -> Blame:
    """The likeliest culprit when outputs differ from the reference.

    The baseline runs the imported graph operator by operator and compiles nothing, so when it differs the importer is
    suspected; when a compiler differs and the baseline does not, the compiler is. Outputs that were right before the
    timing and wrong within it (*stage* "block") point at the runtime: a race, a reused buffer, a cached answer.
    """
    if stage == "block":
        return "runtime"
    return "importer" if baseline or baseline_mismatched else "compiler"
