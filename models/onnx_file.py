"""A user's ONNX file: checked, made static, simplified, and written as one stamped file. Export process only."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .cache import hash_file
from .errors import ModelFileError
from .graph import MAX_BYTES, infer, name_nodes, simplify, stamp, strip, tensor_specs
from .inputs import make_inputs
from .ocr import recogniser_file
from .onnx_check import external_files, read_model
from .shapes import format_shape
from .spec import ModelRequest
from .wire import encode

__all__ = ["convert"]

_CHECK_SEED = 20
_NUMPY_TYPES = {"float", "float16", "double", "bool"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def convert(request: ModelRequest, out: Path) -> dict[str, Any]:
    """Write `model.onnx` into the folder *out* and return the manifest.

    Raises `ModelFileError` where the file or the shapes given for it cannot be used.
    """
    spec = request.spec
    path = recogniser_file(spec.name) if spec.source == "rapidocr" else Path(spec.reference)
    model = read_model(path)
    files = external_files(path)
    _drop_weight_inputs(model.graph)
    _check_kinds(path, model.graph)
    _clear_placeholders(model.graph)
    notes = make_static(path, model.graph, request)
    strip(model)
    name_nodes(model.graph)
    model, inference_notes = _infer(path, model)
    model, outputs, slim_notes = _simplify(path, model, keep=not request.simplify)
    name_nodes(model.graph)
    model, _ = _infer(path, model)
    provenance = _provenance(request, path, model, files)
    stamp(model, provenance)
    data = model.SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        raise ModelFileError(path, "is larger than 2 GB once its data is embedded", "bakeoff takes models up to 2 GB")
    (out / "model.onnx").write_bytes(data)
    return {
        "inputs": [encode(tensor) for tensor in tensor_specs(model.graph.input)],
        "outputs": [encode(tensor) for tensor in tensor_specs(model.graph.output, outputs)],
        "provenance": provenance,
        "input": encode(spec.input) if spec.input is not None else None,
        "notes": [*notes, *inference_notes, *slim_notes],
        "external": list(files),
    }


def make_static(path: Path, graph: Any, request: ModelRequest) -> tuple[str, ...]:
    """Give every input of *graph* a static shape, in place; return notes.

    A shape of the request is taken as it is (without one, what the zoo says of the only input), and gives its values to
    symbols of the same name elsewhere; a symbolic first dimension without a value is the batch. Raises
    `ModelFileError` for a shape of an unknown input, a shape that contradicts the file, a symbol given two values, a
    symbol without a value, and a batch that the file cannot have.
    """
    names = [value.name for value in graph.input]
    given = dict(request.shapes)
    if not given and request.spec.input is not None and len(names) == 1:
        given = {names[0]: request.spec.input.shape(request.batch)}
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise ModelFileError(path, f"has no input {unknown!r} to give a shape to", f"its inputs are {', '.join(names)}")
    symbols = _bind(path, graph, given)
    batched = False
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        batched |= value.name not in given and bool(dims) and not dims[0].HasField("dim_value")
        for axis, dim in enumerate(dims):
            if not dim.HasField("dim_value"):
                fixed = given[value.name][axis] if value.name in given else symbols.get(dim.dim_param)
                if fixed is None and axis > 0:
                    raise _dynamic(path, value.name, axis, dim.dim_param, len(dims))
                dim.dim_value = request.batch if fixed is None else fixed
    for output in graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()  # to be inferred anew
    return _batch_notes(path, graph, request, batched)


def _bind(path: Path, graph: Any, given: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    symbols: dict[str, int] = {}
    for value in graph.input:
        if value.name not in given:
            continue
        shape, kind = given[value.name], value.type.tensor_type
        text = format_shape(value.name, shape)
        if not kind.HasField("shape"):
            for size in shape:
                kind.shape.dim.add().dim_value = size
        if (rank := len(kind.shape.dim)) != len(shape):
            raise ModelFileError(path, f"input {value.name!r} has {rank} dimensions", f"{text} has {len(shape)}")
        for axis, (dim, size) in enumerate(zip(kind.shape.dim, shape, strict=True)):
            fixed = dim.dim_value if dim.HasField("dim_value") else symbols.get(dim.dim_param, size)
            if fixed != size:
                raise ModelFileError(
                    path, f"dimension {axis} of input {value.name!r} is {fixed}", f"{text} contradicts it"
                )
            if dim.dim_param:
                symbols[dim.dim_param] = size
    return symbols


def _dynamic(path: Path, name: str, axis: int, symbol: str, rank: int) -> ModelFileError:
    example = "x".join(["1", "3", "224", "224", *["1"] * rank][:rank])
    return ModelFileError(
        path,
        f"dimension {axis} ({symbol or 'unnamed'}) of input {name!r} is dynamic and has no value",
        f"give the shape, for example --shape {name}={example}",
    )


def _batch_notes(path: Path, graph: Any, request: ModelRequest, batched: bool) -> tuple[str, ...]:
    firsts = {dims[0].dim_value for value in graph.input if (dims := value.type.tensor_type.shape.dim)}
    if batched or request.batch in firsts or not firsts:
        return ()
    if request.batch == 1:
        return (f"the first dimension of its inputs is {', '.join(map(str, sorted(firsts)))}, not the batch of 1",)
    raise ModelFileError(
        path, f"is fixed at a first dimension of {min(firsts)}, not {request.batch}", "use that batch or export it anew"
    )


def _drop_weight_inputs(graph: Any) -> None:
    """Old files list their weights among the inputs, as defaults that a caller may replace; we never do."""
    weights = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def _check_kinds(path: Path, graph: Any) -> None:
    import onnx

    if not graph.input:
        raise ModelFileError(path, "has no inputs", "there is nothing to infer: give a model that takes a tensor")
    for what, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            kind = value.type.WhichOneof("value")
            if kind != "tensor_type":
                raise ModelFileError(path, f"{what} {value.name!r} is a {kind or 'nothing'}", "only tensors can be fed")
            dtype = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
            if dtype not in _NUMPY_TYPES:
                raise ModelFileError(path, f"{what} {value.name!r} holds {dtype}", "numpy cannot hold it; add a Cast")


def _clear_placeholders(graph: Any) -> None:
    """Some exporters write -1 or 0 for a dimension that is dynamic."""
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.ClearField("dim_value")


def _infer(path: Path, model: Any) -> tuple[Any, tuple[str, ...]]:
    import onnx

    try:
        return infer(model, strict=True), ()
    except onnx.shape_inference.InferenceError as error:
        reason = " ".join(str(error).split())[:200]
        note = f"strict shape inference failed: {reason}"
    return infer(model, strict=False), (note,)


def _simplify(path: Path, model: Any, *, keep: bool) -> tuple[Any, Any, tuple[str, ...]]:
    feeds = make_inputs(tensor_specs(model.graph.input), None, 1, _CHECK_SEED, None)[0]
    try:
        return simplify(model, feeds, keep=keep)
    # The engine raises classes of its own for whatever it cannot load or run.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        shapes = ", ".join(format_shape(t.name, t.shape) for t in tensor_specs(model.graph.input))
        raise ModelFileError(path, f"does not run with {shapes}: {reason}", "try other shapes with --shape") from error


def _provenance(request: ModelRequest, path: Path, model: Any, files: tuple[str, ...]) -> dict[str, str]:
    facts = {
        "model": request.spec.name,
        "source": request.spec.source,
        "reference": path.name,
        "weights": request.weights,
        "weights_origin": request.spec.weights_origin,
        "file_sha256": hash_file(path),
        "batch": str(request.batch),
        "opset": str(
            max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
        ),
        "producer": " ".join(part for part in (model.producer_name, model.producer_version) if part),
    }
    if not request.simplify:
        facts["graph"] = "as exported"
    for name in files:
        facts[f"external_sha256.{name}"] = hash_file(path.parent / name)
    return facts | {package: version(package) for package in ("bakeoff", "onnx", "onnxslim")}
