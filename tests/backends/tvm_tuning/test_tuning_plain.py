"""The tuner's plain parts: tiles, grids, budget, choice of variants, search, database. None of them needs tvm."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bakeoff.backends.tvm.tuning.budget import Budget, Purse, limit_of
from bakeoff.backends.tvm.tuning.choice import choose
from bakeoff.backends.tvm.tuning.contract import Kind, Meta, Task, Trial, Variant
from bakeoff.backends.tvm.tuning.grids import grid_of
from bakeoff.backends.tvm.tuning.records import SCHEMA, Records, merge, open_database
from bakeoff.backends.tvm.tuning.search import TaskSearch, key_of
from bakeoff.backends.tvm.tuning.tiles import Grid, Vector, register_tiles
from bakeoff.backends.tvm.tuning.warm import warm_candidates
from bakeoff.models.errors import UserError
from hypothesis import example, given
from hypothesis import strategies as st

AVX2, AVX512, NEON = Vector(lanes=8, registers=16), Vector(lanes=16, registers=32), Vector(lanes=4, registers=32)
TARGET = {"kind": "llvm", "mcpu": "znver3", "num-cores": 1}
META = Meta(schema=SCHEMA, tvm="0.26.0", target=TARGET)
SHAPES: dict[Kind, dict[str, int]] = {
    "conv": {"n": 1, "y": 14, "x": 14, "o": 96, "ry": 3, "rx": 3, "rc": 48, "pad": 1, "ci": 48},
    "depthwise": {"n": 1, "y": 7, "x": 7, "o": 24, "ry": 5, "rx": 5, "rc": 1, "pad": 1, "ci": 24},
    "winograd": {"m": 4, "p": 16, "co": 64, "ci": 32, "y": 14, "x": 14},
    "dense": {"i": 1, "j": 1000, "k": 512},
    "pool": {"y": 56, "x": 56, "o": 64, "pad": 1},
    "reduce": {"o": 58},
    "elementwise": {"rank": 4, "e0": 1, "e1": 28, "e2": 28, "e3": 58},
    "other": {},
}


def _task(
    name: str, *, kind: Kind = "conv", weight: int = 1, flops: int = 10**9, variant: Variant = "direct", site: str = ""
) -> Task:
    return Task(
        hash=name, name=name, weight=weight, flops=flops, kind=kind, shape=SHAPES[kind], variant=variant, site=site
    )


def _trial(task: str, seconds: float | None, *, ui: int = 4, cold: bool = False) -> Trial:
    return Trial(
        task=task,
        kind="conv",
        shape=SHAPES["conv"],
        variant="direct",
        candidate={"ui": ui},
        space="bakeoff",
        stage="cold" if cold else "cover",
        seconds=seconds,
        cold=cold,
        error="" if seconds else "killed by SIGSEGV",
    )


def _fill(records: Records, *trials: Trial) -> Records:
    records.add_workloads([[trial.task, "AAAA"] for trial in trials])
    for trial in trials:
        records.add_trial(trial, [["trace"], [trial.seconds], {}, []] if trial.seconds else None)
    return records


@pytest.mark.parametrize("vector", [AVX2, AVX512, NEON])
@given(rows=st.integers(1, 64), columns=st.integers(1, 64), channels=st.integers(1, 256))
@example(rows=1, columns=1, channels=59)
def test_tiles_fit_the_registers_and_divide_the_output(vector: Vector, rows: int, columns: int, channels: int) -> None:
    """Whatever the shape there is a tile, every tile divides it, and its sums leave room for weights and input."""
    tiles = register_tiles(rows, columns, channels, vector)

    assert tiles
    for high, wide, deep in tiles:
        assert (0, 0, 0) == (rows % high, columns % wide, channels % deep)
        assert high * wide * vector.count(deep) <= vector.registers


def test_the_first_tile_is_what_was_found_best_by_hand() -> None:
    """For a 3x3 convolution: eight to twelve sums with 16 registers, more with 32; whole vectors of channels."""
    high, wide, deep = register_tiles(28, 28, 128, AVX2)[0]
    assert 8 <= high * wide * AVX2.count(deep) <= 12
    high, wide, deep = register_tiles(28, 28, 128, AVX512)[0]
    assert 8 <= high * wide * AVX512.count(deep) <= 28
    assert deep % 16 == 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("vector", [AVX2, AVX512, NEON])
@pytest.mark.parametrize("kind", list(SHAPES))
def test_first_guesses_belong_to_their_grid(kind: Kind, vector: Vector, threads: int) -> None:
    """Every kind has guesses, distinct and valid; more threads bring parallel ones."""
    grid = grid_of(_task("t", kind=kind), vector, threads)

    assert grid.first
    assert len(grid.first) == len({key_of(guess) for guess in grid.first})
    assert all(grid.holds(guess) for guess in grid.first)
    if kind != "other":
        assert (threads > 1) == any(guess["par"] != "no" for guess in grid.first)


@pytest.mark.parametrize(("size", "streams"), [(7, True), (56, False)])
def test_weights_stream_through_where_all_sums_fit_the_first_cache(size: int, streams: bool) -> None:
    """On large images a panel of a few rows may, but no first guess does."""
    shape = {**SHAPES["conv"], "y": size, "x": size}
    grid = grid_of(replace(_task("t"), shape=shape), AVX2, 1)
    assert streams is any(candidate["order"] == "s" for candidate in grid.first)
    whole = {**grid.first[0], "th": size, "order": "s", "pad": "root"}
    assert streams is grid.valid(whole)
    assert grid.valid({**whole, "th": whole["tile"][0], "tile": [whole["tile"][0], 7, 8]})


def test_a_search_finds_the_best_of_a_smooth_grid_and_repeats_nothing() -> None:
    """Steps along the axes reach the optimum of a separable function; failures are passed over."""
    values = list(range(8))
    grid = Grid(axes={"a": values, "b": values}, valid=lambda c: c["a"] + c["b"] != 3, first=({"a": 0, "b": 0},))
    one = TaskSearch(_task("t"), grid, seed=1, starts=2)
    seen = []
    candidate = one.first(1)
    while candidate is not None:
        seen.append(key_of(candidate))
        failed = candidate["a"] == 7
        one.tell(candidate, None if failed else 1 + (candidate["a"] - 6) ** 2 + (candidate["b"] - 5) ** 2)
        candidate = one.refine()

    assert {"a": 6, "b": 5} == one.ranked()[0]
    assert len(seen) == len(set(seen))
    assert len(seen) < 64


def test_random_candidates_depend_on_the_seed_only() -> None:
    """The same seed draws the same candidates in the same order."""

    def draws(seed: int) -> list[str]:
        one = TaskSearch(_task("t"), grid_of(_task("t"), AVX2, 1), seed=seed, starts=1)
        return [key_of(drawn) for drawn in (one.draw() for _ in range(5)) if drawn is not None]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_the_budget_goes_where_an_inference_loses_most() -> None:
    """By weight x (time - limit): not the slowest task, but the one far from its limit; less once it gains nothing."""
    grid = grid_of(_task("t"), AVX2, 1)
    at_limit = TaskSearch(_task("at limit", flops=10**9), grid, seed=0, starts=1)
    far = TaskSearch(_task("far", flops=10**8, weight=4), grid, seed=0, starts=1)
    at_limit.tell(grid.first[0], 0.010)
    far.tell(grid.first[0], 0.005)
    purse = Purse([at_limit, far])

    assert far is purse.next([at_limit, far])
    for _ in range(20):
        before = far.best
        purse.report(far, before)
    slow = TaskSearch(_task("slow", flops=10**9, weight=1), grid, seed=0, starts=1)
    slow.tell(grid.first[0], 0.020)
    assert slow is Purse([slow, at_limit]).next([slow, at_limit])


def test_a_variant_far_behind_its_rival_gets_little() -> None:
    """Of two variants of one site the slower promises less than the winner."""
    grid = grid_of(_task("t"), AVX2, 1)
    direct = TaskSearch(_task("direct", site="s"), grid, seed=0, starts=1)
    wino = TaskSearch(_task("wino", site="s", kind="winograd", variant="wino4"), grid, seed=0, starts=1)
    direct.tell(grid.first[0], 0.008)
    wino.tell(grid.first[0], 0.004)

    assert wino is Purse([direct, wino]).next([direct, wino])
    assert limit_of(wino.task, 1e12) == limit_of(direct.task, 1e12) / 4


def test_budgets_end_by_trials_or_seconds_and_keep_some_back() -> None:
    """Both bounds hold; what is kept back counts at what trials have cost so far."""
    now = [0.0]
    budget = Budget(seconds=10.0, trials=5, clock=lambda: now[0])
    assert budget.left()
    budget.spent, now[0] = 2, 4.0
    assert budget.left(keep_trials=2)
    assert not budget.left(keep_trials=2, cost=1.5)
    budget.spent, now[0] = 4, 8.0
    assert budget.left()
    assert not budget.left(keep_trials=1)
    budget.spent = 5
    assert not budget.left()
    budget.spent, now[0] = 1, 10.0
    assert not budget.left()


def test_variants_are_chosen_by_site_over_all_their_epilogues() -> None:
    """Winograd wins where its tasks take less in sum, and only where each of them has a time."""
    tasks = [
        Task(hash=f"{v}{e}", name=v, weight=w, flops=1, kind="conv", shape={}, variant=v, site="s", epilogue=e)
        for v in ("direct", "wino4")
        for e, w in (("add", 3), ("", 1))
    ]
    times = {"directadd": 2.0, "direct": 2.0, "wino4add": 1.0, "wino4": 3.0}

    chosen = choose(tasks, times)
    assert {"s": "wino4"} == chosen.variants
    assert {"wino4add", "wino4"} == chosen.used
    assert chosen.seconds == pytest.approx(6.0)
    without = choose(tasks, {name: time for name, time in times.items() if name != "wino4"})
    assert {} == without.variants
    assert without.seconds == pytest.approx(8.0)
    assert choose(tasks, {}).seconds is None


def test_a_tie_stays_direct() -> None:
    """A gain of one percent does not pay for coarser rounding and larger weights."""
    tasks = [_task("d", site="s"), _task("w", site="s", kind="winograd", variant="wino2")]
    assert {} == choose(tasks, {"d": 1.0, "w": 0.99}).variants
    assert {"s": "wino2"} == choose(tasks, {"d": 1.0, "w": 0.9}).variants


def test_cold_times_stand_before_hot_ones(tmp_path: Path) -> None:
    """The best candidate is the fastest with cold weights, though another was faster hot."""
    trials = (_trial("a", 1.0, ui=1), _trial("a", 2.0, ui=2), _trial("a", 4.0, ui=1, cold=True))
    records = _fill(open_database(tmp_path / "db", META, create=True), *trials, _trial("a", 3.0, ui=2, cold=True))

    assert {"ui": 2} == records.best()["a"].candidate


def test_a_database_survives_a_kill_in_the_midst_of_a_line(tmp_path: Path) -> None:
    """All whole lines are read again; what was cut off is removed, and writing goes on."""
    folder = tmp_path / "db"
    _fill(open_database(folder, META, create=True), _trial("a", 1.0), _trial("b", None))
    for name in ("trials.jsonl", "database_tuning_record.json"):
        with (folder / name).open("a") as file:
            file.write('{"task": "c", "seco')

    again = _fill(open_database(folder, META, create=True), _trial("c", 2.0))
    assert ["a", "b", "c"] == [trial.task for trial in again.trials]
    assert [0, None, 1] == again.lines
    assert ["a", "b", "c"] == [trial.task for trial in open_database(folder, META, create=False).trials]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Meta(schema=SCHEMA, tvm="0.27.0", target=TARGET), "TVM 0.26.0"),
        (Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "mcpu": "znver5"}), "znver3"),
        (Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "kind": "cuda"}), "llvm"),
        (Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "num-cores": 2}), "1 thread"),
    ],
)
def test_a_database_of_another_target_or_version_is_refused_in_one_line(
    tmp_path: Path, other: Meta, named: str
) -> None:
    """The line names what it was tuned for."""
    open_database(tmp_path / "db", META, create=True)

    with pytest.raises(UserError, match=named) as refused:
        open_database(tmp_path / "db", other, create=True)
    assert "\n" not in str(refused.value)


def test_a_folder_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A folder with other files is not filled, a missing one not read, a strange schema not guessed at."""
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="other files"):
        open_database(tmp_path, META, create=True)
    with pytest.raises(UserError, match="no tuning database"):
        open_database(tmp_path / "none", META, create=False)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "meta.json").write_text(json.dumps({"schema": 99, "tvm": "0.26.0", "target": TARGET}))
    with pytest.raises(UserError, match="schema 99"):
        open_database(tmp_path / "old", META, create=False)


