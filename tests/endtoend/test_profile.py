"""`bakeoff profile` as a user has it, on a backend whose profile is true, and on one whose is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import onnx
import pytest
from onnx import helper

pytestmark = pytest.mark.slow

LIMIT = ("--time-limit", "0.3")


def test_a_profile_is_mapped_and_written(sandbox: Any, tiny_onnx: str) -> None:
    """By the published schema, with a trace and collapsed stacks; to have no profiler is no failure."""
    done = sandbox.run(
        *("profile", "--model", tiny_onnx, "--backend", "numpy_reference,eager", *LIMIT, "--json"),
        *("--trace", "trace.json", "--stacks", "stacks.txt"),
    )
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(sandbox.run("schema", "profile").stdout))
    (profile,) = report["profiles"]
    assert "tiny.onnx@fp32" == profile["variant"]
    assert not profile["refused"]
    assert all(profile["checks"].values())
    assert {"heavy_owned_once", "order", "data_flow"} <= set(profile["checks"])
    assert 1.0 == pytest.approx(profile["shares"]["anchored"])
    assert profile["inferences"] >= 20
    assert profile["overhead"] > 0.5
    assert profile["residual_ms"] == pytest.approx(profile["median_ms"] - profile["sum_ms"])
    assert ["conv", "relu", "pool", "flatten", "head"] == [
        node["name"] for row in profile["rows"] for node in row["nodes"]
    ]
    assert ["conv", "relu", "pool", "flatten", "head"] == [
        name for group in report["groups"] for name in group["nodes"]
    ]
    assert report["peaks"]["compute"][0]["single_core_gmac_s"] > 0
    assert report["assumptions"]
    conv = profile["rows"][0]
    assert 16 * 16 * 8 * 27 == conv["roof"]["macs"]
    assert conv["efficiency"] == pytest.approx(conv["limit_ms"] / conv["median_ms"])
    assert all(group["limit_ms"] <= group["ms"]["numpy_reference"] for group in report["groups"] if group["limit_ms"])
    assert 0 < profile["limit_ms"] < profile["median_ms"]
    (missing,) = report["not_profiled"]
    assert ("eager", "unsupported") == (missing["backend"], missing["status"])
    events = json.loads((sandbox.home / "trace.json").read_text())["traceEvents"]
    assert 6 == sum(event["ph"] == "X" for event in events)
    assert 5 == len((sandbox.home / "stacks.txt").read_text().splitlines())


def test_a_table_for_people(sandbox: Any, tiny_onnx: str) -> None:
    """Coverage first, then the layers."""
    text = sandbox.run("profile", "--model", tiny_onnx, "--backend", "numpy_reference", *LIMIT).stdout
    assert "anchored" in text
    assert "efficiency" in text
    assert "conv (Conv)" in text


def test_no_layer_is_above_its_roof(sandbox: Any) -> None:
    """Of a net with dense, pointwise and depthwise convolutions, in a runtime with good kernels for all of them.

    Peaks and layers are measured at different moments: on a shared machine a layer may have had the better one.
    """
    done = sandbox.run("profile", "--model", "mobilenet_v2", "--backend", "onnxruntime", *LIMIT, "--json")
    (profile,) = json.loads(done.stdout)["profiles"]
    convolutions = [row for row in profile["rows"] if any("Conv" == node["op"] for node in row["nodes"])]
    assert 52 == len(convolutions)
    limited = {row["name"]: row["efficiency"] for row in convolutions if row["efficiency"] is not None}
    assert len(limited) == len(convolutions)
    assert {} == {name: share for name, share in limited.items() if share > 1.1}
    assert 0.1 < profile["efficiency"] < 1.0


def test_pages(sandbox: Any, tiny_onnx: str) -> None:
    """A page of its own beside its data, which a run's report takes in; or a run profiles its cells itself."""
    cells = ("--model", tiny_onnx, "--backend", "numpy_reference", *LIMIT)
    done = sandbox.run("profile", *cells, "--out", "my")
    assert done.stdout.endswith("wrote my/profile.html\nwrote my/profile.json\n")
    assert "numpy_reference takes" in (sandbox.home / "my" / "profile.html").read_text()
    sandbox.run("run", *cells, "--threads", "1", "--profile", "--out", "run")
    sandbox.run("report", "--profile", "my/profile.json", "--out", "both")
    for folder in ("run", "both"):
        assert 'id="r0-profile"' in (sandbox.home / folder / "index.html").read_text()
        assert (sandbox.home / folder / "profile.json").exists()


