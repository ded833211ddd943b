"""Structured pruning: whole channels are cut out of a torch module, and its shapes change.

torch-pruning follows which layers share a channel (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023)
and ranks channels by the L2 norm of all weights that would go with them. Where the module as a whole cannot be cut, as
with the channel shuffle of ShuffleNet V2 or code that has sizes written into it, its parts are cut one by one, each
inside its own inputs and outputs.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UnsupportedError
from .counts import prunable

__all__ = ["Cut", "cut_channels", "output_shapes"]

_WIDTHS = (8, 4, 2, 1)
_SLACK = 0.1
"""Share by which rounding may change the number of channels that are cut."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a module was cut."""

    module: Any
    left: tuple[str, ...]
    """Names of layers whose outputs had to stay as they are: those that make the module's output."""
    pieces: tuple[str, ...]
    """Names of the parts that were cut by themselves; empty where the module was cut as a whole."""
    reason: str = ""
    """Why it could not be cut as a whole."""


def cut_channels(module: Any, inputs: Sequence[Any], percent: int) -> Cut:
    """A copy of *module* with *percent* of the channels of every layer cut out, except in layers that make its output.

    *inputs* are torch tensors that it can be run on. Kept widths are multiples of 8 where that changes the number of
    channels that go by at most a tenth, else of 4, 2 or 1. Raises `UnsupportedError` where nothing can be cut.
    """
    whole, reason = _attempt(module, inputs, percent)
    if whole is not None:
        return Cut(module=whole, left=_heads(copy.deepcopy(module), inputs), pieces=())
    pieces = _cut_pieces(changed := copy.deepcopy(module), inputs, percent)
    if not pieces:
        raise UnsupportedError(f"no channel can be cut out of it: {reason}", stage="prune")
    # What lies around the units that hold the pieces, such as the layers behind the last of them, may be cut still.
    sealed = {name.rpartition(".")[0] or name for name in pieces}
    rest, _ = _attempt(changed, inputs, percent, sealed)
    return Cut(module=rest or changed, left=(), pieces=pieces, reason=reason)


def _attempt(module: Any, inputs: Sequence[Any], percent: int, sealed: Iterable[str] = ()) -> tuple[Any, str]:
    """A cut copy of *module* that still runs and makes outputs of the same shapes; else None and why not.

    The submodules named in *sealed* are not followed: to the layers behind them, their outputs are inputs from outside.
    """
    before = output_shapes(module, inputs)
    size = sum(parameter.numel() for parameter in module.parameters())
    made = copy.deepcopy(module)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on parameters outside of layers, whose treatment is checked below
            with _detached(made, sealed):
                _pruner(made, inputs, percent).step()
        after = output_shapes(made, inputs)
    # It raises anything at all on graphs that it did not foresee, and so does code with sizes written into it.
    except Exception as error:  # noqa: BLE001
        return None, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    if before != after:
        return None, f"its outputs changed from {before} to {after}"
    if sum(parameter.numel() for parameter in made.parameters()) == size:
        return None, "no layer has channels that only layers inside it read"
    return made, ""


def _pruner(module: Any, inputs: Sequence[Any], percent: int) -> Any:
    import torch_pruning

    class Pruner(torch_pruning.BasePruner):  # type: ignore[misc]
        """Rounds widths to the nearest, and no more than a small net can bear: the library's own always cuts more."""

        def _round_to(self, n_pruned: int, current_channels: int, round_to: int) -> int:
            asked = current_channels - n_pruned
            for width in (width for width in _WIDTHS if width <= round_to):
                kept = max(width, width * round(asked / width))
                if abs(kept - asked) <= _SLACK * n_pruned:
                    return max(current_channels - kept, 0)
            return n_pruned

    heads = _heads(module, inputs)
    return Pruner(
        module,
        tuple(inputs),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=percent / 100,
        round_to=_WIDTHS[0],
        ignored_layers=[module.get_submodule(name) for name in heads],
        # Given, because the library's defaults are shared by all pruners of a process.
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )


def _heads(module: Any, inputs: Sequence[Any]) -> tuple[str, ...]:
    """Names of the layers that make the outputs of *module*: the last ones on every way to an output."""
    import torch
    import torch_pruning

    module.requires_grad_(True)  # the library follows gradients
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(module, tuple(inputs))
    layers = {layer: name for name, layer in prunable(module).items()}
    layers |= {layer: name for name, layer in module.named_modules() if isinstance(layer, torch.nn.MultiheadAttention)}
    pending = [node for node in graph.module2node.values() if not node.outputs]
    seen, found = set(), set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.module in layers:
            found.add(layers[node.module])
        else:
            pending += node.inputs
    return tuple(sorted(found))


@contextlib.contextmanager
def _detached(module: Any, names: Iterable[str]) -> Iterator[None]:
    """Within it, no gradient flows out of the submodules *names* of *module*."""
    handles = [module.get_submodule(name).register_forward_hook(lambda _m, _i, out: out.detach()) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _cut_pieces(module: Any, inputs: Sequence[Any], percent: int) -> tuple[str, ...]:
    """Cut parts of *module* in place, the largest that can be cut; return their names."""
    pieces = []
    for name, child, feeds in _children(module, inputs):
        made, _ = _attempt(child, feeds, percent)
        if made is not None:
            setattr(module, name, made)
            pieces.append(name)
        else:
            pieces += [f"{name}.{inner}" for inner in _cut_pieces(child, feeds, percent)]
    return tuple(pieces)


def _children(module: Any, inputs: Sequence[Any]) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Children of *module* with two layers or more, and what each is called with: once, with tensors alone."""
    import torch

    calls: dict[str, list[Any]] = {}
    handles = []
    wide = [(name, child) for name, child in module.named_children() if len(prunable(child)) > 1]
    for name, child in wide:

        def remember(_: Any, args: Any, kwargs: Any, name: str = name) -> None:
            calls.setdefault(name, []).append(None if kwargs else args)

        handles.append(child.register_forward_pre_hook(remember, with_kwargs=True))
    with torch.no_grad():
        module(*inputs)
    for handle in handles:
        handle.remove()
    for name, child in wide:
        feeds = calls.get(name, [])
        if len(feeds) == 1 and feeds[0] and all(isinstance(feed, torch.Tensor) for feed in feeds[0]):
            yield name, child, tuple(feed.detach().clone() for feed in feeds[0])


def output_shapes(module: Any, inputs: Sequence[Any]) -> list[tuple[int, ...]]:
    """Shapes of the tensors that *module* makes of *inputs*."""
    import torch
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        leaves = tree_leaves(module(*inputs))
    return [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor)]
