"""The adapter: compiling is copying the ONNX file, inferring is onnx's reference evaluator."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from bakeoff.backends.base import Array, CompileRequest, Device, Executed, LoadRequest, Probe
from bakeoff.backends.profile import ProfiledSession
from bakeoff.backends.signature import load_signature, read_signature, save_signature
from bakeoff.models.errors import StageError, UnsupportedError

from .faults import Fault, parse_fault

__all__ = ["NumpyReferenceBackend"]

_MODEL = "model.onnx"

_REPRODUCER = """\
import numpy as np
import threadpoolctl
from onnx.reference import ReferenceEvaluator


def build(model: str, threads: int):
    threadpoolctl.threadpool_limits(limits=threads)
    evaluator = ReferenceEvaluator(model)

    def run(feeds: list[np.ndarray]) -> list[np.ndarray]:
        return evaluator.run(None, dict(zip(evaluator.input_names, feeds)))

    return run
"""


class NumpyReferenceBackend:
    """onnx's reference evaluator as a backend; see `faults` for how it fails on demand."""

    name = "numpy_reference"
    extra = "numpy_reference"
    role: Literal["baseline", "compiler"] = "compiler"

    def probe(self) -> Probe:
        """Available wherever onnx is."""
        try:
            import onnx
        except ImportError as error:
            return Probe(available=False, reason=f"onnx cannot be imported: {error}")
        return Probe(
            available=True,
            version=onnx.__version__,
            devices=(Device(name="cpu", description="NumPy", tested=True),),
            packages={"onnx": onnx.__version__, "numpy": np.__version__},
        )

    def cache_key(self, request: CompileRequest) -> Mapping[str, str]:
        """The artifact is a copy: nothing but onnx's version and the options' names and values goes into it."""
        return {"onnx": self.probe().version, **{f"option {key}": request.options[key] for key in request.options}}

    def compile(self, request: CompileRequest) -> tuple[str, ...]:
        """Copy the model, after trying that the evaluator has all its operators."""
        fault = _check(request)
        fault.strike("compile")
        _evaluator(request.model, "compile")
        save_signature(request.out, read_signature(request.model))
        shutil.copyfile(request.model, request.out / _MODEL)
        return ()

    def load(self, request: LoadRequest) -> NumpyReferenceSession:
        """Make the evaluator."""
        fault = _check(request)
        fault.strike("load")
        return NumpyReferenceSession(request.artifact, request.threads, fault)

    def profiling_options(self, _request: CompileRequest) -> Mapping[str, str]:
        """The same artifact serves."""
        return {}

    def load_profiled(self, request: LoadRequest, _model: Path) -> ProfiledSession:
        """Make the evaluator, with a clock around each node."""
        from .profiler import NumpyProfiledSession

        fault = _check(request)
        fault.strike("load")
        return NumpyProfiledSession(request.artifact, request.threads, fault)

    def reproducer(self, request: CompileRequest) -> str:
        """The evaluator alone; faults are the adapter's and not in it."""
        _check(request)
        return _REPRODUCER


class NumpyReferenceSession:
    """A reference evaluator whose BLAS is limited to the threads asked for."""

    def __init__(self, artifact: Path, threads: int, fault: Fault) -> None:
        from threadpoolctl import threadpool_limits

        signature = load_signature(artifact)
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._limits = threadpool_limits(limits=threads)
        self._evaluator = _evaluator(artifact / _MODEL, "load")
        self._fault = fault
        self._done = 0
        self._first: list[Array] = []

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once, with the fault if its time has come."""
        self._fault.strike("infer", self._done)
        names = [spec.name for spec in self.inputs]
        outputs = [np.asarray(array) for array in self._evaluator.run(None, dict(zip(names, feeds, strict=True)))]
        self._first = self._first or outputs
        outputs = self._fault.outputs(outputs, self._first, self._done)
        self._done += 1
        return outputs

    def executed(self) -> Executed:
        """NumPy in fp32, with as many threads as BLAS says that it uses."""
        from threadpoolctl import threadpool_info

        pools = {str(pool["internal_api"]): int(pool["num_threads"]) for pool in threadpool_info()}
        return Executed(
            device="cpu",
            precision="fp32",
            threads=max(pools.values(), default=1),
            marks=("reference evaluator",),
            details={"blas": ", ".join(pools)},
        )

    def close(self) -> None:
        """Give BLAS its threads back."""
        self._limits.restore_original_limits()


def _check(request: CompileRequest | LoadRequest) -> Fault:
    if request.device != "cpu":
        raise UnsupportedError(f"no device {request.device!r} here; known: cpu", stage="compile")
    return parse_fault(request.options)


def _evaluator(model: Path, stage: str) -> Any:
    from onnx.reference import ReferenceEvaluator

    try:
        return ReferenceEvaluator(str(model))
    except NotImplementedError as error:
        raise UnsupportedError(str(error), blame="importer", stage=stage) from error
    except Exception as error:
        raise StageError(f"{type(error).__name__}: {error}", blame="runtime", stage=stage) from error
