"""`bakeoff diff`: from names on the command line to the layer that departs, in words, as JSON, or in one line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.harness.cli import main
from bakeoff.models.variant_diff import keep_in
from bakeoff.models.variants import parse_variant
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.slow  # every case exports two models

FIELDS = {
    "reference",
    "variant",
    "data",
    "images",
    "random_weights",
    "threshold_db",
    "output_snr_db",
    "top1_agreement",
    "outputs",
    "first_departure",
    "layers",
    "worst",
    "heavy",
    "heavy_aligned",
    "unaligned",
    "reshaped",
    "layer_images",
    "cost_images",
    "engine",
    "notes",
    "suggestion",
}


def _save(path: Path, *, size: int = 16, spoilt: str = "", value: float = 0.0) -> str:
    """Three convolutions and a classifier; *value* takes the place of the first weight of layer *spoilt*."""
    rng = np.random.default_rng(0)
    shapes = {"conv_a": (8, 3, 3, 3), "conv_b": (8, 8, 3, 3), "conv_c": (8, 8, 1, 1), "fc": (10, 8)}
    weights = {
        name: (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    if spoilt:
        weights[spoilt].flat[0] = value
    nodes, last = [], "x"
    for name in ("conv_a", "conv_b", "conv_c"):
        pads = [shapes[name][-1] // 2] * 4
        nodes.append(helper.make_node("Conv", [last, f"{name}.w"], [f"{name}.y"], name=name, pads=pads))
        nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.r"], name=f"{name}.relu"))
        last = f"{name}.r"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.w"], ["y"], name="fc", transB=1))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, size, size))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))],
        [numpy_helper.from_array(array, f"{name}.w") for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return str(path)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path / "cache"))


def _exit_code(*words: str) -> object:
    with pytest.raises(SystemExit) as caught:
        main(["diff", *words])
    return caught.value.code


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert 0 == _exit_code(*words, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert FIELDS == set(found)
    return found


def test_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The spoilt layer is named first, in words and as JSON."""
    files = _save(tmp_path / "good.onnx"), _save(tmp_path / "bad.onnx", spoilt="conv_b", value=40.0)
    found = _json(capsys, *files, "--images", "4")
    assert ("conv_b", 4) == (found["first_departure"]["node"], found["images"])
    assert found["worst"][0] == found["first_departure"]["value"]
    assert (4, 4, [], [], None) == tuple(
        found[name] for name in ("heavy", "heavy_aligned", "unaligned", "reshaped", "suggestion")
    )
    assert 0 == _exit_code(*files, "--images", "4")
    shown = capsys.readouterr().out
    assert "conv_b *" in shown
    assert "* Departs first at conv_b (Conv)" in shown
    assert "Traceback" not in shown


def test_a_variant_is_mended_and_the_advice_is_true(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The proposed variant, given back to `diff`, has the ratio that was promised, and a better one than plain int8."""
    net = _save(tmp_path / "net.onnx")
    promised = _json(capsys, net, f"{net}@int8", "--images", "4", "--threshold", "60")
    advice = promised["suggestion"]
    assert promised["heavy_aligned"] == promised["heavy"]
    assert advice["variant"] == f"int8:keep={'|'.join(sorted(advice['keep']))}"
    assert advice["output_snr_db"] is None or advice["output_snr_db"] > promised["output_snr_db"] + 3.0
    kept = _json(capsys, net, f"{net}@{advice['variant']}", "--images", "4", "--no-repair")
    assert advice["output_snr_db"] == kept["output_snr_db"]
    assert 0 == _exit_code(net, f"{net}@int8", "--images", "4", "--threshold", "60")
    shown = capsys.readouterr().out.splitlines()
    assert f"--variant {shlex.quote(advice['variant'])}" == shown[-1]


def test_scales_of_its_own_leave_only_outputs_unless_the_start_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """int8 multiplies values inside a graph: what it was made from can be multiplied alike, another graph cannot."""
    net = _save(tmp_path / "net.onnx")
    apart = _json(capsys, net, f"{net}@sparse30+int8", "--images", "4")
    alike = _json(capsys, f"{net}@sparse30", f"{net}@sparse30+int8", "--images", "4")

    assert [] == apart["layers"]
    assert 0.0 < apart["output_snr_db"] < alike["output_snr_db"]
    assert (1, 0) == tuple(sum("factors of its own" in note for note in found["notes"]) for found in (apart, alike))
    assert {"conv_a", "conv_b", "conv_c", "fc"} <= {layer["node"] for layer in alike["layers"]}


def test_equal_variants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model without @VARIANT is its fp32 variant, and nothing departs."""
    net = _save(tmp_path / "net.onnx")
    found = _json(capsys, net, f"{net}@fp32", "--images", "2")
    assert (None, None, 1.0, []) == tuple(
        found[name] for name in ("first_departure", "output_snr_db", "top1_agreement", "worst")
    )
    assert 0 == _exit_code(net, net, "--images", "2")
    assert "No layer departs" in capsys.readouterr().out


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be compared ends in one line and exit code 2."""
    net, big = _save(tmp_path / "net.onnx"), _save(tmp_path / "big.onnx", size=24)
    nan = _save(tmp_path / "nan.onnx", spoilt="conv_c", value=float("nan"))
    cases = {
        (net, "resnet19@int8"): "no such model: 'resnet19'; did you mean resnet18",
        (net, f"{net}@int9"): "variant 'int9': no such step: 'int9'",
        (net, f"{tmp_path}/gone.onnx"): f"{tmp_path}/gone.onnx: no such file",
        (net, big): f"{net} takes 1x3x16x16 float32, {big} takes 1x3x24x24 float32: diff needs two models",
        (net, nan): f"{nan}: holds NaN or infinite values from 'conv_c' (Conv) on",
        (nan, net): "output 'y' of the reference holds NaN or infinite values",
        (net, f"{net}@int8:keep=nobody"): "",
        (net, f"{net}@fp32", "--data", "nodata"): "",
    }
    for words, reason in cases.items():
        assert 2 == _exit_code(*words, "--images", "2"), words
        captured = capsys.readouterr()
        assert "" == captured.out
        (line,) = captured.err.splitlines()
        assert line.startswith(f"bakeoff: {reason}")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("int8", "int8:keep=a|b"),
        ("channel50+int8:entropy", "channel50+int8:entropy:keep=a|b"),
        ("int8:keep=b|c", "int8:keep=a|b|c"),
        ("int8:entropy:keep=c", "int8:entropy:keep=a|b|c"),
    ],
)
def test_layers_are_added_to_those_kept_already(before: str, after: str) -> None:
    """The mended variant has every setting of the one that was asked for."""
    assert parse_variant(after) == keep_in(parse_variant(before), ("b", "a"))
