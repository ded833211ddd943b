"""The tuner's side of a worker process that may be killed at any moment: by its candidate, or by us when it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

from ....models.errors import StageError
from ....models.wire import decode_error

__all__ = ["CandidateError", "Worker"]

_START_S = 120.0
_TAIL_CHARACTERS = 600
_MODULE = "bakeoff.backends.tvm.tuning.worker"


class CandidateError(Exception):
    """A candidate failed: its text is one line. The tuner goes on."""


class Worker:
    """A process of `worker`, started when it is first asked and again after each death. Use it as a context manager."""

    def __init__(self, opening: Mapping[str, Any], python: str = sys.executable) -> None:
        """*opening* is what it is asked first; *python* the interpreter that has tvm."""
        self._python = python
        self._scratch = tempfile.TemporaryDirectory(prefix="bakeoff-tvm-")
        self._opening = dict(opening)
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = False
        self.channel: Any = None
        """Where the living worker's answers come in: for `multiprocessing.connection.wait`, with those of others."""
        self.facts: dict[str, Any] = {}
        self._log = (Path(self._scratch.name) / "log").open("w+b")

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._log.close()
        self._scratch.cleanup()

    @property
    def pid(self) -> int | None:
        """Process id of the living worker."""
        return None if self._process is None else self._process.pid

    def open(self) -> dict[str, Any]:
        """Start the worker; what it answers to the opening: target, TVM's version, vector registers."""
        self.launch()
        if not self._greeted:
            self._greet()
        return self.facts

    def launch(self) -> None:
        """Start the worker, if there is none, without waiting until it is ready."""
        if self._process is None:
            self._start()

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The worker's answer. A death or a time-out raises `CandidateError` and costs this request only.

        Raises the worker's own `BakeoffError`, and `StageError` where no worker comes up at all.
        """
        self.send(request)
        return self.receive(timeout_s)

    def send(self, message: Mapping[str, Any]) -> None:
        """Begin a request, or answer what the worker said meanwhile. Raises `CandidateError` where it has died."""
        self.open()
        self._send(message)

    def converse(self, request: Mapping[str, Any], timeout_s: float) -> Iterator[tuple[dict[str, Any], Any]]:
        """Messages of a long request, each with the function that answers it, until one says that it is the last."""
        self.open()
        self._send(request)
        while True:
            message = self.receive(timeout_s)
            if message.get("last"):
                return
            yield message, self._send

    def stop(self) -> None:
        """Kill the worker, if there is one."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.channel.close()
        self._process, self._greeted = None, False

    def freeze(self) -> None:
        """Stop the worker where it stands, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _start(self) -> None:
        ours, theirs = Pipe()
        command = [self._python, "-P", "-m", _MODULE, str(theirs.fileno()), str(os.getpid())]
        self._log.seek(0)
        self._log.truncate()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "PYTHONHASHSEED": "0"},
            start_new_session=True,
        )
        theirs.close()
        self.channel = ours

    def _greet(self) -> None:
        try:
            scratch = tempfile.mkdtemp(dir=self._scratch.name)
            self._send({**self._opening, "do": "open", "scratch": scratch})
            self.facts = self.receive(_START_S)
            self._greeted = True
        except CandidateError as error:
            raise StageError(f"no worker for TVM's tuning comes up: {error}", blame="harness", stage="tune") from error

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self.channel.send_bytes(json.dumps(message).encode())
        except OSError:
            raise CandidateError(self._bury()) from None

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """What the worker says next.

        A death or a time-out raises `CandidateError` and costs this request only; the worker's own `BakeoffError` is
        raised as it is.
        """
        try:
            if not self.channel.poll(timeout_s):
                self.stop()
                raise CandidateError(f"timed out after {timeout_s:g} s")
            answer = json.loads(self.channel.recv_bytes())
        except (EOFError, OSError):
            raise CandidateError(self._bury()) from None
        except BaseException:
            self.stop()
            raise
        if "raised" in answer:
            raise decode_error(answer["raised"])
        if "failed" in answer:
            raise CandidateError(answer["failed"])
        assert isinstance(answer, dict)
        return answer

    def _bury(self) -> str:
        """Reap the worker that died, and say how."""
        assert self._process is not None
        code = self._process.wait()
        self.stop()
        self._log.seek(0)
        tail = " ".join(self._log.read().decode(errors="replace")[-_TAIL_CHARACTERS:].split())
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"{how}: {tail}" if tail else how
