"""Suites: what to run, as TOML checked by pydantic.

A suite is a matrix of models, variants, backends, scenarios, thread counts, batches and devices, minus what `exclude`
names, plus what `include` names, with settings for single models and backends beside it.
"""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..models.errors import SuiteError, UnknownNameError, UserError
from .vocabulary import SCENARIOS, VARIANTS

__all__ = [
    "BUILT_IN",
    "BackendSettings",
    "Matrix",
    "Measure",
    "ModelSettings",
    "Pattern",
    "Suite",
    "load_suite",
    "parse_suite",
]

BUILT_IN = ("quick",)

Names = Annotated[tuple[str, ...], Field(min_length=1)]
Threads = Annotated[int, Field(ge=1, le=1024)] | Literal["all"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Matrix(_Part):
    """Axes of the matrix; every combination is a cell."""

    models: Names
    variants: Names = ("fp32",)
    backends: Names = ("all",)
    scenarios: Names = ("single-stream",)
    threads: Annotated[tuple[Threads, ...], Field(min_length=1)] = (1,)
    batch: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(min_length=1)] = (1,)
    devices: Names = ("cpu",)

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known("variant", names, VARIANTS)

    @field_validator("scenarios")
    @classmethod
    def _known_scenarios(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known("scenario", names, SCENARIOS)


class Measure(_Part):
    """How each cell is measured."""

    target_interval: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    """Sampling stops when the interval of the median is narrower than this fraction of it."""
    time_limit_s: Annotated[float, Field(gt=0.0)] = 10.0
    """Sampling stops after this many seconds of the cell's own calls, converged or not."""
    min_blocks: Annotated[int, Field(ge=2)] = 8
    block_ms: Annotated[float, Field(gt=0.0)] = 60.0
    warmup_window: Annotated[int, Field(ge=1)] = 5
    warmup_tolerance: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.02
    warmup_limit_s: Annotated[float, Field(gt=0.0)] = 2.0
    inputs: Annotated[int, Field(ge=1, le=256)] = 4
    """Different inputs that the calls rotate over."""
    images: str | None = None
    """Folder of real images to take the inputs from; random ones otherwise."""
    seed: Annotated[int, Field(ge=0)] = 0
    compile_limit_s: Annotated[float, Field(gt=0.0)] = 900.0
    call_limit_s: Annotated[float, Field(gt=0.0)] = 120.0
    """Longest time that loading, or one inference, may take before the worker counts as hung."""
    memory_limit_gib: Annotated[float, Field(gt=0.0)] | None = None
    """Resident memory of one worker; by default nine tenths of what is available when the run starts."""


class ModelSettings(_Part):
    """Settings of one model of the matrix."""

    weights: str | None = None
    """"pretrained", "random" or the path of a weights file."""
    shapes: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = Field(default_factory=dict)
    """Static shapes for the inputs of an ONNX file with dynamic dimensions."""


class BackendSettings(_Part):
    """Settings of one backend."""

    python: str | None = None
    """Interpreter that has this backend, where it cannot live in bakeoff's own environment."""
    options: dict[str, str] = Field(default_factory=dict)
    """The backend's own options."""
    time_limit_s: Annotated[float, Field(gt=0.0)] | None = None


class Pattern(_Part):
    """Cells to leave out or to add: those whose axes have the given values."""

    model: str | None = None
    variant: str | None = None
    backend: str | None = None
    scenario: str | None = None
    threads: Threads | None = None
    batch: int | None = None
    device: str | None = None


class Suite(_Part):
    """A whole suite."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: str = ""
    matrix: Matrix
    measure: Measure = Measure()
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    backends: dict[str, BackendSettings] = Field(default_factory=dict)
    exclude: tuple[Pattern, ...] = ()
    include: tuple[Pattern, ...] = ()

    @field_validator("include")
    @classmethod
    def _names_its_model_and_backend(cls, patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
        for pattern in patterns:
            if pattern.model is None or pattern.backend is None:
                raise ValueError("an entry needs at least `model` and `backend`")
        return patterns


def load_suite(name: str) -> Suite:
    """The built-in suite called *name*, or the suite in the TOML file *name*.

    Raises SuiteError with file, line and key, or UserError if the file cannot be read.
    """
    if name in BUILT_IN:
        return parse_suite(files("bakeoff.harness").joinpath(f"suites/{name}.toml").read_text("utf-8"), name)
    path = Path(name)
    if path.suffix != ".toml" and not path.exists():
        raise UnknownNameError("suite", name, BUILT_IN)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); give a suite's TOML file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not a text file; give a suite's TOML file") from error
    return parse_suite(text, name)


def parse_suite(text: str, file: str) -> Suite:
    """The suite in *text*; *file* is what errors call it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise SuiteError(file, int(found[1]) if found else None, "TOML", str(error)) from error
    try:
        return Suite.model_validate(data)
    except ValidationError as error:
        raise _explain(error, text, file) from error


def _known(kind: str, names: tuple[str, ...], choices: dict[str, str]) -> tuple[str, ...]:
    for name in names:
        if name not in choices:
            raise ValueError(f"no such {kind}: {name!r}; known: {', '.join(choices)}")
    return names


def _explain(error: ValidationError, text: str, file: str) -> SuiteError:
    """The first fault, with the line of the deepest key that stands in the text."""
    fault = error.errors(include_url=False)[0]
    path = [part for part in fault["loc"] if part != "constrained-int"]
    reason = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        reason = "unknown key; see `bakeoff schema suite` for the known ones"
    elif fault["type"] != "missing" and not isinstance(fault.get("input"), dict | list):
        reason = f"{reason} (got {fault.get('input')!r})"
    return SuiteError(file, _line_of(path, text), _dotted(path), reason)


def _dotted(path: list[Any]) -> str:
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}"
    return shown.removeprefix(".")


def _line_of(path: list[Any], text: str) -> int | None:
    """Line (from 1) of the key at *path*; where it does not stand in the text, that of its nearest parent."""
    keys = [str(part) for part in path if not isinstance(part, int)]
    indices = [part for part in path if isinstance(part, int)]
    table: list[str] = []
    seen = -1
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line)
        if header and "=" not in line.split("]")[0]:
            table = [part.strip().strip("\"'") for part in header[2].split(".")]
            seen = seen + 1 if header[1] == "[[" and table == keys[:1] else seen
            depth = len(table) if keys[: len(table)] == table else 0
        else:
            found = re.match(r"\s*([\w\"'.:/-]+)\s*=", line)
            here = [*table, *found[1].replace('"', "").replace("'", "").split(".")] if found else []
            depth = len(here) if here and keys[: len(here)] == here else 0
        skipped = bool(indices) and keys[:1] in (["exclude"], ["include"]) and seen != indices[0]
        if depth and not skipped and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else None
