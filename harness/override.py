"""Command-line options over a suite: each given option replaces one axis or one setting."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
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
_MEASURE = ("time_limit_s", "target_interval", "images", "evaluation_images", "calibration_images")


def split_names(values: Sequence[str]) -> list[str]:
    """Names from repeated options that may each hold a comma list; each once, in order."""
    names = [part.strip() for value in values for part in value.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def override(suite: Suite, options: Mapping[str, Any]) -> Suite:
    """*suite* with every option that was given put in place of its own.

    Keys of *options*: the axes in the singular (sequences of texts), "weights", "data", "shapes" (texts
    INPUT=1x3x8x8), and the settings of `[measure]`. Raises UserError naming the option if a value does not fit.
    """
    data = suite.model_dump(mode="json")
    _refuse_unknown_models(suite, data, split_names(options.get("model") or ()))
    for option, axis in _AXES.items():
        if not options.get(option):
            continue
        names = split_names(options[option])
        if not names:
            raise UserError(f"--{option}: names nothing; leave it away or name something")
        chosen = [_number(option, name) for name in names] if option in _NUMBERS else names
        data["matrix"][axis] = chosen
        data["include"] = [entry for entry in data["include"] if _stays(option, entry[option], chosen)]
    data["measure"].update({name: _plain(options[name]) for name in _MEASURE if options.get(name) is not None})
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
        raise UserError(f"--{option.removesuffix('_s').replace('_', '-')}: {reason}") from error


def _refuse_unknown_models(suite: Suite, data: Mapping[str, Any], chosen: Sequence[str]) -> None:
    """Settings of a model of the suite that --model leaves out are no mistake; those of one that is in neither are."""
    known = {*data["matrix"]["models"], *(entry["model"] for entry in data["include"]), *chosen}
    for name in data["models"]:
        if name not in known:
            raise UserError(f"suite {suite.name}: models.{name}: no model of the matrix is called so; mend its name")


def _stays(option: str, asked: object, chosen: Sequence[object]) -> bool:
    """Whether an entry of `include` that asks for *asked* on an axis is still wanted where *chosen* replaces it."""
    return asked is None or asked in chosen or (option == "backend" and "all" in chosen)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, PurePath) else value


def _set_models(data: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Put the weights, data and shapes of the command line to the models that they can mean."""
    shapes = dict(parse_shape(text) for text in options.get("shapes", ()))
    named = {"weights": options.get("weights"), "data": options.get("data"), "shapes": shapes}
    given = {key: value for key, value in named.items() if value}
    wanted = dict.fromkeys([*data["matrix"]["models"], *(entry["model"] for entry in data["include"])])
    kept = {name: {**data["models"].get(name, {}), **given} for name in wanted}
    data["models"] = {name: settings for name, settings in kept.items() if settings}


def _number(option: str, text: str) -> int | str:
    if re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    if option == "threads" and text == "all":
        return text
    raise UserError(f"--{option}: {text!r} is not a number{' or `all`' if option == 'threads' else ''}")
