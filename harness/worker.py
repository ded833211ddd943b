"""The worker: one process, one backend, one artifact. Started as `python -m bakeoff.harness.worker`.

It does what the parent asks over the channel and holds the clock while it infers. It either compiles or loads, never
both, so that what a cell shows of loading and of the first inference is what a fresh process sees.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..backends import registry
from ..backends.base import Array, CompileRequest, LoadRequest, Quantization, Session, SmokeTested
from ..backends.profile import ProfiledSession
from ..models.compare import Comparison, compare, tolerance_for
from ..models.errors import MismatchError, StageError
from ..models.feeds import feeds_of, split_images
from ..models.reference import save_arrays
from .profiling.take import encode_rows, open_profiled, profile_block
from .protocol import PROTOCOL_VERSION, Message, encode_error, receive, send
from .timing import Rotation, run_block, warm_up
from .usage import Usage, own_usage, working_threads

__all__ = ["main"]


ALIGNMENT_BYTES = 64


class _Worker:
    """State of one worker between two requests."""

    def __init__(self, seed: int) -> None:
        self.session: Session | None = None
        self.profiled: ProfiledSession | None = None
        """The same session, where it was loaded to be profiled."""
        self.rotation = Rotation([])
        self.references: list[list[Array]] = []
        self.tolerance = 0.0
        self.choose = random.Random(seed)
        self.after_warm_up: Usage | None = None

    def ask(self, request: Message) -> Message:
        """Answer one request; whatever goes wrong becomes an error answer."""
        operation: Callable[[Message], Message] = getattr(self, f"do_{request['op']}")
        try:
            return {"ok": True, **operation(request)}
        except (Exception, MemoryError) as error:  # noqa: BLE001  a library may raise anything; it becomes data
            traceback.print_exc()
            return encode_error(error, stage=request["op"])

    def do_hello(self, _request: Message) -> Message:
        return {"protocol": PROTOCOL_VERSION, "bakeoff": __version__, "pid": os.getpid(), "python": sys.version}

    def do_probe(self, request: Message) -> Message:
        backend = registry.get(request["backend"])
        probe = backend.probe()
        return {
            "available": probe.available,
            "version": probe.version,
            "reason": probe.reason,
            "role": backend.role,
            "install": registry.install_command(backend),
            "packages": dict(probe.packages),
            "details": dict(probe.details),
            "devices": [
                {"name": device.name, "description": device.description, "tested": device.tested}
                for device in probe.devices
            ],
        }

    def do_smoke(self, request: Message) -> Message:
        """Let the backend try itself out, where it knows how to."""
        backend = registry.get(request["backend"])
        return {"version": backend.smoke() if isinstance(backend, SmokeTested) else ""}

    def do_cache_key(self, request: Message) -> Message:
        return {"key": dict(registry.get(request["backend"]).cache_key(_compile_request(request)))}

    def do_compile(self, request: Message) -> Message:
        backend = registry.get(request["backend"])
        start = time.perf_counter()
        notes = backend.compile(_compile_request(request))
        seconds = time.perf_counter() - start
        return {"compile_s": seconds, "notes": list(notes), "peak_rss_bytes": own_usage().peak_rss_bytes}

    def do_reproducer(self, request: Message) -> Message:
        return {"source": registry.get(request["backend"]).reproducer(_compile_request(request))}

    def do_load(self, request: Message) -> Message:
        backend = registry.get(request["backend"])
        load = _load_request(request)
        start = time.perf_counter()
        self.session = backend.load(load)
        return {"load_s": time.perf_counter() - start}

    def do_load_profiled(self, request: Message) -> Message:
        """Load with the runtime's profiler on: such a session is never timed for anything else."""
        start = time.perf_counter()
        self.profiled = open_profiled(request["backend"], _load_request(request), Path(request["model"]))
        self.session = self.profiled
        return {"load_s": time.perf_counter() - start}

    def do_inputs(self, request: Message) -> Message:
        """Read the inputs and reference outputs: an .npz with `input_{i}_{k}` and `output_{i}_{k}`."""
        feeds: list[tuple[Array, ...]] = []
        with np.load(request["path"], allow_pickle=False) as stored:
            for index in range(request["count"]):
                feeds.append(_numbered(stored, f"input_{index}_"))
                self.references.append(list(_numbered(stored, f"output_{index}_")))
        self.rotation = Rotation(feeds)
        # A lower precision that was asked for, or taken in silence, shows as such; here wrong answers are sought.
        self.tolerance = max(request["tolerance"], tolerance_for(self._ready().executed().precision))
        return {}

    def do_first(self, _request: Message) -> Message:
        """Time the very first inference and check its outputs."""
        block = run_block(self._ready().infer, self.rotation, 1, frozenset({0}))
        found = self._compare(block.kept)
        return {
            "first_ns": block.times_ns[0],
            "max_abs_error": found.max_abs_error,
            "max_rel_error": found.max_rel_error,
            "rms_rel_error": found.rms_rel_error,
            "tolerance": self.tolerance,
        }

    def do_check(self, request: Message) -> Message:
        """Infer from the next input, untimed, and check the outputs."""
        answer = self.do_first(request)
        del answer["first_ns"]
        return answer

    def do_warm(self, request: Message) -> Message:
        warm = warm_up(
            self._ready().infer,
            self.rotation,
            window=request["window"],
            tolerance=request["tolerance"],
            cap_s=request["cap_s"],
        )
        self.after_warm_up = own_usage()
        return {"calls": warm.calls, "steady": warm.steady, "median_ns": warm.median_ns}

    def do_block(self, request: Message) -> Message:
        """Time a block of calls after *settle* calls that do not count.

        Outputs of *keep* calls, chosen at random, are compared with the reference.
        """
        calls = request["calls"]
        keep = frozenset(self.choose.sample(range(calls), min(calls, request["keep"])))
        cpu = time.process_time()
        start = time.perf_counter()
        infer = self._ready().infer
        run_block(infer, self.rotation, request["settle"], frozenset())
        block = run_block(infer, self.rotation, calls, keep)
        wall_s = time.perf_counter() - start
        worst = self._compare(block.kept)
        # The comparison is ours too: what is left out here would look like another process's work.
        cpu_s = time.process_time() - cpu
        return {
            "times_ns": block.times_ns,
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "sampled": len(block.kept),
            "sampled_rel_error": worst.max_rel_error,
        }

    def do_profile(self, request: Message) -> Message:
        """Profile a block of calls after *settle* calls that do not count."""
        cpu, start = time.process_time(), time.perf_counter()
        times_ns = profile_block(self._profiling(), self.rotation, settle=request["settle"], calls=request["calls"])
        return {
            "times_ns": times_ns,
            "wall_s": time.perf_counter() - start,
            "cpu_s": time.process_time() - cpu,
        }

    def do_rows(self, _request: Message) -> Message:
        """What the runtime told of all profiled calls."""
        return {"rows": encode_rows(self._profiling().rows())}

    def do_report(self, _request: Message) -> Message:
        session = self._ready()
        usage = own_usage()
        before = self.after_warm_up or usage
        return {
            "executed": _executed(session),
            "threads_seen": working_threads(before, usage),
            "peak_rss_bytes": usage.peak_rss_bytes,
            "rss_growth_bytes": usage.rss_bytes - before.rss_bytes,
            "rss_method": usage.rss_method,
            "involuntary_switches": usage.involuntary_switches - before.involuntary_switches,
        }

    def do_evaluate(self, request: Message) -> Message:
        """Infer from all images of the .npz file `path`, as many as `limit_s` seconds allow; keep outputs in `out`."""
        session = self._ready()
        shape = session.inputs[0].shape
        batch = shape[0] if shape else 1
        images: list[tuple[Array, ...]] = []
        end = time.monotonic() + request["limit_s"]
        for count, feeds in feeds_of(Path(request["path"]), batch):
            images += split_images(session.infer(feeds), count, batch)
            if time.monotonic() > end:
                break
        save_arrays(Path(request["out"]), images)
        return {"images": len(images)}

    def do_close(self, _request: Message) -> Message:
        if self.session is not None:
            self.session.close()
        return {}

    def _ready(self) -> Session:
        if self.session is None:
            raise StageError("no artifact was loaded", blame="harness", stage="load")
        return self.session

    def _profiling(self) -> ProfiledSession:
        if self.profiled is None:
            raise StageError("no artifact was loaded to be profiled", blame="harness", stage="profile")
        return self.profiled

    def _compare(self, kept: list[tuple[int, list[Array]]]) -> Comparison:
        worst = Comparison(max_abs_error=0.0, max_rel_error=0.0)
        for index, outputs in kept:
            found = compare(outputs, self.references[index])
            if not found.within(self.tolerance):
                error = MismatchError(_difference(found, self.tolerance))
                error.max_abs_error, error.max_rel_error = found.max_abs_error, found.max_rel_error
                error.rms_rel_error, error.tolerance = found.rms_rel_error, self.tolerance
                raise error
            worst = _worse(worst, found)
        return worst


