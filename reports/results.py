"""What a run leaves behind: the schema that `show --json`, exports and reports share.

The JSON form of `Run` is public: its JSON Schema ships in `reports/schema/run.schema.json` and `SCHEMA_VERSION`
is raised whenever a reader of the old form would misread the new one. Times ending in `_ms` are milliseconds,
`_s` seconds, `_bytes` bytes; a field that was not measured is null, never zero.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "SCHEMA_VERSION",
    "Accelerator",
    "Accuracy",
    "BaselineFigure",
    "Cell",
    "CheckResult",
    "ComputePeak",
    "Control",
    "Cpu",
    "ExecutedFacts",
    "Fidelity",
    "MachineState",
    "ModelFacts",
    "Peaks",
    "Phase",
    "Run",
    "StepFacts",
    "Target",
    "TierPeak",
    "TuningFacts",
    "TuningPoint",
]

SCHEMA_VERSION = 1


class _Record(BaseModel):
    # A difference to the reference can be NaN or infinite; as null it would read as "not measured" and not load again.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="strings")


class Cpu(_Record):
    """The processor as the operating system shows it."""

    model: str
    vendor: str = ""
    arch: str
    isa: tuple[str, ...] = ()
    """Features that matter to inference, in a fixed order: "avx2", "fma", "avx512f", "avx512_vnni", "amx_int8", ..."""
    physical_cores: int | None = None
    logical_cores: int
    usable_cores: int
    """Cores in the cpuset that bakeoff inherited."""
    caches: dict[str, int] = Field(default_factory=dict)
    """Bytes by level: {"L1d": ..., "L2": ..., "L3": ...}, per instance."""


class Accelerator(_Record):
    """A GPU or NPU that an installed runtime can see."""

    kind: str
    name: str
    seen_by: str


class ComputePeak(_Record):
    """How fast the cores multiply and add in one precision, their operands in registers."""

    precision: str
    """"fp32", "fp16", "bf16", "int8"."""
    instruction: str = ""
    """The fastest of the instructions that were tried: "AVX-512 vfmadd231ps"."""
    single_core_gmac_s: float | None = None
    """Multiply-accumulates, 10^9 a second; each is two FLOP."""
    all_cores_gmac_s: float | None = None
    reason: str = ""
    """Why it was not measured."""


class TierPeak(_Record):
    """How fast the cores move data whose working set fits one level of the memory."""

    tier: str
    """"L1", "L2", "L3", "memory"."""
    capacity_bytes: int | None = None
    """Of one cache; null of memory."""
    instances: int = 1
    """How many such caches the usable cores have."""
    working_set_bytes: int | None = None
    """What each core worked on."""
    read_single_core_gbytes_s: float | None = None
    read_all_cores_gbytes_s: float | None = None
    copy_single_core_gbytes_s: float | None = None
    """Bytes read plus bytes written."""
    copy_all_cores_gbytes_s: float | None = None
    update_single_core_gbytes_s: float | None = None
    """Of one array changed by another: bytes read of both plus bytes written."""
    update_all_cores_gbytes_s: float | None = None
    reason: str = ""
    """Why it was not measured."""

    @property
    def rates_gbytes_s(self) -> dict[str, tuple[float | None, float | None]]:
        """By way of moving data: on one core and on all."""
        return {
            "read": (self.read_single_core_gbytes_s, self.read_all_cores_gbytes_s),
            "copy": (self.copy_single_core_gbytes_s, self.copy_all_cores_gbytes_s),
            "update": (self.update_single_core_gbytes_s, self.update_all_cores_gbytes_s),
        }

    @property
    def best_gbytes_s(self) -> tuple[float | None, float | None]:
        """On one core and on all, whichever way of moving data is the fastest there; None where none was measured."""
        one, every = zip(*self.rates_gbytes_s.values(), strict=True)
        return max(filter(None, one), default=None), max(filter(None, every), default=None)


class Peaks(_Record):
    """Rates measured on the target; null where measuring was not possible."""

    gemm_fp32_single_core_gflops: float | None = None
    gemm_fp32_all_cores_gflops: float | None = None
    copy_bandwidth_single_core_gbytes_s: float | None = None
    copy_bandwidth_all_cores_gbytes_s: float | None = None
    compute: tuple[ComputePeak, ...] = ()
    """By precision: what no layer can exceed."""
    tiers: tuple[TierPeak, ...] = ()
    """Nearest to the cores first."""
    cores: int | None = None
    """How many "all cores" are."""
    measurements: int = 1
    """These are the best of so many, at different times."""
    method: str = ""
    unsettled: dict[str, float] = Field(default_factory=dict)
    """Rates that did not come out alike, by name: how many percent two looks at them differ by. These are the halves of
    one measurement, or the latest one and those before."""


class Target(_Record):
    """One hardware target; `id` stays the same from run to run as long as the hardware and its limits do."""

    id: str
    name: str
    cpu: Cpu
    memory_bytes: int
    os: str
    kernel: str = ""
    python: str = ""
    container: dict[str, str] = Field(default_factory=dict)
    """Limits of the container or cgroup: {"cpu_quota_cores": "2.0", "memory_limit_bytes": "...", ...}."""
    accelerators: tuple[Accelerator, ...] = ()
    peaks: Peaks | None = None


class MachineState(_Record):
    """The machine before, during or after a part of a run."""

    when: datetime
    load_1m: float | None = None
    governor: str | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    steal_percent: float | None = None
    throttled_periods: int | None = None
    """cgroup: how often the CPU quota has stopped us so far."""
    memory_available_bytes: int | None = None
    busy_processes: tuple[str, ...] = ()
    """Others that used more than a tenth of a core: "name (pid): 87% of a core"."""


class StepFacts(_Record):
    """One step of a variant: with what it was done, and what it did."""

    step: str
    """Its canonical spelling, "channel50"."""
    parameters: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    input_sha256: str = ""
    output_sha256: str = ""
    facts: dict[str, str] = Field(default_factory=dict)
    """What it changed, counted: {"parameters": "11689512 -> 3055880", ...}."""
    notes: tuple[str, ...] = ()


class ModelFacts(_Record):
    """The model of a cell and where it came from."""

    model: str
    variant: str
    family: str = ""
    task: str = ""
    source: str = ""
    weights: str = ""
    """"pretrained", "random" or the name of a file."""
    weights_origin: str = ""
    licence: str = ""
    light_alternative: str | None = None
    onnx_sha256: str = ""
    onnx_bytes: int | None = None
    inputs: dict[str, str] = Field(default_factory=dict)
    """{"input": "1x3x224x224 float32"}."""
    provenance: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    steps: tuple[StepFacts, ...] = ()
    """The refactoring steps of the variant, in order; none for fp32."""
    parameters: int | None = None
    """Values in all weights of the ONNX file."""
    zero_share: float | None = None
    """Share of these that are exactly zero: a mask keeps them in place, a changed shape has none."""


class TuningPoint(_Record):
    """One step of a tuning curve."""

    trials: int
    seconds: float
    estimated_ms: float
    """Sum of the best times of the model's kernels, as measured one by one while tuning."""


