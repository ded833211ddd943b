"""The whole contract between the tuning engine and those who call it: the CLI, the adapter, the report.

Importing this package imports no tvm: the tuner itself is plain Python that drives worker processes (`worker`), so it
may run in the harness. A *task* is one fused kernel of a model's graph, found by the structural hash of its loops; a
*trial* is one candidate schedule of one task, built and timed in a worker that may be killed.

A tuning database is a folder of four files, all but the first only ever appended to, one JSON value a line:

    meta.json                        target, TVM's version, schema: what the records hold for
    database_workload.json           } MetaSchedule's own JSONDatabase: workloads and the traces of their schedules
    database_tuning_record.json      }
    trials.jsonl                     one line for each trial, failed ones too: resume, tuning curve, choice of variants
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "Applied",
    "CurvePoint",
    "Kind",
    "Meta",
    "Progress",
    "ProgressCallback",
    "Proposal",
    "Space",
    "Stage",
    "Task",
    "TaskResult",
    "Trial",
    "TuneRequest",
    "TuneResult",
    "Variant",
]

Space = Literal["bakeoff", "stock"]
"""`stock` is MetaSchedule's own space and search, what a user of TVM gets; `bakeoff` is the register-tile space."""

Variant = Literal["direct", "wino2", "wino4"]
"""How a 3x3 convolution is computed: directly, or by Winograd's F(2x2, 3x3) or F(4x4, 3x3)."""

Kind = Literal["conv", "depthwise", "winograd", "dense", "pool", "reduce", "elementwise", "other"]
"""Which template a task gets; `other` gets MetaSchedule's own rules in both spaces."""

