"""A run and cells to store, written by hand; used by tests and by processes that they start."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bakeoff.reports.results import Cell, Cpu, ExecutedFacts, ModelFacts, Run, Target

__all__ = ["make_cell", "make_run"]


def make_run(name: str, **changes: Any) -> Run:
    """A run without cells; *changes* replace its fields."""
    target = Target(
        id="0123456789ab",
        name="Some CPU, 2 cores",
        cpu=Cpu(model="Some CPU", arch="x86_64", isa=("avx2", "fma"), logical_cores=2, usable_cores=2),
        memory_bytes=8 * 2**30,
        os="Some Linux",
    )
    facts: dict[str, Any] = {
        "id": name,
        "created_at": datetime(2026, 11, 24, 3, 7, 11, 123456, tzinfo=UTC),
        "status": "running",
        "bakeoff_version": "0.1.0",
        "suite": "quick",
        "suite_config": {"models": ["resnet18"], "threads": [1, 2]},
        "command": "bakeoff run",
        "target_id": target.id,
        "target": target,
        "versions": {"numpy": "2.4.6"},
        "models": (ModelFacts(model="resnet18", variant="resnet18@fp32"),),
    }
    return Run.model_validate({**facts, **changes})


def make_cell(key: str) -> Cell:
    """A measured cell whose samples are peculiar to its *key*."""
    seed = sum(key.encode())
    blocks = tuple(tuple((8_000_000 + seed * 1000 + block * 10 + i) / 1e6 for i in range(8)) for block in range(4))
    return Cell(
        key=key,
        model="resnet18",
        variant="resnet18@fp32",
        backend="onnxruntime",
        scenario="single-stream",
        threads=1,
        batch=1,
        device="cpu",
        status="ok",
        median_ms=blocks[0][0],
        samples=32,
        blocks_ms=blocks,
        executed=ExecutedFacts(device="cpu", precision="fp32", threads=1, cores=(1,)),
    )
