"""Padding and output sizes of sliding windows, as ONNX defines them for convolution and pooling."""

from __future__ import annotations

from dataclasses import dataclass

from .node import OnnxNode, unsupported

__all__ = ["Window", "read_window", "same_pads"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Window of a convolution or pooling; each list has one entry for each spatial axis."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begins: list[int]
    """Padding before each axis; negative values crop."""
    ends: list[int]
    ceil: bool = False
    """Round output sizes up."""

    @property
    def symmetric(self) -> bool:
        """Whether each axis is padded alike on both sides and never cropped."""
        return self.begins == self.ends and min(self.begins, default=0) >= 0

    @property
    def overlaps(self) -> bool:
        """Whether each window holds something of the input, for sure: without gaps, and larger than all padding."""
        pads = [*zip(self.begins, self.ends, self.kernel, strict=True)]
        return max(self.dilations) == 1 and all(min(a, b) >= 0 and max(a, b) < size for a, b, size in pads)

    @property
    def spans(self) -> list[int]:
        """What one window covers of each axis."""
        return [dilation * (size - 1) + 1 for size, dilation in zip(self.kernel, self.dilations, strict=True)]

    def output_sizes(self, sizes: list[int]) -> list[int]:
        """Output sizes for input *sizes*; a window that would start in the rear padding is dropped."""
        found = []
        for size, span, stride, begin, end in zip(sizes, self.spans, self.strides, self.begins, self.ends, strict=True):
            room = size + begin + end - span
            count = (-(-room // stride) if self.ceil else room // stride) + 1
            if self.ceil and (count - 1) * stride >= size + begin:
                count -= 1
            found.append(count)
        return found

    def exact_pads(self, sizes: list[int]) -> list[int]:
        """Padding for `torch.nn.functional.pad` (last axis first) after which windows fit without a rest."""
        pads: list[int] = []
        outputs = self.output_sizes(sizes)
        for axis in reversed(range(len(sizes))):
            needed = (outputs[axis] - 1) * self.strides[axis] + self.spans[axis]
            pads += [self.begins[axis], needed - sizes[axis] - self.begins[axis]]
        return pads


def read_window(node: OnnxNode, kernel: list[int]) -> Window:
    """Read strides, dilations, pads and auto_pad of *node*, whose windows have size *kernel*."""
    axes = len(kernel)
    strides = node.attribute("strides", [1] * axes)
    dilations = node.attribute("dilations", [1] * axes)
    auto = node.attribute("auto_pad", "NOTSET")
    ceil = bool(node.attribute("ceil_mode", 0))
    pads = node.attribute("pads", [0] * (2 * axes))
    if auto == "VALID":
        pads = [0] * (2 * axes)
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        spans = Window(kernel=kernel, strides=strides, dilations=dilations, begins=[], ends=[]).spans
        pads = same_pads(list(node.shape(0))[2:], spans, strides, upper=auto == "SAME_UPPER")
        ceil = False
    elif auto != "NOTSET":
        raise unsupported(node, f"auto_pad {auto!r}")
    return Window(kernel=kernel, strides=strides, dilations=dilations, begins=pads[:axes], ends=pads[axes:], ceil=ceil)


def same_pads(sizes: list[int], spans: list[int], strides: list[int], *, upper: bool) -> list[int]:
    """Pads, all begins then all ends, that make each output ceil(size / stride); the odd one last if *upper*."""
    begins, ends = [], []
    for size, span, stride in zip(sizes, spans, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + span - size)
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return begins + ends
