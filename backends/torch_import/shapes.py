"""Static shapes of the values in a graph while it is being imported."""

from __future__ import annotations

from typing import Any

__all__ = ["Shapes"]


class Shapes:
    """Shapes by a dry run, on torch's fake tensors, of what has been imported so far.

    Shapes that the file itself claims are not trusted: they may be stale. The dry run starts with the first question
    and goes on from where it stopped with each further one, so that a graph that never asks pays nothing.
    """

    def __init__(self, root: Any, graph: Any) -> None:
        self._root = root
        self._graph = graph
        self._inputs: dict[str, Any] = {}
        self._done: dict[str, Any] = {}
        self._mode: Any = None

    def add_input(self, node: str, value: Any) -> None:
        """Register the graph input that became the fx node called *node*; *value* is its ONNX ValueInfo."""
        self._inputs[node] = value

    def of(self, node: str) -> tuple[int, ...]:
        """Shape of what the fx node called *node* computes."""
        if node not in self._done:
            self._continue()
        return tuple(int(size) for size in self._done[node].shape)

    def _continue(self) -> None:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        if self._mode is None:
            self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self._mode, torch.no_grad():
            for node in self._graph.nodes:
                if node.name not in self._done:
                    self._done[node.name] = self._run(node)

    def _run(self, node: Any) -> Any:
        if node.op == "placeholder":
            return _empty(self._inputs[node.name])
        arguments = [self._done[a.name] if hasattr(a, "op") else a for a in node.args]
        function = self._root.get_submodule(node.target) if node.op == "call_module" else node.target
        return function(*arguments)


def _empty(value: Any) -> Any:
    import torch

    from .dtypes import torch_dtype

    tensor = value.type.tensor_type
    return torch.empty([int(dim.dim_value) for dim in tensor.shape.dim], dtype=torch_dtype(tensor.elem_type))
