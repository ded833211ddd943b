"""Cells as a person names them: `resnet50@int8/onnxruntime`, or any key that a report shows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...models.errors import UserError
from ...models.variants import parse_variant
from ..suite import Addition, Suite, load_suite

__all__ = ["AskedCell", "parse_cell", "suite_of", "with_one_thread", "without_judging"]


@dataclass(frozen=True, kw_only=True)
class AskedCell:
    """One cell that a profile is wanted of."""

    text: str
    """As it was written."""
    model: str
    variant: str
    """Without the model: "int8"."""
    backend: str
    threads: int = 1
    batch: int = 1
    device: str = "cpu"

    def matches(self, variant: str, backend: str, threads: int, batch: int, device: str) -> bool:
        """Whether these are the facts of this cell; *variant* with the model before it."""
        own = (f"{self.model}@{self.variant}", self.backend, self.threads, self.batch, self.device)
        return own == (variant, backend, threads, batch, device)


def parse_cell(text: str) -> AskedCell:
    """The cell that *text* names: MODEL@VARIANT/BACKEND, and any of /tN, /bN and /DEVICE. Raises UserError."""
    model, at, rest = text.rpartition("@")
    variant, _, rest = rest.partition("/")
    backend, *more = rest.split("/")
    if not (at and model and variant and backend):
        raise UserError(f"{text!r} names no cell; write MODEL@VARIANT/BACKEND, such as resnet50@int8/onnxruntime")
    found: dict[str, Any] = {}
    for part in more:
        if match := re.fullmatch("([tb])([0-9]{1,9})", part):
            found["threads" if match[1] == "t" else "batch"] = int(match[2])
        elif part != "single-stream":
            found["device"] = part
    return AskedCell(text=text, model=model, variant=parse_variant(variant).name, backend=backend, **found)


def with_one_thread(cells: Sequence[AskedCell]) -> list[AskedCell]:
    """*cells*, and with one thread those that have more, unless they are there: that tells whether threads scale."""
    alone = (replace(cell, threads=1) for cell in cells if cell.threads > 1)
    distinct = {replace(cell, text=""): cell for cell in (*alone, *cells)}
    return [*cells, *(cell for cell in distinct.values() if cell not in cells)]


def without_judging(suite: Suite) -> Suite:
    """*suite* for a pass that checks outputs, as a run does, but does not judge accuracy: a few images are enough."""
    images = {"evaluation_images": suite.measure.inputs, "random_images": max(2, suite.measure.inputs)}
    return suite.model_copy(update={"measure": suite.measure.model_copy(update=images)})


def suite_of(cells: Sequence[AskedCell], how: Mapping[str, Any]) -> Suite:
    """A suite of *cells* alone, with the options of the command line *how*."""
    from ..override import override

    first, *others = cells
    axes = {
        "model": list(dict.fromkeys(cell.model for cell in cells)),
        "variant": (first.variant,),
        "backend": (first.backend,),
        "threads": (str(first.threads),),
        "batch": (str(first.batch),),
        "device": (first.device,),
    }
    suite = override(load_suite("quick"), {**how, **axes})
    facts = ("model", "variant", "backend", "threads", "batch", "device")
    beside = tuple(Addition(**{name: getattr(cell, name) for name in facts}) for cell in others)
    matrix = suite.matrix.model_copy(update={"models": (first.model,)})
    return without_judging(suite.model_copy(update={"matrix": matrix, "include": beside}))
