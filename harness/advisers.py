"""Asks each backend, in a process of its own, whether it can run here and what its artifacts depend on."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..backends import registry
from ..backends.base import Device
from ..models.errors import CellError, NotInstalledError, OptionError, UserError
from .plan import CellSpec
from .pool import run_jobs
from .process import Worker, WorkerSettings
from .protocol import Message
from .suite import BackendSettings

__all__ = ["Advisers", "BackendFacts", "interpreter_of"]

PROBE_LIMIT_S = 180.0


@dataclass(frozen=True, kw_only=True)
class BackendFacts:
    """What a backend said of itself."""

    name: str
    available: bool
    version: str
    reason: str
    baseline: bool
    install: str
    packages: Mapping[str, str]
    details: Mapping[str, str]
    devices: tuple[Device, ...]


class Advisers:
    """One process for each backend, alive while artifacts are prepared; a context manager.

    Entering it probes every backend of *names*. One that crashes while it is probed counts as not available.
    """

    def __init__(
        self, names: Sequence[str], settings: Mapping[str, BackendSettings], *, cores: Sequence[int], scratch: Path
    ) -> None:
        self._names = names
        self._settings = settings
        self._cores = cores
        self._scratch = scratch
        self._workers: dict[str, Worker] = {}
        self.facts: dict[str, BackendFacts] = {}

    def __enter__(self) -> Advisers:
        try:
            # Started by this thread, not by the pool's: on Linux a worker dies with the thread that started it.
            for name in self._names:
                self._workers[name] = self._start(name)
            found = run_jobs(self._names, self._probe, cores=self._cores, done=lambda _name: None)
        except BaseException:
            self.close()
            raise
        self.facts = dict(zip(self._names, found, strict=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def installed(self) -> list[str]:
        """Names of the backends that can run here."""
        return [name for name in self._names if self.facts[name].available]

    def require(self, names: Iterable[str]) -> None:
        """Raise NotInstalledError for the first of *names* that cannot run here."""
        for name in names:
            facts = self.facts[name]
            if not facts.available:
                raise NotInstalledError(name, facts.reason, facts.install)

    def check(self, cells: Collection[CellSpec]) -> None:
        """Raise UserError for a device that none of the backends of *cells* has here, and for an option of theirs that
        does not exist or takes no such value: nothing would come of a run but cells that are not supported."""
        first = {cell.backend: cell for cell in reversed(list(cells))}
        for name, cell in first.items():
            try:
                if cell.options:
                    self.cache_key(cell, Path())
            except OptionError as error:
                raise UserError(f"backends.{name}.options: {error.reason}") from error
            except CellError:
                continue  # comes up again, and is recorded, with the cell's own model
        asked: dict[str, set[str]] = {}
        for cell in cells:
            asked.setdefault(cell.device, set()).add(cell.backend)
        for device, backends in asked.items():
            present = {known.name for name in backends for known in self.facts[name].devices}
            # "gpu" is the first of "gpu.0", "gpu.1", ...
            if present and device not in {*present, *(name.partition(".")[0] for name in present)}:
                raise UserError(
                    f"device {device!r}: no chosen backend ({', '.join(sorted(backends))}) has it here; present: "
                    f"{', '.join(sorted(present))}"
                )

    def cache_key(self, cell: CellSpec, model: Path) -> Mapping[str, str]:
        """All besides the model that goes into the artifact of *cell*. Raises CellError."""
        key: Mapping[str, str] = self._ask(cell, model, "cache_key")["key"]
        return key

    def reproducer(self, cell: CellSpec, model: Path) -> str:
        """Source of the bare loop with the backend of *cell* alone. Raises CellError."""
        return str(self._ask(cell, model, "reproducer")["source"])

    def smoke(self, name: str) -> None:
        """Let backend *name* try itself out. Raises CellError if that fails or crashes."""
        self._workers[name].ask({"op": "smoke", "backend": name}, limit_s=PROBE_LIMIT_S)

    def close(self) -> None:
        """End all of them."""
        for worker in self._workers.values():
            worker.kill()
        self._workers.clear()

    def _ask(self, cell: CellSpec, model: Path, operation: str) -> Message:
        request = {
            "op": operation,
            "backend": cell.backend,
            "model": str(model),
            "out": "",
            "device": cell.device,
            "threads": cell.threads,
            "options": dict(cell.options),
        }
        return self._workers[cell.backend].ask(request, limit_s=PROBE_LIMIT_S)

    def _start(self, name: str) -> Worker:
        settings = WorkerSettings(cores=self._cores, python=interpreter_of(name, self._settings))
        return Worker(settings, self._scratch / f"adviser-{name}.log")

    def _probe(self, name: str, _cores: tuple[int, ...]) -> BackendFacts:
        worker = self._workers[name]
        try:
            worker.greet()
            answer = worker.ask({"op": "probe", "backend": name}, limit_s=PROBE_LIMIT_S)
        except CellError as error:
            backend = registry.get(name)
            answer = {
                "available": False,
                "version": "",
                "reason": f"probing it failed: {error.reason}",
                "role": backend.role,
                "install": registry.install_command(backend),
                "packages": {},
                "details": {},
                "devices": [],
            }
        return BackendFacts(
            name=name,
            available=answer["available"],
            version=answer["version"],
            reason=answer["reason"],
            baseline=answer["role"] == "baseline",
            install=answer["install"],
            packages=answer["packages"],
            details=answer["details"],
            devices=tuple(Device(**device) for device in answer["devices"]),
        )


def interpreter_of(name: str, settings: Mapping[str, BackendSettings]) -> str:
    """The interpreter that runs backend *name*. Raises UserError if the suite names one that is not there."""
    own = settings.get(name)
    if own is None or own.python is None:
        return sys.executable
    if not Path(own.python).exists():
        raise UserError(f"backends.{name}.python: {own.python}: no such file; give the path of a Python interpreter")
    return own.python
