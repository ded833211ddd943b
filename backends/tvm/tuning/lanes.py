"""Trials side by side: candidates are built in several workers at once, but timed one at a time, while all else stands.

To build a candidate takes several times as long as to time it. Whoever is about to time says so and waits for its turn;
then the other workers are stopped (SIGSTOP) until it is done, so that nothing of ours shares caches or memory with it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from .contract import Proposal
from .ledger import Ledger
from .process import CandidateError, Worker

__all__ = ["Lanes", "Plan"]

Plan = Iterator[Proposal | None]
"""What one lane does next; None: nothing until a trial of another lane is done."""


@dataclass
class _Flight:
    """A trial under way, and how much of its time is left; the clock stands while it waits for others."""

    proposal: Proposal
    left_s: float
    since: float | None
    """When its clock began to run; None while it stands."""

    @property
    def deadline(self) -> float:
        return float("inf") if self.since is None else self.since + self.left_s

    def pause(self) -> None:
        if self.since is not None:
            self.left_s -= time.monotonic() - self.since
            self.since = None

    def go_on(self) -> None:
        self.since = time.monotonic()


class Lanes:
    """Works off plans, one for each worker."""

    def __init__(self, workers: Sequence[Worker], ledger: Ledger) -> None:
        self._workers = workers
        self._ledger = ledger
        self._limit_s = ledger.request.trial_timeout_s
        self._flights: dict[int, _Flight] = {}
        self._waiting: deque[int] = deque()
        self._timing: int | None = None

    def run(self, plans: Sequence[Plan]) -> None:
        """Until no plan has anything left. Each asks for its next trial when its last one is in the ledger.

        Raises the workers' own `BakeoffError`, and `StageError` where no worker comes up.
        """
        plans_left = dict(enumerate(plans))
        while True:
            self._begin(plans_left)
            if not self._flights:
                return
            self._give_turn()
            if self._flights:  # the only one may have died as its turn came
                self._await()

    def _begin(self, plans_left: dict[int, Plan]) -> None:
        for lane in [lane for lane in plans_left if lane not in self._flights]:
            for proposal in plans_left[lane]:
                if proposal is None or self._post(lane, proposal):
                    break
            else:
                del plans_left[lane]

    def _post(self, lane: int, proposal: Proposal) -> bool:
        """Give the lane's worker the *proposal*; False where there is none to take it, which costs the trial."""
        self._flights[lane] = _Flight(proposal, self._limit_s, None)
        question = self._ledger.begin(proposal)
        if not self._send(lane, question):
            return False
        self._flights[lane].go_on()
        if self._timing is not None:
            self._freeze(lane)
        return True

    def _give_turn(self) -> None:
        """Let one of those that wait time its candidate, if none does."""
        while self._timing is None and self._waiting:
            lane = self._timing = self._waiting.popleft()
            for other in self._flights:
                if other != lane and other not in self._waiting:
                    self._freeze(other)
            self._flights[lane].go_on()
            self._send(lane, {})

    def _freeze(self, lane: int) -> None:
        self._flights[lane].pause()
        self._workers[lane].freeze()

    def _end_turn(self) -> None:
        """The candidate whose turn it was is timed, or failed."""
        self._timing = None
        for lane, flight in self._flights.items():
            if flight.since is None and lane not in self._waiting:
                self._workers[lane].thaw()
                flight.go_on()

    def _await(self) -> None:
        """Wait until a worker says something or takes too long."""
        awake = {lane: flight for lane, flight in self._flights.items() if flight.since is not None}
        channels = {lane: self._workers[lane].channel for lane in awake}
        first = min(flight.deadline for flight in awake.values())
        ready = wait(list(channels.values()), max(0.0, first - time.monotonic()))
        for lane, flight in awake.items():
            if channels[lane] in ready:
                self._hear(lane)
            elif flight.deadline <= time.monotonic():
                self._workers[lane].stop()
                self._finish(lane, None, f"timed out after {self._limit_s:g} s")

    def _hear(self, lane: int) -> None:
        try:
            message = self._workers[lane].receive(0)
        except CandidateError as failure:
            self._finish(lane, None, str(failure))
            return
        if message.get("ready"):
            self._flights[lane].pause()
            self._waiting.append(lane)
        elif message.get("timed"):
            self._end_turn()
        else:
            self._finish(lane, message, "")

    def _send(self, lane: int, message: dict[str, Any]) -> bool:
        try:
            self._workers[lane].send(message)
        except CandidateError as failure:
            self._finish(lane, None, str(failure))
            return False
        return True

    def _finish(self, lane: int, answer: dict[str, Any] | None, error: str) -> None:
        flight = self._flights.pop(lane)
        if self._timing == lane:
            self._end_turn()
        self._ledger.finish(flight.proposal, answer, error)
