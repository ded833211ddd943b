"""Places text beside the points of a scatter plot so that no label covers another label or a point.

Greedy: each point in turn tries places around it, near ones first, and takes the cheapest that is free. A label that
finds none is left out and reported, never drawn over another. All lengths are pixels, y grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["EM", "Box", "Label", "place", "shortened", "text_width"]

EM = 11.0
"""Font size of labels."""

_HEIGHT = 14.0
"""Of a line, descenders included."""

_MARK = 5.5
"""Half the size of a point's mark; labels keep off it."""

_GAP = 3.0
"""Free room around a label."""

_RADII = (11.0, 20.0, 32.0, 46.0, 64.0, 84.0, 108.0, 136.0)
_DIRECTIONS = 16

_LEADER_FROM = 14.0
"""A label farther from its point than this needs a line that leads to it."""

_NARROW, _WIDE = frozenset("iljtfrI.,:;|!'()[] "), frozenset("mwMW@%")


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height

    def touches(self, other: Box, gap: float = 0.0) -> bool:
        """Whether the two share room, or come nearer than *gap*."""
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The place in the rectangle that is nearest to (*x*, *y*)."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)

    def crossed(self, x1: float, y1: float, x2: float, y2: float) -> bool:
        """Whether the line between the two places comes through."""
        steps = max(2, math.ceil(math.hypot(x2 - x1, y2 - y1) / 3))
        return any(
            self.left <= x1 + (x2 - x1) * i / steps <= self.right
            and self.top <= y1 + (y2 - y1) * i / steps <= self.bottom
            for i in range(steps + 1)
        )


@dataclass(frozen=True, kw_only=True)
class Label:
    """Where one label stands."""

    number: int
    """Which of the points it belongs to."""
    box: Box
    leader: tuple[float, float] | None
    """Where the line from the point ends; None for a label that stands beside its point."""


def text_width(text: str, size: float = EM) -> float:
    """An upper estimate of the width of *text*, whatever sans-serif font draws it.

    The advance widths are those of DejaVu Sans, the widest of the common ones, rounded up by class of letter.
    """
    ems = sum(0.42 if letter in _NARROW else 1.0 if letter in _WIDE else 0.67 for letter in text)
    return size * ems


def shortened(text: str, longest: int = 34) -> str:
    """*text* with its middle left out where it is longer than *longest* letters."""
    if len(text) <= longest:
        return text
    tail = longest // 2 - 1
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def _candidates(x: float, y: float, width: float) -> Iterator[tuple[float, Box]]:
    """(distance, box) around a point: right, left, above and below first, then at growing distances all around."""
    for radius in _RADII:
        for turn in range(_DIRECTIONS):
            angle = 2 * math.pi * turn / _DIRECTIONS
            dx, dy = radius * math.cos(angle), radius * math.sin(angle)
            # The box hangs on the side that looks at the point: left edge to the right of it, right edge to the left.
            left = x + dx - width * (0.5 - 0.5 * math.cos(angle))
            box = Box(left=left, top=y + dy - _HEIGHT / 2, width=width, height=_HEIGHT)
            yield radius - 4.0 * math.cos(angle), box


@dataclass(frozen=True, kw_only=True)
class _Plot:
    """What is drawn so far."""

    points: Sequence[tuple[float, float]]
    marks: Sequence[Box]
    edge: Box
    placed: list[Label] = field(default_factory=list)

    def free(self, label: Label) -> bool:
        """Whether *label* touches nothing, and neither its line nor any other crosses a label."""
        box, start = label.box, self.points[label.number]
        inside = self.edge.left <= box.left and box.right <= self.edge.right
        inside = inside and self.edge.top <= box.top and box.bottom <= self.edge.bottom
        if not inside or any(box.touches(mark) for mark in self.marks):
            return False
        for other in self.placed:
            if box.touches(other.box, _GAP):
                return False
            if label.leader and other.box.crossed(*start, *label.leader):
                return False
            if other.leader and box.crossed(*self.points[other.number], *other.leader):
                return False
        return True

    def crowd(self, label: Label) -> int:
        """How many marks of other points the line of *label* runs through."""
        if label.leader is None:
            return 0
        start = self.points[label.number]
        own = self.marks[label.number]
        return sum(mark.crossed(*start, *label.leader) for mark in self.marks if mark is not own)


def place(
    points: Sequence[tuple[float, float]], texts: Mapping[int, str], width: float, height: float
) -> tuple[tuple[Label, ...], tuple[int, ...]]:
    """Places for *texts* (by number of point) in a plot of *width* by *height* pixels.

    Returns the labels and the numbers of the points whose label found no room. No label touches another, a point's
    mark, or the edge of the plot; a leading line crosses no other label.
    """
    marks = [Box(left=x - _MARK, top=y - _MARK, width=2 * _MARK, height=2 * _MARK) for x, y in points]
    plot = _Plot(points=points, marks=marks, edge=Box(left=0, top=0, width=width, height=height))
    left_out = []
    for number, text in texts.items():
        found = _best(number, text, plot)
        if found is None:
            left_out.append(number)
        else:
            plot.placed.append(found)
    return tuple(plot.placed), tuple(left_out)


def _best(number: int, text: str, plot: _Plot) -> Label | None:
    x, y = plot.points[number]
    best: tuple[float, Label] | None = None
    for distance, box in _candidates(x, y, text_width(text)):
        end = box.nearest(x, y)
        label = Label(number=number, box=box, leader=end if math.dist((x, y), end) > _LEADER_FROM else None)
        if (best is not None and distance >= best[0]) or not plot.free(label):
            continue
        cost = distance + 6.0 * plot.crowd(label)
        if best is None or cost < best[0]:
            best = cost, label
    return None if best is None else best[1]
