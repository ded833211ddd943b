"""Quantization by LiteRT's own tool, ai-edge-quantizer.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["RECIPES", "float_modules", "output_modules", "quantize"]

RECIPES = {
    "int8": "static_wi8_ai8",
    "int8-dynamic": "dynamic_wi8_afp32",
    "int8-weights": "weight_only_wi8_afp32",
    "int4-weights": "weight_only_wi4_afp32",
}
"""The tool's own name for each kind of quantization."""

_ACTIVATIONS = ("Relu", "Clip")
_HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantize(
    model: Path, kind: str, *, calibration: Path | None, keep: Mapping[str, str], module: Any
) -> tuple[bytes, list[str]]:
    """Quantize the .tflite file *model*; its inputs and outputs stay in float. Returns the file's bytes, and notes.

    *kind* is one of `RECIPES`; *calibration*, which "int8" needs, an .npz file with `images` (N, C, H, W) float32 for a
    model with one input; *keep* maps names of ONNX nodes that stay in float to the names of their modules in the
    imported graph, after which the converter calls its operators; *module* is that graph, a `torch.fx.GraphModule`.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import qtyping, quantizer, recipe

    tool = quantizer.Quantizer(str(model), getattr(recipe, RECIPES[kind])())
    names = qtyping.TFLOperationName
    exempt = quantizer.AlgorithmName.NO_QUANTIZE
    for boundary in (names.INPUT, names.OUTPUT):
        tool.update_quantization_recipe(".*", boundary, algorithm_key=exempt)
    interpreter = Interpreter(model_path=str(model))
    outputs = output_modules(module)
    notes = []
    known = {name: node for node, name in keep.items()}
    for name in float_modules(module, known):
        scopes = _scopes(interpreter, name, outputs)
        if not scopes and name in known:
            notes.append(f"{known[name]} is not kept in float: LiteRT's converter has made no operator of its name")
        for scope in scopes:
            tool.update_quantization_recipe(scope, names.ALL_SUPPORTED, algorithm_key=exempt)
    ranges = None
    if tool.need_calibration:
        if calibration is None:
            raise ValueError(f"{kind} needs images to calibrate on")
        ((key, arguments),) = interpreter.get_signature_list().items()
        (shape,) = (detail["shape"] for detail in interpreter.get_input_details())
        feeds = list(_batches(calibration, arguments["inputs"][0], int(shape[0])))
        ranges = _ranges(model, {key: feeds}, tool.get_quantization_recipe())
    result = tool.quantize(ranges, enable_progress_report=False, enable_progress_bar=False)
    return bytes(result.quantized_model), notes


def output_modules(module: Any) -> list[str]:
    """Names of what gives the outputs of *module*, a `torch.fx.GraphModule`, in order."""
    return [str(argument.name) for argument in module.graph.output_node().args[0]]


def float_modules(module: Any, keep: Collection[str]) -> list[str]:
    """Names of what stays in float in *module*, a `torch.fx.GraphModule`, where the layers *keep* do.

    As in a QDQ file, a value is rounded where a quantized layer writes or reads it. So what adds up, clips or pools
    stays in float behind anything that does, and before nothing but such; a layer's activation goes with the layer.
    """
    calls = [node for node in module.graph.nodes if node.op == "call_module"]
    kinds = {node.name: getattr(module.get_submodule(node.target), "op_type", "") for node in calls}
    light = [node for node in calls if kinds[node.name] not in _HEAVY]
    activations = {
        node.name
        for node in light
        if kinds[node.name] in _ACTIVATIONS and any(kinds.get(source.name) in _HEAVY for source in node.all_input_nodes)
    }
    found = {str(node.name) for node in calls if node.name in keep}
    grown = bool(found)
    while grown:
        further = {
            str(node.name)
            for node in light
            if any(source.name in found for source in node.all_input_nodes)
            or (node.name not in activations and node.users and all(user.name in found for user in node.users))
        }
        grown = not further <= found
        found |= further
    return sorted(found)


def _scopes(interpreter: Any, module: str, outputs: Sequence[str]) -> list[str]:
    """What the tool finds the operators of *module* by: patterns for the names of the tensors that they write.

    What gives one of the graph's outputs is called after that output instead.
    """
    own = f"OnnxCall_{re.escape(module)};"
    found = [own] if any(re.search(own, detail["name"]) for detail in interpreter.get_tensor_details()) else []
    details = interpreter.get_signature_runner().get_output_details()
    names = [details[f"output_{k}"]["name"] for k, name in enumerate(outputs) if name == module]
    return found + [f"^{re.escape(name)};" for name in names]


def _ranges(model: Path, feeds: Mapping[str, Any], rules: Any) -> Any:
    """Smallest and largest value of each tensor over all *feeds*.

    The tool's own method takes a moving average that the first image outweighs all others in, so that outliers of the
    rest are clipped; one that the tool brings as well is given in its place.
    """
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(rules)
    seen = calibrator.Calibrator(model.read_bytes(), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    seen.calibrate(feeds, manager)
    return seen.get_model_qsvs()


def _batches(calibration: Path, name: str, batch: int) -> Iterator[dict[str, Any]]:
    """Feeds of *batch* images each; the last one is filled up with the first images, which changes no range."""
    with np.load(calibration, allow_pickle=False) as archive:
        images = archive["images"]
    for start in range(0, len(images), batch):
        yield {name: images.take(range(start, start + batch), axis=0, mode="wrap")}
