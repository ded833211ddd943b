"""Suites: what to run, as TOML checked by pydantic.

A suite is a matrix of models, variants, backends, scenarios, thread counts, batches and devices, minus what `exclude`
names, plus what `include` names, with settings for single models and backends beside it.
"""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from ..models.errors import SuiteError, UnknownNameError, UserError
from ..models.variants import parse_variant
from .vocabulary import SCENARIOS

__all__ = [
    "BUILT_IN",
    "Addition",
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

MAX_THREADS = 1024

_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[^=#"'])+?)\s*=""")


def _threads(value: object) -> object:
    """One message for both branches of the union below."""
    if value == "all" or (type(value) is int and 1 <= value <= MAX_THREADS):
        return value
    raise ValueError(f'{value!r} is no whole number from 1 to {MAX_THREADS}, nor "all"')


Names = Annotated[tuple[str, ...], Field(min_length=1)]
Threads = Annotated[
    Annotated[int, Field(ge=1, le=MAX_THREADS)] | Literal["all"],
    BeforeValidator(_threads),
]
Batch = Annotated[int, Field(ge=1, le=65536)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Matrix(_Part):
    """Axes of the matrix; every combination is a cell."""

    models: Names
    variants: Names = ("fp32",)
    backends: Names = ("all",)
    scenarios: Names = ("single-stream",)
    threads: Annotated[tuple[Threads, ...], Field(min_length=1)] = (1,)
    batch: Annotated[tuple[Batch, ...], Field(min_length=1)] = (1,)
    devices: Names = ("cpu",)

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_variant(name) for name in names))

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
    settle_ms: Annotated[float, Field(ge=0.0)] = 10.0
    """Before each block as much time of calls that do not count: whoever ran before has filled the caches. They are at
    least one, but none where one call takes ten times as long, and hides it."""
    warmup_window: Annotated[int, Field(ge=1)] = 5
    warmup_tolerance: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.02
    warmup_limit_s: Annotated[float, Field(gt=0.0)] = 2.0
    inputs: Annotated[int, Field(ge=1, le=256)] = 4
    """Different inputs that the calls rotate over."""
    images: str | None = None
    """Folder of real images to take the inputs from; random ones otherwise."""
    seed: Annotated[int, Field(ge=0)] = 0
    evaluation_images: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Most images that accuracy and fidelity are measured on."""
    random_images: Annotated[int, Field(ge=2, le=100_000)] = 32
    """The same where there is no data set: seeded random images show fidelity only."""
    evaluation_limit_s: Annotated[float, Field(gt=0.0)] = 20.0
    """Longest time for evaluating one cell; a slow one is evaluated on the first images only, and says on how many."""
    calibration_images: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Images that static quantization is calibrated on."""
    compile_limit_s: Annotated[float, Field(gt=0.0)] = 900.0
    call_limit_s: Annotated[float, Field(gt=0.0)] = 120.0
    """Longest time that loading, or one inference, may take before the worker counts as hung."""
    memory_limit_gib: Annotated[float, Field(gt=0.0)] | None = None
    """Resident memory of one worker; by default nine tenths of what is available when the run starts."""


class ModelSettings(_Part):
    """Settings of one model of the matrix."""

    weights: str | None = None
    """"pretrained", "random" or the path of a weights file."""
    data: str | None = None
    """Data set to evaluate, calibrate and fine-tune on, as `bakeoff list data` has it; the model's own by default."""
    shapes: dict[str, tuple[Annotated[int, Field(ge=1)], ...]] = Field(default_factory=dict)
    """Static shapes for the inputs of an ONNX file with dynamic dimensions."""


class BackendSettings(_Part):
    """Settings of one backend."""

    python: str | None = None
    """Interpreter that has this backend, where it cannot live in bakeoff's own environment."""
    options: dict[str, str] = Field(default_factory=dict)
    """The backend's own options."""
    time_limit_s: Annotated[float, Field(gt=0.0)] | None = None


class Pattern(_Part):
    """Cells to leave out: those whose axes have the given values."""

    model: str | None = None
    variant: str | None = None
    backend: str | None = None
    scenario: str | None = None
    threads: Threads | None = None
    batch: Batch | None = None
    device: str | None = None

    @field_validator("variant")
    @classmethod
    def _known_variant(cls, name: str | None) -> str | None:
        return name and _variant(name)

    @field_validator("scenario")
    @classmethod
    def _known_scenario(cls, name: str | None) -> str | None:
        return name and _known("scenario", (name,), SCENARIOS)[0]


class Addition(Pattern):
    """One cell to add; axes that are not given take the first value of the matrix."""

    model: str
    backend: str

    @field_validator("backend")
    @classmethod
    def _one_backend(cls, name: str) -> str:
        if name == "all":
            raise ValueError("name one backend; `all` belongs into `matrix.backends`")
        return name


class Suite(_Part):
    """A whole suite."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: str = ""
    matrix: Matrix
    measure: Measure = Measure()
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    backends: dict[str, BackendSettings] = Field(default_factory=dict)
    exclude: tuple[Pattern, ...] = ()
    include: tuple[Addition, ...] = ()


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
    except (ValueError, RecursionError) as error:
        found = re.search(r"line (\d+)", str(error))
        raise SuiteError(file, int(found[1]) if found else None, "TOML", str(error)) from error
    # By way of JSON, since strict validation takes lists for tuples only from there; a date must not pass for a text.
    content = json.dumps(data, default=lambda date: {"date": str(date)})
    try:
        return Suite.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise _explain(error, text, file) from error


def _variant(text: str) -> str:
    """The canonical spelling of a variant, so that one variant has one name."""
    try:
        return parse_variant(text).name
    except UserError as error:
        raise ValueError(str(error)) from error


def _known(kind: str, names: tuple[str, ...], choices: dict[str, str]) -> tuple[str, ...]:
    for name in names:
        if name not in choices:
            raise ValueError(f"no such {kind}: {name!r}; known: {', '.join(choices)}")
    return names


def _explain(error: ValidationError, text: str, file: str) -> SuiteError:
    """One fault, with the line of the deepest key that stands in the text.

    An unknown key comes first: it is most often a misspelt one, which then is missing as well.
    """
    faults = error.errors(include_url=False)
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    path = list(fault["loc"])
    reason = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        reason = "unknown key; see `bakeoff schema suite` for the known ones"
    elif fault["type"] not in ("missing", "value_error") and not isinstance(fault.get("input"), dict | list):
        reason = f"{reason} (got {fault.get('input')!r})"
    return SuiteError(file, _line_of(path, text), _dotted(path), reason)


def _dotted(path: list[Any]) -> str:
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}"
    return shown.removeprefix(".")


def _line_of(path: list[Any], text: str) -> int | None:
    """Line (from 1) of the key at *path*; where it does not stand in the text, that of its nearest parent."""
    table: list[str | int] = []
    tables_seen: dict[str, int] = {}
    depth, best = 0, None
    for number, line in enumerate(text.split("\n"), 1):
        header, assignment = _HEADER.fullmatch(line), _ASSIGNMENT.match(line)
        if header and (keys := _keys(header[2])):
            table = [*keys]
            if header[1] == "[[":
                place = tables_seen.get(header[2], 0)
                tables_seen[header[2]] = place + 1
                table.append(place)
            here = table
        elif assignment:
            here = [*table, *_keys(assignment[1])]
        else:
            continue
        if len(here) > depth and here == path[: len(here)]:
            depth, best = len(here), number
    return best


def _keys(dotted: str) -> list[str]:
    """The parts of a dotted key as TOML splits it, quotes and all; nothing if it is no key."""
    try:
        inner: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return []
    keys = []
    while isinstance(inner, dict):
        key, inner = next(iter(inner.items()))
        keys.append(key)
    return keys
