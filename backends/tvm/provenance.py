"""What the kernels of a compiled model run of the ONNX file, found while TVM lowers and fuses the graph.

The importer calls values after the nodes that make them (see `pipeline.import_onnx`). TVM keeps these names until it
fuses, and then drops them: what a fused kernel computes is found again by numbering the values before and after. Two
values have one number if equal loops make them from values of the same numbers.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..profile_axes import Axes, kept, onnx_shape, plain, transposed
from .kernels import Kernel, Part
from .pipeline import place_of

__all__ = ["Stages", "find_kernels", "watched"]

_HEAVY = ("conv", "matmul", "dense", "einsum")
"""Parts of the names of loops that hold the arithmetic."""

_CALLS = ("relax.call_tir", "relax.call_tir_inplace", "relax.call_dps_packed", "relax.call_pure_packed")
"""Operators that call what their first argument names."""

_PACKING = "_weight_prepack"
"""End of the name of what stores weights in another order, where that could not be done beforehand."""

_TRANSPOSING = "transpose"
"""Beginning of the names of loops that TVM changes layouts with."""


@dataclass(kw_only=True)
class Stages:
    """The graph on its way through `pipeline.prepare`."""

    laid_out: Any = None
    """Operators of Relax in their final layouts."""
    lowered: Any = None
    """Each operator as loops of its own."""
    fused: Any = None
    """Loops grouped to kernels."""


@contextmanager
def watched() -> Iterator[Stages]:
    """Keep the stages of the first module that is prepared inside."""
    import tvm

    stages = Stages()

    @tvm.ir.instrument.pass_instrument
    class Watch:
        def run_before_pass(self, module: Any, info: Any) -> None:
            if info.name == "LegalizeOps" and stages.laid_out is None:
                stages.laid_out = module
            elif info.name == "FuseOps" and stages.lowered is None:
                stages.lowered = module

        def run_after_pass(self, module: Any, info: Any) -> None:
            if info.name == "FuseOps" and stages.fused is None:
                stages.fused = module

    now = tvm.transform.PassContext.current()
    with tvm.transform.PassContext(opt_level=now.opt_level, config=dict(now.config), instruments=[Watch()]):
        yield stages


def find_kernels(stages: Stages, linked: Any) -> tuple[Kernel, ...]:
    """The calls of the module *linked*, which is made of the last of *stages*, in order.

    () where they are not those of that stage, or depend on values (`If`).
    """
    operators = _Operators(stages.laid_out)
    kernels: list[Kernel] = []
    makers: dict[Any, frozenset[int]] = {}
    """By variable: the calls that its value is of, with no other call between."""
    for binding, values in _traced(stages.lowered, stages.fused):
        reads = frozenset[int]().union(*(makers.get(one, frozenset()) for one in _variables(binding.value)))
        name = _callee(binding.value)
        makers[binding.var] = reads if name is None else frozenset({len(kernels)})
        if name is not None:
            kernels.append(_kernel(name, values, reads, operators))
    called = [name for binding in _bindings(linked["main"]) if (name := _callee(binding.value)) is not None]
    return _linked(kernels, called)


def _linked(kernels: Sequence[Kernel], called: Sequence[str]) -> tuple[Kernel, ...]:
    """*kernels* under the names by which they are *called* in the end, and what arranges weights before some of them.

    Records give a kernel a longer name. () where the calls are others.
    """
    found: list[Kernel] = []
    places: list[int] = []
    for name in called:
        if name.endswith(_PACKING):
            found.append(Kernel(name=name, kind=name, copies=True))
            continue
        if len(places) == len(kernels) or not name.startswith(kernels[len(places)].name):
            return ()
        kernel = kernels[len(places)]
        found.append(replace(kernel, name=name, reads=tuple(places[read] for read in kernel.reads)))
        places.append(len(found) - 1)
    return tuple(found) if len(places) == len(kernels) else ()


@dataclass(frozen=True, kw_only=True)
class _Value:
    """What one function of loops makes."""

    loops: str
    """Name of the function."""
    node: int | None
    """Place of the ONNX node that it belongs to."""
    place: int | None
    """Of the node whose result it is."""
    whole: bool
    """Whether it depends on all that its node takes."""

    @property
    def copied(self) -> bool:
        """Whether TVM changes a layout here, of its own accord."""
        return self.place is None and self.loops.startswith(_TRANSPOSING)


def _kernel(name: str, values: Sequence[_Value], reads: frozenset[int], operators: _Operators) -> Kernel:
    parts = [
        Part(node=value.node, heavy=any(part in value.loops for part in _HEAVY), whole=value.whole)
        for value in values
        if value.node is not None and not value.copied
    ]
    heavy = [part.node for part in parts if part.heavy]
    last = values[-1].place if values else None
    return Kernel(
        name=name,
        kind=re.sub("(?<!wino)[0-9]+(?=_|$)", "", name.removeprefix("fused_")),
        parts=tuple(dict.fromkeys(parts)),
        reads=tuple(sorted(reads)),
        result=last,
        copies=bool(values) and all(value.copied for value in values),
        shape=None if last is None else operators.shapes.get(last),
        weight_shape=operators.weights.get(heavy[0]) if heavy else None,
        dtype=operators.dtypes.get(heavy[0], "") if heavy else "",
    )


def _traced(lowered: Any, fused: Any) -> Iterator[tuple[Any, list[_Value]]]:
    """The bindings of the *fused* graph, each with the values of the *lowered* one that it computes."""
    numbers = _Numbers()
    made: dict[int, deque[_Value]] = defaultdict(deque)
    bindings = _bindings(lowered["main"])
    nodes = _belonging(bindings)
    whole = _whole(bindings, nodes)
    for binding, number in numbers.walk(lowered["main"], numbers.inputs(lowered["main"])):
        loops = _callee(binding.value)
        if loops is not None:
            made[number].append(
                _Value(
                    loops=loops,
                    node=nodes[binding.var],
                    place=place_of(binding.var.name),
                    whole=binding.var in whole,
                )
            )

    def take(number: int) -> list[_Value]:
        """The value of that *number*; of equal ones each is taken in its turn."""
        found = made[number]
        return [found.popleft() if len(found) > 1 else found[0]] if found else []

    functions = {name.name_hint: function for name, function in fused.functions_items()}
    environment = numbers.inputs(fused["main"])
    for binding in _bindings(fused["main"]):
        group = functions.get(_called_function(binding.value))
        if group is None:
            environment[binding.var] = number = numbers.of(binding.value, environment)
            yield binding, take(number)
            continue
        arguments = [numbers.of(argument, environment) for argument in binding.value.args]
        inner = dict(zip(group.params, arguments, strict=True))
        found = [value for _, number in numbers.walk(group, inner) for value in take(number)]
        environment[binding.var] = numbers.of(group.body.body, inner)
        yield binding, found


class _Numbers:
    """Numbers of values: equal for what is computed equally."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def inputs(self, function: Any) -> dict[Any, int]:
        """Numbers of the inputs of the graph *function*."""
        return {param: self._number("input", place) for place, param in enumerate(function.params)}

    def walk(self, function: Any, environment: dict[Any, int]) -> Iterator[tuple[Any, int]]:
        """The bindings of *function* with their numbers, which *environment* gets too; it has those of the inputs."""
        for binding in _bindings(function):
            environment[binding.var] = self.of(binding.value, environment)
            yield binding, environment[binding.var]

    def of(self, value: Any, environment: Mapping[Any, int]) -> int:
        """The number of an expression over variables whose numbers are in *environment*."""
        from tvm import relax

        if isinstance(value, relax.Var):
            return environment[value]
        if isinstance(value, relax.Constant):
            # By identity: passes hand weights on as they are, and equal weights of two nodes stay apart.
            return self._number("constant", value.data)
        if isinstance(value, relax.Tuple):
            return self._number("tuple", *(self.of(item, environment) for item in value.fields))
        if isinstance(value, relax.TupleGetItem):
            return self._number("item", int(value.index), self.of(value.tuple_value, environment))
        if isinstance(value, relax.Call):
            arguments = (self.of(argument, environment) for argument in value.args)
            return self._number("call", str(value.op), str(value.attrs), *arguments)
        return self._number("text", str(value))

    def _number(self, *key: Hashable) -> int:
        return self._known.setdefault(key, len(self._known))


