"""Which values of two graphs belong together, whatever they are called."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bakeoff.models.walk_align import align
from bakeoff.models.walk_graph import kind, read_net
from hypothesis import given, settings
from hypothesis import strategies as st

nets = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("nets.py"))))  # test folders are no packages


@settings(max_examples=30)
@given(
    blocks=st.lists(st.sampled_from(["residual", "depthwise", "swish"]), max_size=4),
    seed=st.integers(0, 2**31),
    keep_nodes=st.booleans(),
    keep_values=st.booleans(),
)
def test_names_do_not_matter(blocks, seed, keep_nodes, keep_values):
    """Whatever nodes and values are called in the variant, every value finds its own."""
    net = nets.make_net(tuple(blocks))
    other, values = renamed(net, np.random.default_rng(seed), nodes=not keep_nodes, values=not keep_values)
    found = align(read_net(net), read_net(other))
    assert {name: values[name] for node in net.graph.node for name in node.output} == {
        name: twin for name, twin in found.values.items() if name != "x"
    }
    assert [] == found.unaligned()


@pytest.mark.parametrize("blocks", [("residual", "depthwise"), ("swish", "residual", "depthwise")])
def test_a_quantized_graph_without_its_names(tmp_path, blocks):
    """Through Q/DQ pairs and lost activations, structure alone finds the layers."""
    net = nets.make_net(blocks)
    int8 = nets.quantize(net, tmp_path / "int8")
    other, _ = renamed(int8, np.random.default_rng(0), nodes=True, values=True)
    named, blind = (align(read_net(net), read_net(model)) for model in (int8, other))
    heavy = [node for node in net.graph.node if kind(node) in ("Conv", "MatMul")]
    assert all(node.output[0] in blind.values for node in heavy)
    assert set(named.folded) == set(blind.folded)
    assert [] == blind.unaligned()


def test_folded_normalization():
    """A BatchNormalization that the variant has folded into its convolution is compared after it."""
    net = nets.NetMaker()
    net.conv("conv", channels_in=3)
    for name in ("scale", "shift", "mean", "var"):
        net._constant(name, np.full(nets.CHANNELS, 1.5, np.float32))
    net.node("BatchNormalization", "norm", [net.last, "scale", "shift", "mean", "var"])
    net.act("act")
    model = net.finish()
    slim = nets.copy_of(model)
    del slim.graph.node[1]
    slim.graph.node[0].output[0] = "norm_out"
    found = align(read_net(model), read_net(slim))
    assert ("norm_out", "act_out") == (found.values["norm_out"], found.values["act_out"])
    assert "conv_out" not in found.values
    assert {} == found.folded


def renamed(model, rng, *, nodes, values):
    """A copy in which nodes or values have other names, and how the values are called there."""
    copied = nets.copy_of(model)
    made = [name for node in copied.graph.node for name in node.output]
    kept = {value.name for value in [*copied.graph.input, *copied.graph.output]}
    numbers = rng.permutation(len(made))
    names = {n: f"v{numbers[i]}" if values and n not in kept else n for i, n in enumerate(made)}
    labels = rng.permutation(len(copied.graph.node))
    for index, node in enumerate(copied.graph.node):
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        if nodes:
            node.name = f"n{labels[index]}"
    del copied.graph.value_info[:]
    return copied, names
