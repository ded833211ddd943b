"""A variant's name read back into its steps, and what each kind of step does in words."""

from __future__ import annotations

from functools import lru_cache

from ..models.errors import UserError
from ..models.variants import Recipe, Step, parse_variant

__all__ = ["REFERENCE", "full_name", "recipe", "step_words", "steps_of", "without"]

REFERENCE = "fp32"
"""The variant that all others of a model are compared with."""

_WORDS = {
    "raw": "the exporter's own graph, without clean-up",
    "slim": "the graph cleaned up; no weight changed",
    "light": "another, lighter architecture in the model's place",
    "channel": "shapes changed: channels cut out",
    "sparse": "zeros kept in place: shapes as before",
    "fp16": "stored in 16-bit floating point",
    "bf16": "stored in bfloat16",
    "int8": "weights and activations quantized to 8 bits",
    "int8-dynamic": "weights quantized to 8 bits, activations as they come",
    "int8-weights": "weights stored in 8 bits, computed in floating point",
    "int4-weights": "weights stored in 4 bits, computed in floating point",
}


def steps_of(variant: str) -> str:
    """What stands behind the "@": "channel50+int8"; the whole name where there is none."""
    return variant.partition("@")[2] or variant


@lru_cache(maxsize=4096)
def recipe(variant: str) -> Recipe:
    """The steps of *variant*, "resnet18@channel50+int8". Results come from anywhere: an unknown name has no steps."""
    try:
        return parse_variant(steps_of(variant))
    except UserError:
        return Recipe(name=steps_of(variant), steps=())


def full_name(model: str, steps: str = REFERENCE) -> str:
    """ "resnet18@fp32"."""
    return f"{model}@{steps}"


def without(variant: str, step: Step) -> str:
    """*variant* with *step* left out: "resnet18@channel50+int8" without int8 is "resnet18@channel50"."""
    rest = [other.text for other in recipe(variant).steps if other != step]
    return full_name(variant.partition("@")[0], "+".join(rest) or REFERENCE)


def step_words(text: str) -> str:
    """What the step spelled *text* does, in a few words; "" for one that is not known."""
    try:
        steps = parse_variant(text).steps
    except UserError:
        return ""
    return _WORDS.get(steps[0].kind, "") if len(steps) == 1 else ""
