"""Five small networks for 32x32 greyscale images, each built of the very blocks of its torchvision namesake.

Widths are multiples of 16, so that half the channels can go and vector units stay full. Heavy imports inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["NETS", "build_net", "weights_file"]

_CLASSES = 10


def build_net(name: str) -> Any:
    """A fresh `torch.nn.Module` for *name*, one of `NETS`: (N, 1, 32, 32) float32 to (N, 10) logits.

    Raises `KeyError` for another name.
    """
    return NETS[name]()


def weights_file(name: str) -> Path:
    """Where the trained weights of the net *name* lie, inside the package."""
    return Path(__file__).with_name("weights") / f"{name}.safetensors"


def _resnet() -> Any:
    """He et al., 2016: three stages of one basic block each."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock, conv1x1

    def block(inputs: int, outputs: int, stride: int) -> Any:
        shortcut = None
        if stride != 1:
            shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
        return BasicBlock(inputs, outputs, stride, shortcut)

    return nn.Sequential(
        _stem(16, 1, nn.ReLU), block(16, 16, 1), block(16, 32, 2), block(32, 64, 2), *_pooled(), nn.Linear(64, _CLASSES)
    )


def _mobilenet() -> Any:
    """Sandler et al., 2018: inverted residuals with linear bottlenecks."""
    from torch import nn
    from torchvision.models.mobilenetv2 import InvertedResidual

    settings = [(16, 16, 1, 1), (16, 32, 2, 4), (32, 32, 1, 4), (32, 48, 2, 4), (48, 48, 1, 4)]
    blocks = [InvertedResidual(*setting, norm_layer=nn.BatchNorm2d) for setting in settings]
    return nn.Sequential(
        _stem(16, 2, nn.ReLU6), *blocks, _pointwise(48, 192, nn.ReLU6), *_pooled(), nn.Linear(192, _CLASSES)
    )


def _shufflenet() -> Any:
    """Ma et al., 2018 (ShuffleNet V2): split, one branch, concatenation, channel shuffle."""
    from torch import nn
    from torchvision.models.shufflenetv2 import InvertedResidual

    settings = [(32, 64, 2), (64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    blocks = [InvertedResidual(*setting) for setting in settings]
    return nn.Sequential(
        _stem(32, 2, nn.ReLU), *blocks, _pointwise(128, 192, nn.ReLU), *_pooled(), nn.Linear(192, _CLASSES)
    )


def _vgg() -> Any:
    """Simonyan & Zisserman, 2015: plain convolutions without normalisation, and two fully connected layers."""
    from torch import nn

    layers: list[Any] = []
    inputs = 1
    for outputs in (16, 16, 0, 32, 32, 0, 48, 48, 0):
        if outputs:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        else:
            layers.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(48 * 4 * 4, 64), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(64, _CLASSES)]
    return nn.Sequential(*layers, *head)


def _efficientnet() -> Any:
    """Tan & Le, 2019: inverted residuals with squeeze and excitation, and SiLU."""
    from torch import nn
    from torchvision.models.efficientnet import MBConv, MBConvConfig

    settings = [(1, 3, 1, 16, 16), (4, 3, 2, 16, 32), (4, 5, 1, 32, 32), (4, 5, 2, 32, 48), (4, 3, 1, 48, 48)]
    blocks = [MBConv(MBConvConfig(*setting, num_layers=1), 0.0, nn.BatchNorm2d) for setting in settings]
    return nn.Sequential(
        _stem(16, 2, nn.SiLU), *blocks, _pointwise(48, 192, nn.SiLU), *_pooled(), nn.Linear(192, _CLASSES)
    )


def _stem(outputs: int, stride: int, activation: Any) -> Any:
    from torchvision.ops import Conv2dNormActivation

    return Conv2dNormActivation(1, outputs, 3, stride, activation_layer=activation)


def _pointwise(inputs: int, outputs: int, activation: Any) -> Any:
    from torchvision.ops import Conv2dNormActivation

    return Conv2dNormActivation(inputs, outputs, 1, activation_layer=activation)


def _pooled() -> tuple[Any, ...]:
    from torch import nn

    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)


NETS: Mapping[str, Callable[[], Any]] = {
    "digits_resnet": _resnet,
    "digits_mobilenet": _mobilenet,
    "digits_shufflenet": _shufflenet,
    "digits_vgg": _vgg,
    "digits_efficientnet": _efficientnet,
}
"""How each net is built, by its name in the zoo."""
