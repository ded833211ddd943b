"""The adapter of Apache TVM: its artifact is a shared library of machine code for this CPU."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...models.errors import Blame, CellError, StageError, UnsupportedError
from ..base import Array, CompileRequest, Device, Executed, LoadRequest, Probe, Tuning
from ..host import code_digest, host_features, isa, package_versions
from ..options import FOLDER, check_device, read_options
from ..precision import (
    count_stored_weights,
    count_weight_precisions,
    precision_name,
    simulated_mark,
    stored_details,
)
from ..profile import ProfiledSession
from ..signature import load_signature, read_signature, save_signature
from . import channels, lowering, operators, pipeline, provenance, records_apply, schedules
from . import spread as spreading
from .chosen import Chosen, FindKernels, choose_records, read_tuning, tuning_of
from .kernels import save_kernels
from .rows import EXECUTED
from .tuning.contract import Applied
from .tuning.kernels import ask_kernels, find_kernels
from .tuning.use import prepare_tuned

__all__ = ["TvmBackend", "TvmSession", "smoke"]

_LIBRARY = "model.so"
_FACTS = "facts.json"

_ARITHMETIC = {
    "bf16": "widened to fp32, tensors stored in bf16",
    "fp16": "rounded to fp16 after every operation, sums too",
}

_CODE = (
    "tvm/adapter.py",
    "tvm/chosen.py",
    "tvm/kernels.py",
    "tvm/provenance.py",
    "tvm/tuning/history.py",
    "tvm/tuning/use.py",
    "tvm/tuning/choice.py",
    "tvm/tuning/classify.py",
    "tvm/tuning/kernels.py",
    "tvm/tuning/serving.py",
    "precision.py",
    "profile_axes.py",
)

_PARTS = (pipeline, operators, channels, lowering, records_apply, spreading, schedules)
"""Their text is all that a reproducer needs."""

_DISTRIBUTIONS = ("apache-tvm", "apache-tvm-ffi")

_REPRODUCER = """\
{pipeline}

def build(model: str, threads: int) -> Any:
    import tempfile

    import_tvm(threads)
    target = {target!r}
    library = Path(tempfile.mkdtemp()) / "model.so"
    imported = import_onnx(Path(model), pad_channels, own_operators())
    prepared, _ = prepare(imported, target, lowerings(plan_of({variants!r})), tunable={tuned})
{apply}    link(schedule(prepared, target), target, library)
    return caller(library)
"""
_APPLY = """\
    prepared = apply_records(prepared, target, read_lines(Path({folder!r}), {lines!r}))
"""
_SPREAD = """\
    prepared, _ = spread(prepared, threads)
