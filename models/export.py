"""Export to ONNX, as the rest of bakeoff calls it: from the cache, or in a process of its own.

Entries lie in `<cache>/onnx/<key>/` as `model.onnx`, `manifest.json` and, for torch models, `probe.npz`. The key is the
hash of all that goes in: model, weights (by the sha256 of their file where there is one), shapes, seed, the versions
of the packages, and our own exporting code. What a user's `module:function` reads cannot be known beforehand, so it is
exported every time; its result is the same file as long as the module is the same.
"""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .cache import commit, hash_file, hash_mapping, lookup, publish, staging
from .child import call
from .digits.nets import weights_file
from .errors import ModelFileError, UnsupportedError, UserError, WeightsError
from .ocr import recogniser_file
from .spec import ExportedModel, ModelRequest, Source
from .weights import lite_weights_file
from .wire import decode_input, decode_records, decode_tensors, encode
from .zoo import TORCHVISION_WEIGHTS

__all__ = ["export"]

_PACKAGES = ("bakeoff", "numpy", "onnx", "onnxscript", "onnxslim", "timm", "torch", "torchvision")
_NEEDS: dict[Source, dict[str, str]] = {
    "torchvision": {"torch": "torch", "onnxscript": "torch", "torchvision": "torch"},
    "timm": {"torch": "torch", "onnxscript": "torch", "timm": "torch"},
    "efficientnet_lite": {"torch": "zoo", "onnxscript": "zoo", "efficientnet_lite_pytorch": "zoo"},
    "digits": {"torch": "torch", "onnxscript": "torch", "torchvision": "torch"},
    "module": {"torch": "torch", "onnxscript": "torch"},
    "onnx": {},
    "rapidocr": {},
}
_FILES: tuple[Source, ...] = ("onnx", "rapidocr")
"""Sources whose models are ONNX files."""

_PATIENCE = 4
"""How much longer an export may take that fine-tunes."""

_CODE = (
    "digits/nets",
    "engine",
    "export_worker",
    "graph",
    "inputs",
    "onnx_check",
    "onnx_file",
    "preprocess",
    "random_weights",
    "sources",
    "torch_export",
    "weights",
)


def export(request: ModelRequest, cache: Path, *, timeout_s: float = 900.0) -> ExportedModel:
    """The model of *request* as a static, checked ONNX file in *cache*.

    Raises `UserError` or its kin (`ModelFileError`, `WeightsError`, `UnknownNameError`) for what a person can mend, and
    `StageError` (stage "export") where the exporter fails, crashes, or takes longer than *timeout_s* seconds (four
    times that with fine-tuning), `UnsupportedError` (stage "prune") for a pruning step that does not apply. Ctrl-C ends
    the export process too and leaves nothing behind.
    """
    if request.pruning and request.spec.source in _FILES:
        what = "structured pruning" if any(step.startswith("channel") for step in request.pruning) else "fine-tuning"
        raise UnsupportedError(f"{what} needs the torch module; {request.spec.name} is an ONNX file", stage="prune")
    for package, extra in _needs(request).items():
        if importlib.util.find_spec(package) is None:
            what = f"{request.spec.name}: exporting it needs {package}"
            raise UserError(f"{what}; install it with: python -m pip install 'bakeoff[{extra}]'")
    key = None if request.spec.source == "module" else _key(request)
    if key is not None:
        names = _external_names(cache, key)
        found = None if names is None else lookup(cache, "onnx", _full_key(request, key, names))
        if found is not None:
            return _read(found)
    with staging(cache) as work:
        made = work / "entry"
        made.mkdir()
        manifest = call(
            "bakeoff.models.export_worker",
            {"model": encode(request), "out": str(made), "cache": str(cache)},
            timeout_s=timeout_s * (_PATIENCE if request.training else 1),
            stage="export",
        )
        names = tuple(manifest.get("external", ()))
        if key is None:
            key = hash_mapping({"onnx": manifest["sha256"]})
        else:
            _remember_external(cache, key, names)
        return _read(commit(made, cache, "onnx", _full_key(request, key, names)))


