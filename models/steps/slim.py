"""Graph clean-up by onnxslim as a step of its own, so that its effect is seen."""

from __future__ import annotations

from typing import Any

from ..errors import StageError
from ..graph import simplify, tensor_specs
from ..inputs import make_inputs
from ..variants import Step
from .base import StepContext, StepResult, versions_of

__all__ = ["apply"]

_CHECK_SEED = 20


def apply(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* simplified, if it then still computes the same; a note says so where it does not.

    Raises `StageError` where the graph does not run even as it is.
    """
    feeds = make_inputs(tensor_specs(model.graph.input), None, 1, _CHECK_SEED + context.seed, None)[0]
    try:
        slim, _, notes = simplify(model, feeds)
    # The engine raises classes of its own for whatever it cannot load or run.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise StageError(
            f"{step.text}: the graph does not run: {reason}", blame="exporter", stage="refactor"
        ) from error
    return StepResult(model=slim, parameters={}, versions=versions_of("onnxslim", "onnx"), notes=notes)
