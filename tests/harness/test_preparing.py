"""Backends are asked in processes of their own, and each artifact is compiled once, whatever becomes of one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bakeoff.harness.advisers import Advisers, interpreter_of
from bakeoff.harness.artifacts import Artifact, CompileRoom, compile_cells
from bakeoff.harness.plan import CellSpec
from bakeoff.harness.subjects import Subject
from bakeoff.harness.suite import BackendSettings, Suite
from bakeoff.models.errors import CellError, NotInstalledError, UserError
from bakeoff.models.spec import ExportedModel, ModelRequest
from bakeoff.models.variant_build import VariantBuild, VariantRequest
from bakeoff.models.variants import parse_variant
from bakeoff.models.zoo import resolve

SUITE = Suite.model_validate({"name": "s", "matrix": {"models": ["tiny"]}})


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def plan(self, steps: int) -> None:
        self.said.append(f"plan {steps}")

    def tick(self, words: str) -> None:
        self.said.append(words)

    step = say = tick


def cell(options: Mapping[str, str] | None = None, **more: Any) -> CellSpec:
    spec = CellSpec(
        model="tiny",
        variant="fp32",
        backend="numpy_reference",
        scenario="single-stream",
        threads=1,
        batch=1,
        device="cpu",
        options=dict(options or {}),
    )
    return dataclasses.replace(spec, **more)


def compiled(lab: Any, cells: list[CellSpec]) -> tuple[dict[str, Artifact | CellError], list[str]]:
    """What came of *cells* by their model's name, and what the listener heard."""
    exported = ExportedModel(path=lab.net.model, sha256="0" * 64, inputs=(), outputs=(), provenance={}, probe=None)
    subject = Subject(
        name="tiny",
        request=VariantRequest(
            model=ModelRequest(spec=resolve(str(lab.net.model)), weights="random"), recipe=parse_variant("fp32")
        ),
        build=VariantBuild(exported=exported, fp32=exported, plain=exported),
        io=lab.net.io,
        input_count=lab.net.inputs,
        reference="numpy",
        tolerance=1e-3,
        evaluation=None,
    )
    listener = Listener()
    room = CompileRoom(
        cache=lab.folder / "cache", scratch=lab.folder, cores=[0], memory_limit_bytes=2**33, listener=listener
    )
    with Advisers(["numpy_reference"], {}, cores=(), scratch=lab.folder) as advisers:
        found = compile_cells(dict.fromkeys(cells, subject), advisers, SUITE, room)
    return {spec.model: found[spec.key] for spec in cells}, listener.said


@pytest.mark.slow
class TestAdvisers:
    def test_what_no_backend_has_is_refused_at_once(self, lab: Any) -> None:
        """A device that none of the chosen backends has, and an option or value that a backend lacks: one line each."""
        backends = ["numpy_reference", "onnxruntime"]
        spinning, odd, wrong = {"intra_op_spinning": "0"}, {"nonsense": "1"}, {"intra_op_spinning": "maybe"}
        with Advisers(backends, {}, cores=(), scratch=lab.folder) as advisers:
            advisers.check([cell(), cell(spinning, backend="onnxruntime")])
            for options, words in ((odd, "has no option 'nonsense'; known options"), (wrong, "'maybe' is not one of")):
                with pytest.raises(UserError, match=rf"^backends\.onnxruntime\.options: .*{words}"):
                    advisers.check([cell(), cell(options, backend="onnxruntime")])
            wanted = r"^device 'npu': no chosen backend \(numpy_reference, onnxruntime\) has it here; present: cpu"
            with pytest.raises(UserError, match=wanted):
                advisers.check([cell(), cell(device="npu"), cell(device="npu", backend="onnxruntime")])

    def test_facts(self, lab: Any) -> None:
        """A backend that is there tells its version, devices and packages; one that is asked for is found."""
        with Advisers(["numpy_reference"], {}, cores=(), scratch=lab.folder) as advisers:
            facts = advisers.facts["numpy_reference"]
            assert facts.available
            assert not facts.baseline
            assert ("cpu",) == tuple(device.name for device in facts.devices)
            assert {"onnx", "numpy"} == set(facts.packages)
            assert ["numpy_reference"] == advisers.installed
            advisers.require(["numpy_reference"])
            assert "def build(" in advisers.reproducer(cell(), lab.net.model)

    def test_not_installed(self, lab: Any) -> None:
        """A backend that crashes while it is probed counts as missing, with the reason and the pip command."""
        python = lab.folder / "python"
        python.write_text("#!/bin/sh\nkill -SEGV $$\n")
        python.chmod(0o700)
        settings = {"numpy_reference": BackendSettings(python=str(python))}
        with Advisers(["numpy_reference"], settings, cores=(), scratch=lab.folder) as advisers:
            assert [] == advisers.installed
            with pytest.raises(NotInstalledError) as caught:
                advisers.require(["numpy_reference"])
        assert (
            "backend numpy_reference is not installed (probing it failed: the worker crashed (SIGSEGV)); "
            "install it with: python -m pip install 'bakeoff[numpy_reference]'"
        ) == str(caught.value)


class TestInterpreter:
    def test_the_suites(self, tmp_path: Path) -> None:
        """A backend runs in the interpreter that the suite names, and a path that is not there is told by its key."""
        python = tmp_path / "python"
        python.touch()
        settings = {"tvm": BackendSettings(python=str(python)), "eager": BackendSettings(python="/gone")}
        assert str(python) == interpreter_of("tvm", settings)
        with pytest.raises(UserError, match=r"backends\.eager\.python: /gone: no such file"):
            interpreter_of("eager", settings)


@pytest.mark.slow
class TestArtifacts:
    def test_shared_and_cached(self, lab: Any) -> None:
        """Cells with the same model and settings share one artifact; a second time nothing is compiled."""
        cells = [cell(), cell(model="b", threads=2), cell({"seconds": "1"}, model="c")]
        first, said = compiled(lab, cells)
        assert "plan 2" in said
        artifacts = [first[name] for name in ("tiny", "b", "c")]
        assert all(isinstance(artifact, Artifact) and not artifact.cached for artifact in artifacts)
        assert artifacts[0] == artifacts[1] != artifacts[2]
        again, said = compiled(lab, cells)
        assert "plan 0" in said
        for name, artifact in first.items():
            assert isinstance(artifact, Artifact)
            assert dataclasses.replace(artifact, cached=True) == again[name]
            assert sum(path.stat().st_size for path in artifact.folder.iterdir()) == artifact.size_bytes

    def test_failures_are_data(self, lab: Any) -> None:
        """A compiler that crashes, refuses or has no such option costs its own cells only, and leaves no artifact."""
        crash, refuse = {"fault": "segfault", "stage": "compile"}, {"fault": "refuse", "stage": "compile"}
        cells = [cell(), cell(crash, model="b"), cell(refuse, model="c"), cell({"nonsense": "1"}, model="d")]
        found, _ = compiled(lab, cells)
        assert isinstance(found["tiny"], Artifact)
        failures = {
            name: (result.status, result.blame) for name, result in found.items() if isinstance(result, CellError)
        }
        assert ("failed", "compiler") == failures["b"]
        assert ("unsupported", "importer") == failures["c"]
        assert "unsupported" == failures["d"][0]
        assert 1 == len(list((lab.folder / "cache" / "compiled").iterdir()))