class _Operators:
    """Shapes of the operators of a graph that is laid out, by the place of the ONNX node that they belong to."""

    def __init__(self, module: Any) -> None:
        self.shapes: dict[int, tuple[int, ...] | None] = {}
        """Of the value that the node makes, axes as in the ONNX file."""
        self.weights: dict[int, tuple[int, ...]] = {}
        self.dtypes: dict[int, str] = {}
        main = module["main"]
        bindings = _bindings(main)
        nodes = _belonging(bindings)
        axes: dict[Any, Axes] = {param: plain(len(_sizes(param))) for param in main.params}
        for binding in bindings:
            place, sizes = place_of(binding.var.name), _sizes(binding.var)
            axes[binding.var] = _axes(binding.value, axes, len(sizes), of_the_file=place is not None)
            if place is not None:
                self.shapes[place] = onnx_shape(sizes, axes[binding.var])
            node, weights = nodes[binding.var], _weights(binding.value)
            if node is not None and weights:
                self.weights.setdefault(node, weights)
                self.dtypes.setdefault(node, str(binding.value.args[0].ty.dtype))


def _axes(value: Any, known: Mapping[Any, Axes], rank: int, *, of_the_file: bool) -> Axes:
    """Axes of *value*, which is of *rank*; *of_the_file* if it is the very result of an ONNX node."""
    from tvm import relax

    given = [known.get(one) for one in _variables(value)]
    if not isinstance(value, relax.Call):
        return given[0] if len(given) == 1 else None
    if _operator(value) == "relax.permute_dims":
        order = value.attrs.axes
        permutation = list(reversed(range(rank))) if order is None else [int(axis) for axis in order]
        return transposed(given[0] if given else None, permutation, of_the_file=of_the_file)
    layout = _attribute(value, "out_layout") or _attribute(value, "layout")
    if len(layout) == rank and layout.isalpha():
        return tuple(_channels_first(rank).index(letter) for letter in layout)
    return kept(given, rank, arranges=_operator(value) == "relax.reshape")


