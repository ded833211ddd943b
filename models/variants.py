"""Variants: a model after refactoring steps, written `channel50+int8`; what each step is called and takes.

A variant's name is a list of steps joined by "+", applied from left to right. A step is a word with its settings behind
colons: `int8`, `int8:entropy`, `int8:keep=conv_a|conv_b`, `channel50:ft=0`. Nothing heavy is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from .errors import UserError

__all__ = ["CALIBRATIONS", "CATALOGUE", "PRECISIONS", "Recipe", "Step", "parse_variant", "split_variant"]

CALIBRATIONS = ("minmax", "entropy", "percentile")
"""How static int8 chooses the range of an activation."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-dynamic", "int8-weights", "int4-weights")
"""Steps that set the precision; at most one, the last."""

CATALOGUE: Mapping[str, str] = {
    "fp32": "the model as exported and cleaned up, 32-bit floating point throughout",
    "raw": "as torch's exporter, which folds and fuses by itself, or your file has it: no onnxslim; comes first",
    "slim": "graph clean-up by onnxslim; every export has it but raw, so raw+slim against raw shows what it brings",
    "light": "the zoo's lighter alternative in the model's place; comes first",
    "channelNN": "structured pruning: NN percent of the channels cut out, smallest magnitude first; shapes change",
    "sparseNN": "unstructured pruning: NN percent of the weights set to zero; shapes stay",
    "sparse2:4": "semi-structured pruning: 2 of each 4 neighbouring weights set to zero; shapes stay",
    "fp16": "16-bit floating point throughout, inputs and outputs in fp32",
    "bf16": "bfloat16 throughout, inputs and outputs in fp32",
    "int8": "static 8-bit quantization, per channel, calibrated (int8:entropy, int8:percentile; int8:keep=NODE|NODE)",
    "int8-dynamic": "8-bit weights, activations quantized as they come",
    "int8-weights": "8-bit weights, computed in floating point",
    "int4-weights": "4-bit weights in blocks, computed in floating point",
}
"""Every step by the form of its name, and what it does; the order is that in which steps may stand."""

_SHARE = re.compile(r"(channel|sparse)(\d{1,2})")
_LEVELS = {"fp32": 3, "raw": 0, "light": 0, "channel": 1, "sparse": 1, "slim": 2} | {
    name: 3 for name in PRECISIONS if name != "fp32"
}
_SPARSE_24 = "sparse2:4"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a variant."""

    kind: str
    """What is done: "channel", "sparse", "slim", "int8", ..., without its figures."""
    text: str
    """The canonical spelling, "channel50:ft=0"."""
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Settings by name: "percent", "pattern", "calibration", "keep" (names joined by "|"), "ft" (epochs)."""

    @property
    def level(self) -> int:
        """Where it may stand: 0 chooses the model, 1 prunes, 2 cleans the graph up, 3 sets the precision."""
        return _LEVELS[self.kind]

    @property
    def keep(self) -> tuple[str, ...]:
        """Names of the nodes that this step leaves alone."""
        return tuple(name for name in self.parameters.get("keep", "").split("|") if name)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A variant as its steps; fp32 alone has none, because it changes nothing."""

    name: str
    """The canonical spelling, "channel50+int8"; "fp32" without any step."""
    steps: tuple[Step, ...]

    @property
    def precision(self) -> str:
        """The precision that is asked for: one of `PRECISIONS`."""
        return next((step.kind for step in reversed(self.steps) if step.level == 3), "fp32")

    @property
    def light(self) -> bool:
        """Whether the zoo's lighter alternative stands in for the model."""
        return any(step.kind == "light" for step in self.steps)

    @property
    def raw(self) -> bool:
        """Whether the exporter's graph is taken as it is."""
        return any(step.kind == "raw" for step in self.steps)

    @property
    def pruning(self) -> tuple[Step, ...]:
        """The steps that prune."""
        return tuple(step for step in self.steps if step.level == 1)

    @property
    def graph(self) -> tuple[Step, ...]:
        """The steps from ONNX to ONNX: clean-up and precision."""
        return tuple(step for step in self.steps if step.level >= 2)


