"""Tuning records as files, and which of them serve a compilation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from bakeoff.backends.tvm.tuning import shelf
from bakeoff.backends.tvm.tuning.contract import Meta, Task, Trial
from bakeoff.backends.tvm.tuning.history import durations, history
from bakeoff.backends.tvm.tuning.pack import (
    Pack,
    read_folder,
    read_pack,
    read_pack_meta,
    reduced,
    write_folder,
    write_pack,
)
from bakeoff.backends.tvm.tuning.records import SCHEMA, merge
from bakeoff.backends.tvm.tuning.serving import gather, variants_in
from bakeoff.backends.tvm.tuning.shelf import Source, database_folder, databases, find_sources, shipped
from bakeoff.backends.tvm.tuning.tiles import Vector
from bakeoff.models.errors import UserError

TARGET = {"kind": "llvm", "mcpu": "znver5", "num-cores": 1}
META = Meta(schema=SCHEMA, tvm="0.26.0", target=TARGET)
WIDE = Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "mcpu": "x86-64-v4"})
NEAR = Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "mcpu": "x86-64-v3"})


def trial(task: str, seconds: float | None, elapsed: float, **extra: object) -> Trial:
    fields: dict[str, object] = {
        **{"task": task, "kind": "conv", "shape": {"n": 1}, "variant": "direct", "candidate": {"t": elapsed}},
        **{"space": "bakeoff", "stage": "cover", "seconds": seconds, "elapsed_s": elapsed},
    }
    return Trial(**{**fields, **extra})  # type: ignore[arg-type]


def record(task: str, seconds: float) -> str:
    return json.dumps([["trace", task], [seconds], {}, []], separators=(",", ":"))


def task(name: str, variant: str = "direct", site: str = "", **extra: object) -> Task:
    fields: dict[str, object] = {
        "weight": 1,
        "flops": 100,
        "kind": "conv",
        "shape": {},
        "variant": variant,
        "site": site,
    }
    return Task(hash=name, name=name, **{**fields, **extra})  # type: ignore[arg-type]


def pack(*trials: Trial, meta: Meta = META) -> Pack:
    return Pack(
        meta=meta,
        workloads={one.task: "AAAA" for one in trials},
        trials=trials,
        records=tuple(None if one.seconds is None else record(one.task, one.seconds) for one in trials),
    )


SMALL = pack(trial("a", 2e-3, 1.0), trial("b", None, 2.0, error="killed"), trial("b", 1e-3, 4.0), trial("a", 1e-3, 5.0))


class TestFiles:
    @pytest.mark.parametrize("name", ["records.json", "records.json.gz"])
    def test_a_file_gives_back_what_was_written(self, tmp_path: Path, name: str) -> None:
        """With and without compression; the same pack gives the same bytes."""
        for place in (tmp_path / name, tmp_path / f"again-{name}"):
            write_pack(SMALL, place)
        assert SMALL == read_pack(tmp_path / name)
        assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()

    def test_a_folder_gives_back_what_was_written(self, tmp_path: Path) -> None:
        """Trials in their order, each with its own record."""
        write_folder(SMALL, tmp_path / "db")
        assert SMALL == read_folder(tmp_path / "db")

    def test_a_line_that_is_being_written_is_left_alone(self, tmp_path: Path) -> None:
        """Reading a database that somebody tunes into changes no byte of it."""
        write_folder(SMALL, tmp_path / "db")
        with (tmp_path / "db" / "trials.jsonl").open("a") as file:
            file.write('{"task": "a", "ki')
        before = (tmp_path / "db" / "trials.jsonl").read_bytes()
        assert SMALL == read_folder(tmp_path / "db")
        assert before == (tmp_path / "db" / "trials.jsonl").read_bytes()

    def test_reducing_keeps_the_best_records_and_every_trial(self) -> None:
        """Cost and curve can be told from an export as from the database itself."""
        less = reduced(SMALL)
        assert SMALL.trials == less.trials
        assert [False, False, True, True] == [record is not None for record in less.records]

    def test_cold_times_stand_before_hot_ones(self) -> None:
        """A slower time with cold weights is nearer to the truth than a fast one with hot weights."""
        less = reduced(pack(trial("a", 1e-3, 1.0), trial("a", 2e-3, 2.0, cold=True)))
        assert [False, True] == [record is not None for record in less.records]

    def test_what_is_exported_twice_is_merged_once(self, tmp_path: Path) -> None:
        """Taking in the same file again adds nothing."""
        write_folder(SMALL, tmp_path / "unpacked")
        assert [4, 0] == [merge([tmp_path / "unpacked"], tmp_path / "own") for _ in range(2)]
        assert SMALL.trials == read_folder(tmp_path / "own").trials

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "holds no tuning records"),
            (b"[]", "holds no tuning records"),
            (b"\x1f\x8bnonsense", "holds no tuning records"),
            (gzip.compress(b'{"format": "bakeoff tuning records"'), "holds no tuning records"),
            (b'{"format": "bakeoff tuning records"}', "is damaged (KeyError)"),
            (
                b'{"format": "bakeoff tuning records", "meta": {"schema": 99, "tvm": "", "target": {}}}',
                "has schema 99, this bakeoff reads",
            ),
        ],
    )
    def test_bad_files_end_in_one_line(self, tmp_path: Path, content: bytes, reason: str) -> None:
        """Whatever is wrong, the file is named."""
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(UserError, match=r"^\S+x\.json: ") as caught:
            read_pack(tmp_path / "x.json")
        assert reason in str(caught.value)

    def test_records_without_their_workload_are_damage(self, tmp_path: Path) -> None:
        """A file that lost something is refused before anything is merged."""
        write_pack(SMALL, tmp_path / "x.json")
        content = json.loads((tmp_path / "x.json").read_text())
        del content["workloads"]["a"]
        (tmp_path / "x.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="records without their workload"):
            read_pack(tmp_path / "x.json")


def _text(file: Path) -> bytes:
    raw = file.read_bytes()
    return gzip.decompress(raw) if file.suffix == ".gz" else raw


class TestHistory:
    def test_durations_begin_anew_where_the_clock_goes_back(self) -> None:
        """A merged database holds the clocks of several."""
        done = [trial("a", 1.0, 3.0), trial("a", 1.0, 5.0), trial("a", 1.0, 2.0), trial("a", 1.0, 2.5)]
        assert [3.0, 2.0, 2.0, 0.5] == list(durations(done))

    def test_only_trials_of_the_models_own_kernels_count(self) -> None:
        """The curve falls, begins where every kernel has a time, and weighs kernels by how often they run."""
        tasks = [
            Task(hash=name, name=name, weight=weight, flops=0, kind="conv", shape={})
            for name, weight in (("a", 3), ("b", 1))
        ]
        done = [trial("a", 2e-3, 1.0), trial("z", 1e-3, 9.0), trial("b", 1e-3, 10.0), trial("b", None, 11.0)]
        done += [trial("a", 3e-3, 12.0), trial("a", 1e-3, 14.0), trial("a", 1e-4, 15.0, cold=True)]
        found = history(tasks, done)
        assert (6, 1, 7.0) == (found.trials, found.failed, found.seconds)
        assert [(2, 2.0, 7.0), (5, 6.0, 4.0)] == [
            (point.trials, point.elapsed_s, pytest.approx(point.estimated_ms)) for point in found.curve
        ]


AB = (task("a"), task("b"))


class TestChoice:
    def test_own_records_stand_before_those_of_another_machine(self) -> None:
        """Times of another target tell nothing here; what own records lack is served by the next source."""
        own, near = pack(trial("a", 2e-3, 1.0)), pack(trial("a", 1e-3, 1.0), trial("b", 1e-3, 2.0), meta=NEAR)
        found = gather([Source(name="own", pack=own), Source(name="shipped", pack=near)], AB, META)
        assert [("a", "own (llvm-znver5-1)"), ("b", "shipped (llvm-x86-64-v3-1)")] == [
            (one.trial.task, one.source.title) for one in found.servings
        ]
        assert META.target == found.meta.target

    def test_records_of_one_target_are_compiled_for_it(self) -> None:
        """What was measured is what is built."""
        found = gather([Source(name="shipped", pack=pack(trial("a", 1e-3, 1.0), meta=NEAR))], AB, META)
        assert NEAR.target == found.meta.target

    def test_records_of_several_targets_are_compiled_for_the_first(self) -> None:
        """Sources come in the order of their vectors' width: a wide tile would spill on narrow registers."""
        wide, narrow = pack(trial("a", 1e-3, 1.0), meta=WIDE), pack(trial("b", 1e-3, 1.0), meta=NEAR)
        found = gather([Source(name="shipped", pack=wide), Source(name="shipped", pack=narrow)], AB, META)
        assert WIDE.target == found.meta.target
        assert ["a", "b"] == [one.trial.task for one in found.servings]

    def test_a_source_that_serves_nothing_decides_nothing(self) -> None:
        """A model that only the narrow pack knows is compiled for the narrow target."""
        wide, narrow = pack(trial("z", 1e-3, 1.0), meta=WIDE), pack(trial("b", 1e-3, 1.0), meta=NEAR)
        found = gather([Source(name="shipped", pack=wide), Source(name="shipped", pack=narrow)], AB, META)
        assert NEAR.target == found.meta.target
        assert ["b"] == [one.trial.task for one in found.servings]

    def test_the_faster_of_the_same_target_wins(self) -> None:
        """The user's own record wins where it is better, and gives way where it is not."""
        own, shipped = (
            pack(trial("a", 2e-3, 1.0), trial("b", 1e-3, 2.0)),
            pack(trial("a", 1e-3, 1.0), trial("b", 2e-3, 2.0)),
        )
        found = gather([Source(name="own", pack=own), Source(name="shipped", pack=shipped)], AB, META)
        assert ["shipped", "own"] == [one.source.name for one in found.servings]

    def test_variants_are_weighed_within_one_target(self) -> None:
        """A fast Winograd on a fast machine is no reason to leave a direct convolution that was timed here."""
        tasks = (task("a", site="s"), task("w", "wino4", site="s"), task("c", site="t"), task("x", "wino4", site="t"))
        own = pack(trial("a", 2e-3, 1.0))
        near = pack(*(trial(name, 1e-4, 1.0) for name in "wx"), trial("c", 1e-3, 1.0), meta=NEAR)
        found = gather([Source(name="own", pack=own), Source(name="shipped", pack=near)], tasks, META)
        assert ["a", "x"] == [one.trial.task for one in found.servings]
        assert {"t": "wino4"} == found.variants

    def test_a_convolution_that_no_source_covers_is_served_in_part(self) -> None:
        """It occurs with two epilogues: each kernel takes what there is, directly."""
        tasks = [task("a", site="s", epilogue="+"), task("b", site="s", epilogue="max"), task("w", "wino4", site="s")]
        found = gather([Source(name="own", pack=pack(trial("a", 1e-3, 1.0), trial("w", 1e-4, 2.0)))], tasks, META)
        assert ["a"] == [one.trial.task for one in found.servings]
        assert {} == found.variants

    def test_a_space_can_be_asked_for(self) -> None:
        """Records of the other space are left out."""
        both = Source(name="own", pack=pack(trial("a", 1e-3, 1.0), trial("a", 2e-3, 2.0, space="stock")))
        assert ["stock"] == [one.trial.space for one in gather([both], AB, META, "stock").servings]

    def test_the_digest_is_that_of_the_records_that_serve(self) -> None:
        """A new best record changes it; a worse one and another model's do not; no records have none."""
        first = trial("a", 2e-3, 1.0)
        one, same, foreign, other = (
            gather([Source(name="own", pack=pack(first, *more))], AB, META)
            for more in ((), (trial("a", 3e-3, 2.0),), (trial("z", 1e-3, 2.0),), (trial("a", 1e-3, 2.0),))
        )
        assert one.digest == same.digest == foreign.digest != other.digest
        assert (1, 2, 1) == (one.trials, same.trials, foreign.trials)
        assert "" == gather([], AB, META).digest

    def test_only_variants_that_were_tried_are_worth_a_look(self) -> None:
        """Lowering a graph by Winograd takes seconds; trials that failed are part of what tuning cost."""
        found = [Source(name="own", pack=pack(trial("a", 1e-3, 1.0), trial("x", None, 3.0, variant="wino2")))]
        assert {"wino2"} == variants_in(found)
        assert set() == variants_in(found, "stock")

    def test_what_serves_becomes_a_database(self, tmp_path: Path) -> None:
        """Line n of its records is the nth serving."""
        found = gather([Source(name="own", pack=SMALL)], AB, META)
        found.write(tmp_path / "db")
        made = read_folder(tmp_path / "db")
        assert [one.record for one in found.servings] == list(made.records)


