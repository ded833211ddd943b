"""What a profiling pass leaves behind: the schema of `bakeoff profile --json`.

Its JSON Schema ships in `reports/schema/profile.schema.json`. Times ending in `_ms` are milliseconds; a field that was
not measured is null, never zero.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..models.errors import UserError
from .results import Peaks

__all__ = [
    "PROFILE_SCHEMA_VERSION",
    "SCHEMA_PATH",
    "BackendProfile",
    "Explanation",
    "Finding",
    "GroupTimes",
    "NotProfiled",
    "ProfileReport",
    "Roof",
    "RowNode",
    "RowTime",
    "TimeShares",
    "VariantTimes",
    "profile_schema",
    "read_profile",
]

PROFILE_SCHEMA_VERSION = 1

SCHEMA_PATH = Path(__file__).with_name("schema") / "profile.schema.json"
"""The shipped file."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Roof(_Record):
    """What this machine could do at best for some nodes that run as one kernel."""

    limit_ms: float
    """No kernel can be faster: the longer one of *compute_ms* and *memory_ms*."""
    bound: Literal["compute", "memory"]
    """Which of them it is."""
    compute_ms: float
    """The fewest multiplications of any known algorithm (Winograd's where it applies) at the precision's peak."""
    direct_ms: float
    """As *compute_ms*, with the textbook's multiplications: no kernel without Winograd can be faster."""
    memory_ms: float
    """Bytes that have to be moved, at the bandwidth of the tiers that can hold them."""
    macs: int
    """Multiply-accumulates by the textbook."""
    moved_bytes: int
    """Inputs, weights and outputs, each once, in the precision that is executed."""
    precision: str
    """Whose peak it is."""
    tier: str
    """The level of the memory that *memory_ms* is owed to: "L1", "L2", "L3", "memory"."""


class RowNode(_Record):
    """An ONNX node that a row runs."""

    name: str
    op: str
    evidence: Literal["name", "value", "weights", "rule", "order", "grown"]
    """Why it is held to be there, the strongest first: the runtime names it or gives its value's number; its weights
    have the same content; a naming rule of the runtime; equal place in an equal order; "grown": no evidence, only the
    graph around it."""
    scope: str = ""
    """The module that it was exported from, "layer1.0.conv1", where the file tells."""
    reads: tuple[str, ...] = ()
    """The nodes whose results it takes."""
    repeats: str = ""
    """The first node that computes the same, or so nearly that weights differ by less than a thousandth."""
    output_shape: tuple[int, ...] | None = None
    weight_shape: tuple[int, ...] | None = None
    """Of what it multiplies with, where that is constant."""
    shared: bool = False
    """It counts as another row's, and this one computes a part of it, or computes it again."""


class RowTime(_Record):
    """One line of a runtime's profile."""

    name: str
    kind: str
    """The operation, in the runtime's own word."""
    standing: Literal["anchored", "grown", "runtime", "unmapped"]
    """"anchored": evidence names a node; "grown": only the graph's structure does; "runtime": the runtime's own work
    (copies into other layouts, quantizing, dequantizing, ...); "unmapped": nobody knows."""
    median_ms: float
    typical_ms: float
    """In the one inference that traces show."""
    precision: str = ""
    """What it executed in, where the runtime tells."""
    nodes: tuple[RowNode, ...] = ()
    """In topological order; not to be trusted where the mapping was refused."""
    serves: tuple[str, ...] = ()
    """Of a row of the runtime's own: the nodes that it is there for, which run in other rows."""
    limit_ms: float | None = None
    """What this machine could do at best; null where the row has no nodes of its own, or nothing is known."""
    efficiency: float | None = None
    """*limit_ms* over *median_ms*: 1 is the best that can be. Null for a row of a few microseconds, which is as fine as
    most runtimes' clocks are."""
    roof: Roof | None = None
    """How *limit_ms* comes about."""


class TimeShares(_Record):
    """Parts of the rows' time, 0 to 1, by how well it is known whose it is."""

    anchored: float
    grown: float
    runtime: float
    unmapped: float


