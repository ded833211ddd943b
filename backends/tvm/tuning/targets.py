"""Targets: TVM's dict of a CPU, its vector registers, and which CPU can run what was tuned for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....models.errors import UserError
from .tiles import Vector

__all__ = ["fits", "refuse_foreign", "resolve", "vector_of"]

_WIDE, _MIDDLE, _NARROW = Vector(lanes=16, registers=32), Vector(lanes=8, registers=16), Vector(lanes=4, registers=16)
_NEON = Vector(lanes=4, registers=32)

# What LLVM uses by itself in kernels where a target has it, by the beginnings of its own names.
_USED = ("amx", "avx", "bmi2", "f16c", "fma", "movbe", "neon", "sve")
_NAMED = 4
# Names of Linux that differ from LLVM's in more than hyphens and underscores.
_ALIASES = {"asimd": "neon"}


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
    """Whether a CPU that shows these *features* (as `host_features` gives them) has what LLVM uses for *target*."""
    return _known(target) and not _lacking(target, features)


def refuse_foreign(target: Mapping[str, Any], features: frozenset[str]) -> None:
    """Raise `UserError` for a *target* that TVM's LLVM does not know, or whose code does not run here. Imports tvm.

    *features* are those of this CPU; tuning times kernels, so they have to run.
    """
    cpu = _cpu(target)
    triple, here = _triples(target)
    if not _same_architecture(triple, here):
        raise UserError(f"--target: {triple} is another architecture than this machine's, {here}; tune on such a one")
    if not _known(target):
        raise UserError(f"--target: TVM's LLVM knows no CPU {cpu!r} for {triple}; x86-64-v3 is one for PCs since 2015")
    if lacking := sorted(_lacking(target, features)):
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        names = ", ".join(lacking[:_NAMED]) + more
        raise UserError(f"--target: {cpu} needs {names}, which this CPU lacks; tune on one that has it")


def _cpu(target: Mapping[str, Any]) -> str:
    return str(target.get("mcpu") or "generic")


def _triples(target: Mapping[str, Any]) -> tuple[str, str]:
    """LLVM's triple of *target*, and that of this machine."""
    from tvm.target import codegen

    here = str(codegen.llvm_get_system_triple())
    return str(target.get("mtriple") or here), here


def _same_architecture(triple: str, other: str) -> bool:
    return triple.partition("-")[0] == other.partition("-")[0]


def _known(target: Mapping[str, Any]) -> bool:
    """Whether TVM's LLVM knows the CPU on this machine's architecture; for another it would compile generic code."""
    from tvm.target import codegen

    triple, here = _triples(target)
    return _same_architecture(triple, here) and (
        _cpu(target) == "generic" or bool(codegen.llvm_is_valid_cpu(_cpu(target), triple))
    )


def _lacking(target: Mapping[str, Any], features: frozenset[str]) -> set[str]:
    shown = {_plain(_ALIASES.get(name, name)) for name in features}
    return {name for name in _features(target) if name.startswith(_USED) and _plain(name) not in shown}


def _features(target: Mapping[str, Any]) -> set[str]:
    from tvm.target import Target, codegen

    names = {str(name) for name in codegen.llvm_get_cpu_features(Target(dict(target)))}
    asked = [str(name) for name in target.get("mattr", ())]
    names |= {name[1:] for name in asked if name.startswith("+")}
    return names - {name[1:] for name in asked if name.startswith("-")}


def _plain(feature: str) -> str:
    return feature.replace("_", "").replace("-", "")
