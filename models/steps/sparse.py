"""Masks on the weights of a graph, for ONNX files without a torch module: zeros where they stand, shapes stay."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..variants import Step
from .base import StepContext, StepResult, versions_of
from .layers import check_layers, lift_constants
from .masks import lamp_masks, two_four_mask

__all__ = ["apply"]


def apply(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* with masked weights, by the same masks as `pruning.masked` makes for a torch module.

    Raises `UnsupportedError` where no layer fits the pattern, and what `check_layers` raises.
    """
    from onnx import numpy_helper

    made = type(model)()
    made.CopyFrom(model)
    lift_constants(made.graph)
    layers = {layer.tensor.name: layer for layer in check_layers(made.graph, step)}
    weights = {name: layer.by_output(layer.weight.copy()) for name, layer in layers.items()}
    pattern = step.parameters.get("pattern", "")
    if pattern:
        masks = {name: two_four_mask(weight) for name, weight in weights.items()}
    else:
        masks = lamp_masks(weights, int(step.parameters["percent"]))
    left = [layer.node.name for name, layer in layers.items() if masks[name].all()]
    if len(left) == len(layers):
        raise UnsupportedError(f"{step.text} does not apply: no layer has input channels in fours", stage="refactor")
    for name, layer in layers.items():
        stored = layer.stored(np.where(masks[name], weights[name], np.float32(0.0)))
        layer.tensor.CopyFrom(numpy_helper.from_array(stored, name))
    facts = {"masked layers": f"{len(layers) - len(left)} of {len(layers)}"}
    if left:
        facts["dense layers"] = ", ".join(left)
    importance = "magnitude, 2 of each 4 inputs" if pattern else "LAMP score over all layers"
    parameters = {**step.parameters, "importance": importance, "fine-tuning": "none"}
    notes = ("masked without fine-tuning: an ONNX file cannot be trained here",)
    versions = versions_of("numpy", "onnx")
    return StepResult(model=made, parameters=parameters, versions=versions, facts=facts, notes=notes)
