"""Which number a class has in a model: label sets, and the names that people give to folders of images."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..spec import ModelSpec
from .base import package_folder

__all__ = ["FASHION", "LabelSet", "check_labels", "label_set"]

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""Fashion-MNIST's classes (H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747, 2017)."""

_INDEX = re.compile(r"\d{1,6}")


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """The classes of a model; *classes* is None where nobody says what they are, then only an index names one."""

    name: str
    classes: int | None
    by_name: Mapping[str, tuple[int, ...]]
    """Numbers by folded label or WordNet id; several where a label is used twice ("crane")."""
    note: str = ""

    def index(self, word: str, what: str, model: str) -> int:
        """The class that *word* names.

        Raises `UserError` about *what* (the folder, say) where it names none of the classes of *model*, or two.
        """
        if _INDEX.fullmatch(word) and (self.classes is None or int(word) < self.classes):
            return int(word)
        found = self.by_name.get(_fold(word), ())
        if len(found) == 1:
            return found[0]
        if found:
            numbers = " and ".join(map(str, found))
            raise UserError(f"{what}: {word!r} is the label of classes {numbers} of {model}; name it by index instead")
        if self.classes is None:
            raise UserError(f"{what}: the labels of {model} are unknown; name its classes by index, 0 and up")
        other = ", WordNet id or label" if self.name == "imagenet1k" else " or label"
        raise UserError(
            f"{what}: {word!r} is no class of {model} ({self.name}); name it by index (0 to {self.classes - 1}){other}"
        )


def label_set(model: ModelSpec, words: Sequence[str]) -> LabelSet:
    """The classes of *model*, with as many ways to name them as are needed for *words*.

    A timm model is taken to be one of ImageNet-1k's unless its tag names other data: its own configuration is known
    only once it is exported. Raises `UserError` where WordNet ids or labels are used and the package that lists them
    is missing.
    """
    name, note = _label_set_name(model)
    if name == "imagenet1k":
        return LabelSet(name=name, classes=1000, by_name=_imagenet(words), note=note)
    if name == "digits":
        return LabelSet(name=name, classes=10, by_name={str(digit): (digit,) for digit in range(10)})
    if name == "fashion-mnist":
        return LabelSet(name=name, classes=10, by_name={_fold(word): (i,) for i, word in enumerate(FASHION)})
    return LabelSet(name=name, classes=None, by_name={})


def check_labels(model: ModelSpec, labels: str, data: str) -> tuple[str, ...]:
    """Notes on whether *model* has the label set *labels* of *data*; raises `UserError` where it has another."""
    own, note = _label_set_name(model)
    if not own:
        return (f"the labels of {model.name} are unknown: taken to be those of {labels}, in their order",)
    if own != labels:
        raise UserError(f"data {data!r}: its labels are those of {labels}, {model.name} has those of {own}")
    return (note,) if note else ()


def _label_set_name(model: ModelSpec) -> tuple[str, str]:
    if model.labels or model.source != "timm":
        return model.labels, ""
    tag = model.reference.partition(".")[2]
    if tag and not re.search(r"in1k(_\d+)?$", tag):
        return "", ""
    return "imagenet1k", f"the labels of {model.name} are taken to be ImageNet-1k's"


def _imagenet(words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Classes by WordNet id and every word that WordNet has for them; torchvision's labels where that is not enough."""
    wanted = {_fold(word) for word in words if not _INDEX.fullmatch(word)}
    if not wanted:
        return {}
    folder = package_folder("timm", "with ImageNet's classes by name", "'bakeoff[torch]'") / "data" / "_info"
    numbers = {synset: number for number, synset in enumerate(_lines(folder / "imagenet_synsets.txt"))}
    names: dict[str, list[int]] = defaultdict(list)
    for line in _lines(folder / "imagenet_synset_to_lemma.txt"):
        synset, _, lemmas = line.partition("\t")
        if synset in numbers:
            for name in {_fold(synset), *map(_fold, lemmas.split(","))}:
                names[name].append(numbers[synset])
    if not wanted <= names.keys():
        package_folder("torchvision", "with ImageNet's labels", "'bakeoff[torch]'")
        from torchvision.models import ResNet50_Weights

        for number, label in enumerate(ResNet50_Weights.IMAGENET1K_V2.meta["categories"]):
            if _fold(label) not in names:
                names[_fold(label)] = [number]
    return {name: tuple(sorted(found)) for name, found in names.items()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: this timm lists no names of classes; name the class folders by index") from error


def _fold(word: str) -> str:
    return re.sub(r"[\s_\-]+", " ", word).strip().casefold()
