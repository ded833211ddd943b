"""The parent's side of a worker: start it, ask it, stop it while others measure, and say what became of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from .. import __version__
from ..models.errors import UserError, WorkerError
from .protocol import BLAME_BY_STAGE, PROTOCOL_VERSION, Message, decode_error, receive, send

__all__ = ["Worker", "WorkerSettings"]

TAIL_BYTES = 4000
LAST_BREATH_S = 5.0
"""How long a worker that closed its channel may take to end by itself."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "TVM_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How a worker is started."""

    cores: Sequence[int] = ()
    """Cores that it may run on; empty means those of the parent."""
    threads: int = 1
    python: str = sys.executable
    memory_limit_bytes: int | None = None
    """Resident memory beyond which it is killed; None for no limit."""
    seed: int = 0


class Worker:
    """A live worker process. Use it as a context manager: it never outlives the block.

    After `stop` the process takes no CPU at all (SIGSTOP) until `go`: idle thread pools spin and would tax the worker
    that is being measured.
    """

    def __init__(self, settings: WorkerSettings, stderr: Path) -> None:
        self.settings = settings
        self.stderr = stderr
        self._stopped = False
        self._gone = False
        ours, theirs = socket.socketpair()
        self._channel = Connection(ours.detach())
        command = [settings.python, "-m", "bakeoff.harness.worker", "--channel", str(theirs.fileno())]
        command += ["--parent", str(os.getpid()), "--seed", str(settings.seed)]
        if settings.cores:
            command += ["--cores", ",".join(str(core) for core in settings.cores)]
        try:
            with stderr.open("wb") as errors, theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(settings.threads),
                    start_new_session=True,
                )
        except OSError as error:
            self._channel.close()
            raise UserError(
                f"{settings.python}: cannot start this interpreter ({error.strerror}); check its path"
            ) from error

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def greet(self, limit_s: float = 60.0) -> None:
        """Check that the worker speaks this protocol.

        Raises UserError if its interpreter has no bakeoff or another one, and WorkerError if it was killed or hung:
        the machine's fault, not the user's.
        """
        try:
            hello = self.ask({"op": "hello"}, limit_s=limit_s)
        except WorkerError as error:
            if self._process.returncode < 0:
                raise
            last = (error.stderr_tail.strip().splitlines() or ["it said nothing"])[-1]
            raise UserError(
                f"{self.settings.python}: cannot run bakeoff's worker ({last}); install bakeoff for that interpreter"
            ) from error
        if hello["protocol"] != PROTOCOL_VERSION:
            raise UserError(
                f"{self.settings.python}: holds bakeoff {hello['bakeoff']}, which speaks another worker protocol than "
                f"{__version__}; install the same bakeoff in both"
            )

    @property
    def alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def ask(self, request: Message, *, limit_s: float, on_wait: Callable[[], None] | None = None) -> Message:
        """Send *request* and wait for its answer.

        Raises the CellError that the worker answers with, or WorkerError if it dies, or is killed because it took
        longer than *limit_s* seconds or more memory than allowed.
        """
        stage = str(request["op"])
        deadline = time.monotonic() + limit_s
        try:
            send(self._channel, request)
            while not self._channel.poll(self._patience(deadline)):
                if time.monotonic() >= deadline:
                    raise self._give_up(stage, f"no answer within {limit_s:g} s; killed")
                self._watch_memory(stage)
                if on_wait is not None:
                    on_wait()
            answer = receive(self._channel)
        except (EOFError, OSError) as error:
            raise self._obituary(stage) from error
        if "error" in answer:
            failure = decode_error(answer["error"])
            failure.stderr_tail = self.stderr_tail()
            raise failure
        return answer

    def stop(self) -> None:
        """Take the process off the CPU (SIGSTOP)."""
        self._signal(signal.SIGSTOP)
        self._stopped = True

    def go(self) -> None:
        """Let it run again (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self._stopped = False

    def rss_bytes(self) -> int:
        """Resident memory now; 0 if the process is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def stderr_tail(self) -> str:
        """The last words on its stderr and stdout."""
        with self.stderr.open("rb") as stream:
            stream.seek(max(0, self.stderr.stat().st_size - TAIL_BYTES))
            return stream.read().decode(errors="replace")

    def close(self, limit_s: float = 10.0) -> None:
        """End the process: by end of file, then by force, with all that it started."""
        if self._process.poll() is None:
            if self._stopped:
                self.go()
            self._channel.close()
            with contextlib.suppress(subprocess.TimeoutExpired):  # then it is killed
                self._process.wait(limit_s)
        self.kill()

    def kill(self) -> None:
        """Kill the process and all that it started, at once."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._gone = True
        if not self._channel.closed:
            self._channel.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: Any) -> None:
        if exception[0] is None:
            self.close()
        else:
            self.kill()

    def _patience(self, deadline: float) -> float:
        """How long to sleep at most: memory is watched only where a limit was asked, to leave the CPU alone."""
        left = max(0.0, deadline - time.monotonic())
        return min(left, 0.2) if self.settings.memory_limit_bytes is not None else left

    def _watch_memory(self, stage: str) -> None:
        limit = self.settings.memory_limit_bytes
        if limit is None:
            return
        used = self.rss_bytes()
        if used > limit:
            raise self._give_up(stage, f"took {used / 2**30:.1f} GiB of memory (limit {limit / 2**30:.1f} GiB); killed")

    def _give_up(self, stage: str, reason: str) -> WorkerError:
        self.kill()
        return self._error(reason, stage)

    def _obituary(self, stage: str) -> WorkerError:
        with contextlib.suppress(subprocess.TimeoutExpired):  # its own end says more than our SIGKILL would
            self._process.wait(LAST_BREATH_S)
        self.kill()
        return self._error(_cause_of_death(self._process.returncode), stage)

    def _error(self, reason: str, stage: str) -> WorkerError:
        blame = BLAME_BY_STAGE.get(stage, "unknown")
        return WorkerError(reason, blame=blame, stage=stage, stderr_tail=self.stderr_tail())

    def _signal(self, number: int) -> None:
        """Signal the worker and its children, which share its process group; a group that is gone is no fault."""
        if self._gone:  # the system may have given its id to somebody else by now
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return


def _cause_of_death(code: int) -> str:
    if code >= 0:
        return f"the worker ended by itself with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGKILL:
        return f"the worker was killed ({name}), most likely by the system for lack of memory"
    return f"the worker crashed ({name})"


def _environment(threads: int) -> dict[str, str]:
    """The parent's environment, with the thread count for every runtime and nothing importable from the cwd."""
    environment = dict(os.environ)
    environment.update({name: str(threads) for name in _THREAD_VARIABLES})
    environment["PYTHONSAFEPATH"] = "1"
    environment["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime's wheels report home otherwise
    return environment