class Finding(_Record):
    """One thing that holds a cell back."""

    rule: str
    """Which rule found it: "unfused-activation", "slower-layer", ..."""
    ms: float
    """Time of each inference that it is about; of the first one only, where *once*."""
    once: bool = False
    words: str
    """What was found, with its evidence in figures."""
    advice: str
    """What to try."""
    nodes: tuple[str, ...] = ()
    """The ONNX nodes that it is about, costliest first."""
    rows: tuple[str, ...] = ()
    """The rows of the runtime's profile that tell of it, costliest first."""


class Explanation(_Record):
    """Why a cell takes the time that it takes, or more than another one: what `bakeoff explain --json` prints."""

    cell: str
    against: str | None
    median_ms: float
    against_ms: float | None
    findings: tuple[Finding, ...]
    """Costliest first; what concerns the first inference only comes last."""


class BackendProfile(_Record):
    """One variant on one backend, row by row."""

    model: str
    variant: str
    """"resnet50@fp32"."""
    backend: str
    threads: int
    batch: int
    device: str
    version: str = ""
    """Of the backend."""
    onnx_sha256: str = ""
    """Of the ONNX file whose nodes the rows are mapped to."""
    precision: str = ""
    """What the heavy operators executed in, as the runtime tells."""
    marks: tuple[str, ...] = ()
    """Words that must stand beside the figures, e.g. "untuned"."""
    median_ms: float
    """Of an inference without the profiler."""
    ci_low_ms: float
    ci_high_ms: float
    first_ms: float
    """The very first inference of a fresh process."""
    profiled_ms: float
    """Median of an inference with the profiler on."""
    overhead: float
    """What profiling costs: median over interleaved rounds of the time with the profiler over that without it."""
    typical_ms: float
    """Of the profiled inference that traces show: the one in the middle."""
    inferences: int
    """Profiled inferences, over which the rows' medians are."""
    sum_ms: float
    """Sum of the rows' medians."""
    residual_ms: float
    """*median_ms* less *sum_ms*: what no row accounts for, or, below zero, what rows tell too much."""
    between_ms: float
    """What lies between the rows: median over the profiled inferences of each one's time less its own rows'. Unlike the
    residual it is not moved by what interrupts single inferences; the profiler's own work is in it."""
    shares: TimeShares
    refused: bool
    """A check failed: which row runs which node is not known."""
    checks: dict[str, bool]
    """What had to hold of the mapping; a check of which this runtime tells nothing is left out."""
    failures: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """In words, of each check that failed."""
    exchangeable: tuple[tuple[str, str], ...] = ()
    """Pairs of heavy nodes that no check would tell apart, had they been confused: for them there is the runtime's word
    alone."""
    rows: tuple[RowTime, ...]
    """In order of execution."""
    suspicious: tuple[str, ...] = ()
    """What makes the figures doubtful: a busy machine, ..."""
    limit_ms: float | None = None
    """What this machine could do at best for the whole model in the precisions that were executed, were all of it one
    kernel; null where it is not known."""
    efficiency: float | None = None
    """*limit_ms* over *median_ms*."""
    rows_limit_ms: float | None = None
    """Sum of the rows' limits: the best that could be with kernels divided as they are here. Rows without a limit of
    their own (copies, ...) count as nothing."""
    roof: Roof | None = None
    """How *limit_ms* comes about."""
    energy_mj: float | None = None
    """Millijoules of the processor's packages for one inference without the profiler, whatever else ran there included;
    null where the system has no counters."""
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What holds it back, costliest first."""

    @property
    def accounted(self) -> float | None:
        """Rows and what lies between them, as a part of the median with the stated overhead: 1 where they agree."""
        whole = self.median_ms * self.overhead
        return (self.sum_ms + self.between_ms) / whole if whole > 0 else None

    @property
    def own_between_ms(self) -> float:
        """What lies between the rows without what profiling costs, all of which is taken to lie there."""
        return self.between_ms - max(0.0, self.overhead - 1.0) * self.median_ms


class GroupTimes(_Record):
    """Nodes that at least one backend runs as one, and what they took in each: the level at which to compare."""

    model: str
    variant: str
    threads: int
    batch: int
    device: str
    nodes: tuple[str, ...]
    """In topological order."""
    ops: tuple[str, ...]
    """Their operators."""
    scopes: tuple[str, ...]
    """The modules that they were exported from; "" where the file does not tell."""
    ms: dict[str, float]
    """By backend: sum of its rows' medians. A backend whose mapping was refused is left out."""
    limit_ms: float | None = None
    """What this machine could do at best, in the fastest precision that the graph or any backend has for them; null
    where its peaks are not known."""
    roof: Roof | None = None
    """How *limit_ms* comes about."""

    @model_validator(mode="after")
    def _each_node_has_facts(self) -> Self:
        _check_facts(self)
        return self


