"""Own lowerings of Relax operators to loops: Winograd convolutions, sigmoid and swish with a vectorized exponential.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.

Winograd's minimal filtering F(m x m, 3 x 3): A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks",
CVPR 2016. Weights are transformed in double precision when the model is compiled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lowerings", "plan_of", "site_of", "winograd_fits"]

# Winograd's matrices for tiles of m x m outputs: B transposed (input), G (weights), A transposed (output).
_MATRICES: dict[int, dict[str, list[list[float]]]] = {
    2: {
        "BT": [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        "G": [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
        "AT": [[1, 1, 1, 0], [0, 1, -1, -1]],
    },
    4: {
        "BT": [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        "G": [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        "AT": [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    },
}

# Fewer input channels than this leave the transforms more costly than what they save.
_LEAST_CHANNELS = 16

# op_pattern of an operator that elementwise ones may be fused behind (kOutEWiseFusable).
_FUSABLE = 4


def lowerings(variants: Callable[[str], str], seen: list[tuple[str, str]] | None = None) -> dict[str, Any]:
    """For `LegalizeOps`: *variants* maps a convolution's site to "direct", "wino2" or "wino4".

    What a site got is appended to *seen*; a variant that a convolution does not admit is computed directly.
    """
    from tvm.relax.transform.legalize_ops.nn import _nn_conv2d

    def convolution(builder: Any, call: Any) -> Any:
        site = site_of(call)
        wanted = variants(site) if winograd_fits(call) else "direct"
        if seen is not None:
            seen.append((site, wanted))
        return _winograd(builder, call, int(wanted[-1])) if wanted != "direct" else _nn_conv2d(builder, call)

    return {"relax.nn.conv2d": convolution, "relax.sigmoid": _sigmoid, "relax.nn.silu": _silu}


def site_of(call: Any) -> str:
    """The shapes of a convolution, by which its variant is chosen: "1x56x56x64 3x3 1x56x56x64 g1 float32"."""
    data, out = ("x".join(map(str, _shape(value))) for value in (call.args[0], call))
    kernel = _shape(call.args[1])[:2]
    return f"{data} {kernel[0]}x{kernel[1]} {out} g{int(call.attrs.groups)} {call.ty.dtype}"


def winograd_fits(call: Any) -> bool:
    """Whether Winograd computes this convolution: 3x3, stride 1, NHWC with constant weights, fp32, batch 1."""
    from tvm import relax

    attrs = call.attrs
    if str(attrs.data_layout) != "NHWC" or str(attrs.kernel_layout) != "HWIO" or str(attrs.out_layout) != "NHWC":
        return False
    data, weights = _shape(call.args[0]), _shape(call.args[1])
    return (
        isinstance(call.args[1], relax.Constant)
        and str(call.ty.dtype) == "float32"
        and data[0] == 1
        and weights[:2] == [3, 3]
        and weights[2] == data[3] >= _LEAST_CHANNELS
        and [int(value) for value in (*attrs.strides, *attrs.dilation, attrs.groups)] == [1] * 5
    )


def _shape(value: Any) -> list[int]:
    return [int(extent) for extent in value.ty.shape]


def _sigmoid(builder: Any, call: Any) -> Any:
    return builder.call_te(_fast_sigmoid, call.args[0], primfunc_name_hint="sigmoid")


def _silu(builder: Any, call: Any) -> Any:
    from tvm import topi

    return builder.call_te(lambda x: topi.multiply(x, _fast_sigmoid(x)), call.args[0], primfunc_name_hint="silu")


def _fast_sigmoid(value: Any) -> Any:
    """Sigmoid by a polynomial exponential, accurate to a few units in the last place: LLVM has no vector `expf`."""
    from tvm import te, topi

    if str(value.dtype) != "float32":
        return topi.sigmoid(value)
    exponential = topi.fast_exp(topi.negative(value))
    one = _constant(1.0)
    return te.compute(value.shape, lambda *at: one / (one + exponential[at]), name="T_sigmoid", tag="elemwise")


def _constant(value: float) -> Any:
    from tvm import tirx

    return tirx.const(value, "float32")


def _winograd(builder: Any, call: Any, m: int) -> Any:
    import numpy as np
    from tvm import relax

    matrix = np.array(_MATRICES[m]["G"], np.float64)
    weights = call.args[1].data.numpy().astype(np.float64)
    transformed = np.einsum("ar,bs,rsio->abio", matrix, matrix, weights).astype(np.float32)
    return builder.call_te(
        _winograd_loops,
        call.args[0],
        relax.const(transformed),
        padding=[int(value) for value in call.attrs.padding[:2]],
        m=m,
        height=_shape(call)[1],
        width=_shape(call)[2],
        primfunc_name_hint=f"wino{m}_conv2d",
        primfunc_attrs={"op_pattern": _FUSABLE},
    )


def _winograd_loops(data: Any, weights: Any, *, padding: Sequence[int], m: int, height: int, width: int) -> Any:
    """The convolution of *data* (1, H, W, C) with transformed *weights* (m+2, m+2, C, O) as seven tensors.

    Each transform is in two steps, one for each direction. Tiles are padded to a multiple of 4, which registers want.
    """
    from tvm import te, tirx, topi

    a = m + 2
    before, after = _MATRICES[m]["BT"], _MATRICES[m]["AT"]
    _, rows, columns, ci = (int(extent) for extent in data.shape)
    co = int(weights.shape[3])
    high, wide = -(-height // m), -(-width // m)
    tiles = high * wide
    padded = -(-tiles // 4) * 4
    ends = (0, high * m + 2 - rows - padding[0], wide * m + 2 - columns - padding[1], 0)
    image = topi.nn.pad(data, (0, padding[0], padding[1], 0), ends, name="w_pad")

    def tile(p: Any) -> Any:
        return p if padded == tiles else tirx.min(p, tiles - 1)

    def rows_in(e: Any, b: Any, p: Any, c: Any) -> Any:
        place = tile(p)
        parts = [image[0, (place // wide) * m + r, (place % wide) * m + b, c] for r in range(a)]
        return _select(e, [_combine(before[k], parts) for k in range(a)])

    first = te.compute((a, a, padded, ci), rows_in, name="w_t1")
    second = te.compute(
        (a, a, padded, ci),
        lambda e, nu, p, c: _select(nu, [_combine(before[k], [first[e, r, p, c] for r in range(a)]) for k in range(a)]),
        name="w_t2",
    )
    k = te.reduce_axis((0, ci), name="k")
    product = te.compute(
        (a, a, padded, co),
        lambda e, nu, p, c: te.sum(second[e, nu, p, k] * weights[e, nu, k, c], axis=[k]),
        name="w_gemm",
    )
    third = te.compute(
        (m, a, padded, co),
        lambda v, nu, p, c: _select(
            v, [_combine(after[q], [product[r, nu, p, c] for r in range(a)]) for q in range(m)]
        ),
        name="w_t3",
    )
    fourth = te.compute(
        (m, m, padded, co),
        lambda v, w, p, c: _select(w, [_combine(after[q], [third[v, r, p, c] for r in range(a)]) for q in range(m)]),
        name="w_t4",
    )
    return te.compute(
        (1, height, width, co),
        lambda n, h, w, c: fourth[h % m, w % m, (h // m) * wide + w // m, c],
        name="w_out",
    )


def _combine(coefficients: Sequence[float], values: Sequence[Any]) -> Any:
    """The sum of *values* times *coefficients* without multiplying by 0, 1 and -1."""
    total = None
    for coefficient, value in zip(coefficients, values, strict=True):
        if coefficient == 0:
            continue
        term = value if abs(coefficient) == 1 else value * _constant(abs(coefficient))
        if total is None:
            total = term if coefficient > 0 else _constant(0.0) - term
        else:
            total = total + term if coefficient > 0 else total - term
    return total


def _select(index: Any, choices: Sequence[Any]) -> Any:
    """*choices*[*index*]: unrolling the loop over *index* leaves one of them."""
    from tvm import tirx

    chosen = choices[-1]
    for position in range(len(choices) - 2, -1, -1):
        chosen = tirx.Select(index == position, choices[position], chosen)
    return chosen


def plan_of(variants: Mapping[str, str]) -> Callable[[str], str]:
    """The choice by site as `lowerings` takes it; sites that nobody tuned are computed directly."""
    return lambda site: variants.get(site, "direct")