def parse_variant(text: str) -> Recipe:
    """The recipe that *text* spells, "channel50+int8".

    Raises `UserError` for an unknown step, a wrong setting, or steps in an order that cannot be.
    """
    words = [word.strip() for word in text.split("+")]
    steps = [_parse(word, text) for word in words]
    kept = [step for step in steps if step.kind != "fp32"]
    if len(kept) < len(steps) and any(step.level == 3 for step in kept):
        raise UserError(f"variant {text!r}: fp32 and another precision at once; name one")
    for before, after in pairwise(kept):
        if after.level < before.level or (after.level == before.level and after.level in (0, 3)):
            raise UserError(
                f"variant {text!r}: {after.text} cannot follow {before.text}; "
                "the order is light or raw, pruning, slim, precision"
            )
    if len({step.kind for step in kept}) < len(kept):
        raise UserError(f"variant {text!r}: names a step twice; name it once")
    return Recipe(name="+".join(step.text for step in kept) or "fp32", steps=tuple(kept))


def split_variant(text: str) -> tuple[str, Recipe]:
    """Model and recipe of *text*, "resnet50@channel50+int8"; fp32 where it names no variant.

    Raises `UserError` for a variant that `parse_variant` refuses.
    """
    model, sign, variant = text.rpartition("@")
    return (model, parse_variant(variant)) if sign else (text, parse_variant("fp32"))


def _parse(word: str, whole: str) -> Step:
    name, _, rest = word.partition(":")
    if word == _SPARSE_24 or word.startswith(_SPARSE_24 + ":"):
        name, rest = _SPARSE_24, word[len(_SPARSE_24) + 1 :]
        kind, parameters, spelled = "sparse", {"pattern": "2:4", "percent": "50"}, _SPARSE_24
    elif found := _SHARE.fullmatch(name):
        kind, percent = found[1], int(found[2])
        if percent == 0:
            raise UserError(f"variant {whole!r}: {name} prunes nothing; give a share from 1 to 99 percent")
        parameters, spelled = {"percent": str(percent)}, f"{kind}{percent}"
    elif name in _LEVELS and name not in ("channel", "sparse"):
        kind, parameters, spelled = name, {}, name
    else:
        raise UserError(f"variant {whole!r}: no such step: {word!r}; see `bakeoff list variants`")
    given = dict(_setting(kind, part, whole) for part in rest.split(":") if part)
    if given.get("calibration") == CALIBRATIONS[0]:
        del given["calibration"]  # the default has no spelling of its own, or one variant would have two names
    settings = [given[key] if key == "calibration" else f"{key}={given[key]}" for key in sorted(given)]
    return Step(kind=kind, text=":".join([spelled, *settings]), parameters={**parameters, **given})


def _setting(kind: str, part: str, whole: str) -> tuple[str, str]:
    key, sign, value = part.partition("=")
    if not sign:
        key, value = "calibration", part
    allowed = _SETTINGS.get(kind, {})
    if key not in allowed or not allowed[key](value):
        known = ", ".join(_SETTING_WORDS[name] for name in allowed) or "none"
        raise UserError(f"variant {whole!r}: {kind} does not take {part!r}; its settings: {known}")
    if key == "keep":
        value = "|".join(sorted(set(value.split("|"))))
    return key, value


_SETTINGS: dict[str, dict[str, Callable[[str], bool]]] = {
    "channel": {"ft": lambda value: re.fullmatch(r"\d{1,3}", value) is not None},
    "sparse": {"ft": lambda value: re.fullmatch(r"\d{1,3}", value) is not None},
    "int8": {"calibration": lambda value: value in CALIBRATIONS, "keep": lambda value: bool(value.strip("|"))},
    "int8-dynamic": {"keep": lambda value: bool(value.strip("|"))},
    "int8-weights": {"keep": lambda value: bool(value.strip("|"))},
    "int4-weights": {"keep": lambda value: bool(value.strip("|"))},
    "fp16": {"keep": lambda value: bool(value.strip("|"))},
}

_SETTING_WORDS = {
    "ft": "ft=EPOCHS of fine-tuning",
    "calibration": "entropy or percentile",
    "keep": "keep=NODE|NODE to stay in fp32",
}