class TuningFacts(_Record):
    """How a search found the schedules of a compiled model, and what that cost."""

    tasks: int
    """Kernels that can be tuned."""
    tuned: int
    """Those that run a schedule from the search; the others have a default one."""
    flops_share: float
    """Share (0 to 1) of the floating-point operations that lies in tuned kernels."""
    untuned: tuple[str, ...] = ()
    """Names of the others."""
    spaces: dict[str, int] = Field(default_factory=dict)
    """Tuned kernels by the space of candidates that was searched: {"bakeoff": 34}."""
    variants: dict[str, int] = Field(default_factory=dict)
    """Convolutions by how they are computed: {"direct": 4, "wino4": 13}."""
    sources: dict[str, int] = Field(default_factory=dict)
    """Tuned kernels by where their records come from, with the target: {"shipped (llvm-x86-64-v3-1)": 34}."""
    digest: str = ""
    """sha256 of the records."""
    trials: int = 0
    """Candidates of this model's kernels that were ever tried to get here, failed ones included."""
    failed: int = 0
    seconds: float = 0.0
    """Wall-clock time that these trials took."""
    curve: tuple[TuningPoint, ...] = ()
    """It only falls, and begins where every kernel has a schedule."""


class ExecutedFacts(_Record):
    """How a cell really ran, as its runtime and the kernel's counters say."""

    device: str
    precision: str
    threads: int
    """What the runtime says that it uses."""
    threads_seen: int | None = None
    """Threads of the worker that really burned CPU while it was timed, counted by the kernel."""
    cores: tuple[int, ...] = ()
    """The cores that the worker was pinned to."""
    fallbacks: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    """Words that must stand beside the figure wherever it is shown, e.g. "untuned"."""
    details: dict[str, str] = Field(default_factory=dict)
    tuning: TuningFacts | None = None
    """Set where a search found schedules; null for a backend that does not search, and for default schedules."""