def _weights(value: Any) -> tuple[int, ...]:
    """Shape of the weights of a convolution or product, axes as in the ONNX file; () for all else."""
    from tvm import relax

    if not isinstance(value, relax.Call):
        return ()
    if _operator(value) == "relax.matmul":
        return _sizes(value.args[1])
    layout = _attribute(value, "kernel_layout")
    if not layout:
        return ()
    sizes = dict(zip(layout, _sizes(value.args[1]), strict=True))
    first = "IO" if "transpose" in _operator(value) else "OI"
    return tuple(sizes[letter] for letter in (*first, *sorted(set(layout) - {"O", "I"})))


def _belonging(bindings: Sequence[Any]) -> dict[Any, int | None]:
    """Place of the ONNX node that each variable belongs to: that which makes it, else the one that all is made for."""
    readers: dict[Any, list[Any]] = defaultdict(list)
    for binding in bindings:
        for one in _variables(binding.value):
            readers[one].append(binding.var)
    found: dict[Any, int | None] = {}
    for binding in reversed(bindings):
        place = place_of(binding.var.name)
        if place is None:
            wanted = {found[reader] for reader in readers[binding.var]}
            place = wanted.pop() if len(wanted) == 1 else None
        found[binding.var] = place
    return found


def _whole(bindings: Sequence[Any], nodes: Mapping[Any, int | None]) -> set[Any]:
    """The variables that depend on all that their node takes: a part of one may be made of one input alone."""
    taken: dict[Any, frozenset[Any]] = {}
    """By variable: what it depends on of its node's inputs."""
    wanted: dict[int | None, frozenset[Any]] = defaultdict(frozenset)
    for binding in bindings:
        node, found = nodes[binding.var], frozenset[Any]()
        for one in _variables(binding.value):
            found |= taken[one] if node is not None and nodes.get(one) == node else {one}
        taken[binding.var] = found
        wanted[node] |= found
    return {variable for variable, found in taken.items() if found == wanted[nodes[variable]]}


def _bindings(function: Any) -> list[Any]:
    return [binding for block in function.body.blocks for binding in block.bindings]


def _variables(value: Any) -> Iterator[Any]:
    """The variables in *value*, in order."""
    from tvm import relax

    if isinstance(value, relax.Var):
        yield value
    elif isinstance(value, relax.Tuple):
        for item in value.fields:
            yield from _variables(item)
    elif isinstance(value, relax.TupleGetItem):
        yield from _variables(value.tuple_value)
    elif isinstance(value, relax.Call):
        for argument in value.args:
            yield from _variables(argument)


def _callee(value: Any) -> str | None:
    """Name of the function that *value* calls: loops, or a group of them, or a kernel from elsewhere."""
    from tvm import ir, relax

    if not isinstance(value, relax.Call):
        return None
    called = value.args[0] if _operator(value) in _CALLS else value.op
    if isinstance(called, ir.GlobalVar):
        return str(called.name_hint)
    return str(called.global_symbol) if isinstance(called, relax.ExternFunc) else None


def _called_function(value: Any) -> str:
    """Name of the group of loops that *value* calls; "" for all else."""
    return "" if _operator(value) in _CALLS else _callee(value) or ""


def _operator(value: Any) -> str:
    """Name of the operator of Relax that *value* calls; "" for all else."""
    return str(getattr(getattr(value, "op", None), "name", ""))


def _attribute(value: Any, name: str) -> str:
    return str(getattr(value.attrs, name, "") or "")


def _sizes(value: Any) -> tuple[int, ...]:
    """Sizes of a tensor, or of the first of several; () for what has none, or none that are known."""
    type_ = value.ty
    while hasattr(type_, "fields"):
        type_ = type_.fields[0]
    shape = getattr(type_, "shape", None)
    try:
        return tuple(int(extent) for extent in shape or ())
    except TypeError:  # they depend on the inputs
        return ()


def _channels_first(rank: int) -> str:
    return "NC" + "DHW"[5 - rank :]
