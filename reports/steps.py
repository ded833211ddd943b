"""How each variant was made: its steps with parameters, seed and versions, and what each changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import words
from .recipes import recipe, step_words
from .results import ModelFacts, StepFacts

__all__ = ["SHORT_HASH", "StepView", "shape_words", "step_views"]

SHORT_HASH = 12
"""Digits shown of a sha256."""


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One step, ready to be shown."""

    step: str
    what: str
    """What it does, in words."""
    changed: tuple[str, ...]
    """What it changed here, counted: "MACs 98.2 M -> 26.4 M"."""
    settings: str
    seed: int
    versions: str
    before: str
    """sha256 of what went in, in full."""
    after: str
    notes: tuple[str, ...]


def _pairs(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items())


def _step(found: StepFacts) -> StepView:
    return StepView(
        step=found.step,
        what=step_words(found.step),
        changed=tuple(f"{name} {value}" for name, value in found.facts.items()),
        settings=_pairs(found.parameters),
        seed=found.seed,
        versions=_pairs(found.versions),
        before=found.input_sha256,
        after=found.output_sha256,
        notes=found.notes,
    )


def step_views(facts: ModelFacts) -> tuple[StepView, ...]:
    """The steps of one variant, in order; none for fp32."""
    return tuple(_step(found) for found in facts.steps)


def shape_words(facts: ModelFacts | None) -> str:
    """Size, weights and zeros of a variant, and whether its steps changed shapes or kept zeros in place.

    "0.76 MB as ONNX, 701,466 weights, 80.0% of them zero; zeros kept in place"
    """
    if facts is None:
        return ""
    parts = []
    if facts.onnx_bytes is not None:
        parts.append(f"{words.size(facts.onnx_bytes)} as ONNX")
    if facts.parameters is not None:
        zeros = f", {words.percent(facts.zero_share)} of them zero" if facts.zero_share else ""
        parts.append(f"{facts.parameters:,} weights{zeros}")
    kinds = {step.kind for step in recipe(facts.variant).steps}
    shapes = ["shapes changed"] if kinds & {"channel", "light"} else []
    shapes += ["zeros kept in place"] if "sparse" in kinds else []
    return "; ".join(filter(None, (", ".join(parts), ", ".join(shapes))))
