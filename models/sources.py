"""Builds the torch module of a model, without weights. Runs in the export process only."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any

from .digits.nets import build_net
from .errors import UserError
from .spec import InputSpec, ModelSpec, ResizeRule

__all__ = ["build_module", "input_spec"]


def build_module(spec: ModelSpec) -> Any:
    """A fresh `torch.nn.Module` in evaluation mode; a user's module as its function built it.

    Raises `UserError` for a name that timm does not have, and for a user's function that cannot be imported, fails, or
    returns something else.
    """
    builders = {
        "torchvision": _torchvision,
        "timm": _timm,
        "efficientnet_lite": _efficientnet_lite,
        "digits": build_net,
        "module": _user_module,
    }
    return builders[spec.source](spec.reference).eval()


def input_spec(spec: ModelSpec, module: Any) -> InputSpec:
    """What *module* expects: the zoo's own spec, or for timm what its data configuration says."""
    if spec.input is not None:
        return spec.input
    import timm.data

    config = timm.data.resolve_model_data_config(module)
    channels, height, width = config["input_size"]
    return InputSpec(
        channels=channels,
        height=height,
        width=width,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        resize=ResizeRule(
            resize=int(height / config["crop_pct"]),
            crop=height,
            interpolation="bicubic" if config["interpolation"] == "bicubic" else "bilinear",
        ),
    )


def _torchvision(name: str) -> Any:
    import torchvision

    return torchvision.models.get_model(name, weights=None)


def _timm(name: str) -> Any:
    import timm

    base = name.split(".", maxsplit=1)[0]
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=3, cutoff=0.0)
        raise UserError(
            f"no such model: 'timm:{name}'; the nearest names in timm are {', '.join(f'timm:{word}' for word in near)}"
        )
    return timm.create_model(name, pretrained=False)


def _efficientnet_lite(name: str) -> Any:
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name(name)


def _user_module(reference: str) -> Any:
    import torch

    module_name, _, path = reference.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
        built = found()
    # A user's code may raise anything at all, and whatever it is, it is one line for the user.
    except Exception as error:
        raise UserError(
            f"{reference}: {type(error).__name__}: {_first_line(error)}; it must import and run here"
        ) from error
    if not isinstance(built, torch.nn.Module):
        raise UserError(f"{reference}: returned {type(built).__name__}; it must return a torch.nn.Module")
    return built


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
