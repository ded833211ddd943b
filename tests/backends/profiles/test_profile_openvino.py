"""Single inferences out of OpenVINO's running means; strides that it moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.backends.openvino_counters import MOST_INFERENCES, Counters
from bakeoff.backends.openvino_names import own_names, readable
from bakeoff.backends.openvino_strides import thinned
from bakeoff.backends.profile_graph import ProfiledGraph
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

_TIMES = st.lists(st.integers(0, 5000), min_size=2, max_size=MOST_INFERENCES)


@given(_TIMES)
def test_inferences_are_told_apart(times_us: list[int]) -> None:
    """Each inference comes out to within the number of inferences so far; all together to within half of that."""
    counters = Counters()
    found = []
    for count in range(1, len(times_us) + 1):
        assert counters.current or count > 1
        counters.inferences += 1
        found.append(counters.take({"layer": sum(times_us[:count]) // count})["layer"])
        assert abs(found[-1] - times_us[count - 1]) <= count

    assert counters.current


@given(_TIMES, st.integers(1, MOST_INFERENCES - 1))
def test_inferences_between_two_looks_are_taken_together(times_us: list[int], skipped: int) -> None:
    """Where nobody looked in between, the time is that of all inferences since."""
    skipped = min(skipped, len(times_us) - 1)
    counters = Counters()
    counters.inferences = skipped
    counters.take({"layer": sum(times_us[:skipped]) // skipped})
    counters.inferences = len(times_us)
    found = counters.take({"layer": sum(times_us) // len(times_us)})

    assert abs(found["layer"] - sum(times_us[skipped:])) <= len(times_us)


def test_what_is_no_mean_is_refused() -> None:
    """A counter of the last inference alone falls after a slow first one, which a sum cannot."""
    counters = Counters()
    counters.inferences = 1
    counters.take({"layer": 4000})
    counters.inferences = 2
    with pytest.raises(ValueError, match="layer fell from 4000 to 50"):
        counters.take({"layer": 50})


def test_strides_that_move_towards_the_input() -> None:
    """Through elementwise operators, if nobody reads all places; up to the convolution before, and no further."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w3"], ["a"], name="before"),
        helper.make_node("Conv", ["a", "w3"], ["b"], name="main"),
        helper.make_node("Relu", ["b"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w1"], ["c"], name="one", strides=[2, 2]),
        helper.make_node("Conv", ["r", "w1"], ["d"], name="other", strides=[2, 2]),
        helper.make_node("Add", ["c", "d"], ["e"], name="sum"),
        helper.make_node("Conv", ["e", "w1"], ["f"], name="strided", strides=[2, 2]),
        helper.make_node("Conv", ["e", "w1"], ["g"], name="whole"),
    ]
    weights = {"w3": random.standard_normal((4, 4, 3, 3)), "w1": random.standard_normal((4, 4, 1, 1))}
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 16, 16])
    sinks = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "fg"]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [source], sinks, initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert {"main", "relu"} == thinned(ProfiledGraph(model))


def _shared_names(first: str, activation: str, last: str) -> Any:
    """Two convolutions with a Relu between them, called so; values are x, c, r, y, weights w and v."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name=first, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name=activation),
        helper.make_node("Conv", ["r", "v"], ["y"], name=last),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 8, 8]) for name in "xy"]
    weights = {"w": random.standard_normal((8, 8, 3, 3)), "v": random.standard_normal((8, 8, 1, 1))}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializer=tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_only_names_of_other_values_are_changed(tmp_path: Path) -> None:
    """A node may be called after its own result; a file without trouble goes in as it is."""
    assert {} == own_names(_shared_names("c", "relu", "y"))
    assert {"w": "w/node0", "y": "y/node0"} == own_names(_shared_names("w", "y", "last"))
    assert {"w": "w/node1"} == own_names(_shared_names("w", "w/node0", "last"))
    path = tmp_path / "model.onnx"
    onnx.save(_shared_names("c", "relu", "y"), path)
    assert path == readable(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [("w", "relu", "last"), ("conv", "w", "v"), ("x", "y", "c"), ("w_1", "w", "last"), ("v", "x", "w")]
)
def test_nodes_with_the_names_of_other_values_are_followed(
    names: tuple[str, str, str], tmp_path: Path, profiled: Any
) -> None:
    """Of weights, of the input, of another node's result: each node is claimed by the layer that runs it."""
    path = tmp_path / "shared.onnx"
    onnx.save(_shared_names(*names), path)
    _, rows = profiled("openvino", path)

    assert [list(names[:2]), list(names[2:])] == [list(row.nodes) for row in rows if row.nodes]
