"""Which instructions the processor has, among those that decide how fast inference is.

py-cpuinfo asks the processor and the operating system. It starts processes for that and takes up to a second, so its
answer is kept in the cache folder until the machine boots again or shows another processor.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .folders import cache_folder, write_atomically

__all__ = ["FEATURES", "CpuFacts", "cpu_facts", "isa_features"]

FEATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sse4_2", ("sse4_2",)),
    ("avx", ("avx",)),
    ("avx2", ("avx2",)),
    ("fma", ("fma",)),
    ("f16c", ("f16c",)),
    ("avx_vnni", ("avx_vnni", "avxvnni")),
    ("avx_vnni_int8", ("avx_vnni_int8",)),
    ("avx512f", ("avx512f",)),
    ("avx512bw", ("avx512bw",)),
    ("avx512dq", ("avx512dq",)),
    ("avx512vl", ("avx512vl",)),
    ("avx512_vnni", ("avx512_vnni", "avx512vnni")),
    ("avx512_bf16", ("avx512_bf16",)),
    ("avx512_fp16", ("avx512_fp16",)),
    ("amx_tile", ("amx_tile",)),
    ("amx_int8", ("amx_int8",)),
    ("amx_bf16", ("amx_bf16",)),
    ("amx_fp16", ("amx_fp16",)),
    ("neon", ("asimd", "neon")),
    ("asimdhp", ("asimdhp",)),
    ("asimddp", ("asimddp",)),
    ("i8mm", ("i8mm",)),
    ("bf16", ("bf16",)),
    ("sve", ("sve",)),
    ("sve2", ("sve2",)),
    ("sme", ("sme",)),
    ("sme2", ("sme2",)),
    ("rvv", ("v", "rvv")),
)
"""(name that bakeoff uses, names that py-cpuinfo and kernels use), in the order in which they are shown."""

_CPUINFO = Path("/proc/cpuinfo")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class CpuFacts:
    """What py-cpuinfo says of the processor."""

    model: str
    vendor: str
    arch: str
    flags: tuple[str, ...]


def isa_features(flags: Iterable[str]) -> tuple[str, ...]:
    """The features of `FEATURES` that *flags* name, in the order of `FEATURES`."""
    known = set(flags)
    return tuple(name for name, aliases in FEATURES if not known.isdisjoint(aliases))


def cpu_facts(cache: Path | None = None) -> CpuFacts:
    """Facts of this machine's processor; *cache* is a folder, by default bakeoff's own in the user's cache folder."""
    key = _boot_key()
    if key is None:
        return _ask()
    kept = (cache_folder() if cache is None else cache) / "cpu" / f"{key}.json"
    facts = _read(kept)
    if facts is None:
        facts = _ask()
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not the facts
            write_atomically(kept, json.dumps(facts.__dict__).encode())
    return facts


def _ask() -> CpuFacts:
    import cpuinfo

    info = cpuinfo.get_cpu_info()
    model = info.get("brand_raw") or info.get("hardware_raw") or platform.processor() or platform.machine()
    return CpuFacts(
        model=" ".join(str(model).split()),
        vendor=str(info.get("vendor_id_raw", "")),
        arch=str(info.get("arch_string_raw") or platform.machine()),
        flags=tuple(sorted(str(flag) for flag in info.get("flags", ()))),
    )


def _read(path: Path) -> CpuFacts | None:
    try:
        kept = json.loads(path.read_bytes())
        return CpuFacts(
            model=str(kept["model"]), vendor=str(kept["vendor"]), arch=str(kept["arch"]), flags=tuple(kept["flags"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _boot_key() -> str | None:
    """Names this boot on this processor; None where the system tells neither.

    A virtual machine may wake up on another host without a boot, so the processor's own lines are part of it.
    """
    try:
        boot = _BOOT_ID.read_text()
        lines = _CPUINFO.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return None
    lasting = [line for line in lines if "mhz" not in line.lower() and "bogomips" not in line.lower()]
    return hashlib.sha256("\n".join([boot, *lasting]).encode()).hexdigest()[:16]
