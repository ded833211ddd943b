"""What readers know of the ONNX file: makers of values, contents of weights; and how claims are settled."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from bakeoff.backends.contract.nets import write_nets
from bakeoff.backends.profile import Claim, settle_claims, unique_names
from bakeoff.backends.profile_graph import ProfiledGraph, as_in_file, content_of, read_profiled_graph
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper


def _graph(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> ProfiledGraph:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializer=[numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return ProfiledGraph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))


@given(st.lists(st.sampled_from(["a", "b", "a (2)"]), max_size=8))
def test_unique_names(names: list[str]) -> None:
    """Every name is different, and begins with the one that was given."""
    found = unique_names(names)

    assert len(set(found)) == len(names)
    assert all(new.startswith(old) for new, old in zip(found, names, strict=True))


def test_claims_are_settled() -> None:
    """A node is claimed once, by the strongest evidence, in the order in which nodes are named first."""
    found = settle_claims([("b", "order"), ("a", "rule"), ("b", "name"), ("a", "order")])

    assert (Claim(node="b", evidence="name"), Claim(node="a", evidence="rule")) == found


def test_content_is_that_of_values() -> None:
    """Types that hold the same values have the same content; shapes and other values do not."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)

    assert content_of(array) == content_of(array.astype(np.float16)) == content_of(np.asfortranarray(array))
    assert content_of(array.astype(np.int8)) == content_of(array.astype(np.uint8))
    assert len({content_of(other) for other in (array, array.T, array.reshape(3, 2), array + 1)}) == 4


@pytest.mark.parametrize(
    ("shape", "wanted", "found"),
    [
        ((3, 5), (5, 3), (5, 3)),
        ((8, 3, 1, 5), (8, 3, 5), (8, 3, 5)),
        ((8, 3, 5, 5), (8, 3, 5, 5), (8, 3, 5, 5)),
        ((8, 3, 5, 5), (8, 3, 3, 3), (8, 3, 5, 5)),
        ((4, 5), (5, 3), (4, 5)),
    ],
)
def test_shapes_as_in_the_file(shape: tuple[int, ...], wanted: tuple[int, ...], found: tuple[int, ...]) -> None:
    """Rows may be columns and axes of one come and go; any other difference stays."""
    assert found == as_in_file(shape, wanted)


def test_weights_are_found_behind_what_is_computed_from_them() -> None:
    """A weight that is dequantized and transposed is known as it is stored and as it is multiplied with."""
    levels = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    scale = np.array(0.5, np.float32)
    graph = _graph(
        [
            helper.make_node("DequantizeLinear", ["levels", "scale"], ["w"], name="dequantize"),
            helper.make_node("Transpose", ["w"], ["t"], name="transpose"),
            helper.make_node("MatMul", ["x", "t"], ["h"], name="product"),
            helper.make_node("MatMul", ["h", "x"], ["y"], name="of two activations"),
        ],
        {"levels": levels, "scale": scale},
    )

    assert ["product"] == list(graph.heavy)
    expected = [content_of(array) for array in (levels.T * scale, levels * scale, levels)]
    assert expected == [content_of(array) for array in graph.heavy["product"].weights]
    assert dict.fromkeys(expected, "product") == graph.stored_contents()
    assert (3, 4) == graph.heavy["product"].weight_shape


def test_contents_of_two_nodes_are_nobodys() -> None:
    """A weight that two nodes share tells nothing of either."""
    weight = np.ones((4, 4, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="first"),
        helper.make_node("Conv", ["h", "w"], ["y"], name="second"),
    ]
    graph = _graph(nodes, {"w": weight})

    assert {"first", "second"} == set(graph.heavy)
    assert {} == graph.stored_contents()


def test_nodes_without_a_name_are_called_after_their_result() -> None:
    """As all of bakeoff calls them."""
    graph = _graph([helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Relu", ["h"], ["y"], name="named")], {})

    assert ["h", "named"] == list(graph.nodes)
    assert ("h",) == graph.sources("named")
    assert ("y",) == graph.outputs


def test_all_heavy_nodes_of_a_quantized_net(tmp_path: object) -> None:
    """Convolutions and the product behind Q/DQ have weights and biases."""
    from pathlib import Path

    folder = Path(str(tmp_path))
    write_nets(folder)
    graph = read_profiled_graph(folder / "qdq.onnx")

    assert ["n0", "n2", "n4", "n8", "n12"] == list(graph.heavy)
    assert all(len(node.weights) == 2 for node in graph.heavy.values())
    assert 10 == len(graph.stored_contents())
