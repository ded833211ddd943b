"""What eager and Inductor share: torch's threads, its fp32 arithmetic, and arrays going in and out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .base import Array, Device
from .host import package_versions
from .options import check_device

__all__ = ["check_torch_device", "fp32_facts", "set_up", "to_arrays", "to_tensors", "torch_devices", "torch_versions"]


def torch_versions(*others: str) -> dict[str, str]:
    """Versions of torch and of what the importer needs, and of *others*."""
    return package_versions("torch", "onnx", "numpy", *others)


def torch_devices() -> tuple[Device, ...]:
    """The CPU, and the GPUs that torch sees."""
    import torch

    cpu = Device(name="cpu", description=f"torch CPU kernels, {torch.backends.cpu.get_cpu_capability()}", tested=True)
    if not torch.cuda.is_available():
        return (cpu,)
    return (cpu, Device(name="cuda", description=torch.cuda.get_device_name(0)))


def check_torch_device(backend: str, device: str) -> None:
    """Raises `UnsupportedError` if torch does not see *device*; "cpu" is there without asking (and importing) torch."""
    if device != "cpu":
        check_device(backend, device, [known.name for known in torch_devices()])


def set_up(threads: int) -> None:
    """Give torch *threads* threads, and keep fp32 products in fp32.

    CPUs with bf16 units (AVX-512 BF16, AMX) would compute in bf16 if the precision were lowered; "ieee" forbids it.
    """
    import torch

    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        # torch allows this once in a process.
        torch.set_num_interop_threads(1)
    torch.set_float32_matmul_precision("highest")
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"
    torch.backends.mkldnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.allow_tf32 = False


def fp32_facts() -> dict[str, str]:
    """What decides how fp32 products are computed, as torch says it now."""
    import torch

    return {
        "fp32 matmul": f"{torch.get_float32_matmul_precision()}, oneDNN {torch.backends.mkldnn.matmul.fp32_precision}",
        "fp32 conv": f"oneDNN {torch.backends.mkldnn.conv.fp32_precision}",
        "ONEDNN_DEFAULT_FPMATH_MODE": os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE", "unset (strict)"),
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
    }


def to_tensors(feeds: Sequence[Array], device: str) -> list[Any]:
    """*feeds* as tensors; on the CPU without a copy."""
    import torch

    tensors = [torch.from_numpy(feed) for feed in feeds]
    return tensors if device == "cpu" else [tensor.to(device) for tensor in tensors]


def to_arrays(outputs: Sequence[Any]) -> list[Array]:
    """*outputs* as arrays; of tensors on the CPU without a copy."""
    return [output.cpu().numpy() for output in outputs]
