"""Makes the variants that cells ask for ready: exported, built, with inputs and reference outputs, side by side.

And what a worker has to be told of a cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..models.errors import CellError
from ..models.export import export
from ..models.variant_build import VariantRequest
from .advisers import interpreter_of
from .artifacts import Artifact
from .cores import choose_cores
from .live import Prepared
from .plan import CellSpec
from .pool import run_jobs
from .process import WorkerSettings
from .progress import Listener
from .subjects import Subject, prepare_subject, resolve_models, variant_request
from .suite import Suite

__all__ = ["SubjectKey", "prepare_subjects", "prepared_cell", "subject_key", "time_limit_s", "worker_settings"]

SubjectKey = tuple[str, str, int]
"""Model, variant, batch size."""


def subject_key(cell: CellSpec) -> SubjectKey:
    """What *cell* measures."""
    return cell.model, cell.variant, cell.batch


def prepare_subjects(
    cells: Iterable[CellSpec],
    suite: Suite,
    *,
    cache: Path,
    scratch: Path,
    cores: Sequence[int],
    listener: Listener,
) -> dict[SubjectKey, Subject | CellError]:
    """The subject of each of *cells*, or why there is none. Raises UserError for an unusable model."""
    wanted = list(dict.fromkeys(subject_key(cell) for cell in cells))

    def request(key: SubjectKey, variant: str) -> VariantRequest:
        return variant_request(resolve_models(suite)[key[0]], suite, key[0], variant, key[2])

    def try_export(key: SubjectKey) -> None:
        with suppress(CellError):  # comes up again, and is recorded, when the variant is prepared
            export(request(key, "fp32").model, cache)

    def prepare(key: SubjectKey) -> Subject | CellError:
        try:
            return prepare_subject(key[0], request(key, key[1]), suite, cache, scratch)
        except CellError as error:
            return error

    # Each model is exported first, once: its variants, which are prepared side by side, all begin with it.
    models = list({(name, batch): (name, variant, batch) for name, variant, batch in wanted}.values())
    listener.tick(f"export {len(models)} models")
    run_jobs(
        models,
        lambda key, _cores: try_export(key),
        cores=cores,
        done=lambda key: listener.tick(f"exported {key[0]}"),
    )
    prepared = run_jobs(
        wanted,
        lambda key, _cores: prepare(key),
        cores=cores,
        done=lambda key: listener.step(f"prepared {key[0]}@{key[1]}"),
    )
    return dict(zip(wanted, prepared, strict=True))


def prepared_cell(cell: CellSpec, artifact: Artifact, subject: Subject) -> Prepared:
    """*cell* with the *artifact* that its *subject* was compiled to."""
    return Prepared(
        cell=cell,
        artifact=artifact.folder,
        artifact_id=artifact.id,
        artifact_bytes=artifact.size_bytes,
        compile_s=artifact.compile_s,
        compile_cached=artifact.cached,
        inputs=subject.io,
        input_count=subject.input_count,
        reference=subject.reference,
        tolerance=subject.tolerance,
        evaluation=subject.evaluation,
        notes=artifact.notes,
    )


def worker_settings(cell: CellSpec, suite: Suite, *, cores: Sequence[int], memory_limit_bytes: int) -> WorkerSettings:
    """How the worker of *cell* is started on some of *cores*."""
    return WorkerSettings(
        cores=choose_cores(cell.threads, cores),
        threads=cell.threads,
        python=interpreter_of(cell.backend, suite.backends),
        memory_limit_bytes=memory_limit_bytes,
        seed=suite.measure.seed,
    )


def time_limit_s(cell: CellSpec, suite: Suite) -> float:
    """How many seconds of its own calls *cell* is sampled for at most."""
    settings = suite.backends.get(cell.backend)
    limit = settings.time_limit_s if settings else None
    return limit if limit is not None else suite.measure.time_limit_s
