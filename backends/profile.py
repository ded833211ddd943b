"""What a runtime's own profiler tells of one inference: rows in order of execution, and what each says of ONNX nodes.

Profiling is a pass of its own: a session that is timed is never profiled. Each reader of a runtime's profile gives what
that runtime *says* (a name, a value, the bytes of a weight) and nothing that has to be guessed: to guess is the work of
the alignment, which keeps both apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, Protocol, get_args, runtime_checkable

from ..models.spec import TensorSpec
from .base import Array, CompileRequest, Executed, LoadRequest

__all__ = ["Claim", "Evidence", "Profile", "Profiled", "ProfiledSession", "Row", "settle_claims", "unique_names"]

Evidence = Literal["name", "value", "weights", "rule", "order"]
"""Why a row is held to run an ONNX node, the strongest first: the runtime names the node; it makes the very value that
the node makes, by its name or by a number that two equal computations share; its constant has the content of the node's
weights; a naming rule of the runtime; equal place in an equal order."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A row runs this ONNX node, by this evidence."""

    node: str
    """Name of the node in the ONNX file that was compiled."""
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a runtime's profile: a kernel that ran once in each inference."""

    name: str
    """As the runtime calls it; unique within a profile (a number is added where the runtime repeats one)."""
    kind: str
    """The operation, in the runtime's own word: "Conv", "Convolution", "ReorderOutput", ..."""
    role: Literal["compute", "runtime"]
    """"runtime": copies into other layouts, quantizing of inputs and the like, which belong to no ONNX node."""
    times_ms: tuple[float, ...]
    """One for each profiled inference, in order."""
    claims: tuple[Claim, ...] = ()
    reads: tuple[int, ...] | None = None
    """Places in `Profile.rows` of the rows whose results it takes; None where the runtime does not tell."""
    output_shape: tuple[int, ...] | None = None
    """In the ONNX file's order of axes, where the runtime tells; else None."""
    weight_shape: tuple[int, ...] | None = None
    """Of a convolution or a product with constant weights, as in the ONNX file; else None."""
    precision: str = ""
    """What it executed in ("fp32", "int8", "bf16", ...), where the runtime tells."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """All rows of one compiled model on one backend, in order of execution."""

    rows: tuple[Row, ...]
    inference_ms: tuple[float, ...]
    """Wall-clock time of each profiled inference by our own clock, with the profiler on."""
    notes: tuple[str, ...] = ()

    @property
    def between_ms(self) -> float:
        """Median over the inferences of what no row of the very inference accounts for.

        The median alone less the rows' medians would tell too much: what interrupts an inference now and then is in few
        times of any row, and in the median of none.
        """
        return median(
            whole - sum(row.times_ms[place] for row in self.rows) for place, whole in enumerate(self.inference_ms)
        )


class ProfiledSession(Protocol):
    """A session whose runtime keeps account of each kernel; else a `Session` like that of `Backend.load`."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """As `Session.infer`."""
        ...

    def executed(self) -> Executed:
        """As `Session.executed`."""
        ...

    def close(self) -> None:
        """As `Session.close`."""
        ...

    def collect(self) -> None:
        """Keep what the runtime told of the last inference.

        The harness calls it outside its clock, right after each inference that counts; what it is not called after
        (warm-up) is forgotten.
        """
        ...

    def rows(self) -> tuple[Row, ...]:
        """The rows, in order of execution, with one time for each `collect`; called once, before `close`."""
        ...


@runtime_checkable
class Profiled(Protocol):
    """A backend whose runtime has a profiler."""

    def profiling_options(self, request: CompileRequest) -> Mapping[str, str]:
        """Options to compile with besides those of *request*, where a profile wants an artifact of its own; else none.

        They go through `cache_key`, as all options do, and come back in the request of `load_profiled`.
        """
        ...

    def load_profiled(self, request: LoadRequest, model: Path) -> ProfiledSession:
        """As `Backend.load`, with the profiler on. *model* is the ONNX file that was compiled.

        Raises what `load` raises, and `UnsupportedError` with the reason where this device or version cannot.
        """
        ...


def settle_claims(found: Iterable[tuple[str, Evidence]]) -> tuple[Claim, ...]:
    """Claims on each node of *found* once, in its order, by the strongest evidence there is."""
    strength = get_args(Evidence)
    best: dict[str, Evidence] = {}
    for node, evidence in found:
        if node not in best or strength.index(evidence) < strength.index(best[node]):
            best[node] = evidence
    return tuple(Claim(node=node, evidence=evidence) for node, evidence in best.items())


def unique_names(names: Sequence[str]) -> list[str]:
    """*names* with a number behind each that came before."""
    taken: set[str] = set()
    found = []
    for name in names:
        unique = name
        count = 1
        while unique in taken:
            count += 1
            unique = f"{name} ({count})"
        taken.add(unique)
        found.append(unique)
    return found
