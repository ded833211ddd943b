"""The pruning steps of a variant, carried out on a torch module in turn, each with its record."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..spec import StepRecord
from ..variants import Step
from ..weights import state_hash
from .counts import Counts, count, facts, weights_of
from .masked import apply_masks, make_masks
from .settling import has_statistics, settle
from .structured import cut_channels, output_shapes
from .tuning import Lesson, read_lesson, tune

__all__ = ["prune"]

_FAR = 0.05
"""Share by which what was reached may miss what was asked before a note says so."""


def prune(
    module: Any,
    steps: Sequence[Step],
    inputs: Sequence[Any],
    *,
    training: Path | None,
    settling: Path | None = None,
    seed: int,
    random: bool,
) -> tuple[Any, tuple[StepRecord, ...]]:
    """*module* after the pruning *steps*, in evaluation mode, and a record of each; *module* itself is not changed.

    *inputs* are torch tensors that the module can be run on. After each step the module is fine-tuned on the labelled
    images of the .npz *training*, unless there is none, the step says `ft=0`, or the weights are *random*; the module
    as it came in is the teacher. Weights that a step masks stay zero from then on. Where a step is not followed by
    fine-tuning, batch norms take their statistics from the images of the .npz *settling*, unless weights are *random*.
    The caller has set one thread, without which no two results are the same.

    Raises `UnsupportedError` where a step does not apply, `UserError` where the images do not fit.
    """
    school = _School(
        module=module,
        inputs=inputs,
        training=None if random else training,
        settling=None if random else settling,
        seed=seed,
        random=random,
    )
    masked: frozenset[str] = frozenset()
    records = []
    for step in steps:
        change = _cut(module, step, inputs) if step.kind == "channel" else _mask(module, step)
        masked |= change.masked
        before = count(module, inputs, without=change.left)
        after = count(change.module, inputs, without=change.left)
        taught, notes = school.teach(change.module, step, masked, after.macs)
        records.append(
            StepRecord(
                step=step.text,
                parameters={**change.parameters, **taught},
                seed=seed,
                versions={name: version(name) for name in change.packages},
                input_sha256=state_hash(module),
                output_sha256=state_hash(change.module),
                facts=facts(before, after),
                notes=(*change.notes, *_missed(step, before, after), *notes),
            )
        )
        module = change.module
    return module.requires_grad_(False), tuple(records)


@dataclass(frozen=True, kw_only=True)
class _Change:
    """What a step made, before any fine-tuning."""

    module: Any
    parameters: Mapping[str, str]
    packages: tuple[str, ...]
    left: tuple[str, ...] = ()
    masked: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _School:
    """Fine-tunes modules on the training images, with the module as it was before any step as their teacher, or takes
    the statistics of their batch norms anew."""

    module: Any
    inputs: Sequence[Any]
    training: Path | None
    settling: Path | None
    seed: int
    random: bool
    _read: list[Lesson] = field(default_factory=list)

    def teach(self, module: Any, step: Step, masked: frozenset[str], macs: int) -> tuple[Mapping[str, str], list[str]]:
        """Fine-tune *module* in place; say how, and if not, why not."""
        asked = step.parameters.get("ft")
        if asked == "0":
            return self._settle(module, [])
        if self.training is None:
            return self._settle(module, ["not fine-tuned: there are no labelled training images for these weights"])
        weights = weights_of(module)
        settings = tune(
            module,
            self._lesson(self.training),
            epochs=None if asked is None else int(asked),
            teacher=self.module,
            macs=(macs, count(self.module, self.inputs).macs),
            masks={name: weights[name].detach() != 0 for name in sorted(masked)},
            seed=self.seed,
        )
        return {f"fine-tuning {name}": value for name, value in settings.items()}, []

    def _settle(self, module: Any, notes: list[str]) -> tuple[Mapping[str, str], list[str]]:
        done = {"fine-tuning": "none"}
        if self.random or not has_statistics(module):
            return done, notes  # what random weights answer means nothing anyway
        count = None if self.settling is None else settle(module, self.settling, tuple(self.inputs[0].shape))
        if count is None:
            stale = "batch norms keep the statistics of the whole model: too few images to take others from"
            return {**done, "batch norms": "as they were"}, [*notes, stale]
        return {**done, "batch norms": f"statistics taken anew from {count} images, without labels"}, notes

    def _lesson(self, path: Path) -> Lesson:
        if not self._read:
            shapes = output_shapes(self.module, self.inputs)
            self._read.append(read_lesson(path, tuple(self.inputs[0].shape), shapes))
        return self._read[0]


def _cut(module: Any, step: Step, inputs: Sequence[Any]) -> _Change:
    cut = cut_channels(module, inputs, int(step.parameters["percent"]))
    notes = []
    if cut.pieces:
        notes.append(f"cut in {len(cut.pieces)} parts, each inside itself, because as a whole: {cut.reason}")
    return _Change(
        module=cut.module,
        parameters={
            "percent": step.parameters["percent"],
            "importance": "L2 norm over all weights that go with a channel",
            "scope": "the same share of every layer but those that make the output",
            "rounding": "to multiples of 8, else of 4, 2 or 1",
        },
        packages=("torch", "torch-pruning"),
        left=cut.left,
        notes=tuple(notes),
    )


def _mask(module: Any, step: Step) -> _Change:
    pattern = step.parameters.get("pattern", "")
    made = copy.deepcopy(module)
    masks = make_masks(made, int(step.parameters["percent"]), pattern)
    apply_masks(made, masks.kept)
    return _Change(
        module=made,
        parameters={
            "percent": step.parameters["percent"],
            "importance": "magnitude" if pattern else "LAMP: magnitude against the rest of the layer",
            "scope": "2 of each 4 along the input channels" if pattern else "all layers together",
        },
        packages=("torch", "numpy"),
        masked=frozenset(masks.kept),
        notes=(f"left whole, for their inputs are no multiple of 4: {', '.join(masks.left)}",) if masks.left else (),
    )


def _missed(step: Step, before: Counts, after: Counts) -> list[str]:
    """A note where a step reached another share than it was asked for."""
    asked = int(step.parameters["percent"]) / 100
    if step.kind == "channel":
        reached, what = 1 - after.channels / before.channels, "the channels were cut"
    else:
        reached, what = after.zeros / after.weights, "the weights are zero"
    return [] if abs(reached - asked) <= _FAR else [f"{reached:.0%} of {what}, not {asked:.0%}"]