class TestPlaces:
    def test_folders_are_named_by_target_and_version(self, tmp_path: Path) -> None:
        """Every database is found again; threads and versions of TVM keep apart."""
        two = Meta(schema=SCHEMA, tvm="0.27.0", target={**TARGET, "num-cores": 2})
        for meta in (META, two):
            write_folder(pack(trial("a", 1.0, 1.0), meta=meta), database_folder(tmp_path, meta))
        assert ["llvm-znver5-1-tvm0.26.0", "llvm-znver5-2-tvm0.27.0"] == [path.name for path in databases(tmp_path)]

    def test_none_means_none(self, tmp_path: Path) -> None:
        """`records=none` measures the default schedules whatever was tuned."""
        write_folder(SMALL, database_folder(tmp_path, META))
        assert [] == find_sources("none", META, tmp_path, frozenset())

    def test_wide_vectors_stand_before_narrow_ones(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Own records first; then the widest, imported before shipped; what does not fit is not even read."""
        cache, records = tmp_path / "cache", tmp_path / "records"
        records.mkdir()
        for meta in (META, NEAR, WIDE):
            write_folder(pack(trial("a", 1.0, 1.0), meta=meta), database_folder(cache, meta))
        for name, meta in (("quick-x86-64-v3-1", NEAR), ("quick-x86-64-v4-1", WIDE)):
            write_pack(pack(trial("a", 1.0, 1.0), meta=meta), records / f"{name}.json.gz")
        # Its beginning says that it is for two threads; the rest is missing.
        two = Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "num-cores": 2})
        write_pack(pack(trial("a", 1.0, 1.0), meta=two), records / "whole.json")
        cut = (records / "whole.json").read_bytes()[:-60]
        (records / "quick-x86-64-v4-2.json").write_bytes(cut)
        (records / "whole.json").unlink()
        monkeypatch.setattr(shelf, "shipped", lambda: sorted(records.iterdir()))
        monkeypatch.setattr(shelf, "fits", lambda target, features: target["mcpu"] in features)
        widths = {"x86-64-v4": Vector(lanes=16, registers=32), "x86-64-v3": Vector(lanes=8, registers=16)}
        monkeypatch.setattr(shelf, "vector_of", lambda target: widths[target["mcpu"]])

        def titles(*features: str) -> list[str]:
            return [source.title for source in find_sources("", META, cache, frozenset(features))]

        narrow = ["imported (llvm-x86-64-v3-1)", "shipped (llvm-x86-64-v3-1)"]
        wide = ["imported (llvm-x86-64-v4-1)", "shipped (llvm-x86-64-v4-1)"]
        assert ["own (llvm-znver5-1)", *wide, *narrow] == titles("x86-64-v3", "x86-64-v4")
        assert ["own (llvm-znver5-1)", *narrow] == titles("x86-64-v3")

    def test_records_of_one_thread_serve_several(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Behind those that were tuned for as many threads; those of other numbers serve nobody else."""
        for cores in (1, 2, 4):
            meta = Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "num-cores": cores})
            write_folder(pack(trial("a", 1.0, 1.0), meta=meta), database_folder(tmp_path, meta))
        monkeypatch.setattr(shelf, "shipped", lambda: [])
        monkeypatch.setattr(shelf, "fits", lambda target, features: True)
        monkeypatch.setattr(shelf, "vector_of", lambda target: Vector(lanes=16, registers=32))

        def titles(cores: int) -> list[str]:
            meta = Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "num-cores": cores})
            return [source.title for source in find_sources("", meta, tmp_path, frozenset())]

        assert ["own (llvm-znver5-2)", "own (llvm-znver5-1)"] == titles(2)
        assert ["own (llvm-znver5-1)"] == titles(1) == titles(3)

    def test_what_serves_more_threads_is_compiled_for_them(self) -> None:
        """The target of the records, the threads of the request."""
        wanted = Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "num-cores": 4})
        own = Source(name="own", pack=pack(trial("a", 1.0, 1.0)))
        found = gather([own], [task("a")], wanted)
        assert found.spread
        assert {**TARGET, "num-cores": 4} == found.meta.target
        assert not gather([own], [task("a")], META).spread

    @pytest.mark.parametrize("name", ["x.json", "x.json.gz"])
    def test_the_beginning_of_a_pack_says_what_it_is_for(self, tmp_path: Path, name: str) -> None:
        """Also where somebody has written the JSON anew, with other spaces."""
        write_pack(SMALL, tmp_path / name)
        assert META == read_pack_meta(tmp_path / name)
        (tmp_path / "y.json").write_text(json.dumps(json.loads(_text(tmp_path / name)), indent=1))
        assert META == read_pack_meta(tmp_path / "y.json")

    def test_what_ships_can_be_read(self) -> None:
        """Every pack is named by its suite, CPU and threads, and holds for these."""
        for file in shipped():
            found = read_pack(file)
            cpu, threads = found.meta.target["mcpu"], found.meta.target["num-cores"]
            assert file.name.endswith(f"-{cpu}-{threads}.json.gz")
            assert any(found.records)

    @pytest.mark.parametrize(
        ("found", "reason"),
        [
            (Meta(schema=SCHEMA, tvm="0.25.0", target=TARGET), "was tuned with TVM 0.25.0, this is 0.26.0"),
            (
                Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "num-cores": 4}),
                "was tuned for 4 threads, not for 1",
            ),
        ],
    )
    def test_named_records_that_do_not_fit_are_refused(self, tmp_path: Path, found: Meta, reason: str) -> None:
        """A user who names records must not get a figure without them."""
        write_pack(pack(trial("a", 1.0, 1.0), meta=found), tmp_path / "x.json")
        with pytest.raises(UserError, match=reason):
            find_sources(str(tmp_path / "x.json"), META, tmp_path, frozenset())
