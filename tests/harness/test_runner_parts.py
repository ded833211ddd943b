"""A group that memory does not hold is measured in parts, and each part has the baseline beside it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from bakeoff.harness import runner as runner_module
from bakeoff.harness.advisers import BackendFacts
from bakeoff.harness.artifacts import Artifact
from bakeoff.harness.cores import usable_cores
from bakeoff.harness.phases import PhaseClock
from bakeoff.harness.plan import CellSpec
from bakeoff.harness.runner import Runner
from bakeoff.harness.store import Store
from bakeoff.harness.subjects import Subject
from bakeoff.harness.suite import parse_suite
from bakeoff.harness.watch import Watch
from bakeoff.models.spec import ExportedModel, ModelRequest
from bakeoff.models.variant_build import VariantBuild, VariantRequest
from bakeoff.models.variants import parse_variant
from bakeoff.models.zoo import resolve

make_run = runpy.run_path(str(Path(__file__).with_name("store_examples.py")))["make_run"]

SUITE = """
name = "parts"
[matrix]
models = ["net.onnx"]
[measure]
target_interval = 1.0
time_limit_s = 60.0
block_ms = 2.0
warmup_window = 1
warmup_tolerance = 0.99
warmup_limit_s = 0.5
"""
BACKENDS = {"numpy_reference": True, "onnxruntime": False}
"""The one that stands in for the baseline, and a compiler."""


class Quiet:
    """A listener that tells nobody."""

    def plan(self, steps: int) -> None: ...

    def tick(self, words: str) -> None: ...

    def step(self, words: str) -> None: ...

    def say(self, words: str) -> None: ...


def specs() -> list[CellSpec]:
    """The baseline and a compiler in fp32, and the compiler in two variants more."""
    wanted = [("fp32", "numpy_reference"), ("fp32", "onnxruntime"), ("slim", "onnxruntime"), ("raw", "onnxruntime")]
    return [
        CellSpec(
            model="net.onnx", variant=variant, backend=backend, scenario="single-stream", threads=1, batch=1,
            device="cpu",
        )
        for variant, backend in wanted
    ]  # fmt: skip


@pytest.fixture
def run(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Measure `specs` on a machine that answers as given whether it has room for one more worker."""

    def measure(room: list[bool], cells: list[CellSpec]) -> Any:
        answers = iter(room)

        class Scarce(Watch):
            def has_room(self, needed_bytes: float) -> bool:
                return next(answers)

        monkeypatch.setattr(runner_module, "Watch", Scarce)
        store = Store.open(str(lab.folder / "store.sqlite3"))
        store.create_run(make_run("r1"))
        sitting = Runner(
            run_id="r1",
            suite=parse_suite(SUITE, "parts.toml"),
            sitting=0,
            store=store,
            facts={name: facts(name, baseline) for name, baseline in BACKENDS.items()},
            cache=lab.folder,
            scratch=lab.folder,
            reproducers=lab.folder,
            cores=usable_cores(),
            memory_limit_bytes=2**40,
            standing=(),
            listener=Quiet(),
            clock=PhaseClock(),
        )
        for cell in cells:
            sitting.subjects[cell.model, cell.variant, cell.batch] = subject(lab, cell.variant)
            sitting.artifacts[cell.key] = Artifact(
                folder=lab.artifact(cell.backend), id="0", size_bytes=1, compile_s=1.0, cached=True, notes=()
            )
        sitting.measure(cells)
        assert [] == list(answers)
        return store.load_run("r1")

    return measure


def facts(name: str, baseline: bool) -> BackendFacts:
    return BackendFacts(
        name=name, available=True, version="1", reason="", baseline=baseline, install="", packages={}, details={},
        devices=(),
    )  # fmt: skip


def subject(lab: Any, variant: str) -> Subject:
    exported = ExportedModel(path=lab.net.model, sha256="0" * 64, inputs=(), outputs=(), provenance={}, probe=None)
    model = ModelRequest(spec=resolve(str(lab.net.model)), weights="random")
    return Subject(
        name="net.onnx",
        request=VariantRequest(model=model, recipe=parse_variant(variant)),
        build=VariantBuild(exported=exported, fp32=exported, plain=exported),
        io=lab.net.io,
        input_count=lab.net.inputs,
        reference="numpy",
        tolerance=1e-3,
        evaluation=None,
    )


@pytest.mark.slow
def test_each_part_has_the_baseline_beside_it(run: Any) -> None:
    """Two cells fit, without a control; of the other two each lends itself the baseline's figure of their own part."""
    found = run([True, False, False, True, False, True], specs())
    (base,) = (cell for cell in found.cells if cell.backend == "numpy_reference")
    others = [cell for cell in found.cells if cell is not base]
    groups = {cell.variant: cell.group for cell in others}

    assert 4 == len(found.cells)
    assert {"ok"} == {cell.status for cell in found.cells}
    assert groups["net.onnx@fp32"] == base.group
    assert groups["net.onnx@slim"] == groups["net.onnx@raw"] == f"{base.group}#2"
    lent = {cell.variant: cell.baseline and cell.baseline.cell for cell in others}
    assert base.baseline is None
    assert {"net.onnx@fp32": None, "net.onnx@slim": base.key, "net.onnx@raw": base.key} == lent


@pytest.mark.slow
def test_without_the_baseline_parts_stay_apart(run: Any) -> None:
    """There is nothing to measure again where the suite has no baseline."""
    found = run([False, False, False], specs()[1:3])

    assert [None, None] == [cell.baseline for cell in found.cells]
    assert 2 == len({cell.group for cell in found.cells})
