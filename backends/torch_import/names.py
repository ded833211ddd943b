"""Names that ONNX allows, made into names that Python, `torch.fx` and `nn.Module` allow."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

__all__ = ["Names"]


class Names:
    """Gives out valid Python identifiers, each once; names that differ by case only count as the same.

    Case matters because tools that print a graph (Inductor's provenance, for one) lower it.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._used = {name.lower() for name in (*reserved, *dir(builtins), *keyword.kwlist, *keyword.softkwlist)}

    def take(self, wanted: str) -> str:
        """A free name as near to *wanted* as can be: "/layer1/conv/Conv" becomes "layer1_conv_Conv"."""
        base = re.sub(r"[^0-9A-Za-z_]", "_", wanted).strip("_") or "node"
        if base[0].isdigit():
            base = f"n{base}"
        name, count = base, 1
        while name.lower() in self._used:
            count += 1
            name = f"{base}_{count}"
        self._used.add(name.lower())
        return name
