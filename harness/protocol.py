"""How the parent and a worker talk: JSON messages over a socket pair that the worker inherits.

A worker's stdout and stderr belong to the libraries that it loads; the answers travel on a channel of their own, so no
library's chatter can corrupt them. A request is {"op": name, ...}; an answer is {"ok": true, ...} or {"error": {...}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, cast

from ..models.errors import (
    Blame,
    CellError,
    MismatchError,
    OptionError,
    StageError,
    UnsupportedError,
    WorkerError,
)

__all__ = ["BLAME_BY_STAGE", "PROTOCOL_VERSION", "Message", "decode_error", "encode_error", "receive", "send"]

PROTOCOL_VERSION = 2

Message = dict[str, Any]

_FIGURES = ("max_abs_error", "max_rel_error", "rms_rel_error", "tolerance")
"""What a mismatch says besides its reason."""

BLAME_BY_STAGE: dict[str, Blame] = {
    "compile": "compiler",
    "load": "runtime",
    "load_profiled": "runtime",
    "profile": "runtime",
    "rows": "runtime",
    "first": "runtime",
    "check": "runtime",
    "warm": "runtime",
    "block": "runtime",
}
"""Whose fault a failure in an operation looks like, where the error itself does not say."""

_ERRORS: dict[str, type[CellError]] = {
    kind.__name__: kind for kind in (CellError, MismatchError, OptionError, StageError, UnsupportedError, WorkerError)
}


def send(channel: Connection, message: Mapping[str, Any]) -> None:
    """Write one message. Raises OSError if the other side is gone."""
    channel.send_bytes(json.dumps(message).encode())


def receive(channel: Connection) -> Message:
    """Read one message. Raises EOFError if the other side is gone."""
    return cast(Message, json.loads(channel.recv_bytes()))


def encode_error(error: BaseException, *, stage: str) -> Message:
    """An answer that carries *error*; *stage* stands in where the error itself does not say.

    A mismatch keeps "unknown" for its blame: only the parent sees whether other backends differ too.
    """
    blame = "unknown" if isinstance(error, MismatchError) else BLAME_BY_STAGE.get(stage, "unknown")
    if isinstance(error, CellError):
        return {
            "error": {
                "kind": type(error).__name__,
                "reason": error.reason,
                "blame": error.blame if error.blame != "unknown" else blame,
                "stage": error.stage or stage,
                "figures": {name: getattr(error, name) for name in _FIGURES if hasattr(error, name)},
            }
        }
    text = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {text[0][:500]}" if text else type(error).__name__
    return {"error": {"kind": "StageError", "reason": reason, "blame": blame, "stage": stage}}


def decode_error(error: Mapping[str, Any]) -> CellError:
    """The exception that the error part of an answer stands for."""
    kind = _ERRORS.get(str(error.get("kind")), CellError)
    failure = kind(
        str(error.get("reason", "unknown error")),
        blame=error.get("blame", "unknown"),
        stage=str(error.get("stage", "")),
    )
    for name, value in error.get("figures", {}).items():
        setattr(failure, name, value)
    return failure
