"""Which operator of a .tflite file each event of LiteRT's profiler is of.

LiteRT's own kernels tell their operator. Kernels of XNNPACK come without a name, in the order of the operators that
the delegate took over, some of which are folded into others, or fall into two kernels. Convolutions and products are
paired one to one, or nothing is; what lies between two of them is paired in order, where the names mean the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .litert_events import OWN, Event
from .litert_operators import Operator

__all__ = ["Pair", "pair_events"]

_HEAVY = ("Batch Matrix Multiply", "Convolution", "Deconvolution", "Dynamic Fully Connected", "Fully Connected")

_DEPTHWISE = "DWConv"

_KERNELS = {
    "ADD": ("Add",),
    "AVERAGE_POOL_2D": ("Average Pooling", "Global Average Pooling", "Mean"),
    "CONCATENATION": ("Concatenate", "Copy"),
    "DEQUANTIZE": ("Convert",),
    "DIV": ("Divide",),
    "EXPAND_DIMS": ("Static Reshape", "Copy"),
    "HARD_SWISH": ("HardSwish",),
    "LEAKY_RELU": ("Leaky ReLU",),
    "LOGISTIC": ("Sigmoid",),
    "MAXIMUM": ("Maximum", "Clamp"),
    "MAX_POOL_2D": ("Max Pooling",),
    "MEAN": ("Mean", "Global Average Pooling", "Static Mean"),
    "MINIMUM": ("Minimum", "Clamp"),
    "MUL": ("Multiply",),
    "NEG": ("Negate",),
    "PAD": ("Constant Pad", "Static Constant Pad"),
    "QUANTIZE": ("Convert",),
    "RELU": ("Clamp",),
    "RELU6": ("Clamp",),
    "RELU_0_TO_1": ("Clamp",),
    "RELU_N1_TO_1": ("Clamp",),
    "RESHAPE": ("Static Reshape", "Copy"),
    "RESIZE_BILINEAR": ("Resize",),
    "RSQRT": ("Reciprocal Square Root",),
    "SPLIT": ("Slice", "Even Split", "Copy"),
    "SQRT": ("Square Root",),
    "STRIDED_SLICE": ("Slice", "Strided Slice"),
    "SUB": ("Subtract",),
}
"""How the names of XNNPACK's kernels for an operator begin, where that is not with the operator's own name."""


@dataclass(frozen=True)
class Pair:
    """The operator of an event, by its place in the file; None for an event that no operator explains."""

    operator: int | None = None
    extra: bool = False
    """The operator has had its kernel before, and this one does the rest: an activation that was not fused."""


def pair_events(events: Sequence[Event], operators: Sequence[Operator]) -> list[Pair]:
    """A pair for each of *events*, which are in order of execution."""
    pairs = [Pair()] * len(events)
    for place, event in enumerate(events):
        if event.kind == OWN and event.index < len(operators) and operators[event.index].kind == event.tag:
            pairs[place] = Pair(operator=event.index)
    runs = list(_runs(events))
    partitions = sorted({operator.partition for operator in operators if operator.partition is not None})
    if len(runs) != len(partitions):
        return pairs
    for run, partition in zip(runs, partitions, strict=True):
        taken = [place for place, operator in enumerate(operators) if operator.partition == partition]
        for place, pair in zip(run, _paired([events[at] for at in run], taken, operators), strict=True):
            pairs[place] = pair
    return pairs


def _runs(events: Sequence[Event]) -> Iterator[list[int]]:
    """Places of the events of each delegate; its kernels are counted from the first on."""
    run: list[int] = []
    for place, event in enumerate(events):
        if event.kind == OWN:
            continue
        if run and event.index <= events[run[-1]].index:
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _paired(events: Sequence[Event], taken: Sequence[int], operators: Sequence[Operator]) -> list[Pair]:
    """Pairs of one delegate's *events* with the operators at the places *taken*."""
    heavy_events = [place for place, event in enumerate(events) if event.tag.startswith(_HEAVY)]
    heavy = [place for place in taken if operators[place].heavy]
    if len(heavy) != len(heavy_events) or not all(
        _DEPTHWISE not in events[at].tag or operators[place].kind == "DEPTHWISE_CONV_2D"
        for at, place in zip(heavy_events, heavy, strict=True)
    ):
        return [Pair()] * len(events)
    partner = dict(zip(heavy_events, heavy, strict=True))
    pairs = []
    last: int | None = None
    waiting = _between(taken, operators, None)
    for place, event in enumerate(events):
        if place in partner:
            last = partner[place]
            waiting = _between(taken, operators, last)
            pairs.append(Pair(operator=last))
            continue
        fitting = next((index for index, at in enumerate(waiting) if _fits(event, operators[at])), None)
        if fitting is None:
            pairs.append(Pair(operator=last, extra=last is not None))
            continue
        last = waiting[fitting]
        waiting = waiting[fitting + 1 :]
        pairs.append(Pair(operator=last))
    return pairs


def _between(taken: Sequence[int], operators: Sequence[Operator], heavy: int | None) -> list[int]:
    """Places of the light operators among *taken* that come after *heavy*, or first, before the next heavy one."""
    found = []
    for place in taken[0 if heavy is None else taken.index(heavy) + 1 :]:
        if operators[place].heavy:
            break
        found.append(place)
    return found


def _fits(event: Event, operator: Operator) -> bool:
    names = _KERNELS.get(operator.kind, (operator.kind.replace("_", " "),))
    return event.tag.lower().startswith(tuple(name.lower() for name in names))