class CheckResult(_Record):
    """How far the outputs lie from the fp32 reference."""

    reference: str
    """What computed the reference."""
    max_abs_error: float
    max_rel_error: float
    """Largest absolute difference over the largest absolute reference value."""
    rms_rel_error: float | None = None
    """Root mean square of the difference over that of the reference; of quantized outputs either may be within."""
    tolerance: float
    sampled_outputs: int = 0
    """Outputs taken from inside the timed part and compared."""
    sampled_max_rel_error: float | None = None


class Accuracy(_Record):
    """Accuracy on labelled data, of the very session that was timed. Never given for random weights."""

    metric: str
    """"top1", "mAP", "mIoU" or "exact"."""
    value: float
    """0 to 1."""
    low: float
    high: float
    """95% interval: Wilson's for shares, a bootstrap over images for mAP and mIoU."""
    n: int
    """Images evaluated."""
    pictures: int | None = None
    """Pictures that they are views of, on which *low*, *high* and *vs_fp32_low* rest; null in records of before."""
    top5: float | None = None
    simulated: float | None = None
    """The same metric on the same images with the variant's graph computed in float (Q/DQ simulated): what *value*
    would be on a machine whose integer kernels round and saturate nothing. Null for variants that are not quantized,
    and for runtimes that quantized by themselves."""
    vs_fp32: float | None = None
    """*value* minus that of the model's fp32 reference on the same images."""
    vs_fp32_low: float | None = None
    """Lower bound of *vs_fp32*, 95% one-sided, paired: -0.008 means "loses at most 0.8 points"."""
    mcnemar_p: float | None = None
    """Exact McNemar test of "as often better as worse than fp32"; null where answers are not right or wrong, or are to
    several views of each picture."""
    data: str = ""
    data_sha256: str = ""
    """Of the images and labels as they were fed."""


class Fidelity(_Record):
    """How far the session's outputs lie from the model's fp32 reference, without labels."""

    cosine: float | None = None
    """Mean cosine similarity over images; null where outputs were not finite."""
    snr_db: float | None = None
    """Signal-to-noise ratio over all outputs, 10 log10(sum ref^2 / sum (out - ref)^2); null where they are equal."""
    max_abs_error: float
    top1_agreement: float | None = None
    """Share of images with the same first class; null where the model is no classifier."""
    top1_low: float | None = None
    top1_high: float | None = None
    """Wilson's 95% interval of it."""
    widest_flip: float | None = None
    """The largest lead that the reference's first class has over its second one on an image where this session names
    another class, in units of the output; null where all agree."""
    as_close: float | None = None
    """Share of all images on which the reference's first two classes are as close as that: its near-ties."""
    top1_agreement_simulated: float | None = None
    """The same for the quantized graph computed in float."""
    n: int
    """Images compared."""
    pictures: int | None = None
    """Pictures that they are views of, on which *top1_low* and *top1_high* rest; null in records of before."""
    data: str = ""
    reference: str = ""
    """What computed the fp32 reference."""


class BaselineFigure(_Record):
    """The baseline as it was measured once more, in turn with cells that memory kept out of its own group."""

    cell: str
    """Key of the baseline's cell."""
    median_ms: float
    ci_low_ms: float
    ci_high_ms: float
    ci_confidence: float


