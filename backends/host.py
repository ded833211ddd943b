"""What of this machine and its packages goes into an artifact."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version

__all__ = ["host_features", "isa", "package_versions"]

_MATTER = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "neon", "sve", "sme", "i8mm", "bf16", "fphp", "dot")


@functools.cache
def host_features() -> frozenset[str]:
    """Names of all CPU features as the operating system shows them: "avx512_vnni", "asimddp", ..."""
    import cpuinfo

    return frozenset(cpuinfo.get_cpu_info().get("flags", ()))


def isa() -> str:
    """Features that a compiler of numeric code looks at, sorted, in one line."""
    return " ".join(sorted(flag for flag in host_features() if flag.startswith(_MATTER)))


def package_versions(*distributions: str) -> dict[str, str]:
    """Versions of the installed *distributions*, without importing them; the ones that are missing are left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
