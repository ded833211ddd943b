"""Every kind of data set by its name. Nothing heavy is imported here."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import cast

from ..errors import UserError
from .base import Dataset

__all__ = ["DATASETS", "Entry", "find"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One kind of data set."""

    form: str
    """How it is spelt, "imagefolder:DIR"."""
    module: str
    summary: str
    trainable: bool = False
    """Whether it has labelled images beside those it evaluates on."""
    argument: str = ""
    """"" where none is taken, "optional", or what is missing where none is given."""

    @property
    def name(self) -> str:
        """What stands before the colon."""
        return self.form.partition(":")[0].partition("[")[0]

    def load_module(self) -> Dataset:
        """The module that reads it."""
        return cast("Dataset", importlib.import_module(f".{self.module}", __package__))


DATASETS = (
    Entry(
        form="digits",
        module="digits",
        summary="1,797 real handwritten digits of scikit-learn, 10 classes, for the digits models",
        trainable=True,
    ),
    Entry(
        form="photos",
        module="photos",
        summary="photographs of scikit-image, scikit-learn and foolbox (if installed), ten views of each; no labels",
    ),
    Entry(
        form="imagefolder:DIR",
        module="image_folder",
        summary="a folder of class folders named by index, WordNet id or label; train/ and val/ in it if you like",
        trainable=True,
        argument="a folder",
    ),
    Entry(
        form="foolbox:imagenet",
        module="foolbox",
        summary="20 labelled ImageNet photographs of package foolbox, ten views of each (calibrates on photos)",
        argument="imagenet",
    ),
    Entry(
        form="fashion-mnist[:DIR]",
        module="fashion",
        summary="70,000 pictures of clothes, 10 classes, from Debian's dataset-fashion-mnist or DIR",
        trainable=True,
        argument="optional",
    ),
    Entry(
        form="hf:NAME[:SPLIT]",
        module="hub",
        summary="a data set of the Hugging Face hub with an image and a class column (network, package datasets)",
        trainable=True,
        argument="a data set's name",
    ),
    Entry(
        form="torchvision:NAME[:ROOT]",
        module="torchvision_sets",
        summary="a classification data set of torchvision, downloaded to ROOT if need be (network)",
        trainable=True,
        argument="a data set's name",
    ),
    Entry(
        form="coco:ANNOTATIONS.json:IMAGES_DIR",
        module="coco",
        summary="pictures with boxes in the COCO format, for detection",
        argument="an annotation file and a folder",
    ),
    Entry(
        form="masks:DIR",
        module="masks",
        summary="images/ with masks/ of the same names (PNG of class indices, 255 is not judged), for segmentation",
        argument="a folder",
    ),
    Entry(
        form="words",
        module="words",
        summary="words rendered with Pillow's own font, exact labels, for text recognition",
    ),
)
"""In the order in which they are listed."""


def find(name: str) -> tuple[Entry, str]:
    """The kind of data set that *name* means, and what stands behind the colon.

    Raises `UserError` where there is none, or where an argument is missing or not taken.
    """
    kind, _, argument = name.partition(":")
    entry = next((entry for entry in DATASETS if entry.name == kind), None)
    if entry is None:
        near = difflib.get_close_matches(kind, [known.name for known in DATASETS], n=1)
        hint = f"did you mean {near[0]}?" if near else "see `bakeoff list data`"
        raise UserError(f"no such data set: {name!r}; {hint}")
    if argument and not entry.argument:
        raise UserError(f"data {name!r}: {kind} takes nothing behind a colon; say just {kind}")
    if not argument and entry.argument not in ("", "optional"):
        raise UserError(
            f"data {name!r}: names no {entry.argument.removeprefix('a ').removeprefix('an ')}; say {entry.form}"
        )
    return entry, argument
