"""From a suite to the cells that it asks for, grouped so that what will be compared is measured together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..models.errors import UserError
from .suite import Addition, Pattern, Suite

__all__ = ["CellSpec", "asked_backends", "expand", "group_cells"]


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """What one cell asks for. Its `key` is its identity within a run."""

    model: str
    variant: str
    backend: str
    scenario: str
    threads: int
    batch: int
    device: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def full_variant(self) -> str:
        """ "resnet18@fp32"."""
        return f"{self.model}@{self.variant}"

    @property
    def group(self) -> str:
        """What compared cells have in common: all but the variant and the backend."""
        return f"{self.model}/{self.scenario}/t{self.threads}/b{self.batch}/{self.device}"

    @property
    def key(self) -> str:
        """ "resnet18@fp32/onnxruntime/single-stream/t1/b1/cpu"."""
        return f"{self.full_variant}/{self.backend}/{self.scenario}/t{self.threads}/b{self.batch}/{self.device}"


def asked_backends(suite: Suite) -> list[str]:
    """The backends that the suite names, "all" aside."""
    named = [*suite.matrix.backends, *(pattern.backend for pattern in suite.include if pattern.backend)]
    return [name for name in named if name != "all"]


def expand(suite: Suite, *, installed: Sequence[str], known: Sequence[str], all_cores: int) -> list[CellSpec]:
    """Every cell of *suite*, each once, in the order of the matrix.

    "all" among the backends means *installed*; "all" among the thread counts means *all_cores*. Raises UserError if
    nothing is left.
    """
    matrix = suite.matrix
    axes = itertools.product(
        matrix.models,
        matrix.variants,
        matrix.threads,
        matrix.batch,
        matrix.devices,
        matrix.scenarios,
        _backends(matrix.backends, installed, known),
    )
    cells = [
        _cell(
            suite,
            model=model,
            variant=variant,
            backend=backend,
            scenario=scenario,
            threads=_threads(threads, all_cores),
            batch=batch,
            device=device,
        )
        for model, variant, threads, batch, device, scenario, backend in axes
    ]
    kept = [cell for cell in cells if not any(_matches(rule, cell, all_cores) for rule in suite.exclude)]
    kept += [_included(suite, pattern, all_cores) for pattern in suite.include]
    unique = {cell.key: cell for cell in kept}
    if not unique and not installed and "all" in matrix.backends:
        raise UserError("no backend is installed; install them with: python -m pip install 'bakeoff[all]'")
    if not unique:
        raise UserError(f"suite {suite.name}: no cell is left after `exclude`; loosen it")
    return list(unique.values())


def group_cells(cells: Iterable[CellSpec]) -> list[list[CellSpec]]:
    """Cells by what they have in common besides variant and backend, in order of first appearance."""
    groups: dict[str, list[CellSpec]] = {}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    return list(groups.values())


def _backends(asked: Sequence[str], installed: Sequence[str], known: Sequence[str]) -> list[str]:
    """The backends asked for, in the registry's order, so that the baseline comes first."""
    wanted = set(installed if "all" in asked else ()) | {name for name in asked if name != "all"}
    return [name for name in known if name in wanted]


def _cell(
    suite: Suite,
    *,
    model: str,
    variant: str,
    backend: str,
    scenario: str,
    threads: int,
    batch: int,
    device: str,
) -> CellSpec:
    settings = suite.backends.get(backend)
    return CellSpec(
        model=model,
        variant=variant,
        backend=backend,
        scenario=scenario,
        threads=threads,
        batch=batch,
        device=device,
        options=dict(settings.options) if settings else {},
    )


def _included(suite: Suite, pattern: Addition, all_cores: int) -> CellSpec:
    matrix = suite.matrix
    return _cell(
        suite,
        model=pattern.model,
        variant=pattern.variant or matrix.variants[0],
        backend=pattern.backend,
        scenario=pattern.scenario or matrix.scenarios[0],
        threads=_threads(pattern.threads or matrix.threads[0], all_cores),
        batch=pattern.batch or matrix.batch[0],
        device=pattern.device or matrix.devices[0],
    )


def _matches(rule: Pattern, cell: CellSpec, all_cores: int) -> bool:
    asked = rule.model_dump(exclude_none=True)
    if "threads" in asked:
        asked["threads"] = _threads(asked["threads"], all_cores)
    return bool(asked) and all(getattr(cell, name) == value for name, value in asked.items())


def _threads(asked: int | str, all_cores: int) -> int:
    return all_cores if isinstance(asked, str) else asked