class VariantTimes(_Record):
    """The same nodes over all variants of a model: where a variant gains, and where it loses."""

    model: str
    threads: int
    batch: int
    device: str
    nodes: tuple[str, ...]
    """Those that keep their names; roundings are left out."""
    ops: tuple[str, ...]
    scopes: tuple[str, ...]
    ms: dict[str, dict[str, float]]
    """By variant ("net@int8"), by backend. A variant without time of its own for these nodes is left out."""

    @model_validator(mode="after")
    def _each_node_has_facts(self) -> Self:
        _check_facts(self)
        return self


def _check_facts(layer: GroupTimes | VariantTimes) -> None:
    """ValueError where the nodes of *layer* have not an operator and a module each, or there are none."""
    if not len(layer.nodes) == len(layer.ops) == len(layer.scopes) > 0:
        raise ValueError("as many ops and scopes as nodes, and one at least")


class NotProfiled(_Record):
    """A cell that has no profile, and why."""

    model: str
    variant: str
    backend: str
    threads: int
    batch: int
    device: str
    status: Literal["failed", "unsupported", "mismatch"]
    """"unsupported": it has no profiler, or said beforehand that it cannot."""
    reason: str


class ProfileReport(_Record):
    """Everything that one profiling pass found."""

    schema_version: int = PROFILE_SCHEMA_VERSION
    bakeoff_version: str
    target_id: str
    command: str = ""
    profiles: tuple[BackendProfile, ...]
    groups: tuple[GroupTimes, ...]
    """In topological order, model after model."""
    layers: tuple[VariantTimes, ...] = ()
    """Groups joined over variants, where a model has more than one."""
    not_profiled: tuple[NotProfiled, ...] = ()
    peaks: Peaks | None = None
    """Of this machine, as measured: what the limits come from."""
    assumptions: tuple[str, ...] = ()
    """In words, what the limits take for granted, and why there are no limits, or no energy, where there are none."""

    @property
    def failed(self) -> bool:
        """Whether a cell failed, or a check refused the mapping of one."""
        return any(missing.status != "unsupported" for missing in self.not_profiled) or any(
            found.refused for found in self.profiles
        )


def profile_schema() -> str:
    """The JSON Schema of `ProfileReport` as the text of the shipped file."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"bakeoff profile, schema_version {PROFILE_SCHEMA_VERSION}",
    }
    return json.dumps(head | ProfileReport.model_json_schema(mode="serialization"), indent=2) + "\n"


def read_profile(file: Path) -> ProfileReport:
    """What `bakeoff profile --json` wrote into *file*. Raises UserError where it is something else."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"{file}: is larger than {_MOST_BYTES >> 20} MiB; profile fewer cells at once")
        text = file.read_text(encoding="utf-8")
        _check_version(file, text)
        return ProfileReport.model_validate_json(text)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    except (ValidationError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: is not what `bakeoff profile --json` prints; write it again") from error


_MOST_BYTES = 512 << 20
"""Larger files are refused unread."""


def _check_version(file: Path, text: str) -> None:
    found = json.loads(text)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version != PROFILE_SCHEMA_VERSION:
        raise UserError(
            f"{file}: is a profile of schema version {version}, this bakeoff reads {PROFILE_SCHEMA_VERSION}; "
            "profile again"
        )


if __name__ == "__main__":
    SCHEMA_PATH.write_text(profile_schema(), encoding="utf-8")
    print(SCHEMA_PATH)
