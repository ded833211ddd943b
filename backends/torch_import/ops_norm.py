"""Normalizations and softmax."""

from __future__ import annotations

import math
from functools import partial

from .node import Converter, Function, OnnxNode, Step, Tensor, call, unsupported

__all__ = ["converters"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    from torch.nn import functional

    return {
        "BatchNormalization": _batch_norm,
        "GroupNormalization": _group_norm,
        "InstanceNormalization": _instance_norm,
        "LRN": _local_response_norm,
        "LayerNormalization": _layer_norm,
        "LogSoftmax": partial(_softmax, softmax=functional.log_softmax),
        "LpNormalization": _lp_norm,
        "MeanVarianceNormalization": _mean_variance_norm,
        "Softmax": partial(_softmax, softmax=functional.softmax),
    }


def _batch_norm(node: OnnxNode) -> Step:
    from torch.nn import functional

    if node.attribute("training_mode", 0) or node.wants(1):
        raise unsupported(node, "training mode")
    epsilon = node.attribute("epsilon", 1e-5)

    def normalize(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)

    return call(node, normalize, 0, 1, 2, 3, 4)


def _layer_norm(node: OnnxNode) -> Step:
    from torch.nn import functional

    if node.wants(1) or node.wants(2):
        raise unsupported(node, "its outputs Mean and InvStdDev")
    axis, epsilon = node.attribute("axis", -1), node.attribute("epsilon", 1e-5)
    scale_shape = tuple(node.shape(1))

    def normalize(x: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        shape = tuple(x.shape[axis:])
        if scale_shape == shape:
            return functional.layer_norm(x, shape, scale, bias, epsilon)
        y = functional.layer_norm(x, shape, eps=epsilon) * scale
        return y if bias is None else y + bias

    return call(node, normalize, 0, 1, 2)


def _instance_norm(node: OnnxNode) -> Step:
    import torch

    epsilon = node.attribute("epsilon", 1e-5)

    def normalize(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return torch.group_norm(x, x.shape[1], scale, bias, epsilon)

    return call(node, normalize, 0, 1, 2)


def _group_norm(node: OnnxNode) -> Step:
    import torch

    groups, epsilon = node.attribute("num_groups", 1), node.attribute("epsilon", 1e-5)

    def per_channel(value: Tensor, channels: int) -> Tensor:
        # Opset 18 gave one value for each group, opset 21 made it one for each channel.
        return value if node.opset >= 21 else value.repeat_interleave(channels // groups)

    def normalize(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        channels = x.shape[1]
        return torch.group_norm(x, groups, per_channel(scale, channels), per_channel(bias, channels), epsilon)

    return call(node, normalize, 0, 1, 2)


def _local_response_norm(node: OnnxNode) -> Step:
    from torch.nn import functional

    size, bias = node.attribute("size", 1), node.attribute("bias", 1.0)
    alpha, beta = node.attribute("alpha", 1e-4), node.attribute("beta", 0.75)

    def normalize(x: Tensor) -> Tensor:
        rest = [0, 0] * (x.dim() - 2)
        squares = functional.pad(x * x, [*rest, (size - 1) // 2, size // 2])
        # torch's own local_response_norm puts the odd channel of an even window on the other side.
        total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
        return x / (bias + alpha / size * total) ** beta

    return call(node, normalize, 0)


def _lp_norm(node: OnnxNode) -> Step:
    import torch

    axis, p = node.attribute("axis", -1), node.attribute("p", 2)

    def normalize(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
        return torch.where(norm == 0, torch.zeros_like(x), x / norm)

    return call(node, normalize, 0)


def _mean_variance_norm(node: OnnxNode) -> Step:
    axes = node.attribute("axes", [0, 2, 3])

    def normalize(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        # The specification's own function body adds 1e-9 to the deviation.
        return centred / ((centred * centred).mean(axes, keepdim=True).sqrt() + 1e-9)

    return call(node, normalize, 0)


def _softmax(node: OnnxNode, *, softmax: Function) -> Step:
    if node.opset >= 13:
        return call(node, partial(softmax, dim=node.attribute("axis", -1)), 0)
    axis = node.attribute("axis", 1)

    def over_all_behind(x: Tensor) -> Tensor:
        # Before opset 13 the tensor was seen as a matrix: all axes from *axis* on are its columns.
        rows = math.prod(x.shape[: axis if axis >= 0 else x.dim() + axis])
        return softmax(x.reshape(rows, -1), dim=1).reshape(x.shape)

    return call(node, over_all_behind, 0)