def test_merging_copies_what_is_missing_once(tmp_path: Path) -> None:
    """Records of two databases end in one, none of them twice, each with the line of its own workload."""
    one, two, both = (tmp_path / name for name in ("one", "two", "both"))
    _fill(open_database(one, META, create=True), _trial("a", 1.0), _trial("b", 2.0))
    _fill(open_database(two, META, create=True), _trial("b", 1.5, ui=8), _trial("c", None))

    assert 4 == merge([one, two], both)
    assert 0 == merge([one, two], both)
    merged = open_database(both, META, create=False)
    assert {"a": 1.0, "b": 1.5} == {name: best.seconds for name, best in merged.best().items()}
    records = [json.loads(text) for text in (both / "database_tuning_record.json").read_text().splitlines()]
    workloads = [json.loads(text)[0] for text in (both / "database_workload.json").read_text().splitlines()]
    assert ["a", "b", "b"] == [workloads[number] for number, _ in records]


def test_warm_starts_are_found_by_kind_and_shape(tmp_path: Path) -> None:
    """Another database's best candidate is tried first for a task of its kind and shape, if it fits the grid."""
    task = _task("mine")
    grid = grid_of(task, AVX2, 1)
    known = list(grid.first)[-1]
    trial = Trial(
        task="theirs", kind="conv", shape=task.shape, variant="direct", candidate=known, space="bakeoff", stage="rest",
        seconds=1.0,
    )  # fmt: skip
    _fill(open_database(tmp_path / "db", META, create=True), trial)

    warm = warm_candidates([tmp_path / "db"])[("conv", key_of(task.shape))]
    assert known == TaskSearch(task, grid, seed=0, starts=1).first(6, warm)
    foreign = [{"tile": [5, 5, 5]}]
    assert grid.first[0] == TaskSearch(task, grid, seed=0, starts=1).first(6, foreign)
