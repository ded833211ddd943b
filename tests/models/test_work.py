"""Work of a graph: multiply-accumulates, other operations, bytes."""

import math

import numpy as np
import pytest
from bakeoff.models.errors import UserError
from bakeoff.models.work import count_work
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser


def graph(text, opset=21, **initializers):
    """A model from ONNX's text form; *initializers* are added to it."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in initializers.items())
    return model


def only(model):
    """The work of the last node."""
    return count_work(model).nodes[-1]


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


class TestMacs:
    @pytest.mark.parametrize(
        ("node", "inputs", "weights", "macs"),
        [
            ("Conv <pads=[1,1,1,1]> (x, w)", (1, 8, 10, 10), (16, 8, 3, 3), 16 * 100 * 72),
            ("Conv <group=8, strides=[2,2]> (x, w)", (1, 8, 11, 11), (8, 1, 3, 3), 8 * 25 * 9),
            ("Conv <group=2> (x, w)", (1, 8, 4, 4), (6, 4, 1, 1), 6 * 16 * 4),
            ("Conv <dilations=[2]> (x, w)", (1, 3, 20), (5, 3, 4), 5 * 14 * 12),
            ("ConvTranspose <strides=[2,2]> (x, w)", (1, 8, 5, 5), (8, 4, 2, 2), 8 * 25 * 16),
            ("ConvTranspose <group=4, strides=[2,2]> (x, w)", (1, 8, 5, 5), (8, 3, 2, 2), 8 * 25 * 12),
            ("Gemm (x, w)", (1, 7), (7, 5), 35),
            ("Gemm <transB=1> (x, w)", (1, 7), (5, 7), 35),
            ("MatMul (x, w)", (1, 6, 4, 7), (7, 5), 24 * 35),
            ("MatMul (x, w)", (1, 7), (7,), 7),
            ('Einsum <equation="nij,kj->nik"> (x, w)', (1, 3, 4), (5, 4), 60),
            ("Attention (x, w, w)", (1, 2, 6, 8), (1, 2, 10, 8), 2 * (2 * 6 * 10 * 8)),
            ("DeformConv (x, w, o)", (1, 4, 6, 6), (8, 4, 3, 3), 8 * 16 * 36),
        ],
    )
    def test_by_the_textbook(self, node, inputs, weights, macs):
        """Each operator by its own shapes."""
        dims = ",".join(str(dim) for dim in inputs)
        offsets = zeros(1, 18, 4, 4)
        model = graph(f"net (float[{dims}] x) => (float[] y) {{ y = {node} }}", 23, w=zeros(*weights), o=offsets)
        model.graph.output[0].type.tensor_type.ClearField("shape")

        assert macs == only(model).macs

    def test_recurrent(self):
        """Every step multiplies its input and its state, in both directions."""
        model = graph(
            "net (float[1,1,16] x) => (float[1,2,1,8] y) {"
            'y = LSTM <hidden_size=8, direction="bidirectional"> (x, w, r) }',
            w=zeros(2, 32, 16),
            r=zeros(2, 32, 8),
        )
        assert 2 * 32 * (16 + 8) == only(model).macs

    def test_integers(self):
        """Integer operators count like float ones, and are int8."""
        scale, zero = np.float32(0.1), np.uint8(3)
        linear = graph(
            "net (uint8[1,8,6,6] x) => (uint8[1,4,4,4] y) { y = QLinearConv (x, s, z, w, s, z, s, z) }",
            w=zeros(4, 8, 3, 3, dtype=np.uint8), s=scale, z=zero,
        )  # fmt: skip
        integer = graph(
            "net (uint8[1,8,6,6] x) => (int32[1,4,4,4] y) { y = ConvInteger (x, w, z) }",
            w=zeros(4, 8, 3, 3, dtype=np.uint8), z=zero,
        )  # fmt: skip
        product = graph(
            "net (uint8[1,9,7] x) => (int32[1,9,5] y) { y = MatMulInteger (x, w) }", w=zeros(7, 5, dtype=np.uint8)
        )
        product_linear = graph(
            "net (uint8[1,9,7] x) => (uint8[1,9,5] y) { y = QLinearMatMul (x, s, z, w, s, z, s, z) }",
            w=zeros(7, 5, dtype=np.uint8), s=scale, z=zero,
        )  # fmt: skip
        found = [(work.macs, work.precision) for work in map(only, (linear, integer, product, product_linear))]
        assert [(4 * 16 * 72, "int8")] * 2 + [(9 * 35, "int8")] * 2 == found

    def test_blocks_of_four_bits(self):
        """A product with packed weights computes in float, or in int8 where it may quantize its input."""
        text = (
            "net (float[1,9,64] x) => (float[1,9,5] y) {{ y = com.microsoft.MatMulNBits "
            "<K=64, N=5, bits=4, block_size=32, accuracy_level={}> (x, w, s) }}"
        )
        packed = zeros(5, 2, 16, dtype=np.uint8)
        works = [only(graph(text.format(level), w=packed, s=zeros(10))) for level in (1, 4)]
        assert [(9 * 64 * 5, "fp32"), (9 * 64 * 5, "int8")] == [(work.macs, work.precision) for work in works]
        assert {5 * 2 * 16 + 40} == {work.weight_bytes for work in works}

    @given(
        st.integers(1, 3), st.integers(1, 4), st.integers(1, 4),
        st.lists(
            st.tuples(*(st.integers(*span) for span in ((1, 24), (1, 5), (1, 4), (1, 3), (0, 3), (0, 3)))),
            min_size=1,
            max_size=3,
        ),
    )  # fmt: skip
    def test_convolutions(self, group, depth, width, axes):
        """MACs are the pairs of an output and a tap, input bytes the elements that some tap falls on."""
        lengths, sizes, strides, dilations, before, after = (list(values) for values in zip(*axes, strict=True))
        outputs = [(n + p + q - d * (k - 1) - 1) // s + 1 for n, k, s, d, p, q in axes]
        assume(min(outputs) > 0)
        node = helper.make_node(
            "Conv", ["x", "w"], ["y"], group=group, strides=strides, dilations=dilations, pads=before + after
        )
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, group * depth, *lengths])
        made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, group * width, *outputs])
        weight = numpy_helper.from_array(zeros(group * width, depth, *sizes), "w")
        work = only(helper.make_model(helper.make_graph([node], "net", [given], [made], [weight])))

        assert math.prod(outputs) * math.prod(sizes) * group * depth * width == work.macs
        taps = (
            {o * s + i * d - p for o in range(m) for i in range(k)} & set(range(n))
            for (n, k, s, d, p, _), m in zip(axes, outputs, strict=True)
        )
        assert 4 * group * depth * math.prod(map(len, taps)) == work.input_bytes
        assert (4 * math.prod(weight.dims), 4 * group * width * math.prod(outputs)) == (
            work.weight_bytes,
            work.output_bytes,
        )

    def test_functions_of_the_file_itself(self):
        """Their bodies are counted where they are called; the model given stays as it is."""
        model = parser.parse_model(
            '<ir_version: 10, opset_import: ["": 21, "own": 1]>'
            "net (float[1,7] x, float[7,5] w) => (float[1,5] y) { y = own.dense (x, w) }"
            '<domain: "own", opset_import: ["": 21]> dense (a, b) => (c) { p = MatMul (a, b) c = Relu (p) }'
        )
        model.graph.initializer.append(numpy_helper.from_array(zeros(7, 5), "w"))
        before = model.SerializeToString()

        assert [("MatMul", 35), ("Relu", 0)] == [(work.op_type, work.macs) for work in count_work(model).nodes]
        assert before == model.SerializeToString()

    def test_winograd(self):
        """Tiles of four outputs take 36 products where the textbook takes 144; edges take whole tiles."""
        even = graph(
            "net (float[1,8,56,56] x) => (float[1,8,56,56] y) { y = Conv <pads=[1,1,1,1]> (x, w) }", w=zeros(8, 8, 3, 3)
        )
        odd = graph(
            "net (float[1,8,7,7] x) => (float[1,8,7,7] y) { y = Conv <pads=[1,1,1,1]> (x, w) }", w=zeros(8, 8, 3, 3)
        )
        strided = graph(
            "net (float[1,8,9,9] x) => (float[1,8,4,4] y) { y = Conv <strides=[2,2]> (x, w) }", w=zeros(8, 8, 3, 3)
        )
        assert 4 == only(even).macs / only(even).winograd_macs
        assert 64 * 4 * 36 == only(odd).winograd_macs
        assert only(strided).macs == only(strided).winograd_macs

    def test_what_is_not_counted_is_named(self):
        """Bodies of loops and operators of others are no work, and said to be none."""
        model = graph(
            "net (float[1,4] x, bool c) => (float[1,4] y) {"
            "[choice] y = If (c) <then_branch = a () => (float[1,4] t) { t = Relu (x) },"
            " else_branch = b () => (float[1,4] e) { e = Neg (x) }> }"
        )
        assert ("choice (If)",) == count_work(model).uncounted


class TestOtherOperations:
    @pytest.mark.parametrize(
        ("node", "ops"),
        [
            ("Relu (x)", 256),
            ("Softmax (x)", 5 * 256),
            ("MaxPool <kernel_shape=[2,2], strides=[2,2]> (x)", 64 * 4),
            ("GlobalAveragePool (x)", 256),
            ("ReduceMean (x)", 256),
            ("Transpose (x)", 0),
            ("Flatten (x)", 0),
            ("Conv (x, w)", 0),
        ],
    )
    def test_by_operator(self, node, ops):
        """Elementwise by outputs, reductions by inputs, moves for nothing."""
        model = graph(f"net (float[1,4,8,8] x) => (float[] y) {{ y = {node} }}", w=zeros(4, 4, 1, 1))
        model.graph.output[0].type.tensor_type.ClearField("shape")
        assert ops == only(model).other_ops


def _amounts(work):
    return work.other_ops, work.input_bytes, work.weight_bytes, work.output_bytes


class TestBytes:
    def test_alone_and_together(self):
        """Alone, each node reads and writes; together only what crosses the border counts, and once."""
        model = graph(
            "net (float[1,4,8,8] x) => (float[1,4,8,8] y) {"
            "[conv] c = Conv (x, w, b) [act] r = Relu (c) [add] y = Add (r, x) }",
            w=zeros(4, 4, 1, 1),
            b=zeros(4),
        )
        work = count_work(model)
        size = 4 * 256
        assert [(size, 80, size), (size, 0, size), (2 * size, 0, size)] == [
            (one.input_bytes, one.weight_bytes, one.output_bytes) for one in work.nodes
        ]
        fused = work.group(["conv", "act"])
        assert (size, 80, size) == (fused.input_bytes, fused.weight_bytes, fused.output_bytes)
        assert work.whole() == work.group(["add", "act", "conv"])
        assert (size, 80, size) == (work.whole().input_bytes, work.whole().weight_bytes, work.whole().output_bytes)
        assert 2 * size == work.group(["conv", "add"]).output_bytes
        with pytest.raises(KeyError, match="no such node"):
            work.group(["conv", "other"])

    def test_quantized(self):
        """Between Q and DQ all is one byte; weights are codes with scales, biases as stored; the input is float."""
        model = graph(
            "net (float[1,4,8,8] x) => (float[1,4,8,8] y) {"
            "xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z)"
            "wd = DequantizeLinear <axis=0> (w, ws) bd = DequantizeLinear <axis=0> (b, ws)"
            "[first] c = Conv (xd, wd, bd) cq = QuantizeLinear (c, s, z) cd = DequantizeLinear (cq, s, z)"
            "[second] d = Conv (cd, wd, bd) [act] r = Relu (d)"
            "rq = QuantizeLinear (r, s, z) y = DequantizeLinear (rq, s, z) }",
            w=zeros(4, 4, 1, 1, dtype=np.int8), b=zeros(4, dtype=np.int32), ws=zeros(4), s=np.float32(1), z=np.uint8(0),
        )  # fmt: skip
        work = count_work(model)
        first, second, act = (work.node(name) for name in ("first", "second", "act"))
        assert ("int8", 4 * 256, (16 + 16) + 16, 256) == (
            first.precision, first.input_bytes, first.weight_bytes, first.output_bytes
        )  # fmt: skip
        assert ("int8", 256, 4 * 256, 256) == (
            second.precision, second.input_bytes, second.output_bytes, act.output_bytes
        )  # fmt: skip
        assert first.macs == first.winograd_macs == second.macs == 4 * 4 * 64
        assert (256, 256) == (work.group(["second", "act"]).input_bytes, work.group(["second", "act"]).output_bytes)
        assert ((256, 1), (256, 1)) == work.group(["second", "act"]).activations
        assert ((4 * 256, 4), (256, 1)) == work.group(["act"]).activations
        quantize = work.nodes[0]
        assert (3 * 256, 4 * 256, 4 + 1, 256) == _amounts(quantize)
        assert [(0, 0, 0, 0)] * 2 == [_amounts(one) for one in work.nodes[2:4]]

    def test_weights_alone_quantized(self):
        """Computed in float; four-bit codes share bytes, and each block brings its scale."""
        import ml_dtypes

        model = graph(
            "net (float[1,9,64] x) => (float[1,9,6] y) {"
            "wd = DequantizeLinear <axis=0, block_size=32> (w, s) y = MatMul (x, wd) }",
            w=zeros(64, 6, dtype=ml_dtypes.int4),
            s=zeros(2, 6),
        )
        assert ("fp32", 64 * 6 // 2 + 48, 9 * 64 * 6) == (
            only(model).precision,
            only(model).weight_bytes,
            only(model).macs,
        )

    def test_views_and_rows(self):
        """A view moves nothing and hands its neighbour's value on; a lookup reads the rows that it takes."""
        model = graph(
            "net (int64[1,3] i) => (float[3,8] y) { g = Gather (table, i) [view] v = Reshape (g, to) y = Relu (v) }",
            table=zeros(100, 8),
            to=np.array([3, 8]),
        )
        gather, view, act = count_work(model).nodes
        assert (24, 96, 96) == (gather.input_bytes, gather.weight_bytes, gather.output_bytes)
        assert (0, 0, 0) == (view.input_bytes, view.weight_bytes, view.output_bytes)
        assert (True, False, 96) == (view.avoidable, act.avoidable, act.input_bytes)
        assert (24, 96) == (count_work(model).whole().input_bytes, count_work(model).whole().weight_bytes)

    def test_same_padding(self):
        """Windows further apart than they are wide leave elements out, wherever padding shifts them to."""
        for how in ("SAME_UPPER", "SAME_LOWER", "VALID"):
            model = graph(
                f'net (float[1,1,8] x) => (float[1,1,4] y) {{ y = Conv <auto_pad="{how}", strides=[2]> (x, w) }}',
                w=zeros(1, 1, 1),
            )
            assert (16, 4) == (only(model).input_bytes, only(model).macs)


