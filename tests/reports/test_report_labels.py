"""Labels beside points: no label on another, on a point or outside, and wide enough for the text as it is drawn."""

from __future__ import annotations

import itertools
import random

import pytest
from bakeoff.reports.labels import EM, Box, Label, place, shortened, text_width
from PIL import ImageFont

WIDTH, HEIGHT = 560.0, 330.0


def _crowd(seed: int, count: int) -> list[tuple[float, float]]:
    """Points of a front in a crowd: many near one another, as backends of one variant are."""
    rng = random.Random(seed)
    centres = [(rng.uniform(20, WIDTH - 20), rng.uniform(20, HEIGHT - 20)) for _ in range(count // 4 + 1)]
    return [
        (min(WIDTH, max(0, x + rng.gauss(0, 14))), min(HEIGHT, max(0, y + rng.gauss(0, 4))))
        for x, y in (rng.choice(centres) for _ in range(count))
    ]


def _line_boxes(label: Label, start: tuple[float, float]) -> list[tuple[float, float]]:
    if label.leader is None:
        return []
    (x1, y1), (x2, y2) = start, label.leader
    return [(x1 + (x2 - x1) * i / 40, y1 + (y2 - y1) * i / 40) for i in range(41)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [4, 16, 40])
def test_labels_never_overlap(seed: int, count: int) -> None:
    """In any crowd: labels apart from each other and from all points, inside the plot, no line through a label."""
    points = _crowd(seed, count)
    texts = {number: f"channel50+int8 on backend{number}" for number in range(0, count, 3)}
    labels, left_out = place(points, texts, WIDTH, HEIGHT)

    assert set(texts) == {label.number for label in labels} | set(left_out)
    for one, other in itertools.combinations(labels, 2):
        assert not one.box.touches(other.box)
    for label in labels:
        assert 0 <= label.box.left
        assert label.box.right <= WIDTH
        assert 0 <= label.box.top
        assert label.box.bottom <= HEIGHT
        assert not any(label.box.touches(Box(left=x - 4, top=y - 4, width=8, height=8)) for x, y in points)
        for other in labels:
            if other is not label:
                for x, y in _line_boxes(other, points[other.number]):
                    assert not label.box.touches(Box(left=x, top=y, width=0, height=0))


def test_a_lone_label_stands_beside_its_point() -> None:
    """Where there is room, the label is to the right and needs no line."""
    (label,), left_out = place([(100.0, 100.0)], {0: "int8 on openvino"}, WIDTH, HEIGHT)

    assert () == left_out
    assert 100 < label.box.left < 120
    assert label.leader is None


def test_a_label_in_a_crowd_is_led_to() -> None:
    """Where the near places are taken, a line leads from the point to its label."""
    points = [(100.0 + 9 * i, 100.0 + 9 * j) for i in range(7) for j in range(7)]
    (label,), _ = place(points, {24: "int8"}, WIDTH, HEIGHT)

    assert label.leader is not None


def test_a_label_without_room_is_reported() -> None:
    """A text wider than the plot is left out and said to be."""
    assert ((), (0,)) == place([(10.0, 10.0)], {0: "x" * 200}, 100.0, 50.0)


@pytest.mark.parametrize("text", ["int8 on openvino", "channel50+int8 on onnxruntime", "MMWW@@%%", "illj.", "ÄÖÜ 模型"])
def test_the_estimate_is_an_upper_bound_of_the_drawn_width(text: str) -> None:
    """Measured with the font that Pillow brings along."""
    assert ImageFont.load_default(EM).getlength(text) <= text_width(text)


def test_long_names_lose_their_middle() -> None:
    """Both ends of a name are kept, because both tell variants apart."""
    name = "int8:keep=" + "|".join(f"node_conv_{number}" for number in range(20)) + " on openvino"
    short = shortened(name)

    assert 34 == len(short)
    assert short.startswith("int8:keep=")
    assert short.endswith("on openvino")
    assert "int8" == shortened("int8")
