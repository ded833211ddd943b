"""Limits and counters of the control groups that hold this process, version 1 or 2.

A limit anywhere between the process's own group and the root of the hierarchy that it can see binds it, so the
tightest one counts. Sources: the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Cgroup", "CgroupCounters", "Limits", "own_cgroup"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the groups allow; None where nothing is limited."""

    cpu_quota_cores: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class CgroupCounters:
    """Counters since the group was made; None where the kernel keeps none."""

    throttled_periods: int | None = None
    oom_kills: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cgroup:
    """The folders of this process's groups, its own first, then upwards. Reading counters opens a few small files."""

    version: int | None
    """1, 2, or None where there are no control groups."""
    cpu: tuple[Path, ...] = ()
    memory: tuple[Path, ...] = ()

    def limits(self) -> Limits:
        """The tightest limits that bind this process."""
        quota = _quota_v2 if self.version == 2 else _quota_v1
        limit_file = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        quotas = [cores for folder in self.cpu if (cores := quota(folder)) is not None]
        memory = [limit for folder in self.memory if (limit := _memory_limit(folder / limit_file)) is not None]
        return Limits(cpu_quota_cores=min(quotas, default=None), memory_bytes=min(memory, default=None))

    def counters(self) -> CgroupCounters:
        """How often a CPU quota has stopped these groups, and how many of our own processes were killed for memory."""
        stops = [count for folder in self.cpu if (count := _field(folder / "cpu.stat", "nr_throttled")) is not None]
        events = "memory.events" if self.version == 2 else "memory.oom_control"
        kills = _field(self.memory[0] / events, "oom_kill") if self.memory else None
        return CgroupCounters(throttled_periods=sum(stops) if stops else None, oom_kills=kills)

    def memory_headroom(self) -> int | None:
        """Bytes that can still be allocated below the tightest memory limit; None without a limit."""
        limit, usage = (
            ("memory.max", "memory.current")
            if self.version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        left = [
            allowed - _number(folder / usage) + _reclaimable(folder)
            for folder in self.memory
            if (allowed := _memory_limit(folder / limit)) is not None
        ]
        return max(0, min(left)) if left else None


@cache
def own_cgroup(root: Path = Path("/")) -> Cgroup:
    """The groups of this process, found below *root*'s proc folder; looked up once, since a process rarely moves."""
    memberships = _memberships(root)
    mounts = list(_mounts(root))
    cpu = _chain(root, mounts, memberships, "cpu")
    memory = _chain(root, mounts, memberships, "memory")
    if cpu or memory:
        return Cgroup(version=1, cpu=cpu, memory=memory)
    unified = _chain(root, mounts, memberships, "")
    if unified:
        return Cgroup(version=2, cpu=unified, memory=unified)
    return Cgroup(version=None)


@dataclass(frozen=True, kw_only=True)
class _Mount:
    controllers: frozenset[str]
    """Empty for version 2."""
    inside: str
    """The path within the hierarchy that is mounted."""
    point: Path


def _memberships(root: Path) -> dict[str, str]:
    """Path of this process's group by controller, "" standing for version 2."""
    found: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        _, _, _, inside, point, *_ = left.split(" ")
        if kind in ("cgroup", "cgroup2"):
            controllers = frozenset(options.split(",")) if kind == "cgroup" else frozenset[str]()
            yield _Mount(controllers=controllers, inside=inside, point=root / point.lstrip("/"))


def _chain(root: Path, mounts: Sequence[_Mount], memberships: dict[str, str], controller: str) -> tuple[Path, ...]:
    """Folders from the process's own group up to the mount point of *controller*'s hierarchy."""
    path = memberships.get(controller)
    for mount in mounts:
        wanted = controller in mount.controllers if controller else not mount.controllers
        if path is None or not wanted:
            continue
        own = mount.point / _below(path, mount.inside)
        while not own.is_dir() and own != mount.point:
            own = own.parent
        return tuple(folder for folder in (own, *own.parents) if folder.is_relative_to(mount.point))
    return ()


def _below(path: str, inside: str) -> str:
    """*path* seen from the mounted part *inside* of the hierarchy.

    In a container without a namespace of its own, the path is the host's while only its own part is mounted.
    """
    if ".." in path.split("/"):  # the group lies above what this namespace can see
        return ""
    if inside != "/" and (path == inside or path.startswith(f"{inside}/")):
        return path[len(inside) :].lstrip("/")
    return path.lstrip("/")


def _quota_v2(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    if not quota or not period or int(quota) <= 0:
        return None
    return int(quota) / int(period)


_UNLIMITED_BYTES = 2**60
"""Version 1 writes a number near 2**63 where nothing is limited."""


def _memory_limit(path: Path) -> int | None:
    text = _text(path)
    if not text.isdigit() or int(text) >= _UNLIMITED_BYTES:
        return None
    return int(text)


def _reclaimable(folder: Path) -> int:
    """Bytes of page cache that the group's usage counts though the kernel gives them up when memory is short."""
    return _field(folder / "memory.stat", "total_inactive_file") or _field(folder / "memory.stat", "inactive_file") or 0


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _field(path: Path, name: str) -> int | None:
    for line in _lines(path):
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def _lines(path: Path) -> list[str]:
    return _text(path).splitlines()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
