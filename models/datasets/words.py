"""Words rendered with Pillow's own font, so that what they say is known exactly; for text recognition.

Prepared as PP-OCR's recogniser wants it (rapidocr-onnxruntime does the same): scaled to the input's height, on its
left, blue before red, the rest filled with zeros after normalisation. Annotations: `{"texts": [...], "characters":
[...]}`, the second being what the model's outputs stand for, the blank of CTC first, as "".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..ocr import recogniser_file
from ..preprocess import normalise, pixels_of
from ..spec import InputSpec
from .base import Samples, Want, fitting

__all__ = ["files", "load"]

_SEEDS = {"evaluation": 1, "calibration": 2, "training": 3}
_ONSETS = (
    "b",
    "br",
    "c",
    "ch",
    "d",
    "f",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "st",
    "t",
    "v",
    "w",
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo", "ou")
_CODAS = ("", "", "n", "r", "s", "t", "l", "nd", "rk", "st", "x")
_LEAST_CONTRAST = 60
_NOISE = 14.0


def files(argument: str, want: Want) -> Sequence[Path]:
    """The ONNX file that tells the characters. Raises `UserError` for a model that is no text recogniser of a file."""
    if want.model.source == "rapidocr":
        return [recogniser_file(want.model.name)]
    if want.model.source == "onnx":
        return [Path(want.model.reference)]
    raise UserError(f"data 'words': {want.model.name} recognises no text; give rapidocr_rec or an ONNX file that does")


def load(argument: str, want: Want) -> Samples:
    """Seeded words in seeded sizes, colours and positions, with faint noise; other ones for each split.

    Raises `UserError` where the model's file names no characters in its metadata ("character", one a line).
    """
    characters = _characters(files(argument, want)[0])
    rng = np.random.default_rng([want.seed, _SEEDS[want.split]])
    texts = [_word(rng) for _ in range(fitting(want))]
    images = np.stack([_prepare(_render(text, rng), want.input) for text in texts])
    annotations = {"texts": texts, "characters": characters}
    note = "rendered words, not photographs of text"
    return Samples(images=images, task="text-recognition", annotations=annotations, notes=(note,))


def _characters(path: Path) -> list[str]:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    # The parser of protobuf raises classes of its own.
    except Exception as error:
        raise UserError(f"{path}: cannot be read as ONNX ({type(error).__name__}); give an ONNX file") from error
    found = {entry.key: entry.value for entry in model.metadata_props}.get("character")
    if not found:
        raise UserError(f"{path}: says nothing of its characters; add metadata 'character', one a line, blank left out")
    return ["", *found.splitlines(), " "]


def _word(rng: np.random.Generator) -> str:
    """Something that can be pronounced, or every fifth time a number."""
    if rng.random() < 0.2:
        return str(rng.integers(100, 10_000_000))
    syllables = [
        f"{rng.choice(_ONSETS)}{rng.choice(_VOWELS)}{rng.choice(_CODAS)}" for _ in range(int(rng.integers(2, 4)))
    ]
    word = "".join(syllables)[:14]
    return word.capitalize() if rng.random() < 0.3 else word


def _render(text: str, rng: np.random.Generator) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    size = int(rng.integers(14, 44))
    try:
        font = ImageFont.load_default(size)
    except OSError as error:
        raise UserError(f"data words: this Pillow has no FreeType ({error}); reinstall pillow from a wheel") from error
    left, top, right, bottom = font.getbbox(text)
    margin = [int(value) for value in rng.integers(3, 10, 4)]
    extent = (math.ceil(right - left) + margin[0] + margin[1], math.ceil(bottom - top) + margin[2] + margin[3])
    paper = rng.integers(0, 256, 3)
    ink = rng.integers(0, 256, 3)
    while abs(float(paper.mean() - ink.mean())) < _LEAST_CONTRAST:
        paper, ink = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    image = Image.new("RGB", extent, tuple(paper.tolist()))
    ImageDraw.Draw(image).text((margin[0] - left, margin[2] - top), text, tuple(ink.tolist()), font)
    noisy = np.asarray(image, dtype=np.float64) + rng.normal(0.0, _NOISE, (extent[1], extent[0], 3))
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _prepare(image: Any, spec: InputSpec) -> NDArray[np.float32]:
    from PIL import Image

    width = min(spec.width, math.ceil(spec.height * image.width / image.height))
    if spec.channels == 1:
        image = image.convert("L")
    scaled = pixels_of(image.resize((width, spec.height), Image.Resampling.BILINEAR))[::-1]
    padded = np.zeros(spec.shape(1)[1:], dtype=np.float32)
    padded[:, :, :width] = normalise(scaled, spec)
    return padded
