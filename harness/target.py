"""What the hardware target is: processor, memory, limits, devices, and an id that stays as long as these do."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from ..backends.base import Probe
from ..reports.results import Accelerator, Cpu, Target
from .cgroup import Limits, own_cgroup
from .cores import core_caches, format_cores, usable_cores
from .isa import CpuFacts, cpu_facts, isa_features

__all__ = ["describe_target"]

PCI = Path("/sys/bus/pci/devices")
PCI_CLASSES = ("0x03", "0x12")
"""Display controllers and processing accelerators, by the first byte of the PCI class code."""
HIGHLIGHTS = (
    (("amx_int8", "amx_bf16"), "AMX"),
    (("avx512_vnni", "avx_vnni"), "VNNI"),
    (("avx512f",), "AVX-512"),
    (("avx2",), "AVX2"),
    (("sve",), "SVE"),
    (("i8mm",), "I8MM"),
    (("asimddp",), "dotprod"),
)


def describe_target(backends_probes: Mapping[str, Probe] | None = None) -> Target:
    """This machine as a target; `peaks` is left open.

    *backends_probes* has what each backend's `probe` said, by the backend's name: their devices besides the CPU become
    the accelerators.
    """
    facts = cpu_facts()
    usable = usable_cores()
    cpu = Cpu(
        model=facts.model,
        vendor=facts.vendor,
        arch=facts.arch,
        isa=isa_features(facts.flags),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=psutil.cpu_count() or len(usable),
        usable_cores=len(usable),
        caches=core_caches(usable[0]),
    )
    memory = int(psutil.virtual_memory().total)
    container = _container(usable, cpu.logical_cores, memory)
    return Target(
        id=_identity(cpu, memory, container, _pci_devices()),
        name=_name(facts, cpu, memory, container),
        cpu=cpu,
        memory_bytes=memory,
        os=_os_name(),
        kernel=platform.release(),
        python=platform.python_version(),
        container=container,
        accelerators=_accelerators(backends_probes or {}),
    )


def _identity(cpu: Cpu, memory: int, container: Mapping[str, str], devices: Iterable[str]) -> str:
    """Short sha256 over the hardware and its limits.

    Nothing in it changes with the kernel, the host's name, the clock's frequency or the packages installed; what
    accelerators the runtimes see depends on packages, so the PCI bus is asked instead.
    """
    facts = {
        "cpu": cpu.model_dump(mode="json"),
        "memory_gib": _installed_gib(memory),
        "limits": {key: container[key] for key in ("cpu_quota_cores", "memory_limit_bytes") if key in container},
        "devices": sorted(devices),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _installed_gib(memory: int) -> float:
    """Memory that was installed, judged by what the kernel has left of it.

    Kernels differ in what they keep for themselves, so it is rounded up to an eighth of the power of two below it.
    """
    gib = memory / 2**30
    step = 2.0 ** math.floor(math.log2(gib)) / 8
    return math.ceil(gib / step) * step


def _name(facts: CpuFacts, cpu: Cpu, memory: int, container: Mapping[str, str]) -> str:
    """For people: "AMD EPYC 9354, 2 of 64 cores, 24 GB, AVX-512 VNNI"."""
    model = re.sub(r"\((R|TM|r|tm)\)|\bCPU\b|\bProcessor\b|@.*$|\b\d+-Core\b", " ", facts.model)
    of = f" of {cpu.logical_cores}" if cpu.usable_cores != cpu.logical_cores else ""
    parts = [" ".join(model.split()), f"{cpu.usable_cores}{of} core{'s' if cpu.logical_cores != 1 else ''}"]
    if "cpu_quota_cores" in container:
        parts.append(f"quota {container['cpu_quota_cores']} cores")
    allowed = int(container.get("memory_limit_bytes", memory))
    parts.append(f"{allowed / 2**30:.0f} GB" if "memory_limit_bytes" in container else f"{_installed_gib(memory):g} GB")
    highlights = [word for features, word in HIGHLIGHTS if not set(features).isdisjoint(cpu.isa)]
    if "AVX-512" in highlights:
        highlights.remove("AVX2")
    return ", ".join([*parts, *([" ".join(reversed(highlights))] if highlights else [])])


def _container(usable: tuple[int, ...], logical: int, memory: int) -> dict[str, str]:
    """Limits below what the machine has; a limit that does not limit is left out."""
    group = own_cgroup()
    limits: Limits = group.limits()
    found: dict[str, str] = {}
    if group.version is not None:
        found["cgroup"] = f"v{group.version}"
    if limits.cpu_quota_cores is not None and limits.cpu_quota_cores < len(usable):
        found["cpu_quota_cores"] = f"{limits.cpu_quota_cores:.2f}"
    if len(usable) < logical:
        found["cpuset"] = format_cores(usable)
    if limits.memory_bytes is not None and limits.memory_bytes < memory:
        found["memory_limit_bytes"] = str(limits.memory_bytes)
    return found


def _accelerators(probes: Mapping[str, Probe]) -> tuple[Accelerator, ...]:
    return tuple(
        Accelerator(kind=device.name, name=device.description, seen_by=backend)
        for backend, probe in sorted(probes.items())
        for device in probe.devices
        if device.name.partition(".")[0] != "cpu"
    )


def _pci_devices() -> list[str]:
    """ "vendor:device" of every display controller and processing accelerator on the PCI bus."""
    found = []
    for folder in sorted(PCI.glob("*")):
        try:
            if (folder / "class").read_text().startswith(PCI_CLASSES):
                found.append(f"{(folder / 'vendor').read_text().strip()}:{(folder / 'device').read_text().strip()}")
        except OSError:  # a device may be unplugged between two reads
            continue
    return found


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
