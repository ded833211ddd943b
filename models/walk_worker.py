"""The process of a walk: `python -m bakeoff.models.walk_worker SCRATCH PARENT_PID` (see `child`, `walk`)."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .child import serve
from .engine import engine_name
from .errors import BakeoffError, StageError, UserError
from .feeds import feeds_of
from .tally import Tally, decibel
from .walk import LayerError, OutputError, Walk, encode_walk
from .walk_align import HEAVY, Alignment, align
from .walk_bfloat import widen
from .walk_graph import Net, kind, read_net
from .walk_measure import Array, Bench, slices
from .walk_rows import layer_row, output_row
from .walk_sites import Site, find_sites

__all__ = ["work"]

_LAYER_IMAGES = 64
"""Enough for ratios, which are sums over all places of a layer; agreement at the outputs wants more."""
_COST_IMAGES = 8
_COST_SITES = 64
_SURVEYED = 64
"""Values seen at once before their sizes are known."""


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Walk through the files of *request* (see `walk.walk`) and return the `Walk` as JSON values."""
    reference, variant = (_load(Path(request[name])) for name in ("reference", "variant"))
    alignment = align(reference, variant)
    feeds = _feeds(Path(request["inputs"]), reference)
    with tempfile.TemporaryDirectory(dir=request["scratch"]) as folder:
        try:
            found = _walk(alignment, feeds, Path(folder), layers=request["layers"])
        except BakeoffError:
            raise
        # The engine raises classes of its own for whatever it cannot load or run.
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            raise StageError(f"the graphs cannot be walked through: {reason}", stage="diff") from error
    return encode_walk(found)


def _walk(alignment: Alignment, feeds: Sequence[Mapping[str, Array]], folder: Path, *, layers: bool) -> Walk:
    reference = alignment.reference
    every = find_sites(alignment) if layers else []
    sites, reshaped = _survey(alignment, every, feeds[0], folder)
    bench = Bench(alignment, sites, folder)
    outputs = _outputs(bench, feeds)
    layer_feeds, cost_feeds = (_spread(feeds, count) if layers else [] for count in (_LAYER_IMAGES, _COST_IMAGES))
    rows = [row for part in slices(sites) for row in _measure(bench, part, layer_feeds)]
    costs = _costs(bench, sites, rows, cost_feeds)
    total = sum(costs.values())
    rows = [
        replace(
            row, output_snr_db=decibel(1.0, costs[row.value]), cost_share=costs[row.value] / total if total else 0.0
        )
        if row.value in costs
        else row
        for row in rows
    ]
    lost = {node.name for node in alignment.unaligned()} if layers else set()
    heavy = [node.name for node in reference.nodes if kind(node) in HEAVY]
    return Walk(
        layers=tuple(rows),
        outputs=outputs,
        images=_images(feeds),
        layer_images=_images(layer_feeds),
        cost_images=_images(cost_feeds),
        heavy=len(heavy),
        heavy_aligned=len([name for name in heavy if name not in lost]) if layers else 0,
        unaligned=tuple(node.name for node in reference.nodes if node.name in lost),
        reshaped=tuple(dict.fromkeys(site.node or site.value for site in reshaped)),
        engine=engine_name(),
    )


def _survey(
    alignment: Alignment, sites: Sequence[Site], feed: Mapping[str, Array], folder: Path
) -> tuple[list[Site], list[Site]]:
    """*sites* with their shapes, and those whose shape differs, by one run of both graphs on *feed*."""
    same: list[Site] = []
    other: list[Site] = []
    bench = Bench(alignment, (), folder)
    for start in range(0, len(sites), _SURVEYED):
        part = sites[start : start + _SURVEYED]
        theirs = bench.plain(alignment.reference, [site.theirs for site in part]).ask(feed)
        ours = bench.plain(alignment.variant, [site.ours for site in part]).ask(_renamed(alignment, feed))
        for site in part:
            shape = theirs[site.theirs].shape
            (same if ours[site.ours].shape == shape else other).append(replace(site, shape=shape))
    return same, other


