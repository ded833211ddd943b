"""Failures on demand: what a real compiler does at its worst, done by a real process.

A fault is asked for with the backend's options:

| option | value |
|---|---|
| `fault` | one of `FAULTS` |
| `stage` | "compile", "load" or "infer" (default "infer") |
| `after` | number of inferences that go well before it (default 0) |
| `seconds` | how long "slow" takes each time (default 0.2) |
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from bakeoff.backends.base import Array
from bakeoff.models.errors import OptionError, UnsupportedError

__all__ = ["FAULTS", "OPTIONS", "Fault", "parse_fault"]

FAULTS = {
    "segfault": "reads address 0",
    "abort": "calls abort()",
    "kill": "kills itself with SIGKILL, as the kernel does to whoever takes too much memory",
    "exit": "leaves the process with code 3",
    "hang": "sleeps for ever",
    "stubborn": "sleeps for ever and ignores SIGTERM and SIGINT",
    "slow": "takes `seconds` longer",
    "raise": "raises an error of Python",
    "memory": "raises MemoryError",
    "refuse": "raises UnsupportedError",
    "chatter": "writes to stdout and stderr, at the level of file descriptors too",
    "wrong": "returns outputs that are a little off (infer only)",
    "nan": "returns outputs full of NaN (infer only)",
    "confused": "has a profile whose rows claim each other's nodes",
    "cached": "returns the outputs of its first call for ever (infer only)",
}

OPTIONS = ("fault", "stage", "after", "seconds")

_STAGES = ("compile", "load", "infer")
_SIG_IGN = 1
_OF_OUTPUTS = ("wrong", "nan", "cached")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One failure and when it happens."""

    kind: str
    """A key of `FAULTS`, or "" for none."""
    stage: str
    after: int
    seconds: float

    def strike(self, stage: str, done: int = 0) -> None:
        """Fail now if it is time: *stage* has come, after *done* inferences that went well."""
        if self.kind and stage == self.stage and done >= self.after:
            _strike(self)

    def outputs(self, outputs: list[Array], first: list[Array], done: int) -> list[Array]:
        """What to return in place of *outputs*, given those of the *first* call and *done* earlier ones."""
        if done < self.after or self.kind not in _OF_OUTPUTS:
            return outputs
        if self.kind == "cached":
            return [np.array(array) for array in first]
        if self.kind == "nan":
            return [np.full_like(array, np.nan) for array in outputs]
        return [array + np.asarray(0.1 * np.abs(array).max() + 0.1, array.dtype) for array in outputs]


def parse_fault(options: Mapping[str, str]) -> Fault:
    """Read the fault from *options*; raises `OptionError` for an unknown key or a bad value."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise OptionError(f"unknown option {unknown[0]!r}; known: {', '.join(OPTIONS)}", stage="compile")
    kind, stage = options.get("fault", ""), options.get("stage", "infer")
    if kind and kind not in FAULTS:
        raise OptionError(f"option fault: {kind!r} is none of {', '.join(FAULTS)}", stage="compile")
    if stage not in _STAGES:
        raise OptionError(f"option stage: {stage!r} is none of {', '.join(_STAGES)}", stage="compile")
    if kind in _OF_OUTPUTS and stage != "infer":
        raise OptionError(f"option stage: fault {kind!r} exists at infer only", stage="compile")
    try:
        after, seconds = int(options.get("after", "0")), float(options.get("seconds", "0.2"))
    except ValueError as error:
        raise OptionError(f"options after, seconds: {error}", stage="compile") from error
    return Fault(kind=kind, stage=stage, after=after, seconds=seconds)


def _strike(fault: Fault) -> None:
    if fault.kind in ("hang", "stubborn"):
        _sleep_for_ever(deaf=fault.kind == "stubborn")
    elif fault.kind == "slow":
        time.sleep(fault.seconds)
    elif fault.kind == "chatter":
        _chatter()
    elif fault.kind in ("segfault", "abort", "kill", "exit"):
        _die(fault.kind)
    elif fault.kind in ("raise", "memory", "refuse"):
        _raise(fault)


def _die(kind: str) -> None:
    if kind == "segfault":
        ctypes.string_at(0)
    elif kind == "abort":
        os.abort()
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(3)


def _raise(fault: Fault) -> None:
    if fault.kind == "refuse":
        raise UnsupportedError("operator Refused is not supported", blame="importer", stage=fault.stage)
    if fault.kind == "memory":
        raise MemoryError("numpy_reference was asked to run out of memory here")
    raise RuntimeError("numpy_reference was asked to fail here")


def _sleep_for_ever(*, deaf: bool) -> None:
    if deaf:
        # Not signal.signal, which works in Python's main thread only; and blocking here leaves BLAS's threads open.
        ignore = ctypes.CDLL(None).signal
        ignore.argtypes, ignore.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        for number in (signal.SIGTERM, signal.SIGINT):
            ignore(number, _SIG_IGN)
    while True:
        time.sleep(3600)


def _chatter() -> None:
    print("numpy_reference says this on stdout")
    print("numpy_reference says this on stderr", file=sys.stderr)
    os.write(1, b"\x00\xff raw bytes on file descriptor 1\n")
    os.write(2, b"\x00\xff raw bytes on file descriptor 2\n")
