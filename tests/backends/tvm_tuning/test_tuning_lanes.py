"""Trials side by side: whoever times runs alone, and what crashes or hangs costs one trial of one lane.

The workers are a small program that speaks the worker's protocol and writes down when it works; none needs tvm.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from bakeoff.backends.tvm.tuning.budget import Budget
from bakeoff.backends.tvm.tuning.contract import Meta, Proposal, Task, Trial, TuneRequest
from bakeoff.backends.tvm.tuning.lanes import Lanes, Plan
from bakeoff.backends.tvm.tuning.ledger import Ledger
from bakeoff.backends.tvm.tuning.process import Worker
from bakeoff.backends.tvm.tuning.records import SCHEMA, open_database
from bakeoff.backends.tvm.tuning.tasks_wire import Found
from bakeoff.backends.tvm.tuning.tiles import Vector

META = Meta(schema=SCHEMA, tvm="0.26.0", target={"kind": "llvm", "mcpu": "znver3", "num-cores": 1})
TASKS = tuple(Task(hash=name, name=name, weight=1, flops=10**6, kind="reduce", shape={"o": 58}) for name in ("a", "b"))
WORKER = f"""#!{sys.executable}
import json, os, signal, socket, sys, time
from multiprocessing.connection import Connection
channel = Connection(int(sys.argv[4]))
log = None

def note(**facts):
    log.write(json.dumps({{"pid": os.getpid(), **facts}}) + "\\n")
    log.flush()

def say(**message):
    channel.send_bytes(json.dumps(message).encode())

while True:
    try:
        request = json.loads(channel.recv_bytes())
    except EOFError:
        break
    if request["do"] == "open":
        log = open(request["database"] + ".log", "a")
        say(target={{}})
        continue
    what = request["candidate"]["what"]
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(3600)
    for _ in range(40):
        begin = time.monotonic()
        while time.monotonic() < begin + 0.001:
            pass
        note(what="built", begin=begin, end=time.monotonic())
    if what == "leave before its turn":
        socket.socket(fileno=os.dup(channel.fileno())).shutdown(socket.SHUT_RD)
    say(ready=True)
    if what == "leave before its turn":
        os._exit(3)
    channel.recv_bytes()
    begin = time.monotonic()
    if what == "crash while timed":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang while timed":
        time.sleep(3600)
    while time.monotonic() < begin + 0.03:
        pass
    note(what="timed", begin=begin, end=time.monotonic())
    say(timed=True)
    if what == "fail":
        say(failed="ValueError: no such tile")
    else:
        say(seconds=0.5, record=[["trace"], [0.5], {{}}, []])
"""


@dataclass
class Course:
    """A ledger, and as many stand-in workers as it has lanes."""

    ledger: Ledger
    lanes: Lanes
    log: Path

    def events(self, what: str) -> list[dict[str, float]]:
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [event for event in events if event["what"] == what]


@pytest.fixture
def course(tmp_path: Path) -> Iterator[Course]:
    script = tmp_path / "worker"
    script.write_text(WORKER)
    script.chmod(0o755)
    request = TuneRequest(model=tmp_path, database=tmp_path / "db", trial_timeout_s=2.0, lanes=2)
    records = open_database(request.database, META, create=True)
    records.add_workloads([[task.hash, "AAAA"] for task in TASKS])
    ledger = Ledger(
        request,
        records=records,
        found=Found(tasks=TASKS, workloads=[]),
        vector=Vector(lanes=8, registers=16),
        budget=Budget(None, 100),
        progress=None,
    )
    with ExitStack() as stack:
        opening = {"database": str(request.database)}
        workers = [stack.enter_context(Worker(opening, str(script))) for _ in range(request.lanes)]
        yield Course(ledger, Lanes(workers, ledger), Path(f"{request.database}.log"))


def _plan(task: str, *whats: str) -> Plan:
    for number, what in enumerate(whats):
        yield Proposal(task=task, candidate={"what": what, "number": number}, stage="cover")


def _trials(course: Course, task: str) -> list[Trial]:
    return [trial for trial in course.ledger.records.trials if trial.task == task]


def test_nothing_of_ours_runs_while_a_candidate_is_timed(course: Course) -> None:
    """Both lanes build at the same time, but no step of building lies within another's time."""
    course.lanes.run([_plan("a", *["well"] * 6), _plan("b", *["well"] * 6)])

    timed, built = course.events("timed"), course.events("built")
    assert 12 == len(timed) == course.ledger.budget.spent
    assert 0 == course.ledger.budget.underway
    assert 2 == len({event["pid"] for event in timed})
    for one in timed:
        others = [event for event in [*timed, *built] if event["pid"] != one["pid"]]
        # A signal arrives within moments.
        assert not [event for event in others if one["begin"] + 0.005 < event["begin"] and event["end"] < one["end"]]
    overlapping = [
        (one, other)
        for one in built
        for other in built
        if one["pid"] < other["pid"] and one["begin"] < other["end"] and other["begin"] < one["end"]
    ]
    assert overlapping


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("crash", "killed by SIGSEGV"),
        ("crash while timed", "killed by SIGSEGV"),
        ("leave before its turn", "ended with code 3"),
        ("hang", "timed out after 2 s"),
        ("hang while timed", "timed out after 2 s"),
        ("fail", "ValueError: no such tile"),
    ],
)
def test_what_goes_wrong_in_one_lane_costs_one_trial(course: Course, what: str, error: str) -> None:
    """The lane's next trial has a new worker; the other lane, frozen or not, loses nothing."""
    course.lanes.run([_plan("a", "well", what, "well"), _plan("b", *["well"] * 8)])

    assert ["", error, ""] == [trial.error for trial in _trials(course, "a")]
    assert [""] * 8 == [trial.error for trial in _trials(course, "b")]
    assert [0.5, None, 0.5] == [trial.seconds for trial in _trials(course, "a")]


def test_a_lane_waits_for_another_where_its_plan_says_so(course: Course) -> None:
    """None is asked again after each trial that is done; a plan that says nothing else ends with the others."""

    def follower() -> Plan:
        while not _trials(course, "a"):
            yield None
        yield from _plan("b", "well")

    def idle() -> Plan:
        while True:
            yield None

    course.lanes.run([follower(), _plan("a", "well")])
    assert ["a", "b"] == [trial.task for trial in course.ledger.records.trials]
    course.lanes.run([idle(), _plan("a", "hang", "well")])
    assert 4 == course.ledger.budget.spent


def test_one_plan_may_serve_all_lanes(course: Course) -> None:
    """Its trials are shared out, each to one."""
    shared = _plan("a", *["well"] * 5)
    course.lanes.run([shared, shared])
    assert list(range(5)) == sorted(trial.candidate["number"] for trial in _trials(course, "a"))


def test_the_only_candidate_may_die_as_its_turn_comes(course: Course) -> None:
    """No other trial is under way then, and the stage ends."""
    course.lanes.run([_plan("a", *["leave before its turn"] * 5)])
    assert ["ended with code 3"] * 5 == [trial.error for trial in _trials(course, "a")]
