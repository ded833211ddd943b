"""The whole contract between the harness and a backend.

A `Backend` is stateless: it says whether it can run here, compiles an ONNX file to an artifact on disk, and loads
that artifact into a `Session`. A session infers; it never times itself, because the harness holds the clock. The
clock's boundary is: from the input arrays in host memory to the output arrays in host memory.

`compile` and `load` are called in two different fresh processes, so nothing may be kept in the object between
them: all that `load` needs lies in the artifact's folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..models.spec import TensorSpec

__all__ = [
    "Array",
    "AsyncSession",
    "Backend",
    "CompileRequest",
    "Device",
    "Executed",
    "LoadRequest",
    "Probe",
    "Quantization",
    "Session",
    "SmokeTested",
    "Tuning",
]

Array = NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device a backend can run on, by the name a user gives with --device."""

    name: str
    """Lower case: "cpu", "cuda", "gpu", "npu", "gpu.1", ..."""
    description: str
    tested: bool = False
    """False: written against the documented API only, never run by bakeoff's own tests."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Whether a backend can run in this environment, and in which version."""

    available: bool
    version: str = ""
    reason: str = ""
    """Why it is not available (one line), else ""."""
    devices: tuple[Device, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of all packages that matter to the result: {"torch": "2.14.1", ...}."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Other facts worth recording: execution providers, compiler found, ..."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What a runtime that quantizes with a tool of its own needs, beside the quantized ONNX file of `CompileRequest`.

    The others compile that file and leave this alone.
    """

    kind: Literal["int8", "int8-dynamic", "int8-weights", "int4-weights"]
    float_model: Path
    """An ONNX file in float to start from. For "int8" its weights lie on the levels of int8 already (symmetric, per
    output channel, the largest at 127) and its biases make up for what that moves."""
    calibration: Path | None
    """.npz with `images` (N, C, H, W), the very data that calibrated the ONNX file; None where none is needed."""
    keep: tuple[str, ...] = ()
    """Names of the ONNX nodes that stay in float."""


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """Compile *model* into the existing empty folder *out*."""

    model: Path
    out: Path
    device: str = "cpu"
    threads: int = 1
    options: Mapping[str, str] = field(default_factory=dict)
    """A backend's own options from the suite, as text; an unknown key or bad value raises OptionError."""
    quantization: Quantization | None = None
    """Set where *model* came out of a quantizing step."""


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """Load the artifact that `compile` left in the folder *artifact*; the settings are those of its compilation."""

    artifact: Path
    device: str = "cpu"
    threads: int = 1
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a search found the schedules that a session runs, and what that cost."""

    tasks: int
    """Kernels that can be tuned."""
    tuned: int
    """Those of them that have a schedule from the search; the others have a default one."""
    flops_share: float
    """Share (0 to 1) of the floating-point operations that lies in tuned kernels."""
    untuned: tuple[str, ...] = ()
    """Names of the others."""
    spaces: Mapping[str, int] = field(default_factory=dict)
    """Tuned kernels by the space of candidates that was searched."""
    variants: Mapping[str, int] = field(default_factory=dict)
    """Convolutions by how they are computed: direct, wino2, wino4."""
    sources: Mapping[str, int] = field(default_factory=dict)
    """Tuned kernels by where their records come from, with the target: {"shipped (llvm-x86-64-v3-1)": 34}."""
    digest: str = ""
    """sha256 of the records."""
    trials: int = 0
    """Candidates of this model's kernels that were ever tried to get here, failed ones included."""
    failed: int = 0
    seconds: float = 0.0
    """Wall-clock time that these trials took."""
    curve: tuple[tuple[int, float, float], ...] = ()
    """(trials, seconds, estimated latency in milliseconds): it only falls; from where every kernel has a schedule."""


@dataclass(frozen=True, kw_only=True)
class Executed:
    """How a session really runs, as its runtime reports it (not as it was asked)."""

    device: str
    precision: str
    """The precision the heavy operators execute in: "fp32", "bf16", "fp16", "int8", or "mixed(...)"."""
    threads: int
    """The number of threads the runtime says that it uses."""
    fallbacks: tuple[str, ...] = ()
    """Parts that ran elsewhere than asked: other providers, reference kernels, delegates refused."""
    marks: tuple[str, ...] = ()
    """Words that must stand beside the figure wherever it is shown, e.g. "untuned"."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Other facts. "quantizer": what made this runtime's weights and scales, where they are not those of the ONNX
    file."""
    tuning: Tuning | None = None
    """Set where a search found schedules; None for a backend that does not search, and for defaults."""


class Session(Protocol):
    """One artifact, loaded in this process, ready to infer. Its outputs keep the ONNX graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once: *feeds* in the order of `inputs`, C-contiguous; outputs may be overwritten by the next call."""
        ...

    def executed(self) -> Executed:
        """How it really runs. May be called before and after `infer`."""
        ...

    def close(self) -> None:
        """Give back what the runtime holds. Called once."""
        ...


@runtime_checkable
class AsyncSession(Protocol):
    """A session whose runtime can have several inferences in flight."""

    def submit(self, feeds: Sequence[Array]) -> Any:
        """Start one inference and return a handle at once. *feeds* must stay alive and unchanged until `wait`."""
        ...

    def wait(self, handle: Any) -> Sequence[Array]:
        """Block until that inference is done and return its outputs, which stay valid."""
        ...


@runtime_checkable
class SmokeTested(Protocol):
    """A backend that can try itself out, because some combinations of its packages install well and then crash."""

    def smoke(self) -> str:
        """Compile and run something tiny; return the version that did. May crash: call it in a process of its own."""
        ...


class Backend(Protocol):
    """The adapter of one compiler or runtime. Importing its module imports no heavy library."""

    name: str
    """What users type: "onnxruntime", "openvino", "tvm", "inductor", "litert", "eager"."""
    extra: str
    """The extra that installs it: `pip install 'bakeoff[<extra>]'`."""
    role: Literal["baseline", "compiler"]
    """"baseline" for the one backend that every speed-up refers to."""

    def probe(self) -> Probe:
        """Whether it can run here. Imports the heavy library; raises nothing for a missing one."""
        ...

    def cache_key(self, request: CompileRequest) -> Mapping[str, str]:
        """All besides the model's bytes that goes into the artifact: versions, flags, threads if baked in, ISA.

        Raises `OptionError` for an option that the backend lacks: a run that asks for one is refused at its beginning,
        when there is no model yet.
        """
        ...

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Write the artifact into `request.out`; return notes worth showing.

        Raises `UnsupportedError` (named operator, device, option) or `StageError` with its blame.
        """
        ...

    def load(self, request: LoadRequest) -> Session:
        """Load the artifact. Raises `StageError` or `UnsupportedError`."""
        ...

    def reproducer(self, request: CompileRequest) -> str:
        """Python source, complete with imports, that defines `build(model, threads)` with this runtime alone.

        `build(model: str, threads: int)` compiles and loads the ONNX file in this process with *request*'s device
        and options and returns `run(feeds: list[np.ndarray]) -> list[np.ndarray]`. The harness puts it into the
        script that reproduces a failed cell, and measures itself against it as the bare hand-written loop.
        """
        ...