def _difference(found: Comparison, tolerance: float) -> str:
    if found.problem:
        return f"the outputs cannot be compared with the reference: {found.problem}"
    return (
        f"the outputs differ from the reference by {found.max_rel_error:.3g} of its largest value, "
        f"{found.rms_rel_error:.3g} in the root mean square (allowed: {tolerance:.3g})"
    )


def _compile_request(request: Message) -> CompileRequest:
    return CompileRequest(
        model=Path(request["model"]),
        out=Path(request["out"]),
        device=request["device"],
        threads=request["threads"],
        options=request["options"],
        quantization=_quantization(request.get("quantization")),
    )


def _load_request(request: Message) -> LoadRequest:
    return LoadRequest(
        artifact=Path(request["artifact"]),
        device=request["device"],
        threads=request["threads"],
        options=request["options"],
    )


def _quantization(asked: Message | None) -> Quantization | None:
    if asked is None:
        return None
    calibration = asked["calibration"]
    return Quantization(
        kind=asked["kind"],
        float_model=Path(asked["float_model"]),
        calibration=Path(calibration) if calibration else None,
        keep=tuple(asked["keep"]),
    )


def _numbered(stored: Any, prefix: str) -> tuple[Array, ...]:
    count = sum(1 for name in stored.files if name.startswith(prefix))
    return tuple(_aligned(stored[f"{prefix}{k}"]) for k in range(count))


