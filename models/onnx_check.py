"""Reads a user's ONNX file with suspicion: what it is, and whether its external data stays where it may.

Runs in the export process only. Nothing is trusted: sizes are bounded before reading, and external data is confined to
the folder of the model file, symbolic links included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .dtypes import tensor_bytes
from .errors import ModelFileError
from .graph import MAX_BYTES

__all__ = ["external_files", "read_model"]

_OTHER_FORMATS = (
    (0, b"PK\x03\x04", "a zip archive, perhaps a torch checkpoint"),
    (0, b"\x89HDF", "an HDF5 file, perhaps a Keras model"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"\x80\x02", "a Python pickle"),
    (0, b"<", "HTML or XML, perhaps a failed download"),
    (0, b"version https://git-lfs", "a Git LFS pointer: fetch the file with `git lfs pull`"),
    (0, b"ORTM", "an ONNX Runtime .ort model"),
)


def read_model(path: Path) -> Any:
    """The model in *path*, checked, its external data embedded.

    Raises `ModelFileError` for a file that is missing, not a file, empty, not ONNX, truncated, invalid, too large, or
    whose external data is missing, too short, or outside the file's folder.
    """
    import onnx

    data = _bytes(path)
    model = _parse(path, data)
    tensors = [tensor for tensor in _tensors(model) if onnx.external_data_helper.uses_external_data(tensor)]
    total = len(data)
    for tensor in tensors:
        total += _check_external(path, tensor)
        if total > MAX_BYTES:
            raise ModelFileError(path, "is larger than 2 GB with its external data", "bakeoff takes models up to 2 GB")
    for tensor in tensors:
        onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelFileError(path, f"is not valid ONNX: {reason}", "export it again") from error
    return model


def external_files(path: Path) -> tuple[str, ...]:
    """Names, relative to the folder of *path*, of all files that its tensors point to. Call after `read_model`."""
    import onnx

    model = _parse(path, _bytes(path))
    found = {
        _entries(tensor)["location"]
        for tensor in _tensors(model)
        if onnx.external_data_helper.uses_external_data(tensor)
    }
    return tuple(sorted(found))


def _bytes(path: Path) -> bytes:
    if not path.exists():
        raise ModelFileError(path, "no such file", "check the path")
    if not path.is_file():
        raise ModelFileError(path, "is not a regular file", "give the path of one .onnx file")
    size = path.stat().st_size
    if size == 0:
        raise ModelFileError(path, "is empty", "export or copy it again")
    if size > MAX_BYTES:
        raise ModelFileError(path, "is larger than 2 GB", "bakeoff takes models up to 2 GB")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(path, f"cannot be read: {error.strerror}", "check its permissions") from error


def _parse(path: Path, data: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    for offset, magic, what in _OTHER_FORMATS:
        if data[offset : offset + len(magic)] == magic:
            raise ModelFileError(path, f"is not ONNX but {what}", "give an .onnx file")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelFileError(path, "is truncated or not an ONNX file", "export or copy it again") from error
    if not model.ir_version or not model.HasField("graph") or not model.opset_import:
        raise ModelFileError(path, "is truncated or not an ONNX file: it holds no graph", "export or copy it again")
    return model


def _check_external(path: Path, tensor: Any) -> int:
    """Bytes of *tensor*'s external data, after checking that they are there and may be read."""
    entries = _entries(tensor)
    location = entries.get("location", "")
    folder = path.parent.resolve()
    file = path.parent / location
    what = f"external data {location!r} of tensor {tensor.name!r}"
    if not location or Path(location).is_absolute() or ".." in Path(location).parts or "\\" in location:
        raise ModelFileError(path, f"{what} lies outside the model's folder", "keep it beside the model file")
    if not file.exists():
        raise ModelFileError(path, f"{what} is missing", "copy it beside the model file")
    if not file.resolve().is_relative_to(folder):
        raise ModelFileError(path, f"{what} is a link out of the model's folder", "copy it beside the model file")
    if not file.is_file():
        raise ModelFileError(path, f"{what} is not a regular file", "copy it beside the model file")
    needed = _byte_size(tensor)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except ValueError as error:
        raise ModelFileError(path, f"{what} has an offset or length that is no number", "export it again") from error
    if offset < 0 or length != needed:
        raise ModelFileError(path, f"{what} has {length} bytes where its shape needs {needed}", "export it again")
    if file.stat().st_size < offset + length:
        raise ModelFileError(path, f"{what} is truncated", "export or copy it again")
    return length


def _byte_size(tensor: Any) -> int:
    return tensor_bytes(tensor.data_type, math.prod(int(dim) for dim in tensor.dims))


def _entries(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _tensors(model: Any) -> Iterator[Any]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                yield from (sparse.values, sparse.indices)
            for graph in [attribute.g, *attribute.graphs]:
                yield from _graph_tensors(graph)
