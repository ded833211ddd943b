"""What is known of each call in a compiled graph, kept beside the library for whoever profiles it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...models.errors import StageError

__all__ = ["Kernel", "Part", "load_kernels", "save_kernels"]

_FILE = "kernels.json"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A value that a kernel computes: of an ONNX node, whole or on the way to it."""

    node: int
    """Place of the node in the ONNX file."""
    heavy: bool
    """Whether it is a convolution or a product."""
    whole: bool = True
    """Whether it depends on all that the node takes; else it may be made before some of that."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One call in the compiled graph."""

    name: str
    """Of the function that is called."""
    kind: str
    """The operations that were fused to it: "conv2d_add_maximum_minimum"."""
    parts: tuple[Part, ...] = ()
    """What it computes, in order."""
    reads: tuple[int, ...] = ()
    """Places of the calls whose results it takes."""
    result: int | None = None
    """Place of the ONNX node whose result it makes; None where it only makes a part of one, or a copy."""
    copies: bool = False
    """Whether all that it does is a change of layout that no ONNX node asks for."""
    shape: tuple[int, ...] | None = None
    """Of its result, axes as in the ONNX file but with padded channels; None where that is not known."""
    weight_shape: tuple[int, ...] | None = None
    """Of the convolution or product in it, axes as in the ONNX file but with padded channels."""
    dtype: str = ""
    """Of what the convolution or product in it multiplies, as NumPy calls it."""


def save_kernels(folder: Path, kernels: Sequence[Kernel]) -> None:
    """Keep *kernels* in the artifact in *folder*."""
    (folder / _FILE).write_text(json.dumps([asdict(kernel) for kernel in kernels]) + "\n")


def load_kernels(folder: Path) -> tuple[Kernel, ...]:
    """What `save_kernels` kept. Raises `StageError` where there is nothing."""
    file = folder / _FILE
    if not file.is_file():
        reason = "what the kernels run could not be followed through TVM's passes"
        raise StageError(reason, blame="compiler", stage="profile")
    return tuple(
        Kernel(
            **{
                **item,
                "parts": tuple(Part(**part) for part in item["parts"]),
                "reads": tuple(item["reads"]),
                **{name: None if item[name] is None else tuple(item[name]) for name in ("shape", "weight_shape")},
            }
        )
        for item in json.loads(file.read_text())
    )
