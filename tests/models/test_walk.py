"""The walk names the layer that is to blame, whatever stands around it and whatever it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from bakeoff.models.errors import StageError, UserError
from bakeoff.models.mend import MOST_KEPT, mend, target_db
from bakeoff.models.tally import LIMIT_DB, Tally, decibel
from bakeoff.models.walk import THRESHOLD_DB, decode_walk, encode_walk, walk
from bakeoff.models.walk_align import align
from bakeoff.models.walk_graph import kind, read_net
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 8
SIZE = 12


class NetMaker:
    """Writes a net node by node; names say what a layer is."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.last = [], [], "x"
        self._constant("low", np.float32(0))
        self._constant("high", np.float32(6))

    def _constant(self, name, array):
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))

    def node(self, op, name, inputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, **attributes))
        self.last = f"{name}_out"

    def conv(self, name, channels_in=CHANNELS, size=3, group=1, channels=CHANNELS):
        shape = (channels, channels_in // group, size, size)
        weight = self.rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        self._constant(f"{name}_w", weight.astype(np.float32))
        self._constant(f"{name}_b", (0.1 * self.rng.standard_normal(channels)).astype(np.float32))
        pads = [size // 2] * 4
        self.node("Conv", name, [self.last, f"{name}_w", f"{name}_b"], pads=pads, group=group)

    def act(self, name, op="Relu"):
        self.node(op, name, [self.last, *(["low", "high"] if op == "Clip" else [])])

    def finish(self, classes=10):
        self.node("GlobalAveragePool", "pool", [self.last])
        self.node("Flatten", "flat", [self.last])
        weight = self.rng.standard_normal((classes, CHANNELS)).astype(np.float32)
        self._constant("fc_w", weight)
        self._constant("fc_b", np.zeros(classes, np.float32))
        self.nodes.append(helper.make_node("Gemm", [self.last, "fc_w", "fc_b"], ["y"], name="fc", transB=1))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, SIZE, SIZE))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, classes))],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model


def make_net(blocks=("residual", "depthwise"), seed=0):
    """A stem, then blocks with a residual or a depthwise convolution, then a classifier."""
    net = NetMaker(seed)
    net.conv("stem", channels_in=3)
    net.act("stem_act", "Clip")
    for index, block in enumerate(blocks):
        start = net.last
        if block == "depthwise":
            net.conv(f"dw{index}", group=CHANNELS)
            net.act(f"dw{index}_act", "Clip")
            net.conv(f"pw{index}", size=1)
        elif block == "swish":
            net.conv(f"conv{index}")
            before = net.last
            net.act(f"sig{index}", "Sigmoid")
            net.node("Mul", f"mul{index}", [before, net.last])
        else:
            net.conv(f"conv{index}a")
            net.act(f"act{index}a")
            net.conv(f"conv{index}b")
            net.node("Add", f"add{index}", [net.last, start])
            net.act(f"act{index}b")
    return net.finish()


def weights_of(model):
    return {item.name: item for item in model.graph.initializer}


def replace_weight(model, name, array):
    weights_of(model)[name].CopyFrom(numpy_helper.from_array(array, name))


CALIBRATION = np.random.default_rng(7).standard_normal((8, 3, SIZE, SIZE)).astype(np.float32)