class Cell(_Record):
    """One cell: what was asked, what came of it, and how it was measured."""

    key: str
    """Identity within a run, e.g. "resnet18@fp32/onnxruntime/single-stream/t1/b1/cpu"."""
    model: str
    variant: str
    """"resnet18@fp32"."""
    backend: str
    scenario: str
    threads: int
    batch: int
    device: str
    options: dict[str, str] = Field(default_factory=dict)
    status: Literal["ok", "failed", "unsupported", "mismatch"]
    reason: str | None = None
    blame: str | None = None
    """Whose fault a failure looks like: exporter, importer, converter, compiler, runtime, harness, unknown."""
    stage: str | None = None
    stderr_tail: str | None = None
    reproducer: str | None = None
    """Path of the script that reproduces a failure with the backend alone."""

    median_ms: float | None = None
    ci_low_ms: float | None = None
    ci_high_ms: float | None = None
    ci_confidence: float | None = None
    """Coverage that the interval really has; below 0.95 where too few blocks fitted under the time cap."""
    mean_ms: float | None = None
    min_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    throughput_per_s: float | None = None
    """Images a second: batch over the mean latency."""
    samples: int = 0
    blocks_ms: tuple[tuple[float, ...], ...] = ()
    """All samples in the order they were taken, block by block; none is ever trimmed."""
    warmup_calls: int | None = None
    warmup_steady: bool | None = None
    """False where warm-up ended at its cap before the latency had become steady."""
    converged: bool | None = None
    """False where sampling ended at the time cap before the interval was as narrow as asked."""

    first_inference_ms: float | None = None
    """First call in a fresh process, after loading."""
    cold_start_ms: float | None = None
    """Nothing cached: compile + load + first inference."""
    cached_start_ms: float | None = None
    """With the artifact cached: load + first inference."""
    compile_s: float | None = None
    compile_cached: bool | None = None
    """True where the artifact came from the cache and `compile_s` is what it cost when it was made."""
    load_s: float | None = None
    artifact_bytes: int | None = None
    artifact_id: str | None = None
    peak_rss_bytes: int | None = None
    rss_growth_bytes: int | None = None
    """Growth of the resident memory from the end of warm-up to the end of sampling."""
    rss_method: str | None = None

    executed: ExecutedFacts | None = None
    check: CheckResult | None = None
    accuracy: Accuracy | None = None
    fidelity: Fidelity | None = None
    suspicious: bool = False
    suspicious_reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    group: str | None = None
    """Cells of one group were alive together and measured in turn."""
    baseline: BaselineFigure | None = None
    """What the baseline took in this group, where its own cell belongs to an earlier part of it."""
    sitting: int = 0
    """Counts the resumptions of a run: cells of different sittings were not interleaved with each other."""
    finished_at: datetime | None = None


class Control(_Record):
    """The A/A control of one group: one cell measured twice under two names."""

    group: str
    cell: str
    """Key of the cell that was doubled."""
    median_ms: float
    twin_median_ms: float
    ratio: float
    """twin over cell."""
    floor: float
    """Upper bound of |log ratio| over paired rounds; 0.01 means that 1% differences are noise."""
    rounds: int


class Phase(_Record):
    """Wall time of one kind of work: export, compile, load, measure, other."""

    name: str
    seconds: float


class Run(_Record):
    """All cells of one suite on one target, with the manifest."""

    schema_version: int = SCHEMA_VERSION
    id: str
    created_at: datetime
    finished_at: datetime | None = None
    status: Literal["running", "interrupted", "finished"]
    bakeoff_version: str
    suite: str
    """Name of the suite."""
    suite_config: dict[str, object] = Field(default_factory=dict)
    """The suite in full, after all options of the command line."""
    command: str
    """The exact command that reproduces the run."""
    target_id: str
    target: Target
    versions: dict[str, str] = Field(default_factory=dict)
    """Packages and their versions, of every backend in the run."""
    backend_versions: dict[str, dict[str, str]] = Field(default_factory=dict)
    """The same by backend: one may have an interpreter, and so packages, of its own."""
    noise_floor: float | None = None
    """Largest floor of the run's A/A controls; null without a control."""
    models: tuple[ModelFacts, ...] = ()
    cells: tuple[Cell, ...] = ()
    controls: tuple[Control, ...] = ()
    states: tuple[MachineState, ...] = ()
    phases: tuple[Phase, ...] = ()
    notes: tuple[str, ...] = ()
