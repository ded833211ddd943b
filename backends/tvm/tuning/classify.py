"""What a workload is: its kind, the extents that its grid needs, its flops, and the site where variants compete."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .contract import Kind, Variant
from .templates.common import blocks_after, extents, find, root_blocks
from .templates.conv import BLOCKS
from .templates.simple import POOLS, reduction_block

__all__ = ["Class", "classify"]


@dataclass(frozen=True, kw_only=True)
class Class:
    """The fields of a `Task` that its loops alone tell."""

    kind: Kind
    shape: dict[str, int]
    flops: int
    variant: Variant = "direct"
    site: str = ""
    epilogue: str = ""


def classify(module: Any) -> Class:
    """The class of the workload *module*, an IRModule with one PrimFunc "main"."""
    from tvm import s_tir

    loops = s_tir.Schedule(module)
    if find(loops, ("w_gemm",)) is not None:
        return _winograd(loops)
    conv = find(loops, BLOCKS)
    if conv is not None:
        return _conv(loops, conv)
    reductions = [block for block in root_blocks(loops) if _reduces(loops, block)]
    if not reductions:
        return _elementwise(loops)
    if len(reductions) > 1 or not _plain(loops, reductions[0]):
        return Class(kind="other", shape={}, flops=_work(loops, reductions))
    return _reduction(loops, reductions)


def _reduction(loops: Any, reductions: list[Any]) -> Class:
    product, pool = find(loops, ("matmul",)), find(loops, POOLS)
    if product is not None and len(extents(loops, product)) == 3:
        i, j, k = extents(loops, product)
        return Class(kind="dense" if i == 1 else "other", shape={"i": i, "j": j, "k": k}, flops=2 * i * j * k)
    if pool is not None and len(extents(loops, pool)) >= 6:
        _, y, x, o, *_ = extents(loops, pool)
        padded = int(bool(loops.get_producers(pool)))
        return Class(kind="pool", shape={"y": y, "x": x, "o": o, "pad": padded}, flops=_work(loops, reductions))
    return _reduce(loops)


def _reduces(loops: Any, block: Any) -> bool:
    return any(int(axis.iter_type) == 2 for axis in loops.get(block).iter_vars)


def _plain(loops: Any, block: Any) -> bool:
    """Whether *block* has one output and the blocks behind it lie over the same positions."""
    if len(loops.get(block).writes) != 1:
        return False
    spatial = math.prod(int(axis.dom.extent) for axis in loops.get(block).iter_vars if int(axis.iter_type) != 2)
    return all(math.prod(extents(loops, later)) == spatial for later in blocks_after(loops, block))


def _work(loops: Any, blocks: list[Any]) -> int:
    return sum(math.prod(extents(loops, block)) for block in blocks)


def _site(data: Any, kernel: tuple[int, int], out: Any, groups: int) -> str:
    shapes = ("x".join(str(int(extent)) for extent in shape) for shape in (data.shape, out.shape))
    source, target = shapes
    return f"{source} {kernel[0]}x{kernel[1]} {target} g{groups} {data.dtype}"


def _source(loops: Any, block: Any) -> Any:
    """The buffer that *block*, or the padding before it, reads."""
    before = loops.get_producers(block)
    return loops.get(before[0] if before else block).reads[0].buffer


def _epilogue(loops: Any, block: Any) -> str:
    names = [f"{loops.get(later).name_hint}:{extents(loops, later)}" for later in blocks_after(loops, block)]
    return " ".join(names).replace(", ", ",")


def _conv(loops: Any, conv: Any) -> Class:
    n, y, x, o, ry, rx, rc = extents(loops, conv)
    block = loops.get(conv)
    data = block.reads[0].buffer
    source, out = _source(loops, conv), block.writes[0].buffer
    channels = int(data.shape[3])
    padded = int([int(e) for e in source.shape] != [int(e) for e in data.shape])
    shape = {"n": n, "y": y, "x": x, "o": o, "ry": ry, "rx": rx, "rc": rc, "pad": padded, "ci": channels}
    groups = channels // rc
    kind: Kind = "conv" if groups == 1 else "depthwise" if rc == 1 and channels == o else "other"
    return Class(
        kind=kind if n == 1 and str(out.dtype) == "float32" else "other",
        shape=shape,
        flops=2 * n * y * x * o * ry * rx * rc,
        site=_site(source, (ry, rx), out, groups),
        epilogue=_epilogue(loops, conv),
    )


def _winograd(loops: Any) -> Class:
    e, _, p, co, ci = extents(loops, find(loops, ("w_gemm",)))
    out = find(loops, ("w_out",))
    buffer = loops.get(out).writes[0].buffer
    source = loops.get(find(loops, ("w_pad",))).reads[0].buffer
    height, width = int(buffer.shape[1]), int(buffer.shape[2])
    return Class(
        kind="winograd",
        shape={"m": e - 2, "p": p, "co": co, "ci": ci, "y": height, "x": width},
        flops=2 * height * width * co * ci * 9,
        variant="wino2" if e == 4 else "wino4",
        site=_site(source, (3, 3), buffer, 1),
        epilogue=_epilogue(loops, out),
    )


def _elementwise(loops: Any) -> Class:
    last = root_blocks(loops)[-1]
    sizes = extents(loops, last)
    shape = {"rank": len(sizes), **{f"e{axis}": size for axis, size in enumerate(sizes)}}
    single = all(len(loops.get(block).writes) == 1 for block in root_blocks(loops)) and sizes
    return Class(kind="elementwise" if single else "other", shape=shape, flops=0)


def _reduce(loops: Any) -> Class:
    block = reduction_block(loops)
    axes = loops.get(block).iter_vars
    spatial = [int(axis.dom.extent) for axis in axes if int(axis.iter_type) != 2]
    # Sums over the last axis (layer norm) would need another order of loops: MetaSchedule's rules serve them.
    last_reduced = int(axes[-1].iter_type) == 2 and spatial and spatial[-1] == 1
    kind: Kind = "other" if not spatial or last_reduced else "reduce"
    return Class(kind=kind, shape={"o": spatial[-1] if spatial else 1}, flops=_work(loops, [block]))
