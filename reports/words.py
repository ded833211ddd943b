"""Figures as people read them: units, significant digits, and a dash for what was not measured."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from .intervals import Interval

__all__ = [
    "MISSING",
    "binary_size",
    "interval_ms",
    "listed",
    "ms",
    "percent",
    "plural",
    "rate",
    "seconds",
    "size",
    "times",
    "when",
]

MISSING = "–"  # noqa: RUF001  (an en dash is what a table shows for "not measured")


def _digits(value: float) -> int:
    """Decimals that keep the rounding error of *value* under about 0.5%."""
    if not math.isfinite(value) or value <= 0:
        return 0
    return min(6, max(0, 2 - math.floor(math.log10(value / 2))))


def _number(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}"


def ms(value: float | None) -> str:
    """Milliseconds without the unit: "8.42", "91.3", "852"."""
    return MISSING if value is None else _number(value, _digits(value))


def interval_ms(interval: Interval | None, median: float | None) -> str:
    """Both ends in milliseconds, with as many decimals as *median* is shown with: "8.38 to 8.47"."""
    if interval is None or median is None:
        return MISSING
    decimals = _digits(median)
    return f"{_number(interval.low, decimals)} to {_number(interval.high, decimals)}"


def times(value: float | None) -> str:
    """A ratio: "1.41x" with a multiplication sign."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "∞×"  # noqa: RUF001
    decimals = max(2, _digits(value) - 2) if value < 10 else _digits(value)
    return f"{_number(value, decimals)}×"  # noqa: RUF001


def percent(share: float | None, decimals: int = 1) -> str:
    """A share of one as a percentage: 0.012 is "1.2%"."""
    return MISSING if share is None else f"{100 * share:.{decimals}f}%"


def size(count: int | None) -> str:
    """Bytes in decimal units (1 MB = 1,000,000 bytes); negative growth keeps its sign."""
    if count is None:
        return MISSING
    power = next((power for power in (4, 3, 2, 1) if abs(count) >= 1000**power), 0)
    unit = ("B", "kB", "MB", "GB", "TB")[power]
    value = count / 1000**power
    decimals = min(2, _digits(abs(value))) if power else 0
    return f"{_number(value, decimals)} {unit}"


def binary_size(count: int | None) -> str:
    """Bytes in binary units, as memory and caches are sold: "32 KiB", "22.9 GiB"."""
    if count is None:
        return MISSING
    power = next((power for power in (3, 2, 1) if count >= 1024**power), 0)
    unit = ("B", "KiB", "MiB", "GiB")[power]
    value = count / 1024**power
    return f"{value:,.0f} {unit}" if value == round(value) else f"{value:,.1f} {unit}"


def seconds(value: float | None) -> str:
    """A duration: "0.12 s", "12.3 s", "3 min 20 s"."""
    if value is None:
        return MISSING
    if value < 60:
        return f"{_number(value, min(2, _digits(value)))} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def rate(value: float | None) -> str:
    """A rate without its unit, three significant digits."""
    return MISSING if value is None else _number(value, max(0, _digits(value) - 1))


def when(moment: datetime | None) -> str:
    """A moment to the minute, in UTC if it knows its time zone."""
    if moment is None:
        return MISSING
    if moment.tzinfo is None:
        return f"{moment:%Y-%m-%d %H:%M}"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def plural(count: int, noun: str) -> str:
    """ "1 thread", "2 threads"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: tuple[str, ...] | list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
