"""Which of torch's own kernels the code in an AOTInductor package calls, and in which precision."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from .precision import short_precision

__all__ = ["Kernels", "executed_precisions", "read_kernels"]

Kernels = Mapping[str, Mapping[str, int]]
"""{"counts": calls by kernel, "precisions": calls by the precision of their weight, "" where it is no constant}."""

# Calls of torch's own kernels in the generated C++ code, with all that they are called with.
_CALL = re.compile(r"\baoti_torch_(?:cpu|cuda)_(\w*(?:conv|linear|mm|attention)\w*)\((.*)\);")

# Constants of the library: their names, and the types that they are stored in.
_NAME = re.compile(r'constants_info_\[(\d+)\]\.name = "(\w+)"')
_TYPE = re.compile(r"constants_info_\[(\d+)\]\.dtype = [\w<>(]*?cached_torch_dtype_(\w+)")

_INTEGER = re.compile(r"_q(conv|linear)")


def read_kernels(package: Path) -> Kernels:
    """Read the generated code in *package*: what runs is what it calls, whatever the graph asked for."""
    counts: Counter[str] = Counter()
    precisions: Counter[str] = Counter()
    with zipfile.ZipFile(package) as archive:
        for name in archive.namelist():
            if name.endswith(".cpp"):
                source = archive.read(name).decode()
                types = _constants(source)
                for kernel, arguments in _CALL.findall(source):
                    counts[kernel] += 1
                    precisions[_precision(kernel, arguments, types)] += 1
    return {"counts": dict(counts), "precisions": dict(precisions)}


def executed_precisions(kernels: Kernels, asked: Mapping[str, int]) -> dict[str, int]:
    """Heavy operators by precision: those whose kernel tells it, and the rest as the graph has *asked* for."""
    known = Counter({name: count for name, count in kernels["precisions"].items() if name})
    rest = Counter(asked) - known
    surplus = rest.total() - max(0, Counter(asked).total() - known.total())
    for name in sorted(rest, key=lambda name: -rest[name]):
        taken = min(rest[name], surplus)
        rest[name] -= taken
        surplus -= taken
    return dict(+(known + rest))


def _constants(source: str) -> dict[str, str]:
    types = dict(_TYPE.findall(source))
    return {name: short_precision(types[index]) for index, name in _NAME.findall(source) if index in types}


def _precision(kernel: str, arguments: str, types: Mapping[str, str]) -> str:
    if _INTEGER.match(kernel):
        return "int8"
    found = [types[word] for word in re.findall(r"\w+", arguments) if word in types]
    return found[0] if found else ""
