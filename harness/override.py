"""Command-line options over a suite: each given option replaces one axis or one setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..models.errors import UserError
from ..models.shapes import parse_shape
from .suite import Suite

__all__ = ["override", "split_names"]

_AXES = {
    "model": "models",
    "variant": "variants",
    "backend": "backends",
    "scenario": "scenarios",
    "threads": "threads",
    "batch": "batch",
    "device": "devices",
}
_NUMBERS = ("threads", "batch")
_MEASURE = ("time_limit_s", "target_interval", "images")


def split_names(values: Sequence[str]) -> list[str]:
    """Names from repeated options that may each hold a comma list; each once, in order."""
    names = [part.strip() for value in values for part in value.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def override(suite: Suite, options: Mapping[str, Any]) -> Suite:
    """*suite* with every option that was given put in place of its own.

    Keys of *options*: the axes in the singular (sequences of texts), "weights", "shapes" (texts INPUT=1x3x8x8), and
    the settings of `[measure]`. Raises UserError naming the option if a value does not fit.
    """
    data = suite.model_dump(mode="json")
    for option, axis in _AXES.items():
        names = split_names(options.get(option, ()))
        if names:
            data["matrix"][axis] = [_number(option, name) for name in names] if option in _NUMBERS else names
            data["include"] = [entry for entry in data["include"] if entry.get(option) in (None, *data["matrix"][axis])]
    data["measure"].update({name: options[name] for name in _MEASURE if options.get(name) is not None})
    if options.get("time_limit_s") is not None:
        for settings in data["backends"].values():
            settings["time_limit_s"] = None
    _set_models(data, options)
    try:
        return Suite.model_validate(data)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = next((str(part) for part in reversed(fault["loc"]) if isinstance(part, str)), "options")
        option = next((option for option, axis in _AXES.items() if axis == key), key)
        reason = fault["msg"].removeprefix("Value error, ")
        raise UserError(f"--{option.replace('_s', '').replace('_', '-')}: {reason}") from error


def _set_models(data: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Put the weights and shapes of the command line to the models that they can mean."""
    shapes = dict(parse_shape(text) for text in options.get("shapes", ()))
    for name in data["matrix"]["models"]:
        settings = data["models"].setdefault(name, {"weights": None, "shapes": {}})
        if options.get("weights"):
            settings["weights"] = options["weights"]
        if shapes:
            settings["shapes"] = shapes
    data["models"] = {name: data["models"][name] for name in data["matrix"]["models"]}


def _number(option: str, text: str) -> int | str:
    if text.isdigit():
        return int(text)
    if option == "threads" and text == "all":
        return text
    raise UserError(f"--{option}: {text!r} is not a number{' or `all`' if option == 'threads' else ''}")
