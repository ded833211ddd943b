"""One colour, point shape and dash for each backend, the same in every chart and table.

The hues follow Okabe and Ito's set for colour-blind readers, darkened for white and lightened for black until each
reaches 3:1 against the page; shape and dash tell the backends apart without colour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["SHAPES", "Style", "kind_colours", "kind_variables", "styles", "variant_shapes"]

SHAPES: Mapping[str, str] = {
    "circle": "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9Z",
    "square": "M2 2h8v8H2Z",
    "diamond": "M6 .8 11.2 6 6 11.2 .8 6Z",
    "triangle-up": "M6 1.2 11 10.2H1Z",
    "triangle-down": "M6 10.8 1 1.8H11Z",
    "triangle-right": "M10.8 6 1.8 11V1Z",
    "triangle-left": "M1.2 6 10.2 1V11Z",
    "cross": "M4 1h4v3h3v4H8v3H4V8H1V4h3Z",
}
"""SVG path of each Vega point shape in a box of 12 by 12."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one backend is drawn."""

    variable: str
    """Name of the CSS variable that holds its colour, "--b0"."""
    light: str
    dark: str
    shape: str
    """A Vega point shape."""
    dash: tuple[int, ...]
    """Stroke dash in pixels; (1, 0) is solid."""

    @property
    def colour(self) -> str:
        """The colour as CSS and SVG take it; it follows the theme."""
        return f"var({self.variable})"


_Look = tuple[str, str, str, tuple[int, ...]]

_KNOWN: Mapping[str, _Look] = {
    "eager": ("#6b7280", "#9aa3b0", "diamond", (2, 2)),
    "onnxruntime": ("#0067a8", "#58aee6", "circle", (1, 0)),
    "openvino": ("#c2500a", "#f08a4b", "square", (1, 0)),
    "inductor": ("#a83f7c", "#e08dbb", "triangle-up", (6, 2)),
    "litert": ("#007d5b", "#2fbf96", "triangle-down", (4, 2)),
    "tvm": ("#8a6a00", "#dcb32f", "cross", (8, 2, 2, 2)),
}

_SPARE: tuple[_Look, ...] = (
    ("#5b4fc7", "#a59cf5", "triangle-right", (5, 1)),
    ("#b3263a", "#f57c8c", "triangle-left", (3, 1)),
    ("#007a8a", "#45c3d4", "circle", (7, 3)),
    ("#4f7300", "#9cc64a", "square", (1, 2)),
)


def styles(backends: Iterable[str]) -> dict[str, Style]:
    """A style for each of *backends*; bakeoff's own always look the same, others take the spare looks by name."""
    names = sorted(set(backends))
    strangers = [name for name in names if name not in _KNOWN]
    spare = {name: _SPARE[number % len(_SPARE)] for number, name in enumerate(strangers)}
    found = {}
    for number, name in enumerate(names):
        light, dark, shape, dash = _KNOWN.get(name) or spare[name]
        found[name] = Style(variable=f"--b{number}", light=light, dark=dark, shape=shape, dash=dash)
    return found


_VARIANT_SHAPES = (
    *("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left"),
    "M-1,-0.35L-0.35,-0.35L0,-1L0.35,-0.35L1,-0.35L0.5,0.15L0.7,0.95L0,0.45L-0.7,0.95L-0.5,0.15Z",
    "M-1,-1L0,-0.4L1,-1L0.4,0L1,1L0,0.4L-1,1L-0.4,0Z",
    "M-0.5,-0.9L0.5,-0.9L1,0L0.5,0.9L-0.5,0.9L-1,0Z",
    "M-0.4,-1L0.4,-1L0.4,1L-0.4,1Z",
)


def variant_shapes(names: Iterable[str]) -> dict[str, str]:
    """A Vega point shape for each variant of *names*, in their order; from the thirteenth on they repeat."""
    return {name: _VARIANT_SHAPES[number % len(_VARIANT_SHAPES)] for number, name in enumerate(dict.fromkeys(names))}


_KINDS: tuple[tuple[str, str], ...] = (
    ("#1f5fa8", "#6fb1ee"),
    ("#9a4a08", "#f0a064"),
    ("#0c7260", "#4cc9ad"),
    ("#8b3a7a", "#e59bd2"),
    ("#6b6200", "#d6c545"),
    ("#5a4bbd", "#aea4fb"),
    ("#a8283c", "#f68b98"),
    ("#3d6b1d", "#9ccf6a"),
)

_OTHERS = ("#566070", "#a3abb5")


def kind_variables() -> dict[str, tuple[str, str]]:
    """CSS variables of the colours of operators: (light, dark), each 4.5:1 against the page, words on it included."""
    return {f"--k{number}": pair for number, pair in enumerate((*_KINDS, _OTHERS))}


def kind_colours(kinds: Sequence[str], plain: Collection[str], order: Sequence[str] = ()) -> list[str]:
    """A colour for each of *kinds*; those of *plain*, which are no operators, are greys.

    A kind has the colour of its place in *order*, or the next that no other of *kinds* has, as long as there is one.
    """
    greys = iter(("var(--k8)", "color-mix(in srgb, var(--k8) 70%, var(--surface))"))
    found: list[str] = []
    for kind in kinds:
        if kind in plain:
            found.append(next(greys, "var(--strong)"))
            continue
        first = order.index(kind) if kind in order else len(order)
        wished = [f"var(--k{(first + step) % len(_KINDS)})" for step in range(len(_KINDS))]
        found.append(next((colour for colour in wished if colour not in found), wished[0]))
    return found
