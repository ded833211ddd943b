"""The tests of the contract."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..base import Array
from .bench import Workbench
from .nets import NETS, UNSUPPORTED, WIDE, reference
from .variant_suite import VariantContract

__all__ = ["BackendContract"]

_HEAVY = frozenset(
    ("ai_edge_litert", "jax", "litert_torch", "onnx", "onnxruntime", "openvino", "torch", "torchvision", "tvm")
)

_IMPORT = """
import json, sys
from bakeoff.backends import registry
backend = registry.get({name!r})
facts = {{"name": backend.name, "role": backend.role, "extra": backend.extra}}
print(json.dumps({{"modules": sorted(sys.modules), **facts}}))
"""

_REPRODUCE = """

import sys as _sys
import numpy as np
_archive = np.load({feeds!r})
_run = build({model!r}, 1)
_outputs = _run([_archive[f"0/{{i}}"] for i in range({inputs})])
np.savez({out!r}, **{{f"call0/{{i}}": np.asarray(array) for i, array in enumerate(_outputs)}})
_banned = ("bakeoff.harness", "bakeoff.reports", "bakeoff.backends.registry", {adapter!r})
_used = [name for name in _sys.modules if name.startswith(_banned)]
assert not _used, _used
"""


class BackendContract(VariantContract):
    """Tests that every adapter has to pass; a subclass gives them the fixture `bench`, a `Workbench`."""

    least_share = 0.02
    """Share of the CPU time from which a thread counts as working; on a busy machine a second thread gets little."""

    def test_module_is_cheap_to_import(self, bench: Workbench) -> None:
        """Importing the adapter imports no heavy library, so that listing backends is instant."""
        facts = json.loads(bench.python("-c", _IMPORT.format(name=bench.backend)))

        heavy = {name.split(".")[0] for name in facts["modules"]} & _HEAVY
        assert not heavy, f"importing the adapter imports {sorted(heavy)}"
        assert bench.backend == facts["name"], "the backend's name differs from that of its entry point"
        assert facts["role"] in ("baseline", "compiler")
        assert facts["extra"], "the backend names no extra that installs it"

    def test_probe_tells_version_and_devices(self, bench: Workbench) -> None:
        """The probe finds the backend here, with a version, the packages behind it, and a device in lower case."""
        (probe,) = bench.steps({"do": "probe"})

        assert probe["available"], probe["reason"]
        assert not probe["reason"]
        assert probe["version"]
        assert probe["packages"], "the probe names no package"
        names = [device["name"] for device in probe["devices"]]
        assert names, "the probe names no device"
        assert names == [name.lower() for name in names]

    def test_compile_writes_into_its_folder_only(self, bench: Workbench) -> None:
        """Compilation leaves files in its folder, and none in the working folder, the home, or beside the model.

        bakeoff's artifact cache may take what serves other compilations too.
        """
        models = sorted(bench.models.iterdir())
        bytes_before = [path.read_bytes() for path in models]

        errors = {net: bench.compiled[net] for net in NETS if "error" in bench.compiled[net]}
        assert not errors, errors
        for net in NETS:
            assert list(bench.request(net)["artifact"].iterdir()), f"nothing was compiled for {net}"
        assert models == sorted(bench.models.iterdir())
        assert bytes_before == [path.read_bytes() for path in models]
        home = bench.folder / "home"
        for folder in (bench.scratch, home):
            found = [path for path in folder.rglob("*") if path.is_file()]
            strays = [path for path in found if home / ".cache" / "bakeoff" not in path.parents]
            assert not strays, f"written outside the artifact's folder: {strays}"

    def test_outputs_are_right(self, bench: Workbench) -> None:
        """A session loaded in another process infers what the reference does, in the graph's order."""
        for net in NETS:
            facts, outputs = _ran(bench, net)
            for call, feeds in enumerate(bench.feeds(net)):
                expected = reference(bench.model(net), feeds)
                self._compare(f"{net}, call {call}", expected, outputs[f"call{call}"])
            shapes = [tuple(spec["shape"]) for spec in facts["outputs"]]
            assert shapes == [array.shape for array in outputs["call0"]]

    def test_signature_is_the_graphs(self, bench: Workbench) -> None:
        """A session names its inputs and outputs as the ONNX graph does, in its order."""
        facts, _ = _ran(bench, "pair")

        assert [spec["name"] for spec in facts["inputs"]] == ["zebra", "apple"]
        assert [spec["name"] for spec in facts["outputs"]] == ["yard", "barn"]
        assert [spec["shape"] for spec in facts["inputs"]] == [[1, 3, 8, 8], [1, 2, 8, 8]]
        assert {"float32"} == {spec["dtype"] for spec in facts["inputs"] + facts["outputs"]}

    def test_nothing_is_cached_between_inputs(self, bench: Workbench) -> None:
        """Different inputs give different outputs."""
        for net in NETS:
            _, outputs = _ran(bench, net)
            for first, second in zip(outputs["call0"], outputs["call1"], strict=True):
                assert not np.array_equal(first, second), f"{net}: two inputs gave one output"

    def test_feeds_are_left_alone_and_may_be_awkward(self, bench: Workbench) -> None:
        """Inputs are not written to, and may be read-only and unaligned; earlier calls do not matter."""
        for net in NETS:
            facts, outputs = _ran(bench, net)
            assert facts["unchanged"], f"{net}: the input arrays were changed"
            self._compare(f"{net}, unaligned feeds", outputs["call0"], outputs["awkward"])

    def test_closes_and_loads_again(self, bench: Workbench) -> None:
        """A closed session leaves the process fit for another one."""
        for net in NETS:
            _, outputs = _ran(bench, net)
            self._compare(f"{net}, loaded again", outputs["call0"], outputs["again"])

    def test_several_inferences_in_flight(self, bench: Workbench) -> None:
        """Where the session is asynchronous, outputs belong to their handle and stay valid."""
        for net in NETS:
            facts, outputs = _ran(bench, net)
            asynchronous = [name for name in outputs if name.startswith("async")]
            assert (len(bench.feeds(net)) if facts["async"] else 0) == len(asynchronous)
            for name in asynchronous:
                self._compare(f"{net}, {name}", outputs[name.replace("async", "call")], outputs[name])

    def test_executed_tells_how_it_runs(self, bench: Workbench) -> None:
        """An fp32 model that nobody asked to convert runs in fp32 on the CPU, and says so before and after."""
        for net in NETS:
            facts, _ = _ran(bench, net)
            for executed in (facts["before"], facts["after"]):
                assert executed["device"] == "cpu"
                assert executed["precision"] == "fp32"
                assert executed["threads"] == 1

    def test_threads_are_as_asked(self, bench: Workbench) -> None:
        """One thread or two: the session says so, and the kernel's CPU times show it.

        The artifact for one thread serves for two if the cache key says that threads are not in it.
        """
        requests = [bench.request(WIDE, threads=threads) for threads in (1, 2)]
        keys = bench.steps(*({"do": "key", **request} for request in requests))
        baked = keys[0] != keys[1]
        feeds = bench.save_feeds(WIDE)
        for request in requests if baked else requests[:1]:
            (compiled,) = bench.steps({"do": "compile", **request})
            assert "error" not in compiled, compiled
        for threads, request in zip((1, 2), requests if baked else [requests[0]] * 2, strict=True):
            (result,) = bench.steps({"do": "threads", "feeds": feeds, **request, "threads": threads})
            assert threads == result["threads"], f"{threads} threads asked, the session says {result['threads']}"
            busy = [share for share in result["shares"] if share >= self.least_share]
            assert threads == len(busy), f"{threads} threads asked; shares of the CPU time: {result['shares']}"

    def test_cache_key_is_stable(self, bench: Workbench) -> None:
        """Two processes agree on the cache key, which is text."""
        step = {"do": "key", **bench.request("plain")}
        first, second = bench.steps(step), bench.steps(step)

        assert first == second
        assert first[0]["key"], "an empty key never notices an upgrade"
        assert all(isinstance(value, str) for value in first[0]["key"].values())

    def test_unknown_settings_are_refused(self, bench: Workbench) -> None:
        """An unknown option or device is refused in words that name it and, for devices, those that are present."""
        request = bench.request("plain")
        option, device = bench.steps(
            {"do": "compile", **request, "options": {"flavour": "vanilla"}},
            {"do": "compile", **request, "device": "abacus"},
        )

        assert option.get("error") == "OptionError", option
        assert "flavour" in option["reason"]
        assert device.get("error") == "UnsupportedError", device
        assert "abacus" in device["reason"]
        assert "cpu" in device["reason"]

    def test_unknown_operator_is_refused(self, bench: Workbench) -> None:
        """An operator that the backend lacks is refused by name, with blame, before anything is inferred."""
        request = bench.request(UNSUPPORTED)
        feeds = bench.save_feeds(UNSUPPORTED)
        (refused,) = bench.steps({"do": "compile", **request})
        if "error" not in refused:
            run = {"do": "run", "feeds": feeds, "out": bench.folder / "unsupported.npz", **request}
            (refused,) = bench.steps(run)

        assert "error" in refused, "it went through"
        assert refused["error"] in ("UnsupportedError", "StageError"), refused
        assert refused["stage"] in ("compile", "load"), refused
        assert "Mystery" in refused["reason"]
        assert refused["blame"] != "unknown"

    def test_missing_artifact_is_an_error_of_ours(self, bench: Workbench) -> None:
        """Loading from a folder without an artifact is a `StageError`, not whatever the runtime raises."""
        feeds = bench.save_feeds("plain")
        step = {"feeds": feeds, "out": bench.folder / "nothing.npz", **bench.request("nothing")}
        (result,) = bench.steps({"do": "run", **step})

        assert result.get("error") == "StageError", result
        assert result["stage"] == "load"

    def test_reproducer_runs_alone(self, bench: Workbench) -> None:
        """The script defines `build`, which infers the same without the adapter and the harness.

        Code that brings ONNX into the runtime's own form may be imported from where the adapter has it too.
        """
        (result,) = bench.steps({"do": "reproducer", **bench.request("pair")})
        script = bench.folder / "reproducer.py"
        out = bench.folder / "reproduced.npz"
        feeds = bench.save_feeds("pair")
        values = {"feeds": str(feeds), "model": str(bench.model("pair")), "inputs": 2, "out": str(out)}
        script.write_text(result["script"] + _REPRODUCE.format(adapter=result["adapter"], **values))
        bench.python(str(script))

        with np.load(out, allow_pickle=False) as archive:
            outputs = [archive[f"call0/{i}"] for i in range(2)]
        self._compare("reproducer", reference(bench.model("pair"), bench.feeds("pair")[0]), outputs)


def _ran(bench: Workbench, net: str) -> tuple[dict[str, Any], dict[str, list[Array]]]:
    facts, outputs = bench.ran[net]
    assert "error" not in facts, facts
    return facts, outputs
