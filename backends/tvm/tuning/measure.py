"""Builds a scheduled kernel and times it. Runs in a worker that may be killed at any moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ColdSets", "Meter", "build", "bytes_of", "constants_of", "random_tensor", "shapes_of"]

# One timing is a batch of calls as long as this, and these share this budget.
_BATCH_S = 0.003
_BUDGET_S = 0.04

# Beyond this multiple of the best time a candidate is out, and its exact time of no matter.
_HOPELESS = 1.3

# Weights smaller than this stay in the caches whatever else a model computes.
_COLD_BYTES = 64 * 1024


def build(scheduled: Any, target: Any) -> Any:
    """Machine code of the module *scheduled*; weights are taken as already stored in its order."""
    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    stripped = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(scheduled)
    with tvm.transform.PassContext(opt_level=3):
        return tvm.tirx.build(stripped, target=target)


@dataclass(frozen=True)
class ColdSets:
    """The same arguments several times, each with weights of its own, and what is read between two rounds of them."""

    sets: Sequence[Sequence[Any]]
    others: Any
    """An array of doubles in place of all other weights."""


@dataclass
class Meter:
    """Times kernels in this process on random data, which it keeps for the next kernel of the same shapes."""

    _tensors: dict[tuple[int, tuple[int, ...], str], Any] = field(default_factory=dict)
    _others: Any = None
    """Doubles that stand for the weights of other kernels."""

    def arguments(self, shapes: Sequence[tuple[tuple[int, ...], str]]) -> list[Any]:
        """Data for one call of a kernel."""
        return [self._tensor(i, *shape) for i, shape in enumerate(shapes)]

    def hot(self, call: Any, arguments: Sequence[Any], best: float | None) -> float:
        """Seconds of one *call* with all data in the caches if they are large enough; rough where far above *best*."""
        once = min(_timed(call, arguments, 1) for _ in range(2))
        if best is not None and once > 3 * best:
            return once
        count = max(1, int(_BATCH_S / max(once, 1e-7)))
        times: list[float] = []
        start = time.perf_counter()
        while time.perf_counter() - start < _BUDGET_S:
            times.append(_timed(call, arguments, count))
            if best is not None and len(times) >= 3 and min(times) > _HOPELESS * best:
                break
        return _quantile(times, 0.3)

    def cold_sets(self, shapes: Sequence[tuple[tuple[int, ...], str]], weights: Sequence[int], size: int) -> ColdSets:
        """Data for calls of a kernel whose *weights* (places of arguments) were last used *size* bytes of weights ago.

        What other kernels of the model do in between is to read theirs, which takes the place of these in the caches.
        """
        import tvm

        weights = [i for i in weights if bytes_of(shapes[i]) >= _COLD_BYTES]
        base = self.arguments(shapes)
        own = sum(bytes_of(shapes[i]) for i in weights)
        copies = min(12, max(2, size // own)) if own else 1
        sets = []
        for _ in range(copies):
            arguments = list(base)
            for i in weights:
                arguments[i] = tvm.runtime.tensor(base[i].numpy())
            sets.append(arguments)
        return ColdSets(sets, self._others_of(size - copies * own))

    def cold(self, call: Any, data: ColdSets) -> float:
        """Seconds of one *call* with weights that are out of the caches."""
        times: list[float] = []
        start = time.perf_counter()
        while len(times) < 4 * len(data.sets) or time.perf_counter() - start < 2 * _BUDGET_S:
            data.others.sum()
            times += [_timed(call, arguments, 1) for arguments in data.sets]
        return _quantile(times[len(data.sets) :], 0.4)

    def _others_of(self, size: int) -> Any:
        """An array of about *size* bytes that exist in memory; empty where that is negative."""
        import numpy as np

        count = max(0, size) // 8
        if self._others is None or self._others.size < count:
            self._others = np.ones(count)
        return self._others[:count]

    def _tensor(self, position: int, shape: tuple[int, ...], dtype: str) -> Any:
        key = (position, shape, dtype)
        if key not in self._tensors:
            self._tensors[key] = random_tensor(shape, dtype)
        return self._tensors[key]


def random_tensor(shape: tuple[int, ...], dtype: str) -> Any:
    """A new tensor, always the same: floats between -1 and 1, 8-bit integers from 0 to 8, zeros for other types."""
    import numpy as np
    import tvm

    generator = np.random.default_rng(0)
    if dtype in ("int8", "uint8"):
        return tvm.runtime.tensor(generator.integers(0, 9, shape, dtype))
    if "int" in dtype or dtype == "bool":
        return tvm.runtime.tensor(np.zeros(shape, dtype))
    return tvm.runtime.tensor((2 * generator.random(shape, np.float32) - 1).astype(dtype))


def shapes_of(main: Any) -> list[tuple[tuple[int, ...], str]]:
    """Shape and type of each argument of the PrimFunc *main*."""
    return [(tuple(int(extent) for extent in one.ty.shape), str(one.ty.dtype)) for one in main.params]


def constants_of(main: Any) -> list[int]:
    """Which arguments of the PrimFunc *main* are constants of the graph."""
    named = main.attrs is not None and "layout_free_buffers" in main.attrs
    return [int(place) for place in main.attrs["layout_free_buffers"]] if named else []


def bytes_of(shape: tuple[tuple[int, ...], str]) -> int:
    """Bytes of an argument, as `shapes_of` tells it."""
    import numpy as np

    return int(np.prod(shape[0], dtype=np.int64)) * np.dtype(shape[1]).itemsize


def _timed(call: Any, arguments: Sequence[Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call(*arguments)
    return (time.perf_counter() - start) / count


def _quantile(times: Sequence[float], share: float) -> float:
    return sorted(times)[int(share * (len(times) - 1))]
