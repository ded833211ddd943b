"""Operators that work on each element by itself: arithmetic, comparisons, activations."""

from __future__ import annotations

from functools import partial, reduce

from .node import Converter, Function, OnnxNode, Step, Tensor, call

__all__ = ["converters"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {**_unary(), **_binary(), **_variadic(), **_activations()}


def _unary() -> dict[str, Converter]:
    import torch

    functions: dict[str, Function] = {
        "Abs": torch.abs,
        "Acos": torch.acos,
        "Asin": torch.asin,
        "Atan": torch.atan,
        "Ceil": torch.ceil,
        "Cos": torch.cos,
        "Cosh": torch.cosh,
        "Erf": torch.erf,
        "Exp": torch.exp,
        "Floor": torch.floor,
        "IsNaN": torch.isnan,
        "Log": torch.log,
        "Neg": torch.neg,
        "Not": torch.logical_not,
        "Reciprocal": torch.reciprocal,
        "Relu": torch.relu,
        "Round": torch.round,
        "Sigmoid": torch.sigmoid,
        "Sign": torch.sign,
        "Sin": torch.sin,
        "Sinh": torch.sinh,
        "Softsign": torch.nn.functional.softsign,
        "Sqrt": torch.sqrt,
        "Tan": torch.tan,
        "Tanh": torch.tanh,
    }
    return {name: partial(_call_each, function=function, inputs=1) for name, function in functions.items()}


def _binary() -> dict[str, Converter]:
    import torch

    functions: dict[str, Function] = {
        "Add": torch.add,
        "And": torch.logical_and,
        "Equal": torch.eq,
        "Greater": torch.gt,
        "GreaterOrEqual": torch.ge,
        "Less": torch.lt,
        "LessOrEqual": torch.le,
        "Mul": torch.mul,
        "Or": torch.logical_or,
        "Sub": torch.sub,
        "Xor": torch.logical_xor,
    }
    table: dict[str, Converter] = {
        name: partial(_call_each, function=function, inputs=2) for name, function in functions.items()
    }
    where = partial(_call_each, function=torch.where, inputs=3)
    return {**table, "Div": _div, "Mod": _mod, "Pow": _pow, "Where": where}


def _variadic() -> dict[str, Converter]:
    import torch

    functions: dict[str, Function] = {"Max": torch.maximum, "Min": torch.minimum, "Sum": torch.add}
    table: dict[str, Converter] = {name: partial(_fold_all, function=f) for name, f in functions.items()}
    return {**table, "Mean": _mean}


def _activations() -> dict[str, Converter]:
    from torch.nn import functional

    return {
        "Celu": lambda node: call(node, partial(functional.celu, alpha=node.attribute("alpha", 1.0)), 0),
        "Clip": _clip,
        "Elu": lambda node: call(node, partial(functional.elu, alpha=node.attribute("alpha", 1.0)), 0),
        "Gelu": lambda node: call(node, partial(functional.gelu, approximate=node.attribute("approximate", "none")), 0),
        "HardSigmoid": _hard_sigmoid,
        "HardSwish": lambda node: call(node, functional.hardswish, 0),
        "LeakyRelu": lambda node: call(
            node, partial(functional.leaky_relu, negative_slope=node.attribute("alpha", 0.01)), 0
        ),
        "Mish": lambda node: call(node, functional.mish, 0),
        "PRelu": _prelu,
        "Selu": _selu,
        "Softplus": lambda node: call(node, functional.softplus, 0),
        "ThresholdedRelu": lambda node: call(
            node, partial(functional.threshold, threshold=node.attribute("alpha", 1.0), value=0.0), 0
        ),
    }


def _call_each(node: OnnxNode, *, function: Function, inputs: int) -> Step:
    return call(node, function, *range(inputs))


def _fold_all(node: OnnxNode, *, function: Function) -> Step:
    return call(node, lambda *xs: reduce(function, xs), *range(len(node.inputs)))


def _mean(node: OnnxNode) -> Step:
    import torch

    return call(node, lambda *xs: reduce(torch.add, xs) / len(xs), *range(len(node.inputs)))


def _div(node: OnnxNode) -> Step:
    import torch

    def divide(x: Tensor, y: Tensor) -> Tensor:
        # ONNX divides integers as C does: towards zero.
        return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")

    return call(node, divide, 0, 1)


def _mod(node: OnnxNode) -> Step:
    import torch

    return call(node, torch.fmod if node.attribute("fmod", 0) else torch.remainder, 0, 1)


def _pow(node: OnnxNode) -> Step:
    import torch

    return call(node, lambda x, y: torch.pow(x, y).to(x.dtype), 0, 1)


def _clip(node: OnnxNode) -> Step:
    import torch

    if "min" in node.attributes or "max" in node.attributes:
        return call(node, partial(torch.clamp, min=node.attributes.get("min"), max=node.attributes.get("max")), 0)
    if not (node.has(1) or node.has(2)):
        return call(node, lambda x: x, 0)
    if any(node.has(p) and p not in node.constants for p in (1, 2)):
        return call(node, torch.clamp, 0, 1, 2)
    # Numbers, not tensors: compilers fuse clamp(x, 0, 6) into a convolution only if they see the bounds.
    low, high = (node.constants[p].item() if node.has(p) else None for p in (1, 2))
    return call(node, partial(torch.clamp, min=low, max=high), 0)


def _hard_sigmoid(node: OnnxNode) -> Step:
    from torch.nn import functional

    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return call(node, functional.hardsigmoid, 0)
    return call(node, lambda x: (x * alpha + beta).clamp(0.0, 1.0), 0)


def _prelu(node: OnnxNode) -> Step:
    import torch

    return call(node, lambda x, slope: torch.where(x >= 0, x, x * slope), 0, 1)


def _selu(node: OnnxNode) -> Step:
    import torch
    from torch.nn import functional

    alpha, gamma = node.attribute("alpha", 1.6732632423543772), node.attribute("gamma", 1.0507009873554805)
    if abs(alpha - 1.6732632423543772) < 1e-6 and abs(gamma - 1.0507009873554805) < 1e-6:
        return call(node, functional.selu, 0)
    return call(node, lambda x: gamma * torch.where(x > 0, x, alpha * torch.expm1(x)), 0)
