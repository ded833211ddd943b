"""Which value of a reference graph is which value of a variant of it. Child processes only.

Evidence, strongest first: graph inputs and outputs; operators of one name and kind; values of one name; operators
whose inputs are known to be the same; and for layers with weights their order among layers of the same shape. Roundings
are seen through (see `walk_graph`), and an activation that the variant lacks counts as done by the rounding after the
layer before it, which is how quantizers drop Relu and Clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from .walk_graph import Net, kind

__all__ = ["HEAVY", "Alignment", "align"]

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul"})
"""Kinds of the layers that hold nearly all weights."""

_CLAMPS = frozenset({"Relu", "Clip"})
_COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min", "Sum"})
_ABSORBED = frozenset({"Add", "Mul", "Sub", "Div", "BatchNormalization"}) | _CLAMPS
"""What can be folded into the layer before it."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Pairs of raw values (see `walk_graph.Net`)."""

    reference: Net
    variant: Net
    values: Mapping[str, str]
    """Reference value -> variant value."""
    back: Mapping[str, str]
    """Variant value -> reference value; of a layer and an activation folded into it, the activation's."""
    folded: Mapping[str, str]
    """Output of a reference activation that the variant lacks -> output of the layer whose rounding does it."""
    nodes: Mapping[str, str]
    """Name of a variant node -> name of the reference node it stands for."""

    def unaligned(self) -> list[Any]:
        """Reference nodes of which no output has a partner."""
        return [node for node in self.reference.nodes if not any(name in self.values for name in node.output if name)]


def align(reference: Net, variant: Net) -> Alignment:
    """Align *variant* with *reference*. Shapes play no part but for weights: the caller sees whether values compare."""
    state = _State(reference, variant)
    state.ends_of_the_graph()
    state.by_name()
    state.by_value_name()
    state.by_structure()
    state.by_order()
    state.by_structure()
    back = {theirs: ours for ours, theirs in state.values.items() if ours not in state.folded.values()}
    nodes = {variant_name: node.name for variant_name, node in state.taken.items()}
    return Alignment(
        reference=reference, variant=variant, values=state.values, back=back, folded=state.folded, nodes=nodes
    )


@dataclass
class _State:
    reference: Net
    variant: Net
    values: dict[str, str] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)
    """Names of reference nodes that have a partner."""
    taken: dict[str, Any] = field(default_factory=dict)
    """Name of a variant node -> the reference node it stands for."""

    def ends_of_the_graph(self) -> None:
        ours, theirs = self.reference, self.variant
        if set(ours.inputs) == set(theirs.inputs):
            self.values.update({name: name for name in ours.inputs})
        else:
            self.values.update(zip(ours.inputs, theirs.inputs, strict=False))
        if set(ours.outputs) == set(theirs.outputs):
            pairs = [(name, name) for name in ours.outputs]
        else:
            pairs = list(zip(ours.outputs, theirs.outputs, strict=False))
        self.values.update({ours.origin(left): theirs.origin(right) for left, right in pairs})

    def by_name(self) -> None:
        named = {node.name: node for node in self.variant.nodes if node.name}
        for node in self.reference.nodes:
            twin = named.get(node.name)
            if twin is not None and kind(twin) == kind(node):
                self._marry(node, twin)

    def by_value_name(self) -> None:
        paired = set(self.values.values())
        for node in self.reference.nodes:
            twins = [self.variant.maker[name] for name in node.output if name in self.variant.maker]
            lacking = not twins or len(twins) < len(node.output)
            if node.name in self.matched or lacking or any(twin.name in self.taken for twin in twins):
                continue
            if all(twin is twins[0] and kind(twin) == kind(node) for twin in twins):
                self._marry(node, twins[0])
            elif not paired.intersection(node.output):
                self.values.update({name: name for name in node.output})
                self.matched.add(node.name)

    def by_structure(self) -> None:
        """From the inputs on: whoever does the same to the same values is the same."""
        for node in self.reference.nodes:
            if node.name in self.matched:
                continue
            twin = self._twin(node)
            if twin is not None:
                self._marry(node, twin)
            elif node.op_type in _CLAMPS:
                self._fold(node)

    def by_order(self) -> None:
        """Layers with weights that are left, where both graphs have them in the same order."""
        ours, theirs = self._layers(self.reference), self._layers(self.variant)
        left_keys, right_keys = ([signature for signature, _ in layers] for layers in (ours, theirs))
        for block in SequenceMatcher(a=left_keys, b=right_keys, autojunk=False).get_matching_blocks():
            for step in range(block.size):
                left, right = ours[block.a + step][1], theirs[block.b + step][1]
                if left.name not in self.matched and right.name not in self.taken:
                    self._marry(left, right)

    def _layers(self, net: Net) -> list[tuple[tuple[object, ...], Any]]:
        """Signature and node of every layer with weights; those that have a partner share one that is theirs alone."""
        partner = {name: node.name for name, node in self.taken.items()}
        found: list[tuple[tuple[object, ...], Any]] = []
        for node in net.nodes:
            if kind(node) in HEAVY:
                known = node.name if net is self.reference else partner.get(node.name)
                settled = known if known in self.matched else None
                found.append(((settled,) if settled else (kind(node), net.weights(node)), node))
        return found

    def _twin(self, node: Any) -> Any:
        taken = self.reference.live_inputs(node)
        mates = [self.values.get(name) for name in taken]
        if not mates or None in mates:
            return None
        for other in self.variant.operators(str(mates[0])):
            theirs = self.variant.live_inputs(other)
            same = sorted(theirs) == sorted(map(str, mates)) if node.op_type in _COMMUTATIVE else theirs == mates
            if same and kind(other) == kind(node) and other.name not in self.taken:
                alike = self.reference.weights(node) == self.variant.weights(other)
                if alike or kind(node) not in HEAVY:
                    return other
        return None

    def _marry(self, node: Any, twin: Any) -> None:
        self.matched.add(node.name)
        self.taken[twin.name] = node
        for left, right in zip(node.output, twin.output, strict=False):
            if not left or not right:
                continue
            chain = list(self._absorbed(left, right))
            if chain:
                last = chain[-1].output[0]
                self.values[last] = right
                self.matched.update(item.name for item in chain)
                if any(item.op_type not in _CLAMPS for item in chain):
                    continue  # the layer's own output exists nowhere in the variant
                self.folded[last] = left
            self.values[left] = right

    def _absorbed(self, left: str, right: str) -> Iterator[Any]:
        """Reference nodes after the value *left* whose work the maker of *right* does too, by that value's name."""
        if right == left or right not in self.reference.maker:
            return
        chain, name = [], right
        while name != left:
            node = self.reference.maker.get(name)
            if node is None or node.op_type not in _ABSORBED or node.name in self.matched:
                return
            chain.append(node)
            live = self.reference.live_inputs(node)
            if len(live) != 1:
                return
            name = live[0]
        yield from reversed(chain)

    def _fold(self, node: Any) -> None:
        (before,) = self.reference.live_inputs(node)[:1] or [""]
        mate = self.values.get(before)
        if mate is None or before in self.folded or self.variant.settled(mate) == mate:
            return  # nothing rounds there, so nothing clamps there
        if self.values.get(node.output[0], mate) != mate:
            return  # it exists elsewhere
        self.matched.add(node.name)
        self.values[node.output[0]] = mate
        self.folded[node.output[0]] = before