def test_a_confused_profile_is_refused(sandbox: Any, tiny_onnx: str) -> None:
    """Rows that claim each other's nodes fail the checks; the command ends with 1, and no group is made of them."""
    suite = '[backends.numpy_reference.options]\nfault = "confused"\n'
    words = (
        "profile",
        sandbox.write("confused.toml", f'name = "confused"\n[matrix]\nmodels = ["{tiny_onnx}"]\n{suite}'),
    )
    done = sandbox.run(*words, "--backend", "numpy_reference", *LIMIT, "--json", expect=1)
    report = json.loads(done.stdout)
    (profile,) = report["profiles"]
    assert profile["refused"]
    assert not profile["checks"]["order"]
    assert profile["failures"]["order"]
    assert [] == report["groups"]


def test_a_place_that_cannot_be_written_is_refused_at_once(sandbox: Any, tiny_onnx: str) -> None:
    """Before anything is measured."""
    done = sandbox.run("profile", "--model", tiny_onnx, "--trace", "nowhere/trace.json", expect=2)
    assert "nowhere/trace.json: cannot be written" in done.stderr


def _planted(folder: Path) -> str:
    """The tiny classifier with its convolution computed twice, from a copy of the weights."""
    model = onnx.load(folder / "tiny.onnx")
    graph = model.graph
    copy = type(graph.initializer[0])()
    copy.CopyFrom(next(tensor for tensor in graph.initializer if tensor.name == "w"))
    copy.name = "w_again"
    graph.initializer.append(copy)
    conv = graph.node[0]
    again = helper.make_node("Conv", ["x", "w_again"], ["a_again"], pads=[1, 1, 1, 1], name="conv_again")
    conv.output[0] = "a_once"
    larger = helper.make_node("Max", ["a_once", "a_again"], ["a"], name="larger")
    nodes = [conv, again, larger, *graph.node[1:]]
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    onnx.save(model, folder / "planted.onnx")
    return "planted.onnx"


@pytest.mark.parametrize("backend", ["numpy_reference", "tvm", "inductor"])
def test_explain_names_what_was_planted(sandbox: Any, tiny_onnx: str, backend: str) -> None:
    """A convolution that is computed twice is found, alone and against the model without it.

    In a net this small, on a busy machine, what lies between the rows may cost more.
    """
    cells = f"{_planted(sandbox.home)}@raw/{backend}", f"{tiny_onnx}@raw/{backend}"
    alone = json.loads(sandbox.run("explain", cells[0], *LIMIT, "--json").stdout)
    found = {finding["rule"]: finding["nodes"] for finding in alone["findings"]}
    assert "conv_again" in found["computed-twice"]
    beside = json.loads(sandbox.run("explain", cells[0], "--against", cells[1], *LIMIT, "--json").stdout)
    assert any("conv_again" in finding["nodes"] for finding in beside["findings"])
    text = sandbox.run("explain", cells[0], *LIMIT).stdout
    assert "conv_again (Conv) computes again what conv has computed" in " ".join(text.split())


def test_explain_reads_what_profile_wrote(sandbox: Any, tiny_onnx: str) -> None:
    """Without measuring again; a cell that is not in it is named with those that are."""
    done = sandbox.run("profile", "--model", tiny_onnx, "--backend", "numpy_reference", *LIMIT, "--json")
    sandbox.write("profile.json", done.stdout)
    shown = sandbox.run("explain", f"{tiny_onnx}@fp32/numpy_reference", "--profile", "profile.json").stdout
    assert f"{tiny_onnx}@fp32/numpy_reference/t1/b1/cpu: " in shown
    words = ("explain", f"{tiny_onnx}@fp32/tvm", "--profile", "profile.json")
    assert "there are: tiny.onnx@fp32/numpy_reference/t1" in sandbox.run(*words, expect=2).stderr
    sandbox.write("profile.json", "{}")
    assert "is not what `bakeoff profile --json` prints" in sandbox.run(*words, expect=2).stderr