"""


class TvmBackend:
    """Adapter of Apache TVM on the CPU.

    Kernels get the schedules of tuning records (see `tuning`): the user's own, imported ones, and those that ship with
    bakeoff, as far as they fit this CPU. All others get a default schedule, and a figure with such kernels is marked.
    Its option `records` names one database or exported file instead, or "none"; `space` takes the records of one space.
    """

    name = "tvm"
    extra = "tvm"
    role: Literal["baseline", "compiler"] = "compiler"

    def probe(self) -> Probe:
        """Whether tvm can be imported and a C compiler is there to link what it compiles."""
        try:
            tvm = pipeline.import_tvm(1)
        except ImportError as error:
            return Probe(available=False, reason=f"tvm cannot be imported: {error}")
        from tvm.support import cc

        compiler = cc.get_cc()
        target = pipeline.host_target(host_features())
        return Probe(
            available=compiler is not None,
            version=tvm.__version__,
            reason="" if compiler else _NO_COMPILER,
            devices=(Device(name="cpu", description=f"LLVM {target['mcpu']}", tested=True),),
            packages=package_versions(*_DISTRIBUTIONS),
            details={"target": json.dumps(target), "c_compiler": compiler or "none"},
        )

    def smoke(self) -> str:
        """Try the compiler and what crashes with some versions of tvm-ffi; see the function of this name."""
        return smoke()

    def cache_key(self, request: CompileRequest) -> Mapping[str, str]:
        """Versions, ISA, the digest of the pipeline's text, and of this model's records, which hold for a thread count.

        Without records the number of threads is set at load. A model whose kernels cannot be found has none; its
        compilation says why.
        """
        digest = hashlib.sha256(_source().encode()).hexdigest()
        key = {**package_versions(*_DISTRIBUTIONS), "isa": isa(), "pipeline": digest, "code": code_digest(*_CODE)}
        read_options("tvm", request.options, _OPTIONS)
        if not request.model.is_file():
            return key
        try:
            chosen = _records(request, ask_kernels)
        except CellError:
            return {**key, "records": "unknown"}
        if chosen is None:
            return key
        return {
            **key,
            "records": chosen.gathered.digest,
            # What tuning cost is told with its result, so trials that found nothing better count too.
            "trials": str(chosen.gathered.trials),
            "threads": str(request.threads),
            "target": json.dumps(chosen.target, sort_keys=True),
        }

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Write the library, the signature, what `executed` reports, and what its kernels run, for `load_profiled`."""
        _check(request)
        pipeline.import_tvm(request.threads)
        from tvm.support import cc

        if cc.get_cc() is None:
            raise StageError(_NO_COMPILER, blame="compiler", stage="compile")
        signature = read_signature(request.model)
        facts = _facts(request.model)
        module = _imported(request.model)
        chosen = _records(request, find_kernels)
        target = _target(chosen)
        try:
            with provenance.watched() as stages:
                made = _scheduled(module, chosen, target, request.threads)
            pipeline.link(made.module, target, request.out / _LIBRARY)
        except Exception as error:  # its errors share no base class
            raise _failed(error, "compiler", "compile") from error
        save_signature(request.out, signature)
        facts |= {"target": json.dumps(target), "plain_loops": ", ".join(schedules.plain_loops(made.module))}
        facts |= {"tuning": None if made.tuning is None else asdict(made.tuning), "spread": made.spread}
        facts["applied"] = None if made.applied is None else asdict(made.applied)
        (request.out / _FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        save_kernels(request.out, provenance.find_kernels(stages, made.module))
        return (_note(made.applied), *made.remarks)

    def load(self, request: LoadRequest) -> TvmSession:
        """Load the library into a virtual machine of Relax."""
        _check(request)
        pipeline.import_tvm(request.threads)
        try:
            return TvmSession(request)
        except (RuntimeError, OSError, ValueError) as error:
            raise _failed(error, "runtime", "load") from error

    def profiling_options(self, _request: CompileRequest) -> Mapping[str, str]:
        """None: what is timed is what is profiled."""
        return {}

    def load_profiled(self, request: LoadRequest, model: Path) -> ProfiledSession:
        """Load the library, with a clock around each of its kernels."""
        from .profile import TvmProfile

        _check(request)
        pipeline.import_tvm(request.threads)
        try:
            return TvmProfile(request, model)
        except (RuntimeError, OSError, ValueError) as error:
            raise _failed(error, "runtime", "load") from error

    def reproducer(self, request: CompileRequest) -> str:
        """The text of the pipeline, and what calls it."""
        _check(request)
        pipeline.import_tvm(request.threads)
        chosen = _records(request, ask_kernels)
        text = {"pipeline": _source(), "target": _target(chosen)}
        if chosen is None:
            return _REPRODUCER.format(**text, variants={}, tuned=False, apply="")
        apply = _APPLY.format(folder=str(chosen.folder), lines=list(range(len(chosen.gathered.servings))))
        apply += _SPREAD if chosen.gathered.spread else ""
        return _REPRODUCER.format(**text, variants=dict(chosen.gathered.variants), tuned=True, apply=apply)


class TvmSession:
    """A loaded library. Outputs lie in memory of TVM that stays valid as long as the arrays do."""

    def __init__(self, request: LoadRequest, prepare: Callable[[Any], None] | None = None) -> None:
        signature = load_signature(request.artifact)
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._facts: dict[str, Any] = json.loads((request.artifact / _FACTS).read_text())
        self._run = pipeline.caller(request.artifact / _LIBRARY, prepare)

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once. Feeds that are aligned to 64 bytes and writable are not copied."""
        return self._run(feeds)

    def executed(self) -> Executed:
        """Threads by TVM's pool; precision by the weights: TVM computes in the graph's types, bar `EXECUTED`."""
        import tvm

        return Executed(
            device="cpu",
            precision=self._facts["precision"],
            threads=int(tvm.get_global_func("runtime.NumThreads")()),
            fallbacks=(f"kernels left as plain loops: {plain}",) if (plain := self._facts["plain_loops"]) else (),
            marks=(*_untuned_mark(self._facts["applied"]), *_spread_mark(self._facts["spread"]), *self._facts["marks"]),
            details={
                "target": self._facts["target"],
                **_schedule_details(self._facts["applied"]),
                **_spread_details(self._facts["spread"]),
                **stored_details(self._facts["stored"], "dequantized once, when it is compiled"),
                **self._facts["arithmetic"],
            },
            tuning=read_tuning(self._facts["tuning"]),
        )

    def close(self) -> None:
        """Drop the virtual machine."""
        del self._run


_OPTIONS: Mapping[str, tuple[str, ...]] = {"records": ("", "none", FOLDER), "space": ("", "bakeoff", "stock")}

_NO_COMPILER = "TVM needs a C compiler to link its code: install g++ or set CXX"


def smoke() -> str:
    """Compile and run `x + x`, and write a module as JSON, which crashes with some versions of tvm-ffi.

    To be called in a process of its own. Returns TVM's version; raises what TVM raises.
    """
    import numpy as np

    tvm = pipeline.import_tvm(1)
    from tvm import relax

    builder = relax.BlockBuilder()
    value = relax.Var("x", relax.TensorType([4], "float32"))
    with builder.function("main", [value]):
        builder.emit_func_output(builder.emit(relax.op.add(value, value)))
    module = builder.get()
    tvm.ir.load_json(tvm.ir.save_json(module))
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    result = machine["main"](tvm.runtime.tensor(np.arange(4, dtype=np.float32))).numpy()
    np.testing.assert_array_equal(result, np.arange(4, dtype=np.float32) * 2)
    return str(tvm.__version__)


def _source() -> str:
    return "\n\n".join(inspect.getsource(part) for part in _PARTS)


def _check(request: CompileRequest | LoadRequest) -> None:
    read_options("tvm", request.options, _OPTIONS)
    check_device("tvm", request.device, ("cpu",))


def _records(request: CompileRequest, find: FindKernels) -> Chosen | None:
    """The tuning records for *request*: those that its options name, else all that fit here; None for none."""
    return choose_records(read_options("tvm", request.options, _OPTIONS), request.threads, request.model, find)


def _target(chosen: Chosen | None) -> dict[str, Any]:
    """This CPU, or the near target that the records hold for."""
    return pipeline.host_target(host_features()) if chosen is None else chosen.target


@dataclass(frozen=True, kw_only=True)
class _Scheduled:
    """Loops for every kernel, and how they were found."""

    module: Any
    remarks: Sequence[str]
    applied: Applied | None = None
    tuning: Tuning | None = None
    spread: int | None = None
    """How many kernels run records of one thread in parallel; None where all records are for as many as run."""


def _scheduled(imported: Any, chosen: Chosen | None, target: Mapping[str, Any], threads: int) -> _Scheduled:
    if chosen is None:
        prepared, remarks = pipeline.prepare(imported, target, lowering.lowerings(lowering.plan_of({})))
        return _Scheduled(module=schedules.schedule(prepared, target), remarks=remarks)
    tuned = prepare_tuned(imported, chosen.gathered)
    pairs = records_apply.read_lines(chosen.folder, tuned.lines)
    prepared, spread = records_apply.apply_records(tuned.module, target, pairs), None
    if chosen.gathered.spread:
        prepared, names = spreading.spread(prepared, threads)
        spread = len(names)
    return _Scheduled(
        module=schedules.schedule(prepared, target),
        remarks=tuned.remarks,
        applied=tuned.applied,
        tuning=tuning_of(chosen, tuned) if tuned.applied.tuned else None,
        spread=spread,
    )


def _note(applied: Applied | None) -> str:
    if applied is None or applied.tuned == 0:
        return "untuned: default schedules, no search"
    return f"tuned: {applied.tuned} of {applied.tasks} tasks, {applied.flops_share:.1%} of the operations"


def _untuned_mark(applied: Mapping[str, Any] | None) -> tuple[str, ...]:
    if applied is None or applied["tuned"] == 0:
        return ("untuned",)
    left = applied["tasks"] - applied["tuned"]
    return (f"{left} of {applied['tasks']} tasks untuned",) if left else ()


def _spread_mark(spread: int | None) -> tuple[str, ...]:
    return () if spread is None else ("tuned for 1 thread",)


def _spread_details(spread: int | None) -> dict[str, str]:
    if spread is None:
        return {}
    return {"parallel loops": f"records of one thread; the outer loops of {spread} kernels are spread over all threads"}


def _schedule_details(applied: Mapping[str, Any] | None) -> dict[str, str]:
    if applied is None:
        return {"schedule": "default tiles, no search"}
    spaces = ", ".join(f"{count} tasks by the space {name}" for name, count in applied["spaces"].items())
    details = {
        "schedule": f"tuned: {spaces}" if spaces else "default tiles: no record fits",
        "records": f"{applied['target_id']} {applied['digest'][:12]}",
        "tuned share of operations": f"{applied['flops_share']:.1%}",
        "convolutions": ", ".join(f"{count} {name}" for name, count in sorted(applied["variants"].items())) or "none",
    }
    return {**details, "untuned tasks": ", ".join(applied["untuned"])} if applied["untuned"] else details


def _imported(model: Path) -> Any:
    import tvm

    try:
        return pipeline.import_onnx(model, channels.pad_channels, operators.own_operators())
    except tvm.error.OpNotImplemented as error:
        raise UnsupportedError(" ".join(str(error).split()), blame="importer", stage="compile") from error
    except Exception as error:  # its errors share no base class
        raise _failed(error, "importer", "compile") from error


def _facts(model: Path) -> dict[str, Any]:
    """What `executed` tells of the graph; raises `UnsupportedError` for quantization in blocks, which TVM lacks."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    for node in graph.node:
        if any(attribute.name == "block_size" and attribute.i for attribute in node.attribute):
            reason = f"TVM cannot import {node.op_type} at node {node.name or node.output[0]!r}: quantization in blocks"
            raise UnsupportedError(reason, blame="importer", stage="compile")
    weights = count_weight_precisions(graph, integer="int32")
    counts: Counter[str] = Counter()
    for name, count in weights.items():
        counts[EXECUTED.get(name, name)] += count
    return {
        "precision": precision_name(counts),
        "marks": simulated_mark(graph, counts),
        "stored": count_stored_weights(graph),
        "arithmetic": {f"{name} arithmetic": _ARITHMETIC[name] for name in weights if name in _ARITHMETIC},
    }


def _failed(error: Exception, blame: Blame, stage: str) -> StageError:
    return StageError(f"{type(error).__name__}: {' '.join(str(error).split())[:2000]}", blame=blame, stage=stage)
