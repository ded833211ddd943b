"""The grid of candidates of a task, by its kind and shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .contract import Task
from .tiles import Candidate, Grid, Vector, divisors, register_tiles

__all__ = ["grid_of"]

# Sums that stay in a first-level cache beside data and weights.
_PANEL_BYTES = 16 * 1024


def grid_of(task: Task, vector: Vector, threads: int) -> Grid:
    """All candidates of *task* on a target with these vector registers; for kind "other" the one axis is a seed."""
    return _GRIDS[task.kind](task.shape, vector, threads)


def _always(_candidate: Candidate) -> bool:
    return True


def _conv(shape: Mapping[str, int], vector: Vector, threads: int) -> Grid:
    tiles = register_tiles(shape["y"], shape["x"], shape["o"], vector)
    heights = divisors(shape["y"])
    pads = ["inline", "row"] if not shape["pad"] else ["row", "root"]
    axes: dict[str, Sequence[Any]] = {
        "tile": tiles,
        "th": heights,
        "ui": [d for d in divisors(shape["rc"]) if d <= 16],
        "order": ["f", "p", "s"] if shape["ry"] * shape["rx"] == 1 else ["f", "p", "k", "s"],
        "pad": pads,
        "par": _outer(threads, ["y", "yf"]),
    }

    def valid(candidate: Candidate) -> bool:
        if candidate["th"] % candidate["tile"][0] != 0:
            return False
        if candidate["order"] == "s":
            # Padding beside the loop over channels would keep that one from running in parallel.
            return bool(candidate["pad"] != "row" and _panel_bytes(candidate, shape) <= _PANEL_BYTES)
        # Padding inside a loop over rows that is fused with another would be done once for each of both.
        return bool(candidate["par"] != "yf" or candidate["pad"] != "row")

    unroll = max(d for d in axes["ui"] if d <= 4)
    chosen = _spread(tiles, 14)
    first = [
        {"tile": tile, "th": _height(heights, tile[0], 8), "ui": unroll, "order": "f", "pad": pad, "par": par}
        for tile in chosen
        for par, pad in (
            [("no", pads[0])] if threads == 1 else [("y", pads[0]), ("yf", pads[0] if pads[0] != "row" else "root")]
        )
    ]
    # Streaming goes over all rows, so only the panels of channels can run in parallel.
    padded, par = "root" if shape["pad"] else "inline", "no" if threads == 1 else "yf"
    streamed = [
        {"tile": tile, "th": shape["y"], "ui": unroll, "order": "s", "pad": padded, "par": par} for tile in chosen[:2]
    ]
    streamed = [guess for guess in streamed if valid(guess)]
    return Grid(axes=axes, valid=valid, first=(*first[:1], *streamed, *first[1:]))


def _panel_bytes(candidate: Candidate, shape: Mapping[str, int]) -> int:
    """Bytes of the sums that wait in the cache while weights stream through."""
    return int(candidate["th"] * shape["x"] * candidate["tile"][2] * 4)


def _depthwise(shape: Mapping[str, int], vector: Vector, threads: int) -> Grid:
    tiles = _depthwise_tiles(shape, vector)
    heights = divisors(shape["y"])
    pads = ["inline"] if not shape["pad"] else ["row", "root"] if shape["ry"] > 3 else ["row", "inline", "root"]
    axes: dict[str, Sequence[Any]] = {
        "tile": tiles,
        "th": heights,
        "fm": [d for d in divisors(shape["o"]) if d <= 16],
        "order": ["y", "f"],
        "pad": pads,
        "par": _outer(threads, ["y"]),
    }

    def valid(candidate: Candidate) -> bool:
        high, _, deep = candidate["tile"]
        return bool(candidate["th"] % high == 0 and shape["o"] % (deep * candidate["fm"]) == 0)

    first = [
        {"tile": tile, "th": _height(heights, tile[0], 4), "fm": 1, "order": "y", "pad": pads[0], "par": axes["par"][0]}
        for tile in _spread(tiles, 10)
    ]
    return Grid(axes=axes, valid=valid, first=tuple(first))


def _depthwise_tiles(shape: Mapping[str, int], vector: Vector) -> list[list[int]]:
    tiles = []
    depths = [d for d in divisors(shape["o"]) if d <= 4 * vector.lanes and d % vector.lanes == 0]
    depths = depths or [d for d in divisors(shape["o"]) if d <= 4 * vector.lanes][-3:]
    for deep in depths:
        for high in (1, 2, 4):
            for wide in divisors(shape["x"]):
                sums = high * wide * vector.count(deep)
                if shape["y"] % high == 0 and 2 <= sums <= vector.registers * 7 // 8:
                    tiles.append([high, wide, deep])
    if not tiles:
        tiles = [[1, 1, deep] for deep in depths]
    ideal = vector.registers * 0.4
    return sorted(tiles, key=lambda t: (abs(t[0] * t[1] * vector.count(t[2]) - ideal), t[0]))


def _winograd(shape: Mapping[str, int], vector: Vector, threads: int) -> Grid:
    tiles = [[wide, deep] for _, wide, deep in register_tiles(1, shape["p"], shape["co"], vector)]
    lanes = vector.lanes
    axes: dict[str, Sequence[Any]] = {
        "tile": tiles,
        "ui": [d for d in divisors(shape["ci"]) if d <= 16],
        "order": ["c", "p"],
        "vt": _widths(shape["ci"], lanes, 2),
        "vo": _widths(shape["co"], lanes, 2),
        "par": _outer(threads, ["y"]),
    }
    unroll = max(d for d in axes["ui"] if d <= 4)
    first = [
        {"tile": tile, "ui": unroll, "order": order, "vt": axes["vt"][0], "vo": axes["vo"][0], "par": axes["par"][0]}
        for tile, order in [(t, "c") for t in _spread(tiles, 5)] + [(tiles[0], "p")]
    ]
    return Grid(axes=axes, valid=_always, first=tuple(first))


def _dense(shape: Mapping[str, int], vector: Vector, threads: int) -> Grid:
    widths = _widths(shape["j"], vector.lanes, 8)
    unrolls = [d for d in divisors(shape["k"]) if d <= 16]
    axes: dict[str, Sequence[Any]] = {"v": widths, "ui": unrolls, "rl": [1, 0], "par": _outer(threads, ["y"])}
    default = max(d for d in unrolls if d <= 4)
    first = [{"v": v, "ui": default, "rl": 1, "par": axes["par"][0]} for v in widths[:5]]
    return Grid(axes=axes, valid=_always, first=tuple(first))


def _pool(shape: Mapping[str, int], vector: Vector, threads: int) -> Grid:
    axes: dict[str, Sequence[Any]] = {
        "v": _widths(shape["o"], vector.lanes, 8),
        "pad": ["row", "inline"] if shape["pad"] else ["inline"],
        "par": _outer(threads, ["y"]),
    }
    return _whole(axes)


def _reduce(shape: Mapping[str, int], vector: Vector, threads: int) -> Grid:
    return _whole({"v": _widths(shape["o"], vector.lanes, 16), "par": _outer(threads, ["y"])})


def _elementwise(shape: Mapping[str, int], vector: Vector, threads: int) -> Grid:
    rank = shape["rank"]
    places = [
        f"{axis}:{v}"
        for axis in range(rank - 1, max(-1, rank - 4), -1)
        for v in _widths(shape[f"e{axis}"], vector.lanes, 4)[:3]
    ]
    return _whole({"vec": [*dict.fromkeys(places), "none"], "un": [0, 1], "par": _outer(threads, ["y"])}, most=8)


def _other(_shape: Mapping[str, int], _vector: Vector, _threads: int) -> Grid:
    axes = {"trace": list(range(4096))}
    return Grid(axes=axes, valid=_always, first=tuple({"trace": n} for n in range(12)))


def _whole(axes: Mapping[str, Sequence[Any]], most: int = 8) -> Grid:
    """A grid so small that its first candidates are nearly all: those that differ from the default in one axis."""
    default = {name: values[0] for name, values in axes.items()}
    first: list[Candidate] = [default]
    for name, values in axes.items():
        first += [{**default, name: value} for value in values[1:]]
    return Grid(axes=axes, valid=_always, first=tuple(first[:most]))


def _outer(threads: int, choices: list[str]) -> list[str]:
    """Which outer loops run in parallel; "no" too, since a small kernel costs less on one core."""
    return ["no"] if threads == 1 else [*choices, "no"]


def _widths(extent: int, lanes: int, most: int) -> list[int]:
    """Widths of vectorized loops: multiples of *lanes* up to *most* vectors that divide *extent*, else what divides."""
    whole = [d for d in divisors(extent) if d % lanes == 0 and d <= most * lanes]
    return whole or [d for d in reversed(divisors(extent)) if d <= most * lanes][:3]


def _height(heights: Sequence[int], high: int, wanted: int) -> int:
    return max(h for h in heights if h % high == 0 and h <= max(wanted, high))


def _spread(tiles: Sequence[list[int]], count: int) -> list[list[int]]:
    """The first *count* of *tiles*, but those with a new depth or width before those that repeat both."""
    fresh: list[list[int]] = []
    again: list[list[int]] = []
    seen: set[tuple[int, bool]] = set()
    for tile in tiles:
        key = (tile[-1], tile[-2] > 4)
        (again if key in seen else fresh).append(tile)
        seen.add(key)
    return [*fresh, *again][:count]


_GRIDS: Mapping[str, Callable[[Mapping[str, int], Vector, int], Grid]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "winograd": _winograd,
    "dense": _dense,
    "pool": _pool,
    "reduce": _reduce,
    "elementwise": _elementwise,
    "other": _other,
}