def quantize(model, folder, exclude=(), per_channel=True):
    """The static QDQ file that ONNX Runtime's own quantizer makes of *model*."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.images = iter([{"x": image[None]} for image in CALIBRATION])

        def get_next(self):
            return next(self.images, None)

    folder.mkdir(exist_ok=True)
    before, after = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, before)
    quantize_static(
        before,
        after,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=list(exclude),
    )
    return onnx.load(after)


@pytest.fixture
def walker(tmp_path):
    """Save two models and walk through them on seeded images."""
    images = tmp_path / "images.npz"
    np.savez(images, images=np.random.default_rng(3).standard_normal((6, 3, SIZE, SIZE)).astype(np.float32))

    def go(reference, variant, **options):
        paths = []
        for name, model in (("a", reference), ("b", variant)):
            paths.append(tmp_path / f"{name}.onnx")
            onnx.save(model, paths[-1])
        return walk(*paths, images, cache=tmp_path / "cache", **options)

    return go


def copy_of(model):
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


class TestBlame:
    @pytest.mark.parametrize("guilty", ["stem", "conv0a", "conv0b", "dw1", "pw1", "conv2", "fc"])
    def test_perturbed_weights_are_named_first(self, walker, guilty):
        """Noise in the weights of one layer: that layer departs first, adds the only error, and has all the cost."""
        net = make_net(("residual", "depthwise", "swish"))
        other = copy_of(net)
        weight = numpy_helper.to_array(weights_of(net)[f"{guilty}_w"])
        noise = np.random.default_rng(1).standard_normal(weight.shape) * weight.std()
        replace_weight(other, f"{guilty}_w", (weight + noise).astype(np.float32))
        found = walker(net, other)

        departed = found.first_departure()
        assert departed is not None
        assert guilty == departed.node
        (culprit,) = found.worst()
        assert (guilty, 1.0, (guilty,)) == (culprit.node, culprit.cost_share, culprit.keep)
        assert culprit.local_snr_db == pytest.approx(culprit.snr_db)
        assert culprit.output_snr_db == pytest.approx(found.output_snr_db, abs=3.0)  # over 4 of the 6 images

    @pytest.mark.parametrize("guilty", ["stem", "conv0a", "add0", "dw1", "pw1"])
    def test_a_wrong_zero_point_is_named_first(self, walker, tmp_path, guilty):
        """A rounding that is off by 40 steps belongs to the value that it rounds, and goes with who reads it."""
        net = make_net(("residual", "depthwise"))
        int8 = quantize(net, tmp_path / "int8")
        before = walker(net, int8)
        assert before.first_departure() is None
        row = next(row for row in before.layers if row.node == guilty)
        (decode,) = [node for node in int8.graph.node if row.variant_value in node.output]
        assert "DequantizeLinear" == decode.op_type
        wrong = numpy_helper.to_array(weights_of(int8)[decode.input[2]]).astype(int) + 40
        int8.graph.initializer.append(numpy_helper.from_array(np.uint8(wrong % 256), "wrong_zero_point"))
        decode.input[2] = "wrong_zero_point"
        found = walker(net, int8)

        departed = found.first_departure()
        assert departed is not None
        assert (guilty, guilty) == (departed.node, found.worst()[0].node)
        assert departed.keep
        assert guilty not in departed.keep

    def test_equal_graphs_have_no_error(self, walker):
        """Nothing departs, and ratios are None where nothing differs."""
        net = make_net()
        found = walker(net, copy_of(net))
        assert found.first_departure() is None
        assert [] == found.worst()
        assert {None} == {row.snr_db for row in found.layers}
        assert (None, 1.0) == (found.output_snr_db, found.top1_agreement)
        assert found.heavy == found.heavy_aligned == 6

    def test_nan_is_named_where_it_begins(self, walker):
        """A NaN has no ratio; the first layer that holds one has departed."""
        net = make_net()
        other = copy_of(net)
        bias = np.zeros(CHANNELS, np.float32)
        bias[2] = np.nan
        replace_weight(other, "conv0b_b", bias)
        found = walker(net, other)
        departed = found.first_departure()
        assert departed is not None
        assert ("conv0b", SIZE * SIZE * 6) == (departed.node, departed.broken)
        assert found.outputs[0].broken

    def test_nan_in_the_reference_is_the_users(self, walker):
        """With a reference that is not finite nothing can be compared."""
        net = make_net()
        replace_weight(net, "fc_b", np.full(10, np.nan, np.float32))
        with pytest.raises(UserError, match="output 'y' of the reference holds NaN"):
            walker(net, make_net())


class TestInt8:
    @pytest.mark.parametrize("blocks", [("residual",), ("depthwise", "residual"), ("swish", "depthwise")])
    def test_every_layer_is_found_in_a_quantized_graph(self, walker, tmp_path, blocks):
        """All layers with weights have a partner though Relu and Clip are gone, with the figures of a good int8."""
        net = make_net(blocks)
        found = walker(net, quantize(net, tmp_path / "int8"))
        assert found.heavy == found.heavy_aligned
        assert () == found.unaligned == found.reshaped
        rows = {row.node: row for row in found.layers}
        assert "Conv+Clip" == rows["stem"].op
        assert "Input" == found.layers[0].op
        for row in found.layers:
            assert row.snr_db is not None
            assert 15.0 < row.snr_db < 60.0
        assert 1.0 == pytest.approx(sum(row.cost_share or 0.0 for row in found.layers))
        assert found.output_snr_db > THRESHOLD_DB

    def test_dynamic_quantization(self, walker, tmp_path):
        """Layers that became ConvInteger and MatMulInteger are found by the names of their values."""
        from onnxruntime.quantization import quantize_dynamic

        net = make_net()
        onnx.save(net, tmp_path / "float.onnx")
        quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
        dynamic = onnx.load(tmp_path / "dynamic.onnx")
        for node in dynamic.graph.node:
            if node.op_type == "ConvInteger":
                node.name = node.name.removesuffix("_quant")  # the layer's own name, though it sums codes
        found = walker(net, dynamic)
        assert found.heavy == found.heavy_aligned
        assert all(row.snr_db is None or row.snr_db > THRESHOLD_DB for row in found.layers)
        assert {"stem", "conv0a", "conv0b", "dw1", "pw1", "fc"} == {row.node for row in found.worst()}

    @pytest.mark.parametrize(("dtype", "low", "high"), [("float16", 50.0, 120.0), ("bfloat16", 35.0, 75.0)])
    def test_half_precision(self, walker, dtype, low, high):
        """Values behind casts are compared, and layers are fed in the precision that they take."""
        net = make_net()
        found = walker(net, in_half(net, dtype))
        assert found.heavy == found.heavy_aligned
        assert found.first_departure() is None
        for row in found.layers:
            assert row.snr_db is None or low < row.snr_db < high
        assert found.worst()

    @pytest.mark.parametrize(("spoil", "guilty"), [("spoil_weights", "conv0a"), ("spoil_values", "pw1")])
    def test_mixed_precision_mends_what_the_walk_names(self, walker, tmp_path, spoil, guilty):
        """The layer that int8 ruins, or that reads a value it ruins, stays in fp32: really built so, it is better."""
        net = make_net(("residual", "depthwise"))
        {"spoil_weights": spoil_weights, "spoil_values": spoil_values}[spoil](net)
        bad = walker(net, quantize(net, tmp_path / "int8", per_channel=False))
        tried = []

        def rebuild(keep):
            tried.append(keep)
            return walker(net, quantize(net, tmp_path / "mixed", keep, per_channel=False))

        mended = mend(bad, rebuild)
        assert mended is not None
        assert guilty in mended.keep
        assert guilty in bad.worst()[0].keep
        assert (mended.keep, mended.attempts) == (tried[-1], len(tried))
        assert len(mended.keep) <= MOST_KEPT
        assert bad.output_snr_db < THRESHOLD_DB
        assert mended.found.output_snr_db >= target_db(bad) >= bad.output_snr_db + 6.0

    def test_nothing_is_proposed_that_is_no_better(self, walker, tmp_path):
        """A rebuilt variant that comes out the same is no advice."""
        net = make_net()
        bad = walker(net, quantize(net, tmp_path / "int8"))
        assert mend(bad, lambda _keep: bad) is None
        same = walker(net, net)
        assert mend(same, lambda _keep: same) is None


def spoil_weights(net):
    """One weight of `conv0a` takes the whole range of its tensor; it meets a channel that is always zero."""
    bias, weight = (numpy_helper.to_array(weights_of(net)[name]).copy() for name in ("stem_b", "conv0a_w"))
    bias[0], weight[0, 0] = -1000.0, 300.0
    replace_weight(net, "stem_b", bias)
    replace_weight(net, "conv0a_w", weight)


def spoil_values(net):
    """One channel of `dw1` takes the whole range of what `pw1` reads, and counts there as little as any other."""
    depthwise, pointwise = (numpy_helper.to_array(weights_of(net)[name]).copy() for name in ("dw1_w", "pw1_w"))
    depthwise[0] *= 300.0
    pointwise[:, 0] /= 300.0
    replace_weight(net, "dw1_w", depthwise)
    replace_weight(net, "pw1_w", pointwise)
    clip = next(node for node in net.graph.node if node.name == "dw1_act")
    clip.op_type = "Relu"
    del clip.input[1:]


def in_half(net, dtype):
    """*net* in a 16-bit type, with casts at its ends."""
    element = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[dtype]
    half = copy_of(net)
    del half.opset_import[:]
    half.opset_import.append(helper.make_opsetid("", 22))  # the first in which Conv takes bfloat16
    for item in half.graph.initializer:
        array = numpy_helper.to_array(item)
        item.CopyFrom(helper.make_tensor(item.name, element, array.shape, array.ravel()))
    for node in half.graph.node:
        node.input[:] = ["x_half" if name == "x" else name for name in node.input]
        node.output[:] = ["y_half" if name == "y" else name for name in node.output]
    half.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_half"], name="cast_in", to=element))
    half.graph.node.append(helper.make_node("Cast", ["y_half"], ["y"], name="cast_out", to=TensorProto.FLOAT))
    return half


class TestShapes:
    def test_pruned_channels_cannot_be_compared(self, walker):
        """Layers with another shape are named, what has the same shape is compared, and so are the outputs."""
        net = make_net(("residual",))
        cut = copy_of(net)
        for name, axes in {"conv0a_w": (slice(6),), "conv0a_b": (slice(6),)}.items():
            replace_weight(cut, name, numpy_helper.to_array(weights_of(net)[name])[axes])
        replace_weight(cut, "conv0b_w", numpy_helper.to_array(weights_of(net)["conv0b_w"])[:, :6])
        found = walker(net, cut)
        assert ("conv0a", "act0a") == found.reshaped
        assert ["stem", "stem_act", "conv0b", "add0", "act0b", "pool", "flat", "fc"] == [r.node for r in found.layers]
        assert "conv0b" == found.worst()[0].node
        assert found.output_snr_db is not None

    def test_other_outputs(self, walker):
        """Two models that answer in different shapes are not two variants of one."""
        with pytest.raises(UserError, match=r"output 'y': its shape is \[1, 10\] in the one and \[1, 7\] in the other"):
            walker(make_net(), NetOf7())

    def test_images_of_another_size(self, walker, tmp_path):
        """The inputs are checked before anything is run."""
        np.savez(tmp_path / "images.npz", images=np.zeros((2, 3, 5, 5), np.float32))
        net = make_net()
        onnx.save(net, tmp_path / "a.onnx")
        with pytest.raises(UserError, match="the graph takes 1"):
            walk(tmp_path / "a.onnx", tmp_path / "a.onnx", tmp_path / "images.npz", cache=tmp_path / "cache")

    def test_a_graph_that_does_not_run(self, walker):
        """What the engine cannot run is an error of the stage, not a traceback."""
        net = make_net()
        broken = copy_of(net)
        broken.graph.node[0].domain = "nobody.knows"
        broken.opset_import.append(helper.make_opsetid("nobody.knows", 1))
        with pytest.raises(StageError, match="cannot be walked through"):
            walker(net, broken)


def NetOf7():
    net = NetMaker()
    net.conv("stem", channels_in=3)
    return net.finish(classes=7)


class TestAlignment:
    @settings(max_examples=30)
    @given(
        blocks=st.lists(st.sampled_from(["residual", "depthwise", "swish"]), max_size=4),
        seed=st.integers(0, 2**31),
        keep_nodes=st.booleans(),
        keep_values=st.booleans(),
    )
    def test_names_do_not_matter(self, blocks, seed, keep_nodes, keep_values):
        """Whatever nodes and values are called in the variant, every value finds its own."""
        net = make_net(tuple(blocks))
        other, values = renamed(net, np.random.default_rng(seed), nodes=not keep_nodes, values=not keep_values)
        found = align(read_net(net), read_net(other))
        assert {name: values[name] for node in net.graph.node for name in node.output} == {
            name: twin for name, twin in found.values.items() if name != "x"
        }
        assert [] == found.unaligned()

    @pytest.mark.parametrize("blocks", [("residual", "depthwise"), ("swish", "residual", "depthwise")])
    def test_a_quantized_graph_without_its_names(self, tmp_path, blocks):
        """Through Q/DQ pairs and lost activations, structure alone finds the layers."""
        net = make_net(blocks)
        int8 = quantize(net, tmp_path / "int8")
        other, _ = renamed(int8, np.random.default_rng(0), nodes=True, values=True)
        named, blind = (align(read_net(net), read_net(model)) for model in (int8, other))
        heavy = [node for node in net.graph.node if kind(node) in ("Conv", "MatMul")]
        assert all(node.output[0] in blind.values for node in heavy)
        assert set(named.folded) == set(blind.folded)
        assert [] == blind.unaligned()

    def test_folded_normalization(self):
        """A BatchNormalization that the variant has folded into its convolution is compared after it."""
        net = NetMaker()
        net.conv("conv", channels_in=3)
        for name in ("scale", "shift", "mean", "var"):
            net._constant(name, np.full(CHANNELS, 1.5, np.float32))
        net.node("BatchNormalization", "norm", [net.last, "scale", "shift", "mean", "var"])
        net.act("act")
        model = net.finish()
        slim = copy_of(model)
        del slim.graph.node[1]
        slim.graph.node[0].output[0] = "norm_out"
        found = align(read_net(model), read_net(slim))
        assert ("norm_out", "act_out") == (found.values["norm_out"], found.values["act_out"])
        assert "conv_out" not in found.values
        assert {} == found.folded


def renamed(model, rng, *, nodes, values):
    """A copy in which nodes or values have other names, and how the values are called there."""
    copied = copy_of(model)
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


class TestTally:
    @given(st.floats(0.01, 100.0), st.integers(1, 50), st.integers(0, 1000))
    def test_ratio_and_angle(self, scale, count, seed):
        """The ratio is that of the powers, and both are the same over parts as over the whole."""
        rng = np.random.default_rng(seed)
        reference = rng.standard_normal((4, count)) + 3.0
        ours = reference + scale * rng.standard_normal((4, count))
        whole, parts = Tally(), Tally()
        whole.add(ours, reference)
        for left, right in zip(ours, reference, strict=True):
            parts.add(left[None], right[None])
        expected = 10 * np.log10((reference**2).sum() / ((ours - reference) ** 2).sum())
        cosine = (ours * reference).sum() / np.sqrt((ours**2).sum() * (reference**2).sum())
        for tally in (whole, parts):
            assert (expected, cosine) == pytest.approx((tally.snr_db, tally.cosine))
            assert np.abs(ours - reference).max() == tally.worst
        assert (whole.classified, whole.same_class) == (parts.classified, parts.same_class)

    def test_ends_of_the_scale(self):
        """No noise has no ratio; no signal, or endless noise, the lowest."""
        assert decibel(1.0, 0.0) is None
        assert -LIMIT_DB == decibel(0.0, 1.0) == decibel(1.0, float("inf")) == decibel(1e-300, 1e300)
        assert LIMIT_DB == decibel(1e300, 1e-300)

    def test_what_is_not_finite(self):
        """Elements without a finite reference are left out, others that are not finite are counted."""
        tally = Tally()
        tally.add(np.array([1.0, np.nan, 3.0, np.inf]), np.array([1.0, 2.0, np.inf, 4.0]))
        assert (2, None, 1.0) == (tally.broken, tally.snr_db, tally.cosine)


def test_results_are_kept_and_read_back(walker, tmp_path, monkeypatch):
    """A second walk through the same files starts no process, and JSON loses nothing."""
    net = make_net()
    int8 = quantize(net, tmp_path / "int8")
    first = walker(net, int8)
    assert first == decode_walk(encode_walk(first))

    def fail(*_args, **_options):
        raise AssertionError("it was computed again")

    monkeypatch.setattr("bakeoff.models.walk.call", fail)
    assert first == walker(net, int8)


def test_memory_is_bounded_by_slices(walker, tmp_path, monkeypatch):
    """A graph walked in many small parts gives the same figures as in one."""
    from bakeoff.models import walk_measure, walk_worker

    net = make_net()
    for name, model in (("reference", net), ("variant", quantize(net, tmp_path / "int8"))):
        onnx.save(model, tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "inputs.npz", images=CALIBRATION)
    request = {name: str(tmp_path / f"{name}.onnx") for name in ("reference", "variant")}
    request |= {"inputs": str(tmp_path / "inputs.npz"), "scratch": str(tmp_path), "layers": True}
    whole = walk_worker.work(request)
    monkeypatch.setattr(walk_measure, "_BUDGET_BYTES", 1)
    monkeypatch.setattr(walk_worker, "_SURVEYED", 2)
    assert whole == walk_worker.work(request)
    assert not list(Path(tmp_path).glob("tmp*"))
