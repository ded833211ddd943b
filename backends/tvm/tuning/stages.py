"""The stages of tuning; each makes plans, one for each lane, that propose trials as long as the budget lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .budget import Purse
from .contract import Kind, Proposal, Stage
from .lanes import Plan
from .ledger import Ledger, place_of
from .process import Worker
from .search import TaskSearch, key_of
from .tiles import Candidate

__all__ = ["cold", "cover", "refine", "rest", "stock"]

# First guesses for each task by kind; where a model has many tasks, fewer, so that they take about a minute in all.
_GUESSES: Mapping[Kind, int] = {
    "conv": 6,
    "depthwise": 6,
    "winograd": 4,
    "dense": 5,
    "pool": 4,
    "reduce": 4,
    "elementwise": 6,
    "other": 6,
}
_COVER_TRIALS = 260
_LEAST_GUESSES = 3

# Trials of a task before another may come.
_CHUNK = 6

# Candidates of a task that are timed cold, and of which kinds: those whose weights may be large. A variant that is
# slower than this multiple of the best of its site is not.
_COLD = 2
_COLD_KINDS = ("conv", "winograd", "dense")
_FAR = 1.5

# So many times as long as others they last: weights are copied first, and each copy is timed several times.
_COLD_COST = 1.6

# MetaSchedule's search may think this long between two candidates.
_THINK_S = 600.0


def cover(ledger: Ledger) -> list[Plan]:
    """A few guesses for every task; all tasks get their first before any gets its second."""
    return [_cover(ledger)] * ledger.request.lanes


def _cover(ledger: Ledger) -> Plan:
    searches = ledger.searches.values()
    wanted = sum(_GUESSES[one.task.kind] for one in searches)
    share = min(1.0, _COVER_TRIALS / max(1, wanted))
    for number in range(1, max(_GUESSES.values()) + 1):
        for one in searches:
            count = max(_LEAST_GUESSES, round(_GUESSES[one.task.kind] * share))
            if number > count:
                continue
            candidate = one.first(number, _like(ledger, one))
            if candidate is None:
                continue
            if not ledger.budget.left():
                return
            yield Proposal(task=one.task.hash, candidate=candidate, stage="cover")


def _like(ledger: Ledger, one: TaskSearch) -> list[Candidate]:
    """The best candidate of a task that differs in its epilogue only, and those of other databases."""
    kin = [
        other.ranked()[0]
        for other in ledger.searches.values()
        if other is not one
        and other.task.kind == one.task.kind
        and other.task.shape == one.task.shape
        and other.best is not None
    ]
    return [*kin[:1], *ledger.warm.get((one.task.kind, key_of(one.task.shape)), ())]


@dataclass
class _Field:
    """The tasks that several lanes work at, no two of them at the same one at a time."""

    searches: list[TaskSearch]
    busy: set[str] = field(default_factory=set)
    purse: Purse = field(init=False)

    def __post_init__(self) -> None:
        self.purse = Purse(self.searches)

    def free(self) -> list[TaskSearch]:
        """Those that no lane is at."""
        return [one for one in self.searches if one.task.hash not in self.busy]


def refine(ledger: Ledger) -> list[Plan]:
    """Steps from the best candidates, where they promise the most."""
    searches = [one for one in ledger.searches.values() if one.best is not None and one.task.kind != "other"]
    return _seek(ledger, searches, "refine", TaskSearch.refine, _CHUNK)


def rest(ledger: Ledger) -> list[Plan]:
    """Random candidates with what is left, where there is a budget to end them."""
    if ledger.request.seconds is None and ledger.request.trials is None:
        return []
    searches = [one for one in ledger.searches.values() if one.best is not None]
    return _seek(ledger, searches, "rest", TaskSearch.draw, 1)


_Propose = Callable[[TaskSearch], Candidate | None]


def _seek(ledger: Ledger, searches: list[TaskSearch], stage: Stage, propose: _Propose, chunk: int) -> list[Plan]:
    shared = _Field(searches)
    return [_chunks(ledger, shared, stage, propose, chunk) for _ in range(ledger.request.lanes)]


def _chunks(ledger: Ledger, shared: _Field, stage: Stage, propose: _Propose, chunk: int) -> Plan:
    """Chunks of trials, each of the task that promises the most, of those that no other lane is at."""
    while shared.searches:
        free = shared.free()
        if not free:
            yield None
            continue
        one = shared.purse.next(free)
        before = one.best
        shared.busy.add(one.task.hash)
        for _ in range(chunk):
            if not _left(ledger):
                return
            candidate = propose(one)
            if candidate is None:
                shared.searches.remove(one)
                break
            yield Proposal(task=one.task.hash, candidate=candidate, stage=stage)
        shared.busy.discard(one.task.hash)
        shared.purse.report(one, before)


def _left(ledger: Ledger) -> bool:
    """Whether there is budget beyond what timing cold will take."""
    return ledger.budget.left(keep_trials=sum(1 for _ in _cold_candidates(ledger)), cost=_COLD_COST)


def cold(ledger: Ledger) -> list[Plan]:
    """Time the best candidates again with weights as cold as they are within the model."""
    return [_cold(ledger)] * ledger.request.lanes


def _cold(ledger: Ledger) -> Plan:
    size = ledger.weights_bytes()  # one for all, so that rivals are compared alike
    for one, candidate in list(_cold_candidates(ledger)) if size else ():
        if not ledger.budget.left():
            return
        yield Proposal(task=one.task.hash, candidate=candidate, stage="cold", cold_bytes=size)


def _cold_candidates(ledger: Ledger) -> Iterator[tuple[TaskSearch, Candidate]]:
    fastest: dict[str, float] = {}
    for one in ledger.searches.values():
        if one.best is not None:
            place = place_of(one.task)
            fastest[place] = min(one.best, fastest.get(place, one.best))
    chosen = [
        one
        for one in ledger.searches.values()
        if one.task.kind in _COLD_KINDS and one.best is not None and one.best <= _FAR * fastest[place_of(one.task)]
    ]
    # Rivals of one site follow each other, the heaviest sites first: a comparison that the budget cuts off is none.
    cost = {one.task.hash: one.task.weight * fastest[place_of(one.task)] for one in chosen}
    chosen.sort(key=lambda one: (-cost[one.task.hash], place_of(one.task), one.task.variant))
    for number in range(_COLD):
        for one in chosen:
            rivals = _unlike(one.ranked())
            if number < len(rivals) and key_of(rivals[number]) not in one.cold:
                yield one, rivals[number]


def _unlike(ranked: Sequence[Candidate]) -> list[Candidate]:
    """The best of *ranked* candidates, and the best that goes through weights in another order, if there is one."""
    others = [candidate for candidate in ranked if candidate.get("order") != ranked[0].get("order")]
    return [*ranked[:1], *(others or ranked[1:])]


def stock(ledger: Ledger) -> list[Plan]:
    """MetaSchedule's own search, in a second process, asks for trials; it has one at a time."""
    return [_stock(ledger)]


def _stock(ledger: Ledger) -> Plan:
    request = {
        "do": "stock",
        "tasks": [{**vars(task), "shape": dict(task.shape)} for task in ledger.tasks],
        "trials": ledger.request.trials or 1_000_000,
        "seed": ledger.request.seed,
    }
    records = ledger.records
    opening = {"threads": 1, "target": dict(records.meta.target), "database": str(records.folder)}
    with Worker(opening, ledger.request.python) as thinker:
        for message, answer in thinker.converse(request, _THINK_S):
            if not ledger.budget.left():
                return
            candidate = {"trace": len(records.trials)}
            yield Proposal(task=message["task"], candidate=candidate, stage="refine", trace=message["trace"])
            trial = records.trials[-1]
            answer({"seconds": trial.seconds, "error": trial.error})
