"""Runs jobs side by side, each on cores of its own, and leaves nothing behind when interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

import psutil

__all__ = ["kill_descendants", "run_jobs", "split_cores"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAIT_S = 0.5
"""Python does not look for a signal once more as it begins to wait: one that came just then is seen after this time."""


def split_cores(cores: Sequence[int], jobs: int) -> list[tuple[int, ...]]:
    """*cores* dealt out to at most *jobs* jobs, as evenly as can be; nobody goes without."""
    shares = max(1, min(jobs, len(cores)))
    return [tuple(cores[start::shares]) for start in range(shares)]


def run_jobs(
    items: Sequence[Item],
    work: Callable[[Item, tuple[int, ...]], Result],
    *,
    cores: Sequence[int],
    done: Callable[[Item], None],
    at_once: int | None = None,
) -> list[Result]:
    """Call *work(item, its cores)* for every item, as many at once as there are cores; results in order of *items*.

    *at_once* bounds how many go on side by side. *done* is called in this thread. If a job raises, or on Ctrl-C, no
    further job is started, every process that was started below this one is killed, and the exception goes on.
    """
    if not items:
        return []
    free: SimpleQueue[tuple[int, ...]] = SimpleQueue()
    shares = split_cores(cores, min(len(items), at_once or len(items)))
    for share in shares:
        free.put(share)
    failed, all_submitted = Event(), Event()

    def job(item: Item) -> Result:
        all_submitted.wait()  # else an interrupt might come while a job runs that nothing below knows of yet
        if failed.is_set():
            raise CancelledError
        share = free.get()
        try:
            return work(item, share)
        except BaseException:
            failed.set()
            raise
        finally:
            free.put(share)

    pool = ThreadPoolExecutor(max_workers=len(shares))
    try:
        futures = {pool.submit(job, item): item for item in items}
        all_submitted.set()
        for future in _as_completed(futures):
            if isinstance(future.exception(), CancelledError):
                continue  # another job's exception is the reason, and will come up
            future.result()
            done(futures[future])
        return [future.result() for future in futures]
    except BaseException:
        failed.set()
        pool.shutdown(wait=False, cancel_futures=True)
        if all_submitted.is_set():
            _kill_until_done(futures)
        raise
    finally:
        all_submitted.set()
        pool.shutdown(wait=True)


def _as_completed(futures: Iterable[Future[Result]]) -> Iterator[Future[Result]]:
    """As that of `concurrent.futures`, which does not see every signal."""
    running = set(futures)
    while running:
        ended, running = wait(running, timeout=_WAIT_S, return_when=FIRST_COMPLETED)
        yield from ended


def _kill_until_done(futures: Iterable[Future[Result]]) -> None:
    kill_descendants()
    while running := [future for future in futures if not future.done()]:
        wait(running, timeout=0.1)
        kill_descendants()  # again: a job may have been just about to start a process


def kill_descendants() -> None:
    """Kill every process that this one started, directly or not, even those that are stopped."""
    found: set[psutil.Process] = set()
    while new := set(psutil.Process().children(recursive=True)) - found:
        found |= new
        for child in new:  # who is stopped cannot start another one between being listed and being killed
            with suppress(psutil.NoSuchProcess):
                child.suspend()
    for child in found:
        with suppress(psutil.NoSuchProcess):
            child.kill()
