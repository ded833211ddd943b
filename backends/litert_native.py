"""LiteRT's C interface, through ctypes, for the sake of its profiler: the Python packages have none.

The interface is not documented and the wheel has no headers. Whoever uses it has to see first, in a process of its own,
that it is what is expected here: see `litert_check`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .base import Array

__all__ = ["NativeError", "NativeEvent", "NativeModel", "NativeTensor"]

_CPU = 1
_READ, _WRITE = 0, 1
_CODES = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9, "float16": 10}
_MOST_AXES = 8

NativeTensor = tuple[Sequence[int], str]
"""Shape and dtype."""


class NativeError(Exception):
    """A call failed, or gave what this interface does not give."""


class NativeEvent(ctypes.Structure):
    """One event of the profiler, as it lies in memory."""

    _fields_ = (
        ("tag", ctypes.c_void_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", ctypes.c_uint64 * 3),
        ("memory_after", ctypes.c_uint64 * 3),
        ("index", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class NativeModel:
    """A .tflite file, compiled for the CPU, with its profiler.

    *threads* are XNNPACK's. Nothing is given back before the process ends.
    """

    def __init__(self, model: Path, threads: int) -> None:
        self._library = _library()
        self._environment = self._made("LiteRtCreateEnvironment", 0, None)
        handle = self._made("LiteRtCreateModelFromFile", self._environment, str(model).encode())
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        for name, text in (
            (b"runtime_options_string", b"enable_profiling = true\n"),
            (b"xnnpack", b"num_threads = %d\n" % threads),
        ):
            payload = ctypes.c_void_p(_c_string(text))
            self._call(
                "LiteRtAddOpaqueOptions", options, self._made("LiteRtCreateOpaqueOptions", name, payload, _free())
            )
        self._compiled = self._made("LiteRtCreateCompiledModel", self._environment, handle, options)
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._compiled)
        self._signature = self._made("LiteRtGetModelSignature", handle, ctypes.c_size_t(0))
        self._inputs: list[_Buffer] = []
        self._outputs: list[_Buffer] = []

    def names(self, side: str) -> list[str]:
        """What the file calls its inputs or outputs, in its order; *side* is "Input" or "Output"."""
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", self._signature, ctypes.byref(count))
        found = []
        for place in range(count.value):
            name = ctypes.c_char_p()
            self._call(f"LiteRtGetSignature{side}Name", self._signature, ctypes.c_size_t(place), ctypes.byref(name))
            found.append((name.value or b"").decode())
        return found

    def bind(self, inputs: Sequence[NativeTensor], outputs: Sequence[NativeTensor]) -> None:
        """Make the buffers; *inputs* and *outputs* in the file's order."""
        self._inputs = [self._buffer("Input", place, tensor) for place, tensor in enumerate(inputs)]
        self._outputs = [self._buffer("Output", place, tensor) for place, tensor in enumerate(outputs)]

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Run once with the profiler on; earlier events are forgotten. Outputs are copies."""
        for buffer, feed in zip(self._inputs, feeds, strict=True):
            with self._locked(buffer, _WRITE) as memory:
                memory[...] = feed
        sides: list[Any] = []
        for buffers in (self._inputs, self._outputs):
            handles = (ctypes.c_void_p * len(buffers))(*[buffer.handle for buffer in buffers])
            sides += [ctypes.c_size_t(len(buffers)), handles]
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self._call("LiteRtRunCompiledModel", self._compiled, ctypes.c_size_t(0), *sides)
        self._call("LiteRtStopProfiler", self._profiler)
        results: list[Array] = []
        for buffer in self._outputs:
            with self._locked(buffer, _READ) as memory:
                results.append(memory.copy())
        return results

    def count_events(self) -> int:
        """Events of the last run."""
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        return count.value

    def read_events(self, count: int, memory: Any) -> None:
        """Write *count* events into *memory*, a ctypes array that is large enough."""
        self._call("LiteRtGetProfilerEvents", self._profiler, count, memory)

    def _buffer(self, side: str, place: int, tensor: NativeTensor) -> _Buffer:
        shape, dtype = tensor
        needs = self._made(
            f"LiteRtGetCompiledModel{side}BufferRequirements",
            self._compiled,
            ctypes.c_size_t(0),
            ctypes.c_size_t(place),
        )
        if dtype not in _CODES or len(shape) > _MOST_AXES:
            raise NativeError(f"no buffer holds {dtype} of {len(shape)} axes")
        kind = _TensorType(element=_CODES[dtype], rank=len(shape))
        kind.sizes[: len(shape)] = list(shape)
        create = "LiteRtCreateManagedTensorBufferFromRequirements"
        return _Buffer(self._made(create, self._environment, ctypes.byref(kind), needs), tuple(shape), dtype)

    @contextmanager
    def _locked(self, buffer: _Buffer, mode: int) -> Iterator[Array]:
        """The memory of *buffer* as an array, as long as it is locked."""
        address = ctypes.c_void_p()
        self._call("LiteRtLockTensorBuffer", buffer.handle, ctypes.byref(address), mode)
        count = int(np.prod(buffer.shape, dtype=np.int64)) * np.dtype(buffer.dtype).itemsize
        room = (ctypes.c_uint8 * count).from_address(address.value or 0)
        yield np.frombuffer(memoryview(room), np.dtype(buffer.dtype)).reshape(buffer.shape)
        self._call("LiteRtUnlockTensorBuffer", buffer.handle)

    def _made(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        """What *function* leaves in its last argument, a pointer to a handle."""
        handle = ctypes.c_void_p()
        self._call(function, *arguments, ctypes.byref(handle))
        if not handle.value:
            raise NativeError(f"{function} gave nothing")
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        try:
            status = getattr(self._library, function)(*arguments)
        except AttributeError as error:
            raise NativeError(f"there is no function {function}") from error
        if status:
            raise NativeError(f"{function} failed with status {status}")


class _TensorType(ctypes.Structure):
    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("sizes", ctypes.c_int32 * _MOST_AXES),
        ("strides", ctypes.c_uint32 * _MOST_AXES),
    )


class _Buffer:
    def __init__(self, handle: ctypes.c_void_p, shape: tuple[int, ...], dtype: str) -> None:
        self.handle = handle
        self.shape = shape
        self.dtype = dtype


@cache
def _library() -> ctypes.CDLL:
    import ai_edge_litert

    return ctypes.CDLL(str(Path(ai_edge_litert.__file__).with_name("libLiteRt.so")))


@cache
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    return library


@cache
def _free() -> Any:
    """C's own `free`, for the library to call."""
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(("free", _libc()))


def _c_string(text: bytes) -> int:
    """Address of a copy of *text* that is freed by whoever takes it."""
    address = int(_libc().malloc(len(text) + 1))
    ctypes.memmove(address, text + b"\0", len(text) + 1)
    return address