def _aligned(array: Array) -> Array:
    """A C-contiguous copy that begins at a multiple of 64 bytes.

    Some runtimes take such memory as it is and copy any other, which would be timed.
    """
    room = np.empty(array.nbytes + ALIGNMENT_BYTES, dtype=np.uint8)
    start = -room.ctypes.data % ALIGNMENT_BYTES
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _worse(first: Comparison, second: Comparison) -> Comparison:
    return Comparison(
        max_abs_error=max(first.max_abs_error, second.max_abs_error),
        max_rel_error=max(first.max_rel_error, second.max_rel_error),
        rms_rel_error=max(first.rms_rel_error, second.rms_rel_error),
    )


def _executed(session: Session) -> Message:
    facts = session.executed()
    return {
        "device": facts.device,
        "precision": facts.precision,
        "threads": facts.threads,
        "fallbacks": list(facts.fallbacks),
        "marks": list(facts.marks),
        "details": dict(facts.details),
        "tuning": None if facts.tuning is None else dataclasses.asdict(facts.tuning),
    }


def _die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when the parent goes, even while it is stopped; elsewhere end of file tells."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the parent went away")


def main() -> None:
    """Serve requests until the parent closes the channel."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--cores", default="")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    _die_with_parent(arguments.parent)
    if arguments.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in arguments.cores.split(",")})
    channel = Connection(arguments.channel)
    worker = _Worker(arguments.seed)
    while True:
        try:
            request = receive(channel)
        except EOFError:
            return
        try:
            send(channel, worker.ask(request))
        except OSError:
            return


if __name__ == "__main__":
    main()
