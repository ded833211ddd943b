"""The walk through two ONNX graphs, layer by layer: where a variant departs from its reference, and what it costs.

Both run in the plain engine (see `engine`; bfloat16 by rounding, see `walk_bfloat`), their values are aligned (see
`walk_align`), and each aligned value is measured three ways:

- *accumulated*: the variant's value against the reference's, as errors of all layers before have made it;
- *local*: what this layer adds. The variant's layer is fed with the reference's own inputs, so that only its weights
  and the rounding of its output differ;
- *cost*: the final outputs of the reference with this one layer's local error put in. The noise of many small
  independent errors adds up, so a layer's share of the sum is its share of the blame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .cache import hash_file, hash_mapping, publish
from .child import call
from .engine import engine_name
from .tally import decibel

__all__ = ["THRESHOLD_DB", "LayerError", "OutputError", "Walk", "decode_walk", "encode_walk", "walk"]

THRESHOLD_DB = 20.0
"""Below it a value counts as departed: its noise has more than a hundredth of its power, a tenth of its amplitude."""

_CODE = (
    "engine",
    "tally",
    "walk",
    "walk_align",
    "walk_bfloat",
    "walk_graph",
    "walk_measure",
    "walk_rows",
    "walk_sites",
    "walk_worker",
)


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How far one value of the variant lies from the reference's. Ratios in dB are None where nothing differs."""

    position: int
    """Place of the producing node in the reference's topological order, from 0; -1 for a graph input."""
    node: str
    """Name of the reference node that computes it, "" for a graph input."""
    op: str
    """Operator type; "Conv+Relu" where the variant leaves the activation to the rounding; "Input" for an input."""
    value: str
    """Its name in the reference."""
    variant_value: str
    """Name of what is read in its place in the variant, after roundings."""
    shape: tuple[int, ...]
    snr_db: float | None
    """Accumulated signal-to-noise ratio."""
    cosine: float
    """Accumulated cosine similarity."""
    max_abs_error: float
    """Accumulated largest absolute difference."""
    broken: int
    """NaN and infinite elements where the reference has none."""
    local_snr_db: float | None
    """The same ratio for what this layer alone adds."""
    weights_snr_db: float | None
    """Of that, without the rounding of its output: None where its weights and inputs bring no error."""
    output_snr_db: float | None = None
    """Ratio at the final outputs if only this layer were as in the variant; None where not measured or without loss."""
    cost_share: float | None = None
    """Its part of the noise at the final outputs, 0..1, of all layers' costs; None where not measured."""
    keep: tuple[str, ...] = ()
    """Reference nodes to leave in fp32 so that this error does not arise."""


@dataclass(frozen=True, kw_only=True)
class OutputError:
    """How far one graph output lies from the reference's."""

    name: str
    snr_db: float | None
    cosine: float
    max_abs_error: float
    broken: int
    top1_agreement: float | None
    """Share of images with the same largest element, for outputs of rank 2; else None."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Everything that a walk found."""

    layers: tuple[LayerError, ...]
    """In topological order of the reference; empty where only outputs were asked for."""
    outputs: tuple[OutputError, ...]
    images: int
    """Images over which the outputs were measured."""
    layer_images: int
    """Those of them over which layers were."""
    cost_images: int
    """Images over which `output_snr_db` was measured."""
    heavy: int
    """Convolutions and matrix products of the reference that depend on its inputs."""
    heavy_aligned: int
    """Those of them whose value was found in the variant."""
    unaligned: tuple[str, ...]
    """Names of reference nodes whose value was not found in the variant."""
    reshaped: tuple[str, ...]
    """Names of reference nodes whose value has another shape in the variant, so that it cannot be compared."""
    engine: str

    @property
    def output_snr_db(self) -> float | None:
        """Lowest ratio of all outputs; None where none differs."""
        ratios = [output.snr_db for output in self.outputs if output.snr_db is not None]
        return min(ratios, default=None)

    @property
    def top1_agreement(self) -> float | None:
        """Of the first output that has one."""
        return next((out.top1_agreement for out in self.outputs if out.top1_agreement is not None), None)

    def first_departure(self, threshold_db: float = THRESHOLD_DB) -> LayerError | None:
        """The first value whose accumulated ratio lies below *threshold_db*, or that holds NaN; None if all keep up."""
        return next(
            (row for row in self.layers if row.broken or (row.snr_db is not None and row.snr_db < threshold_db)), None
        )

    def worst(self) -> list[LayerError]:
        """Layers that add an error of their own, costliest first; unmeasured ones after them, by their local ratio."""
        guilty = [row for row in self.layers if row.local_snr_db is not None]
        return sorted(guilty, key=lambda row: (-(row.cost_share or 0.0), row.local_snr_db or 0.0, row.position))

    def predicted_snr_db(self, mended: int) -> float | None:
        """Ratio to expect at the outputs once the *mended* costliest layers add no error; None for "no loss"."""
        shares = [row.cost_share or 0.0 for row in self.worst()]
        now = self.output_snr_db
        if now is None:
            return None
        noise = 10.0 ** (-now / 10.0) * max(0.0, 1.0 - sum(shares[:mended]))
        return decibel(1.0, noise)


def walk(
    reference: Path, variant: Path, inputs: Path, *, cache: Path, layers: bool = True, timeout_s: float = 1800.0
) -> Walk:
    """Walk through the ONNX files *reference* and *variant* on the images of *inputs*, in a process of its own.

    *inputs* is an .npz with `images` (N, ...), of the dtype of the graphs' one input, or `input_{i}_{k}` for input k of
    set i. Without *layers* only the final outputs are compared. The result is kept in *cache*, by the hashes of the
    three files and of our code. Raises `UserError` where the graphs do not take the same inputs, the reference's
    outputs are not finite, and `StageError` (stage "diff") where the engine fails or takes longer than *timeout_s*.
    """
    files = {"reference": reference, "variant": variant, "inputs": inputs}
    facts = {
        **{name: hash_file(path) for name, path in files.items()},
        "layers": layers,
        "engine": engine_name(),
        "code": {name: hash_file(Path(__file__).with_name(f"{name}.py")) for name in _CODE},
    }

    def build(folder: Path) -> None:
        request = {
            **{name: str(path) for name, path in files.items()},
            "layers": layers,
            "cache": str(cache),
            "scratch": str(folder.parent),
        }
        found = call("bakeoff.models.walk_worker", request, timeout_s=timeout_s, stage="diff")
        (folder / "walk.json").write_text(json.dumps(found, indent=1), encoding="utf-8")

    entry = publish(cache, "walk", hash_mapping(facts), build)
    return decode_walk(json.loads((entry / "walk.json").read_text(encoding="utf-8")))


def encode_walk(found: Walk) -> dict[str, Any]:
    """*found* as JSON values, under the names of its fields."""
    return asdict(found)


def decode_walk(data: Mapping[str, Any]) -> Walk:
    """The `Walk` that `encode_walk` wrote."""
    layers = [{**row, "shape": tuple(row["shape"]), "keep": tuple(row["keep"])} for row in data["layers"]]
    return Walk(
        **{
            **data,
            "layers": tuple(LayerError(**row) for row in layers),
            "outputs": tuple(OutputError(**row) for row in data["outputs"]),
            "unaligned": tuple(data["unaligned"]),
            "reshaped": tuple(data["reshaped"]),
        }
    )