def _needs(request: ModelRequest) -> dict[str, str]:
    """Packages that have to be there, and the extra of ours that brings each."""
    pruning = {"torch_pruning": "pruning"} if any(step.startswith("channel") for step in request.pruning) else {}
    return _NEEDS[request.spec.source] | pruning


def _key(request: ModelRequest) -> str:
    spec = request.spec
    facts: dict[str, Any] = {
        "name": spec.name,
        "source": spec.source,
        "reference": Path(spec.reference).name if spec.source == "onnx" else spec.reference,
        "input": encode(spec.input) if spec.input is not None else None,
        "weights": _weights_key(request),
        "batch": request.batch,
        "seed": request.seed,
        "shapes": [[name, list(shape)] for name, shape in request.shapes],
        "packages": {name: _version(name) for name in _PACKAGES},
        "code": {name: hash_file(Path(__file__).parent / f"{name}.py") for name in _CODE},
        "simplify": request.simplify,
        "pruning": _pruning_key(request),
        "engine": importlib.util.find_spec("onnxruntime") is not None,
    }
    return hash_mapping(facts)


def _weights_key(request: ModelRequest) -> str:
    spec = request.spec
    if spec.source in _FILES:
        if request.weights != "pretrained":
            raise WeightsError(f"{spec.reference}: an ONNX file holds its own weights; leave --weights out for it")
        return _hash_given(recogniser_file(spec.name) if spec.source == "rapidocr" else Path(spec.reference))
    if request.weights == "random":
        return "random"
    if request.weights == "pretrained":
        if spec.source == "efficientnet_lite":
            return hash_file(lite_weights_file(spec.reference))
        if spec.source == "digits":
            return hash_file(weights_file(spec.reference))
        return TORCHVISION_WEIGHTS.get(spec.reference, spec.reference)
    path = Path(request.weights)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; say pretrained, random, or the path of a file")
    return f"{path.name} {_hash_given(path)}"


def _pruning_key(request: ModelRequest) -> dict[str, Any] | None:
    if not request.pruning:
        return None
    folder = Path(__file__).parent
    code = [*sorted((folder / "pruning").glob("*.py")), folder / "steps" / "masks.py", folder / "variants.py"]
    return {
        "steps": list(request.pruning),
        "training": hash_file(request.training) if request.training else None,
        "settling": hash_file(request.settling) if request.settling else None,
        "torch-pruning": _version("torch-pruning"),
        "code": {path.name: hash_file(path) for path in code},
    }


def _hash_given(path: Path) -> str:
    if not path.is_file():
        raise ModelFileError(path, "no such file", "check the path")
    try:
        return hash_file(path)
    except OSError as error:
        raise ModelFileError(path, f"cannot be read: {error.strerror}", "check its permissions") from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _external_names(cache: Path, key: str) -> tuple[str, ...] | None:
    """Files that the ONNX file of *key* points to: they are part of it, and only a reading of it tells their names."""
    entry = lookup(cache, "onnx-external", key)
    if entry is None:
        return None
    return tuple(json.loads((entry / "external.json").read_text(encoding="utf-8")))


def _remember_external(cache: Path, key: str, names: tuple[str, ...]) -> None:
    def write(folder: Path) -> None:
        (folder / "external.json").write_text(json.dumps(list(names)), encoding="utf-8")

    publish(cache, "onnx-external", key, write)


def _full_key(request: ModelRequest, key: str, names: tuple[str, ...]) -> str:
    if not names:
        return key
    folder = Path(request.spec.reference).parent
    hashes = {name: hash_file(folder / name) if (folder / name).is_file() else "" for name in names}
    return hash_mapping({"model": key, "external": hashes})


def _read(entry: Path) -> ExportedModel:
    manifest = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))
    probe = entry / "probe.npz"
    return ExportedModel(
        path=entry / "model.onnx",
        sha256=manifest["sha256"],
        inputs=decode_tensors(manifest["inputs"]),
        outputs=decode_tensors(manifest["outputs"]),
        provenance=dict(manifest["provenance"]),
        probe=probe if probe.is_file() else None,
        input=decode_input(manifest["input"]),
        notes=tuple(manifest["notes"]),
        parameters=manifest["parameters"],
        zeros=manifest["zeros"],
        records=decode_records(manifest.get("records", [])),
    )
