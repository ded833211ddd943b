"""`bakeoff profile` as a user has it, on a backend whose profile is true, and on one whose is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

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
    assert 0 < profile["between_ms"] < profile["profiled_ms"]
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


@pytest.mark.alone
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


def _nets(folder: Path) -> tuple[str, str]:
    """A net whose middle convolution takes most of the time, with that made to run twice, and without.

    Weights of the copy are a little off: compilers compute once what is the very same.
    """
    random = np.random.default_rng(0)
    shapes = {"stem": (32, 3, 3, 3), "middle": (64, 32, 3, 3), "last": (16, 64, 1, 1), "head": (10, 16)}
    weights = {name: (random.standard_normal(shape) / 16).astype(np.float32) for name, shape in shapes.items()}
    weights = {f"w_{name}": weight for name, weight in weights.items()}
    weights["w_again"] = weights["w_middle"] * np.float32(1.0001)
    around = {"pads": [1, 1, 1, 1]}
    for name, twice in (("planted.onnx", True), ("plain.onnx", False)):
        middle = [helper.make_node("Conv", ["a", "w_middle"], ["m" if twice else "b"], name="conv", **around)]
        if twice:
            middle += [
                helper.make_node("Conv", ["a", "w_again"], ["n"], name="conv_again", **around),
                helper.make_node("Max", ["m", "n"], ["b"], name="larger"),
            ]
        nodes = [
            helper.make_node("Conv", ["x", "w_stem"], ["s"], name="stem", strides=[2, 2], **around),
            helper.make_node("Relu", ["s"], ["a"], name="relu"),
            *middle,
            helper.make_node("Conv", ["b", "w_last"], ["c"], name="last", strides=[2, 2]),
            helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "w_head"], ["y"], name="head", transB=1),
        ]
        source = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 80, 80])
        sink = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 10])
        used = {value for node in nodes for value in node.input}
        tensors = [numpy_helper.from_array(value, name) for name, value in weights.items() if name in used]
        graph = helper.make_graph(nodes, "g", [source], [sink], initializer=tensors)
        opsets = [helper.make_opsetid("", 18)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / name)
    return "planted.onnx", "plain.onnx"


@pytest.mark.parametrize("backend", ["numpy_reference", "onnxruntime", "openvino", "tvm", "inductor", "litert"])
def test_explain_names_what_was_planted(sandbox: Any, backend: str) -> None:
    """A convolution that is computed twice is the first finding, alone and against the model without it."""
    cells = [f"{net}@raw/{backend}" for net in _nets(sandbox.home)]
    alone = json.loads(sandbox.run("explain", cells[0], *LIMIT, "--json").stdout)
    first = alone["findings"][0]
    assert "computed-twice" == first["rule"]
    assert "conv_again" in first["nodes"]
    assert "conv_again (Conv) computes again what conv has computed" in first["words"]
    beside = json.loads(sandbox.run("explain", cells[0], "--against", cells[1], *LIMIT, "--json").stdout)
    assert "conv_again" in beside["findings"][0]["nodes"]


def test_what_a_compiler_computes_once_is_no_finding(sandbox: Any) -> None:
    """OpenVINO merges equal convolutions: the mapping holds, and nothing is computed twice."""
    model = onnx.load(sandbox.home / _nets(sandbox.home)[0])
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    stored["w_again"].raw_data = stored["w_middle"].raw_data
    onnx.save(model, sandbox.home / "same.onnx")
    cells = ("--model", "same.onnx", "--variant", "raw", "--backend", "openvino", *LIMIT, "--json")
    (profile,) = json.loads(sandbox.run("profile", *cells).stdout)["profiles"]
    assert not profile["refused"]
    assert ["conv", "conv_again"] in [
        [node["name"] for node in row["nodes"] if "Conv" == node["op"]] for row in profile["rows"]
    ]
    assert "computed-twice" not in [finding["rule"] for finding in profile["findings"]]


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