Stage = Literal["extract", "cover", "refine", "rest", "cold", "done"]
"""`cover`: a few candidates for each task; `refine`: by weight x (time - its limit); `rest`: what nothing improves any
more gets random candidates; `cold`: the best ones are timed again with weights that are not in the caches."""


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What the records of a database hold for. Anything else is refused with one line (`UserError`)."""

    schema: int
    tvm: str
    """Version of apache-tvm: hashes of workloads and traces are its own."""
    target: Mapping[str, Any]
    """TVM's target as a dict: {"kind": "llvm", "mcpu": "znver3", "num-cores": 1, ...}; num-cores are the threads."""

    @property
    def target_id(self) -> str:
        """A short name of the target, fit for a folder: "llvm-znver3-1"."""
        cpu = self.target.get("mcpu", "generic") + "".join(self.target.get("mattr", ()))
        return f"{self.target['kind']}-{cpu}-{self.target['num-cores']}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kernel to tune: a fused function of the graph, counted with its twins."""

    hash: str
    """MetaSchedule's structural hash of the workload; the same in every process and model."""
    name: str
    """The fused function's name, "fused_conv2d_add_relu"; several tasks may share it."""
    weight: int
    """How often one inference runs it."""
    flops: int
    """Floating-point operations of one call, counted as a direct convolution's whatever the variant; 0 where none."""
    kind: Kind
    shape: Mapping[str, int]
    """The loops' extents by the names that the kind's template uses (`tiles`)."""
    variant: Variant = "direct"
    site: str = ""
    """Shapes, strides and padding of the convolution, "" for others: tasks of one site compete by variant."""
    epilogue: str = ""
    """What is fused behind the convolution; variants are compared where it is the same."""
    weights_bytes: int = 0
    """Bytes of constants that one call reads."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A candidate that is to be tried."""

    task: str
    """Hash of the task's workload."""
    candidate: Mapping[str, Any]
    """As its template reads it, or {"trace": n} for MetaSchedule's own."""
    stage: Stage
    cold_bytes: int = 0
    """So many bytes of weights are touched from one call to the next with the same ones; 0: they stay in the caches."""
    trace: Any = None
    """A record of MetaSchedule's own that takes the place of the task's template."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate that was tried: a line of `trials.jsonl`."""

    task: str
    """Hash of the task's workload."""
    kind: Kind
    shape: Mapping[str, int]
    """Kind and shape of the task, by which other models' tasks find it."""
    variant: Variant
    candidate: Mapping[str, Any]
    """The candidate as its template reads it, or {"trace": n} for MetaSchedule's own."""
    space: Space
    stage: Stage
    seconds: float | None
    """Time of one call; None where it failed."""
    cold: bool = False
    """Whether the weights were out of the caches."""
    error: str = ""
    """One line: "timed out after 10 s", "killed by SIGSEGV", or the compiler's complaint."""
    elapsed_s: float = 0.0
    """Seconds of tuning of this database so far, over all sessions, when it was finished."""


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """Tune the ONNX file *model* into the folder *database*, which is created if missing and resumed if not."""

    model: Path
    database: Path
    threads: int = 1
    space: Space = "bakeoff"
    seconds: float | None = None
    """Wall-clock budget of this call; None: until *trials*, or until nothing is left to try."""
    trials: int | None = None
    """Budget in trials of this call. With a seed it fixes the set of workloads that get tuned."""
    seed: int = 0
    starts: int = 3
    """Different starting tiles from which each task is refined."""
    trial_timeout_s: float = 10.0
    """A candidate that takes longer to build and time is killed and costs one trial."""
    lanes: int = 1
    """Candidates that are built at the same time; they are timed one by one. The stock space has one at a time."""
    building_cores: tuple[int, ...] = ()
    """Where candidates are built; (): wherever the system likes."""
    timing_cores: tuple[int, ...] = ()
    """Where they are timed; (): where they were built."""
    target: Mapping[str, Any] | None = None
    """TVM's target; None: this CPU's. Its num-cores is set to *threads*."""
    python: str = sys.executable
    """The interpreter that has tvm."""
    warm: tuple[Path, ...] = ()
    """Other databases (another model's, a near target's) whose best candidates for like tasks are tried first."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where tuning stands, after each trial and at each change of stage."""

    stage: Stage
    task: str
    """Name of the task last tried, "" before the first."""
    tasks: int
    """Tasks of all variants that compete."""
    tuned: int
    """Tasks that have at least one finished trial."""
    trials: int
    """Trials of this call, failed ones included."""
    failed: int
    best_ms: float | None
    """Best time of the task last tried."""
    estimated_ms: float | None
    """Sum over the graph's tasks of weight x best time, the better variant for each site; None until all have one."""
    elapsed_s: float


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One step of the tuning curve: it only falls."""

    trials: int
    elapsed_s: float
    estimated_ms: float


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What became of one task."""

    task: Task
    trials: int
    failed: int
    hot_ms: float | None
    """Best time with weights in the caches; None: no candidate worked."""
    cold_ms: float | None
    """Time of the chosen candidate with weights out of the caches; None where it was not taken."""
    candidate: Mapping[str, Any] | None
    used: bool
    """Whether the variant won its site (true for tasks without variants)."""


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """What a call of `tune` did. Databases hold all that is in here."""

    tasks: tuple[TaskResult, ...]
    trials: int
    failed: int
    seconds: float
    estimated_ms: float | None
    curve: tuple[CurvePoint, ...]
    target: Mapping[str, Any]
    interrupted: bool = False
    """Ended by Ctrl-C: all finished trials are kept."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What a database gave to one compilation. Written into the artifact and told by `Session.executed`."""

    tasks: int
    tuned: int
    flops_share: float
    """Share (0-1) of the graph's flops that lies in tuned tasks; 1 where the graph has none."""
    untuned: tuple[str, ...] = ()
    """Names of the kernels without a record: they have the default schedule."""
    variants: Mapping[str, int] = field(default_factory=dict)
    """How many convolutions are computed by each variant: {"direct": 4, "wino4": 13}."""
    spaces: Mapping[str, int] = field(default_factory=dict)
    """How many tuned kernels come from each space."""
    target_id: str = ""
    digest: str = ""
    """sha256 of the records that were applied."""


# `tuner.tune` takes a `TuneRequest` and returns a `TuneResult`; `records` reads and writes databases, `pack` the single
# files that are exported, imported and shipped. In the adapter, the option `records` names a database or such a file;
# `shelf` finds what there is else, `serving` chooses of it for one model, and `executed()` tells what `Applied` holds.
