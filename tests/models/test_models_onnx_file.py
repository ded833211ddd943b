"""A user's ONNX file made static, simplified and stamped."""

import json

import numpy as np
import onnx
import onnxslim
import pytest
from bakeoff.models.engine import run_graph
from bakeoff.models.errors import ModelFileError
from bakeoff.models.onnx_file import convert
from onnx import TensorProto, helper


def _metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_the_batch_setting_fills_the_first_dimension(request_for, conv_model, tmp_path):
    """A symbolic first dimension is the batch; all shapes are static and inferred afterwards."""
    manifest = convert(request_for(conv_model(), batch=4), tmp_path)
    model = onnx.load(tmp_path / "model.onnx")

    assert [[4, 3, 8, 8]] == [list(tensor["shape"]) for tensor in manifest["inputs"]]
    assert [[4, 4, 8, 8]] == [list(tensor["shape"]) for tensor in manifest["outputs"]]
    assert all(dim.HasField("dim_value") for v in model.graph.value_info for dim in v.type.tensor_type.shape.dim)


def test_simplified_and_still_the_same(request_for, conv_model, tmp_path):
    """The constant Add goes into the Conv, and the outputs stay."""
    source = conv_model()
    request = request_for(source)
    manifest = convert(request, tmp_path)
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (before,) = run_graph(tmp_path / "net.onnx", [[x]])
    (after,) = run_graph(tmp_path / "model.onnx", [[x]])

    assert ["Conv", "Relu"] == [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert [] == manifest["notes"]
    np.testing.assert_allclose(before[0], after[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("names", [("", "", ""), ("n", "n", "n"), ("n_1", "n", "n")])
def test_every_node_has_a_name_of_its_own(request_for, conv_model, tmp_path, monkeypatch, names):
    """Missing and repeated names are mended; names that were good stay."""
    monkeypatch.setattr(onnxslim, "slim", lambda model, **options: model)
    convert(request_for(conv_model(names=names)), tmp_path)
    named = [node.name for node in onnx.load(tmp_path / "model.onnx").graph.node]

    assert 3 == len(set(named))
    assert "" not in named
    assert not names[0] or names[0] == named[0]


def test_the_same_file_twice_gives_the_same_bytes(request_for, conv_model, tmp_path):
    """Conversion is deterministic and knows nothing of where it ran."""
    results = []
    for folder in (tmp_path / "a", tmp_path / "b" / "c"):
        folder.mkdir(parents=True)
        convert(request_for(conv_model()), folder)
        results.append((folder / "model.onnx").read_bytes())

    assert results[0] == results[1]
    assert str(tmp_path).encode() not in results[0]


def test_provenance_is_stamped(request_for, conv_model, tmp_path, save_external):
    """The file says what it was made from, external data included."""
    request = request_for(conv_model())
    save_external(conv_model(), tmp_path / "net.onnx")
    manifest = convert(request, tmp_path)
    stamped = _metadata(tmp_path / "model.onnx")

    assert manifest["provenance"] == {key.removeprefix("bakeoff."): value for key, value in stamped.items()}
    assert {"file_sha256", "external_sha256.weights.bin", "onnxslim", "batch"} <= set(manifest["provenance"])
    assert ["weights.bin"] == manifest["external"]
    json.dumps(manifest)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (((1, 3, "H", "W"), 1, ()), r"dimension 2 \(H\) of input 'x' is dynamic.*--shape x=1x3x224x224"),
        (((1, 3, 8, 8), 1, (("z", (1, 3, 8, 8)),)), r"has no input 'z'.*its inputs are x"),
        ((("N", 3, 8, 8), 1, (("x", (1, 4, 8, 8)),)), "dimension 1 of input 'x' is 3; x=1x4x8x8 contradicts it"),
        ((("N", 3, 8, 8), 1, (("x", (1, 3)),)), "input 'x' has 4 dimensions; x=1x3 has 2"),
        ((("N", 3, "S", "S"), 1, (("x", (1, 3, 8, 9)),)), "dimension 3 of input 'x' is 8"),
        (((2, 3, 8, 8), 4, ()), "is fixed at a first dimension of 2, not 4"),
    ],
)
def test_shapes_that_cannot_be(request_for, conv_model, tmp_path, asked, reason):
    """Dynamic without a value, unknown input, contradictions: each names the input, the dimension and the way out."""
    shape, batch, shapes = asked
    with pytest.raises(ModelFileError, match=reason):
        convert(request_for(conv_model(shape=shape), batch=batch, shapes=shapes), tmp_path)


def test_a_given_shape_makes_all_dimensions_static(request_for, conv_model, tmp_path):
    """--shape gives values to every symbol of that input."""
    request = request_for(conv_model(shape=("N", 3, "H", "W")), shapes=(("x", (2, 3, 10, 12)),))
    manifest = convert(request, tmp_path)
    assert [2, 4, 10, 12] == list(manifest["outputs"][0]["shape"])


def test_placeholders_count_as_dynamic(request_for, conv_model, tmp_path):
    """-1 in the first place is the batch."""
    model = conv_model(shape=(1, 3, 8, 8))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    manifest = convert(request_for(model, batch=2), tmp_path)
    assert [2, 3, 8, 8] == list(manifest["inputs"][0]["shape"])


def test_a_fixed_batch_is_noted(request_for, conv_model, tmp_path):
    """A file fixed at another batch runs as it is, with a note, where no batch was asked for."""
    manifest = convert(request_for(conv_model(shape=(2, 3, 8, 8))), tmp_path)
    assert ["the first dimension of its inputs is 2, not the batch of 1"] == manifest["notes"]


def _model(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_symbols_are_shared_between_inputs(request_for, tmp_path):
    """A value given for one input's symbol holds for the other's."""
    info = helper.make_tensor_value_info
    model = _model(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [info("a", TensorProto.FLOAT, ("N", "S")), info("b", TensorProto.FLOAT, ("N", "S"))],
        [info("y", TensorProto.FLOAT, ("N", "S"))],
    )
    manifest = convert(request_for(model, shapes=(("a", (1, 5)),)), tmp_path)
    assert [[1, 5], [1, 5]] == [list(tensor["shape"]) for tensor in manifest["inputs"]]


def test_models_without_inputs_or_with_odd_ones_are_refused(request_for, tmp_path):
    """Nothing to feed, a sequence, or strings: said in one line."""
    info = helper.make_tensor_value_info
    out = info("y", TensorProto.FLOAT, (1,))
    constant = helper.make_node("Constant", [], ["y"], value_floats=[1.0])
    with pytest.raises(ModelFileError, match="has no inputs"):
        convert(request_for(_model([constant], [], [out])), tmp_path)
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, (1,))
    with pytest.raises(ModelFileError, match="input 's' is a sequence_type"):
        convert(request_for(_model([constant], [sequence], [out])), tmp_path)
    with pytest.raises(ModelFileError, match="input 's' holds string"):
        convert(request_for(_model([constant], [info("s", TensorProto.STRING, (1,))], [out])), tmp_path)


def test_a_simplifier_that_drops_an_input_is_not_used(request_for, tmp_path):
    """onnxslim removes unused inputs, which would change the model's signature: the original graph is kept."""
    info = helper.make_tensor_value_info
    model = _model(
        [helper.make_node("Relu", ["a"], ["y"])],
        [info("a", TensorProto.FLOAT, (1, 2)), info("unused", TensorProto.FLOAT, (1, 2))],
        [info("y", TensorProto.FLOAT, (1, 2))],
    )
    manifest = convert(request_for(model), tmp_path)

    assert ["a", "unused"] == [tensor["name"] for tensor in manifest["inputs"]]
    assert 1 == len(manifest["notes"])
    assert "not simplified by onnxslim: it changed the graph's inputs" in manifest["notes"][0]


def test_a_simplifier_that_changes_the_outputs_is_not_used(request_for, conv_model, tmp_path, monkeypatch):
    """Both graphs are run, and the simplified one is dropped if it computes something else."""

    def wrong(model, **options):
        del options
        model.graph.node[2].op_type = "Neg"
        return model

    monkeypatch.setattr(onnxslim, "slim", wrong)
    manifest = convert(request_for(conv_model()), tmp_path)

    assert "its outputs moved by" in manifest["notes"][0]
    assert "Relu" == onnx.load(tmp_path / "model.onnx").graph.node[2].op_type


def test_outputs_whose_shape_depends_on_data_are_observed(request_for, tmp_path):
    """Where inference gives no static shape, the shape of a real output stands."""
    info = helper.make_tensor_value_info
    model = _model(
        [helper.make_node("NonZero", ["a"], ["y"])],
        [info("a", TensorProto.FLOAT, (3, 4))],
        [info("y", TensorProto.INT64, (2, "found"))],
    )
    manifest = convert(request_for(model), tmp_path)
    assert [2, 12] == list(manifest["outputs"][0]["shape"])


def test_a_model_that_cannot_run_says_so(request_for, tmp_path):
    """An operator that no engine knows is the user's to hear about."""
    info = helper.make_tensor_value_info
    node = helper.make_node("Odd", ["a"], ["y"], domain="my.ops")
    model = _model([node], [info("a", TensorProto.FLOAT, (1,))], [info("y", TensorProto.FLOAT, (1,))])
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    with pytest.raises(ModelFileError, match="does not run with a=1"):
        convert(request_for(model), tmp_path)


def test_weights_among_the_inputs_are_weights(request_for, conv_model, tmp_path):
    """Old files list initializers as inputs: they are not fed."""
    model = conv_model()
    model.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, (4, 3, 3, 3)))
    manifest = convert(request_for(model), tmp_path)
    assert ["x"] == [tensor["name"] for tensor in manifest["inputs"]]
