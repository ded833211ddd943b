"""Nets whose nodes say what they are, and their quantized forms. The tests beside it load it with `runpy`."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = [
    "CALIBRATION",
    "CHANNELS",
    "SIZE",
    "NetMaker",
    "copy_of",
    "make_net",
    "quantize",
    "replace_weight",
    "weights_of",
]

CHANNELS = 8
SIZE = 12
CALIBRATION = np.random.default_rng(7).standard_normal((8, 3, SIZE, SIZE)).astype(np.float32)


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


def copy_of(model):
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


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