class TestRefusals:
    @pytest.mark.parametrize(
        ("dims", "words"),
        [
            ("N,4,8,8", r"input 'x' is Nx4x8x8, and work is counted over static shapes; export"),
            ("1,4,?,8", "1x4x?x8"),
            ("2,4,8,8", r"a batch of 2, and work is counted for one input; export the model with batch 1"),
        ],
    )
    def test_shapes(self, dims, words):
        """A dynamic shape and a batch are named."""
        with pytest.raises(UserError, match=words.replace("?", r"\?")):
            count_work(graph(f"net (float[{dims}] x) => (float[{dims}] y) {{ y = Relu (x) }}"))

    def test_an_unknown_shape(self):
        """The value whose shape depends on data is named, and who makes it."""
        model = graph("net (float[1,8] x) => (float[1,N] y) { i = NonZero (x) [who] j = Cast <to=1> (i) y = Relu (j) }")
        with pytest.raises(UserError, match=r"value 'i' \(made by NonZero"):
            count_work(model)


@pytest.mark.slow
class TestAgainstTorch:
    @staticmethod
    def nets():
        import torch

        class Attention(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.enter = torch.nn.Linear(32, 96)
                self.leave = torch.nn.Linear(32, 32)

            def forward(self, x):
                heads = self.enter(x).reshape(1, 10, 3, 4, 8).permute(2, 0, 3, 1, 4)
                seen = torch.nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
                return self.leave(seen.transpose(1, 2).reshape(1, 10, 32))

        convolutions = (torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 5, groups=4))
        return {
            "convolutions": (torch.nn.Sequential(*convolutions), (1, 3, 32, 32)),
            "transposed": (torch.nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, groups=2), (1, 8, 9, 9)),
            "attention": (Attention(), (1, 10, 32)),
            "dense": (torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Tanh(), torch.nn.Linear(30, 4)), (1, 20)),
        }

    @pytest.mark.parametrize("name", ["convolutions", "transposed", "attention", "dense"])
    def test_flop_counter(self, name):
        """As many as torch counts of the module that was exported."""
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        module, shape = self.nets()[name]
        x = torch.zeros(shape)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module.eval()(x)
        work = count_work(torch.onnx.export(module, (x,), dynamo=True, verbose=False).model_proto)

        assert counter.get_total_flops() == 2 * work.macs > 0
        assert () == work.uncounted
