"""What of this machine and its packages goes into an artifact."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["code_digest", "host_features", "isa", "package_versions"]

_MATTER = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "neon", "sve", "sme", "i8mm", "bf16", "fphp", "dot")


@functools.cache
def host_features() -> frozenset[str]:
    """Names of all CPU features as the operating system shows them: "avx512_vnni", "asimddp", ..."""
    import cpuinfo

    return frozenset(cpuinfo.get_cpu_info().get("flags", ()))


def isa() -> str:
    """Features that a compiler of numeric code looks at, sorted, in one line."""
    return " ".join(sorted(flag for flag in host_features() if flag.startswith(_MATTER)))


def code_digest(*names: str) -> str:
    """sha256 over our own sources *names*, files or folders beside this one: what they make changes with them."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in names:
        place = here / name
        for source in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(source.read_bytes())
    return digest.hexdigest()


def package_versions(*distributions: str) -> dict[str, str]:
    """Versions of the installed *distributions*, without importing them; the ones that are missing are left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
