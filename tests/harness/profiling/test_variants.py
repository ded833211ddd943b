"""The same layers over variants: joined by the names that steps keep."""

from __future__ import annotations

from typing import Any

from bakeoff.harness.profiling.variants import across_variants
from bakeoff.reports.profiles import GroupTimes


def group(variant: str, nodes: dict[str, str], *, threads: int = 1, **ms: float) -> GroupTimes:
    setting: dict[str, Any] = {"model": "net", "threads": threads, "batch": 1, "device": "cpu"}
    scopes = tuple(f"m.{name}" for name in nodes)
    return GroupTimes(
        **setting, variant=f"net@{variant}", nodes=tuple(nodes), ops=tuple(nodes.values()), scopes=scopes, ms=ms
    )


def test_convolutions_keep_their_names() -> None:
    """int8 has roundings beside them, and no Relu."""
    layers = across_variants(
        [
            group("fp32", {"c1": "Conv", "r1": "Relu"}, ort=3.0, ov=2.0),
            group("fp32", {"c2": "Conv"}, ort=1.0),
            group("int8", {"c1": "Conv", "q": "QuantizeLinear"}, ort=1.5, ov=1.0),
            group("int8", {"q2": "DequantizeLinear", "c2": "Conv"}, ort=0.5),
        ]
    )
    assert [("c1", "r1"), ("c2",)] == [layer.nodes for layer in layers]
    assert {"net@fp32": {"ort": 3.0, "ov": 2.0}, "net@int8": {"ort": 1.5, "ov": 1.0}} == layers[0].ms
    assert ("m.c1", "m.r1") == layers[0].scopes


def test_what_one_variant_joins_is_joined_in_all() -> None:
    """An int8 kernel that does two layers at once is compared with both of fp32."""
    fp32 = [group("fp32", {"c1": "Conv"}, ort=1.0), group("fp32", {"c2": "Conv"}, ort=2.0)]
    (layer,) = across_variants([*fp32, group("int8", {"c1": "Conv", "c2": "Conv"}, ort=1.5)])
    assert {"net@fp32": {"ort": 3.0}, "net@int8": {"ort": 1.5}} == layer.ms


def test_names_of_roundings_join_nothing() -> None:
    """They are made up anew by every step."""
    layers = across_variants([group("int8", {"q": "QuantizeLinear"}, ort=1.0), group("fp32", {"q": "Cast"}, ort=1.0)])
    assert 2 == len(layers)


def test_settings_and_lone_variants_stand_apart() -> None:
    """Nothing is compared with itself, nor one thread with two."""
    one, two = group("fp32", {"c": "Conv"}, ort=1.0), group("int8", {"c": "Conv"}, threads=2, ort=1.0)
    assert [] == across_variants([one, two])
