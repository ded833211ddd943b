"""A module under `torch.autocast`."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["autocast_module"]


def autocast_module(module: Any, device: str, dtype: str) -> Any:
    """*module*, imported from ONNX, with convolutions and matrix products lowered to *dtype*.

    Outputs that come out in *dtype* are given in fp32.
    """
    return _module_type()(module, device, dtype)


@cache
def _module_type() -> Any:
    """The module class; made on first use because its base class is torch's."""
    import torch
    from torch import nn

    class Autocast(nn.Module):  # type: ignore[misc]
        def __init__(self, module: Any, device: str, dtype: str) -> None:
            super().__init__()
            self.module = module
            self.device = device
            self.dtype = getattr(torch, dtype)

        def forward(self, *given: Any) -> Any:
            with torch.autocast(self.device, dtype=self.dtype):
                outputs = self.module(*given)
            return tuple(y.to(torch.float32) if y.dtype == self.dtype else y for y in outputs)

    return Autocast
