"""The events of one inference, out of the memory that LiteRT's profiler wrote them to."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from .litert_native import NativeError, NativeEvent, NativeModel

__all__ = ["DELEGATED", "OWN", "Event", "take_events"]

OWN = 2
"""Kind of the event of an operator that LiteRT runs in a kernel of its own."""
DELEGATED = 8
"""Kind of the event of a kernel within a delegate."""

_UNTOUCHED = 0xCC
_ROOM = 8
"""Events more than are asked for, to see that no more are written."""

_KINDS = frozenset(1 << bit for bit in range(16))
_LONGEST_US = 1 << 36


@dataclass(frozen=True, kw_only=True)
class Event:
    """An operator or a kernel that ran."""

    tag: str
    """What it is: "Convolution (NHWC, F32) IGEMM"; of LiteRT's own kernels the operator's name."""
    kind: int
    elapsed_us: int
    index: int
    """Of LiteRT's own kernels the operator's place in the file; of others their place within the delegate."""


def take_events(model: NativeModel, *, wary: bool = False) -> list[Event]:
    """Operators and kernels of the last run, in order. *wary*: look first whether the memory holds what is expected.

    Raises `NativeError` if it does not.
    """
    count = model.count_events()
    if not 0 <= count < 1 << 20:
        raise NativeError(f"the profiler says that it has {count} events")
    memory = (NativeEvent * (count + _ROOM))()
    ctypes.memset(memory, _UNTOUCHED, ctypes.sizeof(memory))
    model.read_events(count, memory)
    events = memory[:count]
    if wary:
        _check_size(bytes(memory), count)
        _check_fields(events)
    return [
        Event(
            tag=(ctypes.string_at(event.tag) if event.tag else b"").decode(errors="replace"),
            kind=event.kind,
            elapsed_us=event.elapsed_us,
            index=event.index,
        )
        for event in events
        if event.kind in (OWN, DELEGATED)
    ]


def _check_size(memory: bytes, count: int) -> None:
    """Whether the library wrote just as much as *count* events take; of the last one's end some may be padding."""
    size = ctypes.sizeof(NativeEvent)
    written = len(memory.rstrip(bytes([_UNTOUCHED])))
    if not (count - 1) * size + NativeEvent.source.offset < written <= count * size:
        raise NativeError(f"{count} events take {written} bytes, not {count * size}")


def _check_fields(events: list[NativeEvent]) -> None:
    """Whether each field holds what it can hold, and each tag points into memory that can be read."""
    readable = _readable()
    for event in events:
        if event.kind not in _KINDS:
            raise NativeError(f"an event is of kind {event.kind}")
        if event.kind in (OWN, DELEGATED) and event.elapsed_us > _LONGEST_US:
            raise NativeError(f"an event took {event.elapsed_us} us")
        if event.tag and not any(start <= event.tag < end for start, end in readable):
            raise NativeError("an event's tag points nowhere")


def _readable() -> list[tuple[int, int]]:
    """Address ranges of this process that can be read; Linux only."""
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace").splitlines():
        place, permissions = line.split()[:2]
        if permissions.startswith("r"):
            start, end = (int(part, 16) for part in place.split("-"))
            found.append((start, end))
    return found
