"""Targets: TVM's dict of a CPU, its vector registers, and which CPU can run what was tuned for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .tiles import Vector

__all__ = ["fits", "resolve", "vector_of"]

_WIDE, _MIDDLE, _NARROW = Vector(lanes=16, registers=32), Vector(lanes=8, registers=16), Vector(lanes=4, registers=16)
_NEON = Vector(lanes=4, registers=32)


def resolve(target: Mapping[str, Any] | None, threads: int) -> dict[str, Any]:
    """The target to tune for: *target*, else this CPU as LLVM names it, with num-cores *threads*. Imports tvm."""
    from ...host import host_features
    from .. import pipeline

    chosen = dict(target) if target is not None else pipeline.host_target(host_features())
    return {**chosen, "num-cores": threads}


def vector_of(target: Mapping[str, Any]) -> Vector:
    """The vector registers that LLVM uses for *target*. Imports tvm."""
    features = _features(target)
    if "neon" in features or "sve" in features or "aarch64" in str(target.get("mtriple", "")):
        return _NEON
    return _WIDE if "avx512f" in features else _MIDDLE if "avx" in features else _NARROW


def fits(target: Mapping[str, Any], features: frozenset[str]) -> bool:
    """Whether a CPU that shows these *features* (as `host_features` gives them) has all vector ISA of *target*."""
    shown = {_plain(name) for name in features}
    needed = {_plain(name) for name in _features(target) if name.startswith(("avx", "fma", "amx", "neon", "sve"))}
    return needed <= shown


def _features(target: Mapping[str, Any]) -> set[str]:
    from tvm.target import Target, codegen

    names = {str(name) for name in codegen.llvm_get_cpu_features(Target(dict(target)))}
    asked = [str(name) for name in target.get("mattr", ())]
    names |= {name[1:] for name in asked if name.startswith("+")}
    return names - {name[1:] for name in asked if name.startswith("-")}


def _plain(feature: str) -> str:
    return feature.replace("_", "").replace("-", "")
