"""Runs a module of ours in a child process, so that the parent never imports torch, onnx or onnxruntime.

The child reads a JSON request and leaves a JSON result; what libraries print goes to a log, whose tail explains a
crash.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .cache import disk_errors
from .errors import BakeoffError, StageError
from .wire import decode_error, encode_error

__all__ = ["call", "die_with", "serve"]

_PR_SET_PDEATHSIG = 1
_TAIL_CHARACTERS = 2000


def call(module: str, request: Mapping[str, Any], *, timeout_s: float, stage: str) -> dict[str, Any]:
    """Run `python -m <module>` on *request* and return what its work function returned.

    The child starts in the caller's working folder, in a process group of its own that is killed on time-out and on any
    exception here, Ctrl-C included. Raises the child's own `BakeoffError`, or `StageError` with *stage* where it took
    longer than *timeout_s* seconds, crashed, or failed with an error that is not ours.
    """
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as name:
        scratch = Path(name)
        (scratch / "request.json").write_text(json.dumps(request), encoding="utf-8")
        code = _run(module, scratch, timeout_s, stage)
        answered = scratch / "result.json"
        if not answered.is_file():
            raise StageError(f"{stage} {_ending(code)}: {_tail(scratch / 'child.log')}", stage=stage)
        result = json.loads(answered.read_text(encoding="utf-8"))
    if "error" in result:
        raise decode_error(result["error"])
    value = result["value"]
    assert isinstance(value, dict)
    return value


def serve(work: Callable[[Mapping[str, Any]], dict[str, Any]], argv: list[str]) -> int:
    """The child's side: read the request in the folder of *argv*, call *work*, leave its result or its `BakeoffError`.

    Any other exception ends the process with its traceback in the log. The request names the folder `cache`, for
    the error of a disk that is full.
    """
    scratch = Path(argv[1])
    die_with(int(argv[2]))
    asked, answered = scratch / "request.json", scratch / "result.json"
    request = json.loads(asked.read_text(encoding="utf-8"))
    try:
        with disk_errors(Path(request["cache"])):
            result = {"value": work(request)}
    except BakeoffError as error:
        traceback.print_exc()
        result = {"error": encode_error(error)}
    partial = answered.with_suffix(".partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    os.replace(partial, answered)
    return 0


def _run(module: str, scratch: Path, timeout_s: float, stage: str) -> int:
    with (scratch / "child.log").open("wb") as output:
        child = subprocess.Popen(
            # -P: the working folder is not importable, or a folder there could shadow a library.
            [sys.executable, "-P", "-m", module, str(scratch), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONHASHSEED": "0", "ORT_DISABLE_TELEMETRY": "1"},
            start_new_session=True,
        )
        try:
            return child.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise StageError(f"{stage} took longer than {timeout_s:g} s and was stopped", stage=stage) from error
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def die_with(parent: int) -> None:
    """Be killed when *parent* dies, even by SIGKILL: an orphan would burn the cores of the next run. Linux only."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return text[-_TAIL_CHARACTERS:] or "it printed nothing"
