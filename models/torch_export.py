"""Exports a torch module to one static ONNX file, together with a probe of the module itself. Export process only."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import StageError, UserError
from .graph import MAX_BYTES, infer, name_nodes, simplify, stamp, strip, tensor_specs
from .inputs import make_inputs
from .pruning import prune
from .sources import build_module, input_spec
from .spec import InputSpec, ModelRequest, StepRecord, TensorSpec
from .variants import parse_variant
from .weights import Loaded, load_weights, settle_network, state_hash
from .wire import encode

__all__ = ["OPSET", "export_module"]

Array = NDArray[np.generic]

OPSET = 20
"""The first opset with Gelu as one operator; every backend of ours reads it."""

_PACKAGE_OF_SOURCE = {
    "torchvision": ["torchvision"],
    "timm": ["timm"],
    "efficientnet_lite": ["efficientnet-lite-pytorch"],
    "digits": ["torchvision"],
}
_PROBE_SEED = 20
_CALIBRATION_SEED = 10
_CALIBRATION_IMAGES = 8


def export_module(request: ModelRequest, out: Path) -> dict[str, Any]:
    """Write `model.onnx` and `probe.npz` into the folder *out* and return the manifest.

    Pruning comes before the probe, so that this tells what the pruned module computes. Raises `UserError` and its kin
    for what the user can mend, `UnsupportedError` for a pruning step that does not apply, `StageError` with blame
    "exporter" where torch cannot export the module.
    """
    settle_network(request)
    import torch

    torch.set_num_threads(1)  # the order of summation, and so the bytes of calibrated weights, must not vary
    torch.manual_seed(request.seed)
    module = build_module(request.spec)
    spec = input_spec(request.spec, module)
    tensors = _inputs(request, spec)
    loaded = load_weights(module, request, _calibration(request, module, tensors, spec))
    module.requires_grad_(False)
    probe = make_inputs(tensors, spec, 1, _PROBE_SEED, None)[0]
    module, records = _prune(module, probe, request)
    expected = _forward(module, probe, request)
    raw = _to_onnx(module, probe, [tensor.name for tensor in tensors], len(expected), request)
    provenance = _provenance(request, loaded, state_hash(module))
    arrays = {f"input_{i}": a for i, a in enumerate(probe)} | {f"output_{i}": a for i, a in enumerate(expected)}
    np.savez(out / "probe.npz", allow_pickle=False, **arrays)
    manifest = _finish(raw, probe, provenance, out, keep=not request.simplify)
    return manifest | {"input": encode(spec), "records": [encode(record) for record in records]}


def _inputs(request: ModelRequest, spec: InputSpec) -> list[TensorSpec]:
    if not request.shapes:
        return [TensorSpec(name="input", shape=spec.shape(request.batch), dtype=spec.dtype)]
    if request.spec.source != "module" and [name for name, _ in request.shapes] != ["input"]:
        raise UserError(
            f"{request.spec.name}: no input called {request.shapes[0][0]!r}; its one input is called 'input'"
        )
    for name, shape in request.shapes:
        if request.batch != 1 and shape[0] != request.batch:
            raise UserError(
                f"{request.spec.name}: input {name!r} was given the shape {'x'.join(map(str, shape))}, whose batch is "
                f"not the {request.batch} that was asked for; make them agree"
            )
    return [TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in request.shapes]


def _calibration(request: ModelRequest, module: Any, tensors: Sequence[TensorSpec], spec: InputSpec) -> list[Any]:
    """Example inputs for random weights; a few suffice where no statistics over the batch are taken."""
    import torch

    if request.weights != "random":
        return []
    normed = any(isinstance(child, torch.nn.modules.batchnorm._NormBase) for child in module.modules())
    batch = _CALIBRATION_IMAGES if normed else 2
    wide = [TensorSpec(name=t.name, shape=(batch, *t.shape[1:]), dtype=t.dtype) for t in tensors]
    seed = _CALIBRATION_SEED + request.seed
    return [torch.from_numpy(array) for array in make_inputs(wide, spec, 1, seed, None)[0]]


def _prune(module: Any, probe: Sequence[Array], request: ModelRequest) -> tuple[Any, tuple[StepRecord, ...]]:
    import torch

    if not request.pruning:
        return module, ()
    _forward(module, probe, request)  # a forward that fails is the user's to mend, and no fault of the pruning
    return prune(
        module,
        parse_variant("+".join(request.pruning)).pruning,
        [torch.from_numpy(array) for array in probe],
        training=request.training,
        settling=request.settling,
        seed=request.seed,
        random=request.weights == "random",
    )


def _forward(module: Any, probe: Sequence[Array], request: ModelRequest) -> list[Array]:
    import torch
    from torch.utils._pytree import tree_leaves

    try:
        with torch.no_grad():
            leaves = tree_leaves(module(*[torch.from_numpy(array) for array in probe]))
    # A user's forward may raise anything; for models of the zoo this would be our fault and must not be hidden.
    except Exception as error:
        if request.spec.source != "module":
            raise
        reason = (str(error).strip().splitlines() or [""])[0]
        shapes = ", ".join(str(array.shape) for array in probe)
        raise UserError(
            f"{request.spec.name}: forward fails for inputs of shape {shapes}: {type(error).__name__}: {reason}; "
            "give the right ones with --shape NAME=AxBxC"
        ) from error
    return [leaf.numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _to_onnx(module: Any, probe: Sequence[Array], inputs: list[str], outputs: int, request: ModelRequest) -> Any:
    import torch

    names = ["output"] if outputs == 1 else [f"output_{index}" for index in range(outputs)]
    try:
        # Its own optimizer stays on, for raw variants too: without it graphs hold CastLike and sequences, which TVM's
        # importer and ours do not take.
        program = torch.onnx.export(
            module,
            tuple(torch.from_numpy(array) for array in probe),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=names,
            verbose=False,
        )
    # torch wraps whatever a graph it cannot capture raises in classes that moved between its versions.
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        text = f"{request.spec.name}: torch cannot export it: {reason}"
        raise StageError(text, blame="exporter", stage="export") from error
    return program.model_proto


def _finish(raw: Any, probe: Sequence[Array], provenance: dict[str, str], out: Path, *, keep: bool) -> dict[str, Any]:
    if raw.ByteSize() > MAX_BYTES:
        raise StageError(f"{raw.ByteSize()} bytes do not fit into one ONNX file", blame="exporter", stage="export")
    strip(raw)
    try:
        model, _, notes = simplify(raw, probe, keep=keep)
    # The engine raises classes of its own for a graph that it cannot load or run.
    except Exception as error:
        text = f"the exported graph does not run: {' '.join(str(error).split())[:300]}"
        raise StageError(text, blame="exporter", stage="export") from error
    name_nodes(model.graph)
    model = infer(model, strict=True)
    model.producer_name, model.producer_version = "bakeoff", provenance["bakeoff"]
    stamp(model, provenance)
    (out / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return {
        "inputs": [encode(tensor) for tensor in tensor_specs(model.graph.input)],
        "outputs": [encode(tensor) for tensor in tensor_specs(model.graph.output)],
        "provenance": provenance,
        "notes": list(notes),
    }


def _provenance(request: ModelRequest, loaded: Loaded, state_sha256: str) -> dict[str, str]:
    spec = request.spec
    facts = {
        "model": spec.name,
        "source": spec.source,
        "reference": spec.reference,
        "weights": request.weights if request.weights in ("pretrained", "random") else Path(request.weights).name,
        "weights_origin": loaded.origin,
        "weights_sha256": state_sha256,
        "batch": str(request.batch),
        "seed": str(request.seed),
        "opset": str(OPSET),
        "licence": spec.licence,
    }
    if request.pruning:
        facts["pruning"] = "+".join(request.pruning)
    if not request.simplify:
        facts["graph"] = "as exported"
    if loaded.file_sha256:
        facts["weights_file_sha256"] = loaded.file_sha256
    packages = ["bakeoff", "torch", "onnx", "onnxscript", "onnxslim"]
    packages += _PACKAGE_OF_SOURCE.get(spec.source, [])
    return facts | {package: version(package) for package in packages}
