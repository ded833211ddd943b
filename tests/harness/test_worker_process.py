"""Real workers: what they answer, how they fail, that they take nothing while stopped and leave nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from bakeoff.harness.process import Worker, WorkerSettings
from bakeoff.harness.protocol import send
from bakeoff.harness.worker import _aligned
from bakeoff.models.errors import MismatchError, StageError, UnsupportedError, UserError, WorkerError

LIMIT_S = 120.0
WARM = {"op": "warm", "window": 2, "tolerance": 0.5, "cap_s": 0.2}
BLOCK = {"op": "block", "settle": 1, "calls": 5, "keep": 2}

Eventually = Callable[[Callable[[], object]], bool]


def ask(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    return worker.ask(request, limit_s=LIMIT_S)


class TestAnswers:
    def test_a_whole_life(self, lab: Any) -> None:
        """Hello, probe, load, inputs, first, warm-up, blocks, report, close; then the process is gone."""
        worker = lab.worker()
        worker.greet()
        probe = ask(worker, {"op": "probe", "backend": "numpy_reference"})
        assert probe["available"]
        assert "compiler" == probe["role"]
        assert "python -m pip install 'bakeoff[numpy_reference]'" == probe["install"]
        assert lab.load(worker, {})["load_s"] > 0.0
        ask(worker, {"op": "inputs", "path": str(lab.net.io), "count": lab.net.inputs, "tolerance": 1e-3})
        first = ask(worker, {"op": "first"})
        assert first["first_ns"] > 0
        assert 0.0 <= first["max_rel_error"] < 1e-5
        warm = ask(worker, WARM)
        assert warm["calls"] >= 2
        assert warm["median_ns"] > 0
        block = ask(worker, BLOCK)
        assert 5 == len(block["times_ns"])
        assert 2 == block["sampled"]
        assert sum(block["times_ns"]) <= block["wall_s"] * 1e9
        report = ask(worker, {"op": "report"})
        assert report["peak_rss_bytes"] > 2**20
        assert report["rss_method"]
        executed = report["executed"]
        assert ["cpu", "fp32", ["reference evaluator"]] == [executed[name] for name in ("device", "precision", "marks")]
        assert 0 <= report["threads_seen"] <= 1
        assert ask(worker, {"op": "close"})["ok"]
        worker.close()
        assert not worker.alive

    @pytest.mark.slow
    def test_compile(self, lab: Any) -> None:
        """Compiling tells its seconds, notes and peak memory, and leaves the artifact."""
        worker = lab.worker()
        answer = lab.compile(worker, {})
        assert answer["compile_s"] > 0.0
        assert [] == answer["notes"]
        assert answer["peak_rss_bytes"] > 2**20

    @pytest.mark.slow
    def test_key_and_reproducer(self, lab: Any) -> None:
        """What an artifact depends on, and the bare loop, come from the backend without anything being compiled."""
        request = {"backend": "numpy_reference", "model": str(lab.net.model), "out": "", "device": "cpu", "threads": 1}
        worker = lab.worker()
        assert "onnx" in ask(worker, {"op": "cache_key", **request, "options": {}})["key"]
        assert "def build(" in ask(worker, {"op": "reproducer", **request, "options": {}})["source"]

    @pytest.mark.slow
    def test_chatter_corrupts_nothing(self, lab: Any) -> None:
        """A library that writes to stdout and stderr, raw bytes too, disturbs no answer; its words are kept."""
        worker = lab.ready({"fault": "chatter"})
        assert 5 == len(ask(worker, BLOCK)["times_ns"])
        assert "says this on stderr" in worker.stderr_tail()
        assert "raw bytes on file descriptor 1" in worker.stderr_tail()

    @pytest.mark.slow
    def test_an_error_leaves_the_worker_alive(self, lab: Any) -> None:
        """What the backend refuses or raises is an answer; the next request is served."""
        worker = lab.worker()
        with pytest.raises(UnsupportedError, match="operator Refused is not supported") as refused:
            lab.load(worker, {"fault": "refuse", "stage": "load"})
        assert ("importer", "load") == (refused.value.blame, refused.value.stage)
        with pytest.raises(StageError, match="RuntimeError: numpy_reference was asked to fail here") as failed:
            lab.load(worker, {"fault": "raise", "stage": "load"})
        assert ("runtime", "load") == (failed.value.blame, failed.value.stage)
        with pytest.raises(StageError, match="MemoryError"):
            lab.load(worker, {"fault": "memory", "stage": "load"})
        assert "Traceback" in worker.stderr_tail()
        lab.load(worker, {})

    @pytest.mark.slow
    def test_nothing_loaded(self, lab: Any) -> None:
        """To infer before loading is the harness's own fault."""
        with pytest.raises(StageError, match="no artifact was loaded") as caught:
            ask(lab.worker(), {"op": "first"})
        assert "harness" == caught.value.blame

    @pytest.mark.slow
    def test_cores_and_threads(self, lab: Any) -> None:
        """A worker runs on its cores only, and finds its thread count in the variables that runtimes read."""
        core = min(os.sched_getaffinity(0))
        worker = lab.worker(WorkerSettings(cores=(core,), threads=3))
        worker.greet()
        process = psutil.Process(worker.pid)
        assert [core] == process.cpu_affinity()
        found = process.environ()
        assert {"3"} == {found[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS", "TVM")}


@pytest.mark.slow
class TestDeath:
    @pytest.mark.parametrize(("fault", "words"), [("segfault", "SIGSEGV"), ("abort", "SIGABRT")])
    @pytest.mark.parametrize("stage", ["compile", "load", "infer"])
    def test_crash(self, lab: Any, fault: str, words: str, stage: str) -> None:
        """A crash at any stage is told by its signal, and blamed by where it happened."""
        options = {"fault": fault, "stage": stage}

        def live() -> None:
            if stage == "compile":
                lab.compile(lab.worker(), options)
            ask(lab.ready(options), {"op": "first"})

        with pytest.raises(WorkerError) as caught:
            live()
        assert f"the worker crashed ({words})" == caught.value.reason
        assert {"compile": "compiler"}.get(stage, "runtime") == caught.value.blame
        assert {"infer": "first"}.get(stage, stage) == caught.value.stage

    def test_last_words(self, lab: Any) -> None:
        """The error holds the tail of what the worker wrote, however much it wrote before."""
        worker = lab.worker()
        with pytest.raises(StageError):
            lab.load(worker, {"fault": "raise", "stage": "load"})
        with pytest.raises(WorkerError) as caught:
            lab.load(worker, {"fault": "exit", "stage": "load"})
        assert "the worker ended by itself with exit code 3" == caught.value.reason
        assert "RuntimeError: numpy_reference was asked to fail here" in caught.value.stderr_tail
        assert len(caught.value.stderr_tail) <= 4000

    def test_killed_for_memory(self, lab: Any) -> None:
        """SIGKILL from outside most likely comes from a kernel that is out of memory, and is told so."""
        with pytest.raises(
            WorkerError, match=r"the worker was killed \(SIGKILL\), most likely by the system for lack of"
        ):
            ask(lab.ready({"fault": "kill"}), {"op": "first"})

    def test_killed_while_idle(self, lab: Any) -> None:
        """A worker that died since the last request is told of at the next one, and every one after that."""
        worker = lab.worker()
        worker.greet()
        os.kill(worker.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(WorkerError, match="SIGKILL"):
                ask(worker, WARM)

    @pytest.mark.parametrize("fault", ["hang", "stubborn"])
    def test_hang(self, lab: Any, fault: str) -> None:
        """Whoever gives no answer within the limit is killed, even if it ignores polite signals."""
        worker = lab.ready({"fault": fault})
        with pytest.raises(WorkerError, match=r"no answer within 0\.5 s; killed") as caught:
            worker.ask({"op": "first"}, limit_s=0.5)
        assert "first" == caught.value.stage
        assert not worker.alive

    def test_memory_limit(self, lab: Any) -> None:
        """A worker that takes more memory than allowed is killed, and the sizes are told."""
        worker = lab.worker(WorkerSettings(memory_limit_bytes=2**20))
        with pytest.raises(WorkerError, match=r"took 0\.[0-9] GiB of memory \(limit 0\.0 GiB\); killed") as caught:
            lab.load(worker, {"fault": "hang", "stage": "load"})
        assert "load" == caught.value.stage
        assert not worker.alive

    def test_exit_of_a_library(self, lab: Any, tmp_path: Path) -> None:
        """An interpreter that shuts down is not taken for one that was killed, though the channel closes before."""
        script = tmp_path / "python"
        program = "import os, sys, time; os.close(int(sys.argv[4])); time.sleep(0.3); sys.exit(7)"
        _script(script, f'exec {sys.executable} -c "{program}" "$@"')
        worker = lab.worker(WorkerSettings(python=str(script)))
        with pytest.raises(WorkerError, match="ended by itself with exit code 7"):
            ask(worker, {"op": "hello"})


class TestInputs:
    def test_begin_at_a_cache_line(self) -> None:
        """Runtimes that take aligned memory as it is copy any other, which would be timed."""
        for shape in ((1, 3, 7, 5), (3,), ()):
            array = np.ones(shape, dtype=np.float32)
            copy = _aligned(array)
            assert 0 == copy.ctypes.data % 64
            assert copy.flags.c_contiguous
            np.testing.assert_array_equal(array, copy)


@pytest.mark.slow
class TestWrongAnswers:
    @pytest.mark.parametrize("fault", ["wrong", "nan"])
    def test_at_first(self, lab: Any, fault: str) -> None:
        """Outputs that are off are found before anything is timed."""
        with pytest.raises(MismatchError) as caught:
            ask(lab.ready({"fault": fault}), {"op": "first"})
        assert "first" == caught.value.stage

    def test_answers_of_the_first_input(self, lab: Any) -> None:
        """A runtime that returns for every input what it computed for the first is found too."""
        worker = lab.ready({"fault": "cached"})
        ask(worker, {"op": "first"})
        with pytest.raises(MismatchError, match=r"differ from the reference by .* \(allowed: 0\.001\)"):
            ask(worker, {"op": "check"})

    @pytest.mark.parametrize("fault", ["wrong", "nan", "cached"])
    def test_within_the_timed_part_only(self, lab: Any, fault: str) -> None:
        """Outputs that go wrong later are found among those sampled from inside the timed part."""
        worker = lab.ready({"fault": fault, "after": "12"})
        ask(worker, {"op": "first"})
        assert 8 == ask(worker, {**BLOCK, "calls": 8, "keep": 8})["sampled"]
        with pytest.raises(MismatchError) as caught:
            ask(worker, {**BLOCK, "calls": 8, "keep": 8})
        assert ("block", "unknown") == (caught.value.stage, caught.value.blame)


@pytest.mark.slow
class TestStopped:
    def test_takes_no_cpu(self, lab: Any, eventually: Eventually) -> None:
        """Between stop and go, not a tick of CPU time is spent, though the worker was in the middle of its work."""
        worker = lab.ready({})
        process = psutil.Process(worker.pid)
        send(worker._channel, {"op": "block", "settle": 0, "calls": 1_000_000_000, "keep": 0})
        started = _cpu_s(process)
        assert eventually(lambda: _cpu_s(process) > started + 0.05)
        worker.stop()
        assert eventually(lambda: {psutil.STATUS_STOPPED} == _states(process))
        before, switches = _cpu_s(process), process.num_ctx_switches()
        _burn(0.5)
        assert (before, switches) == (_cpu_s(process), process.num_ctx_switches())
        worker.go()
        assert eventually(lambda: _cpu_s(process) > before + 0.05)

    def test_children_are_stopped_too(self, lab: Any, tmp_path: Path, eventually: Eventually) -> None:
        """What a worker started stops and dies with it."""
        script = tmp_path / "python"
        _script(script, "sleep 1000 & echo $! > child; exec cat")
        worker = Worker(WorkerSettings(python=str(script)), tmp_path / "log")
        lab.workers.append(worker)
        assert eventually(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip())
        child = psutil.Process(int((tmp_path / "child").read_text()))
        worker.stop()
        assert eventually(lambda: psutil.STATUS_STOPPED == child.status())
        worker.close()
        assert eventually(lambda: not child.is_running() or psutil.STATUS_ZOMBIE == child.status())

    def test_dies_stopped(self, lab: Any) -> None:
        """A stopped worker can be closed and killed like any other."""
        for end in (Worker.close, Worker.kill):
            worker = lab.worker()
            worker.greet()
            worker.stop()
            end(worker)
            assert not worker.alive


_PARENT = """
import sys, time
from pathlib import Path
from bakeoff.harness.process import Worker, WorkerSettings
workers = [Worker(WorkerSettings(), Path(sys.argv[1]) / f"{i}.log") for i in range(2)]
for worker in workers:
    worker.greet()
workers[1].stop()
print(*(worker.pid for worker in workers), flush=True)
time.sleep(1000)
"""


@pytest.mark.slow
def test_workers_die_with_their_parent(tmp_path: Path, eventually: Eventually) -> None:
    """When the parent is killed without a chance to clean up, running and stopped workers vanish."""
    with subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert 2 == len(pids)
        parent.kill()
    assert eventually(lambda: not any(_lives(pid) for pid in pids))


class TestInterpreters:
    def test_not_there(self, tmp_path: Path) -> None:
        """An interpreter that does not exist is the user's mistake, in one line."""
        with pytest.raises(
            UserError, match=r"gone: cannot start this interpreter \(No such file or directory\); check"
        ):
            Worker(WorkerSettings(python=str(tmp_path / "gone")), tmp_path / "log")

    def test_without_bakeoff(self, tmp_path: Path) -> None:
        """So is one that has no bakeoff: what it said last is told, and what to do."""
        bare = tmp_path / "python"
        _script(bare, f'exec {sys.executable} -S -I "$@"')
        with Worker(WorkerSettings(python=str(bare)), tmp_path / "log") as worker, pytest.raises(UserError) as caught:
            worker.greet(LIMIT_S)
        words = str(caught.value)
        assert words.startswith(f"{bare}: cannot run bakeoff's worker (")
        assert "No module named 'bakeoff'" in words
        assert words.endswith("; install bakeoff for that interpreter")
        assert "\n" not in words

    @pytest.mark.slow
    def test_killed_at_its_start(self, tmp_path: Path) -> None:
        """A worker that is killed before it can say hello is no mistake of the user's: one cell fails, not the run."""
        script = tmp_path / "python"
        _script(script, "kill -KILL $$")
        worker = Worker(WorkerSettings(python=str(script)), tmp_path / "log")
        with worker, pytest.raises(WorkerError, match="SIGKILL"):
            worker.greet(LIMIT_S)

    @pytest.mark.slow
    def test_another_protocol(self, tmp_path: Path) -> None:
        """A bakeoff of another time is refused by name before anything is asked of it."""
        script = tmp_path / "python"
        program = (
            "import sys; from multiprocessing.connection import Connection; c = Connection(int(sys.argv[4])); "
            'c.recv_bytes(); c.send_bytes(b\'{\\"ok\\": true, \\"protocol\\": 99, \\"bakeoff\\": \\"9.9\\"}\')'
        )
        _script(script, f'exec {sys.executable} -c "{program}" "$@"')
        worker = Worker(WorkerSettings(python=str(script)), tmp_path / "log")
        with worker, pytest.raises(UserError, match=r"holds bakeoff 9\.9, which speaks another worker protocol than"):
            worker.greet(LIMIT_S)


@pytest.mark.slow
def test_nothing_leaks(lab: Any) -> None:
    """However workers end, neither a process, nor a zombie, nor a file descriptor stays."""
    me = psutil.Process()
    before, files = {child.pid for child in me.children()}, me.num_fds()
    for end in (Worker.close, Worker.kill):
        worker = lab.worker()
        worker.greet()
        end(worker)
        end(worker)
    with pytest.raises(WorkerError), lab.ready({"fault": "segfault"}) as worker:
        ask(worker, {"op": "first"})
    with pytest.raises(KeyboardInterrupt), lab.worker() as worker:
        raise KeyboardInterrupt
    with pytest.raises(UserError):
        Worker(WorkerSettings(python="/"), lab.folder / "log")
    assert before == {child.pid for child in me.children()}
    assert files == me.num_fds()


def _script(path: Path, command: str) -> None:
    """A shell script in the place of an interpreter: called as `python -m bakeoff.harness.worker --channel FD ...`."""
    path.write_text(f'#!/bin/sh\ncd "{path.parent}"\n{command}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _states(process: psutil.Process) -> set[str]:
    """States of all threads of *process*."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    letters = {(task / "stat").read_text().rsplit(") ", 1)[1][0] for task in tasks}
    return {psutil.STATUS_STOPPED if letter == "T" else letter for letter in letters}


def _burn(seconds: float) -> None:
    """Spend CPU time of this process."""
    process = psutil.Process()
    until = _cpu_s(process) + seconds
    while _cpu_s(process) < until:
        pass


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