def _spread(feeds: Sequence[Mapping[str, Array]], count: int) -> Sequence[Mapping[str, Array]]:
    """At most *count* of *feeds*, spread out, because neighbours may be views of one photograph."""
    return feeds[:: -(-len(feeds) // count)]


def _outputs(bench: Bench, feeds: Sequence[Mapping[str, Array]]) -> tuple[OutputError, ...]:
    """Errors of the graph outputs."""
    alignment = bench.alignment
    ends = alignment.reference.outputs, alignment.variant.outputs
    reference, variant = bench.plain(alignment.reference, ends[0]), bench.plain(alignment.variant, ends[1])
    last = [Tally() for _ in ends[0]]
    for feed in feeds:
        theirs, ours = reference.ask(feed), variant.ask(_renamed(alignment, feed))
        for tally, left, right in zip(last, ends[1], ends[0], strict=True):
            _check_output(right, ours[left], theirs[right])
            tally.add(ours[left], theirs[right])
    return tuple(output_row(name, tally) for name, tally in zip(ends[0], last, strict=True))


def _measure(bench: Bench, part: Sequence[Site], feeds: Sequence[Mapping[str, Array]]) -> list[LayerError]:
    """Accumulated and local errors of the sites of *part*, of which there is at least one."""
    alignment = bench.alignment
    forced = bench.forced(part)
    sources = {name: bench.sources[name] for name in forced.inputs if name in bench.sources}
    reference = bench.plain(
        alignment.reference,
        [*(name for site in part for name in (site.theirs, site.theirs_raw)), *sources.values()],
    )
    variant = bench.plain(alignment.variant, [site.ours for site in part])
    far, near, raw = ([Tally() for _ in part] for _ in range(3))
    for feed in feeds:
        theirs, ours = reference.ask(feed), variant.ask(_renamed(alignment, feed))
        local = forced.ask({**_renamed(alignment, feed), **_fed(sources, theirs)})
        for index, site in enumerate(part):
            far[index].add(ours[site.ours], theirs[site.theirs])
            near[index].add(local[site.ours], theirs[site.theirs])
            raw[index].add(local[site.ours_raw], theirs[site.theirs_raw])
    return [layer_row(*found) for found in zip(part, far, near, raw, strict=True)]


def _costs(
    bench: Bench, sites: Sequence[Site], rows: Sequence[LayerError], feeds: Sequence[Mapping[str, Array]]
) -> dict[str, float]:
    """Noise over signal at the outputs, by the value of the one site whose local error is put into the reference."""
    local = {row.value: row.local_snr_db for row in rows if row.local_snr_db is not None and not row.broken}
    chosen = set(sorted(local, key=lambda value: local[value])[:_COST_SITES])
    names = bench.alignment.reference.outputs
    costs: dict[str, list[Tally]] = {value: [Tally() for _ in names] for value in chosen}
    if not feeds or not chosen:
        return {}
    for part in slices([site for site in sites if site.value in chosen]):
        forced = bench.forced(part)
        sources = {name: bench.sources[name] for name in forced.inputs if name in bench.sources}
        seen = [*(site.theirs for site in part), *sources.values(), *names]
        reference = bench.plain(bench.alignment.reference, seen)
        patched, outputs = bench.patched(part)
        for feed in feeds:
            theirs = reference.ask(feed)
            ours = forced.ask({**_renamed(bench.alignment, feed), **_fed(sources, theirs)})
            still = {f"delta::{site.theirs}": np.zeros((1,) * len(site.shape), np.float32) for site in part}
            for site in part:
                delta = {f"delta::{site.theirs}": ours[site.ours] - theirs[site.theirs]}  # type: ignore[operator]
                answer = patched.ask({**feed, **still, **delta})
                for tally, left, right in zip(costs[site.value], outputs, names, strict=True):
                    tally.add(answer[left], theirs[right])
    noise = {value: max(tally.noise_ratio for tally in tallies) for value, tallies in costs.items()}
    return {value: share for value, share in noise.items() if share < float("inf")}


def _check_output(name: str, ours: Array, theirs: Array) -> None:
    if ours.shape != theirs.shape:
        raise UserError(
            f"output {name!r}: its shape is {list(theirs.shape)} in the one and {list(ours.shape)} in the other; "
            "give two variants of one model"
        )
    if not np.isfinite(theirs).all():
        raise UserError(f"output {name!r} of the reference holds NaN or infinite values; nothing compares with them")


def _load(path: Path) -> Net:
    import onnx

    from .graph import name_nodes

    model = onnx.load(path)
    widen(model)
    name_nodes(model.graph)
    return read_net(model)


def _feeds(path: Path, net: Net) -> list[dict[str, Array]]:
    """Inputs of the graph by name, one mapping for each run; images that do not fill a batch are left out."""
    value = next(item for item in net.model.graph.input if item.name == net.inputs[0])
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    batch = max(1, shape[0]) if shape else 1
    calls = [arrays for count, arrays in feeds_of(path, batch) if count in (1, batch)]
    if not calls:
        raise UserError(f"the images do not fill one batch of {batch}; ask for more with --images")
    if len(calls[0]) != len(net.inputs) or list(calls[0][0].shape[1:]) != shape[1:]:
        given = " and ".join(str(list(array.shape)) for array in calls[0])
        raise UserError(f"the inputs are {given}, but the graph takes {len(net.inputs)}, the first {shape}")
    return [dict(zip(net.inputs, arrays, strict=True)) for arrays in calls]


def _images(feeds: Sequence[Mapping[str, Array]]) -> int:
    return sum(len(next(iter(feed.values()))) for feed in feeds)


def _renamed(alignment: Alignment, feed: Mapping[str, Array]) -> dict[str, Array]:
    """*feed* under the names of the variant's inputs."""
    return {alignment.values[name]: array for name, array in feed.items() if name in alignment.values}


def _fed(sources: Mapping[str, str], values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[value] for name, value in sources.items()}


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
