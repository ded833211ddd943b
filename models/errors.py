"""Every error bakeoff raises on purpose.

BakeoffError
├── UserError                what a person typed or gave is wrong: one line, exit code 2
│   ├── UnknownNameError     no such model, backend, scenario, run, ...
│   ├── ModelFileError       a model file that cannot be used
│   ├── WeightsError         weights that cannot be had or do not fit
│   ├── SuiteError           a suite file with a bad key or value
│   └── NotInstalledError    a backend whose packages are missing
└── CellError                one cell cannot be measured; the rest of the run goes on
    ├── UnsupportedError     the backend lacks an operator, device or option
    ├── StageError           export, import, conversion, compilation or loading failed
    ├── MismatchError        the outputs differ from the reference
    └── WorkerError          the worker process crashed, hung, or was killed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal

__all__ = [
    "BakeoffError",
    "Blame",
    "CellError",
    "MismatchError",
    "ModelFileError",
    "NotInstalledError",
    "StageError",
    "SuiteError",
    "UnknownNameError",
    "UnsupportedError",
    "UserError",
    "WeightsError",
    "WorkerError",
]

Blame = Literal["exporter", "importer", "converter", "compiler", "runtime", "harness", "unknown"]


class BakeoffError(Exception):
    """Base of all errors raised on purpose; its text is meant for people."""


class UserError(BakeoffError):
    """What a person gave is wrong. The text is one line: what, why, and what to do. The command exits with 2."""


class UnknownNameError(UserError):
    """A *kind* of thing ("model", "backend", ...) has no entry called *name*; near names are suggested."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        known = sorted(choices)
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"see `bakeoff list {kind}s`"
        super().__init__(f"no such {kind}: {name!r}; {hint}")
        self.kind = kind
        self.name = name


class ModelFileError(UserError):
    """The model file at *path* cannot be used: *reason*, and *fix* says what to do about it."""

    def __init__(self, path: object, reason: str, fix: str) -> None:
        super().__init__(f"{path}: {reason}; {fix}")


class WeightsError(UserError):
    """Weights cannot be had here, or do not fit the model."""


class SuiteError(UserError):
    """The suite *file* is wrong at *line* (1-based, None if unknown) and *key*."""

    def __init__(self, file: object, line: int | None, key: str, reason: str) -> None:
        where = f"{file}:{line}" if line is not None else f"{file}"
        super().__init__(f"{where}: {key}: {reason}")


class NotInstalledError(UserError):
    """The packages of backend *name* are missing; *install* is the pip command that brings them."""

    def __init__(self, name: str, reason: str, install: str) -> None:
        super().__init__(f"backend {name} is not installed ({reason}); install it with: {install}")


class CellError(BakeoffError):
    """One cell cannot be measured. *blame* says whose fault it looks like, *stage* where it happened."""

    status: Literal["failed", "unsupported", "mismatch"] = "failed"

    def __init__(self, reason: str, *, blame: Blame = "unknown", stage: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.blame: Blame = blame
        self.stage = stage
        self.stderr_tail = ""
        """Last words of the process in which it happened, if there was one."""


class UnsupportedError(CellError):
    """The backend says beforehand that it cannot run this: an operator, a device or an option it lacks."""

    status = "unsupported"


class StageError(CellError):
    """A stage of the way from the model to a loaded session failed."""


class MismatchError(CellError):
    """The outputs differ from the fp32 reference by more than the tolerance."""

    status = "mismatch"
    max_abs_error: float | None = None
    max_rel_error: float | None = None
    rms_rel_error: float | None = None
    """Largest difference over the largest reference value; None where nothing was compared."""
    tolerance: float | None = None


class WorkerError(CellError):
    """The worker process crashed, hung past its limit, or was killed. *stderr_tail* holds its last words."""

    def __init__(self, reason: str, *, blame: Blame = "unknown", stage: str = "", stderr_tail: str = "") -> None:
        super().__init__(reason, blame=blame, stage=stage)
        self.stderr_tail = stderr_tail
