"""Pictures with boxes in the COCO format (T.-Y. Lin et al., arXiv:1405.0312, 2014), for detection.

A picture is stretched to the model's input, so that no box is cut off; boxes are judged in the pixels of the original.
Annotations: `{"images": [{"id", "width", "height"}, ...] in their order, "input": [height, width] of the model, "coco":
the truth in COCO's format}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..preprocess import normalise, open_image, pixels_of, stretched
from .base import Samples, Want, shuffled

__all__ = ["files", "load"]

_SPLIT_SEED = 20


def files(argument: str, want: Want) -> Sequence[Path]:
    """The annotation file and the pictures of *want*. Raises `UserError` where they are not there or make no sense."""
    path, folder = _places(argument)
    return [path, *(folder / image["file_name"] for image in _chosen(_read(path), path, folder, want))]


def load(argument: str, want: Want) -> Samples:
    """The pictures of *want* and the boxes in them.

    Half of the pictures (by their order, not by the run's seed) are for evaluation, the others for calibration. Raises
    `UserError` for a picture that cannot be read or has another size than the annotations say.
    """
    path, folder = _places(argument)
    content = _read(path)
    images = _chosen(content, path, folder, want)
    pixels = np.empty(want.input.shape(len(images)), dtype=np.float32)
    for place, entry in enumerate(images):
        picture = open_image(folder / entry["file_name"], want.input.channels)
        if picture.size != (entry["width"], entry["height"]):
            size, said = f"{picture.width}x{picture.height}", f"{entry['width']}x{entry['height']}"
            raise UserError(f"{folder / entry['file_name']}: is {size}, its annotation says {said}; mend one")
        pixels[place] = normalise(pixels_of(stretched(picture, want.input)), want.input)
    kept = {entry["id"] for entry in images}
    truth = {
        "images": [{key: entry[key] for key in ("id", "width", "height")} for entry in images],
        "categories": content["categories"],
        "annotations": [box for box in content["annotations"] if box["image_id"] in kept],
    }
    annotations = {"images": truth["images"], "input": [want.input.height, want.input.width], "coco": truth}
    return Samples(images=pixels, task="detection", annotations=annotations)


def _places(argument: str) -> tuple[Path, Path]:
    file, colon, folder = argument.partition(":")
    if not colon or not folder:
        raise UserError(f"data 'coco:{argument}': names no folder of images; say coco:ANNOTATIONS.json:IMAGES_DIR")
    path, images = Path(file).expanduser(), Path(folder).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: no such annotation file; say coco:ANNOTATIONS.json:IMAGES_DIR")
    if not images.is_dir():
        raise UserError(f"{images}: no such folder of images; say coco:ANNOTATIONS.json:IMAGES_DIR")
    return path, images


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for key, fields in (
            ("images", ("id", "file_name", "width", "height")),
            ("categories", ("id",)),
            ("annotations", ("id", "image_id", "category_id", "bbox")),
        ):
            for entry in content[key]:
                for field in fields:
                    if not isinstance(entry[field], int) and field.endswith("id"):
                        raise TypeError(f"{key} has the {field} {entry[field]!r}, which is no integer")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: is no COCO annotation file ({type(error).__name__}: {error}); check its form"
        ) from error
    for box in content["annotations"]:
        box.setdefault("iscrowd", 0)
        box.setdefault("area", float(box["bbox"][2]) * float(box["bbox"][3]))
    found: dict[str, Any] = content
    return found


def _chosen(content: dict[str, Any], path: Path, folder: Path, want: Want) -> list[dict[str, Any]]:
    images = sorted(content["images"], key=lambda entry: str(entry["file_name"]))
    order = np.random.default_rng([_SPLIT_SEED, len(images)]).permutation(len(images))
    half = (len(images) + 1) // 2
    part = order[:half] if want.split == "evaluation" else order[half:]
    if len(part) == 0:
        raise UserError(f"{path}: no image is left for {want.split}; add images")
    chosen = shuffled([images[place] for place in sorted(part)], want)
    for entry in chosen:
        inside = (folder / str(entry["file_name"])).resolve()
        if not inside.is_relative_to(folder.resolve()):
            raise UserError(f"{path}: image {entry['file_name']!r} lies outside of {folder}; name files inside it")
        if not inside.is_file():
            raise UserError(f"{inside}: no such image, though {path.name} lists it; add it or mend the list")
    return chosen
