"""A cell's samples as one compressed blob, exact to the last bit.

Layout after decompression with zlib, little-endian: 4 bytes magic and kind, uint32 number of blocks, a uint32 length
for each block, then all samples: int64 nanoseconds (kind "i") where that loses nothing, float64 milliseconds (kind
"f") where it would.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_samples", "unpack_samples"]

_MAGIC = b"bks"
_LENGTH = np.dtype("<u4")
_NANOSECONDS = np.dtype("<i8")
_MILLISECONDS = np.dtype("<f8")
_EXACT_NS = 2.0**53
"""Up to here every whole number of nanoseconds is a float64."""


def pack_samples(blocks_ms: Sequence[Sequence[float]]) -> bytes:
    """The blob for *blocks_ms*, in milliseconds."""
    lengths = np.asarray([len(block) for block in blocks_ms], dtype=_LENGTH)
    samples = np.asarray([sample for block in blocks_ms for sample in block], dtype=_MILLISECONDS)
    whole = _whole_nanoseconds(samples)
    kind, body = (b"i", whole.tobytes()) if whole is not None else (b"f", samples.tobytes())
    head = _MAGIC + kind + np.asarray([len(lengths)], dtype=_LENGTH).tobytes()
    return zlib.compress(head + lengths.tobytes() + body)


def unpack_samples(blob: bytes) -> tuple[tuple[float, ...], ...]:
    """The blocks, in milliseconds, that `pack_samples` was given. Raises ValueError for anything but its blobs."""
    try:
        raw = zlib.decompress(blob)
    except zlib.error as error:
        raise ValueError(f"samples cannot be decompressed ({error})") from error
    kind = raw[3:4]
    if raw[:3] != _MAGIC or kind not in (b"i", b"f") or len(raw) < 8:
        raise ValueError("samples have an unknown layout")
    count = int(np.frombuffer(raw, _LENGTH, 1, 4)[0])
    if len(raw) < 8 + 4 * count:
        raise ValueError("samples end early")
    lengths = np.frombuffer(raw, _LENGTH, count, 8).astype(np.int64)
    if len(raw) != 8 + 4 * count + 8 * int(lengths.sum()):
        raise ValueError("samples do not have the length that they state")
    body = raw[8 + 4 * count :]
    values = np.frombuffer(body, _NANOSECONDS) / 1e6 if kind == b"i" else np.frombuffer(body, _MILLISECONDS)
    ends = np.cumsum(lengths).tolist()
    flat = values.tolist()
    return tuple(tuple(flat[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True))


def _whole_nanoseconds(samples_ms: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The samples as nanoseconds; None unless dividing by 1e6 gives back every bit of them."""
    if not np.all(np.isfinite(samples_ms)) or np.any(np.abs(samples_ms) >= _EXACT_NS / 1e6):
        return None
    nanoseconds = np.rint(samples_ms * 1e6).astype(_NANOSECONDS)
    return nanoseconds if (nanoseconds / 1e6).tobytes() == samples_ms.tobytes() else None
