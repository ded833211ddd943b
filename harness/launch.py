"""Starts a run, or takes one up again, and sees it through."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from .. import __version__
from ..backends import registry
from ..backends.base import Probe
from ..models.errors import UserError
from ..models.spec import ModelSpec
from ..reports.results import Run, Target
from .advisers import Advisers, BackendFacts
from .cgroup import own_cgroup
from .cores import all_cores, usable_cores
from .folders import data_folder
from .hostlock import hold_host
from .machine import count, judge_state, snapshot, worker_memory
from .peaks_kept import target_peaks
from .phases import PhaseClock
from .plan import CellSpec, asked_backends, expand
from .processes import busy_processes, scan_processes
from .progress import Listener
from .runner import Runner
from .store import Store, suite_fingerprint
from .subjects import Subject, model_request, resolve_models, variant_request
from .suite import Suite
from .target import describe_target

__all__ = ["Launch", "launch"]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What to run and where its results, artifacts and scripts go."""

    suite: Suite
    command: str
    """The command line that reproduces the run."""
    store: Store
    cache: Path
    reproducers: Path
    listener: Listener
    resume: bool = False
    """Take up the newest unfinished run of the same suite, if there is one."""


def launch(order: Launch) -> Run:
    """Measure every cell of the suite that is not in the store yet; return the whole run.

    Raises UserError before anything is measured if the suite cannot be run. On KeyboardInterrupt every worker is
    ended, the run is marked as interrupted, and the exception goes on; what was finished is in the store.
    """
    specs = resolve_models(order.suite)
    _announce_weights(order, specs)
    for name in (*asked_backends(order.suite), *order.suite.backends):
        registry.get(name)
    _check_settings(order.suite, specs)
    with (
        hold_host(order.listener.say),
        tempfile.TemporaryDirectory(prefix="bakeoff-") as scratch,
    ):
        return _Sitting(order, specs, Path(scratch)).run()


def _run_to_resume(store: Store, suite: Suite, target: Target) -> Run | None:
    """The newest unfinished run of exactly this *suite* on this *target*; else the last run, if it is one of them."""
    fingerprint = suite_fingerprint(suite.model_dump(mode="json"), target.id)
    unfinished = store.unfinished_run(fingerprint)
    if unfinished is not None:
        return store.load_run(unfinished)
    newest = next(iter(store.list_runs()), None)
    if newest is None or newest.suite != suite.name:
        return None
    run = store.load_run(newest.id)
    return run if suite_fingerprint(run.suite_config, run.target_id) == fingerprint else None


