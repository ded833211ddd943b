"""Processes that use one store at the same time, or die while they do. Run as a script by `test_store.py`.

open PATH COUNT: COUNT processes open PATH at the same moment; each prints how many runs it sees.
write PATH COUNT CELLS: COUNT processes add CELLS cells each to run "r1", at the same time.
kill PATH COUNT: COUNT times, a process adds cells to run "r1" until it is killed; prints the keys said to be stored.
full PATH BYTES: add cells until no file may grow beyond BYTES; prints the keys said to be stored, then "then".
"""

from __future__ import annotations

import os
import resource
import runpy
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bakeoff.harness.store import Store

__all__: list[str] = []

make_cell = runpy.run_path(str(Path(__file__).with_name("store_examples.py")))["make_cell"]


def fork(work: Callable[[], None]) -> int:
    """Pid of a child that does *work* and ends, with 1 if it raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def together(works: list[Callable[[], None]]) -> None:
    """Do all *works* in processes of their own that begin at the same moment."""
    wait, begin = os.pipe()

    def delayed(work: Callable[[], None]) -> None:
        os.close(begin)
        os.read(wait, 1)
        work()

    pids = [fork(partial(delayed, work)) for work in works]
    os.close(begin)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(codes):
        sys.exit(f"exit codes {codes}")


def add_cells(path: str, name: str, count: int) -> None:
    """Add cells "NAME/0", "NAME/1", ... and print each key as soon as it is stored."""
    store = Store.open(path)
    for i in range(count):
        store.add_cell("r1", make_cell(f"{name}/{i}"))
        os.write(1, f"{name}/{i}\n".encode())


def killed_writer(path: str, turn: int) -> None:
    """A process that adds cells is killed a little after its *turn*-th one, at an instant that differs each time."""
    heard, said = os.pipe()

    def write() -> None:
        os.dup2(said, 1)
        add_cells(path, str(turn), 100_000)

    pid = fork(write)
    os.close(said)
    with os.fdopen(heard) as lines:
        told = [lines.readline() for _ in range(turn % 5 + 1)]
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, 0.0003 * turn + 1e-6)
        signal.sigwait({signal.SIGALRM})
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        told += [line for line in lines if line.endswith("\n")]
    print("".join(told), end="", flush=True)


def main(mode: str, path: str, number: int, *more: str) -> None:
    """Do what *mode* says."""
    if mode == "open":
        together([lambda: print(len(Store.open(path).list_runs()))] * number)
    elif mode == "write":
        together([partial(add_cells, path, str(i), int(more[0])) for i in range(number)])
    elif mode == "kill":
        for turn in range(number):
            killed_writer(path, turn)
    elif mode == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
        try:
            add_cells(path, "x", 100_000)
        finally:
            print("then")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