class _Sitting:
    """One sitting: probe, prepare, measure, finish."""

    def __init__(self, order: Launch, specs: Mapping[str, ModelSpec], scratch: Path) -> None:
        self._order = order
        self._specs = specs
        self._scratch = scratch
        self._clock = PhaseClock()
        self._cores = usable_cores()
        self._state = snapshot(self._cores)
        self._counted, self._scan = count(self._cores), scan_processes()

    def run(self) -> Run:
        order, suite = self._order, self._order.suite
        order.listener.tick("look at this machine and at the backends")
        with Advisers(_names(suite), suite.backends, cores=self._cores, scratch=self._scratch) as advisers:
            advisers.require(asked_backends(suite))
            cells = expand(
                suite,
                installed=advisers.installed,
                known=registry.names(),
                all_cores=all_cores(self._cores, own_cgroup().limits().cpu_quota_cores),
            )
            advisers.check(cells)
            self._look_around()
            run = self._begin(advisers.facts)
            finished = order.store.finished_keys(run.id)
            left = [cell for cell in cells if cell.key not in finished]
            if not left and run.status == "finished":
                return run
            order.listener.plan(len(left) + len({(cell.model, cell.variant, cell.batch) for cell in left}))
            runner = self._runner(run, advisers.facts)
            try:
                runner.prepare(left, advisers)
                advisers.close()  # their memory is wanted for the workers
                self._note_models(run, runner, cells)
                runner.measure(left)
            except UserError:
                if not order.store.finished_keys(run.id):  # nothing was measured: leave no empty run behind
                    order.store.delete_run(run.id)
                raise
            except BaseException:
                self._end(run.id, "interrupted")
                raise
        self._end(run.id, "finished")
        return order.store.load_run(run.id)

    def _look_around(self) -> None:
        """Complete the state before the run: who else was busy, and what the hypervisor took, while we probed.

        The load average stays that of the beginning, before our own work raised it.
        """
        busy = busy_processes(self._scan, scan_processes(), (os.getpid(),))
        later = snapshot(self._cores, since=self._counted, busy_processes=busy)
        self._state = later.model_copy(update={"load_1m": self._state.load_1m})

    def _begin(self, facts: Mapping[str, BackendFacts]) -> Run:
        """Take up the run that is to be resumed, or make a new one."""
        order = self._order
        target = self._target(facts)
        by_backend = {name: dict(fact.packages) for name, fact in facts.items() if fact.available}
        versions = {package: version for packages in by_backend.values() for package, version in packages.items()}
        earlier = _run_to_resume(order.store, order.suite, target) if order.resume else None
        if earlier is not None:
            _check_versions(earlier, by_backend)
            state = "is finished" if earlier.status == "finished" else f"{len(earlier.cells)} cells are done"
            order.listener.say(f"resuming run {earlier.id}: {state}")
            order.store.add_state(earlier.id, self._state)
            return earlier
        now = datetime.now(UTC)
        run = Run(
            id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            created_at=now,
            status="running",
            bakeoff_version=__version__,
            suite=order.suite.name,
            suite_config=order.suite.model_dump(mode="json"),
            command=order.command,
            target_id=target.id,
            target=target,
            versions=dict(sorted(versions.items())),
            backend_versions=by_backend,
        )
        order.store.create_run(run)
        order.store.add_state(run.id, self._state)
        return run

    def _target(self, facts: Mapping[str, BackendFacts]) -> Target:
        probes = {name: Probe(available=fact.available, devices=fact.devices) for name, fact in facts.items()}
        target = describe_target(probes)
        try:
            peaks = target_peaks(target.id, self._cores)
        except OSError as error:
            raise UserError(
                f"{error.filename or data_folder()}: cannot keep what was measured of this machine ({error.strerror}); "
                "free some space or make it writable"
            ) from error
        return target.model_copy(update={"peaks": peaks})

    def _runner(self, run: Run, facts: dict[str, BackendFacts]) -> Runner:
        order = self._order
        return Runner(
            run_id=run.id,
            suite=order.suite,
            sitting=1 + max((cell.sitting for cell in run.cells), default=-1),
            store=order.store,
            facts=facts,
            cache=order.cache,
            scratch=self._scratch,
            reproducers=order.reproducers,
            cores=self._cores,
            memory_limit_bytes=worker_memory(order.suite.measure.memory_limit_gib),
            standing=judge_state(self._state, len(self._cores)),
            listener=order.listener,
            clock=self._clock,
        )

    def _note_models(self, run: Run, runner: Runner, cells: Sequence[CellSpec]) -> None:
        """Keep where the models of the run came from."""
        models = {known.variant: known for known in run.models}
        for cell in cells:
            subject = runner.subjects.get((cell.model, cell.variant, cell.batch))
            if not isinstance(subject, Subject):
                continue
            facts = subject.facts()
            earlier = models.setdefault(facts.variant, facts)
            if len(self._order.suite.matrix.batch) == 1 and earlier.onnx_sha256 != facts.onnx_sha256:
                raise UserError(
                    f"run {run.id} was begun with another {facts.variant} (its ONNX file has changed since); start a "
                    "new run without --resume"
                )
        self._order.store.update_run(run.model_copy(update={"models": tuple(models.values())}))

    def _end(self, run_id: str, status: Literal["interrupted", "finished"]) -> None:
        store = self._order.store
        for phase in self._clock.phases():
            store.add_phase(run_id, phase)
        run = store.load_run(run_id)
        floor = max((control.floor for control in run.controls), default=None)
        now = datetime.now(UTC)
        store.update_run(run.model_copy(update={"noise_floor": floor, "status": status, "finished_at": now}))


def _names(suite: Suite) -> tuple[str, ...]:
    """The backends that have to be probed."""
    asked = asked_backends(suite)
    every = registry.names()
    return every if "all" in suite.matrix.backends else tuple(name for name in every if name in asked)


def _announce_weights(order: Launch, specs: Mapping[str, ModelSpec]) -> None:
    """Say aloud where random weights were taken because nothing else was asked for."""
    for name, spec in specs.items():
        settings = order.suite.models.get(name)
        if spec.source == "onnx" or (settings and settings.weights):
            continue
        if model_request(spec, order.suite, name, 1).weights == "random":
            order.listener.say(
                f"{name}: random weights, since pretrained ones need the network (--weights pretrained): "
                "latency is measured, accuracy is not"
            )


def _check_settings(suite: Suite, specs: Mapping[str, ModelSpec]) -> None:
    """Refuse settings for a model that is not measured: a misspelt name there would change the weights in silence.

    And data for a model that has no accuracy, before anything is measured.
    """
    for name in suite.models:
        if name not in specs:
            raise UserError(f"suite {suite.name}: models.{name}: no model of the matrix is called so; mend its name")
    for name, spec in specs.items():
        variant_request(spec, suite, name, "fp32", 1)


def _check_versions(earlier: Run, versions: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse to mix figures of two versions of a package in one run."""
    changed = [
        f"{package} ({backend})"
        for backend, packages in versions.items()
        for package, version in packages.items()
        if earlier.backend_versions.get(backend, {}).get(package, version) != version
    ]
    if changed:
        raise UserError(
            f"run {earlier.id} was begun with other versions of {', '.join(changed)}; start a new run without --resume"
        )
