"""Tuning records as files, and which of them serve a compilation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from bakeoff.backends.tvm.tuning.contract import Meta, Task, Trial
from bakeoff.backends.tvm.tuning.history import durations, history
from bakeoff.backends.tvm.tuning.pack import Pack, read_folder, read_pack, reduced, write_folder, write_pack
from bakeoff.backends.tvm.tuning.records import SCHEMA, merge
from bakeoff.backends.tvm.tuning.shelf import Source, database_folder, databases, find_sources, gather
from bakeoff.models.errors import UserError

TARGET = {"kind": "llvm", "mcpu": "znver5", "num-cores": 1}
META = Meta(schema=SCHEMA, tvm="0.26.0", target=TARGET)
NEAR = Meta(schema=SCHEMA, tvm="0.26.0", target={**TARGET, "mcpu": "x86-64-v3"})


def trial(task: str, seconds: float | None, elapsed: float, **extra: object) -> Trial:
    fields: dict[str, object] = {
        **{"task": task, "kind": "conv", "shape": {"n": 1}, "variant": "direct", "candidate": {"t": elapsed}},
        **{"space": "bakeoff", "stage": "cover", "seconds": seconds, "elapsed_s": elapsed},
    }
    return Trial(**{**fields, **extra})  # type: ignore[arg-type]


def pack(*trials: Trial, meta: Meta = META) -> Pack:
    return Pack(
        meta=meta,
        workloads={one.task: "AAAA" for one in trials},
        trials=trials,
        records=tuple(None if one.seconds is None else [["trace", one.task], [one.seconds], {}, []] for one in trials),
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


class TestChoice:
    def test_own_records_stand_before_those_of_another_machine(self) -> None:
        """Times of another target tell nothing here; each kernel is served by the first source that has it."""
        own, near = pack(trial("a", 2e-3, 1.0)), pack(trial("a", 1e-3, 1.0), trial("b", 1e-3, 2.0), meta=NEAR)
        found = gather([Source(name="own", pack=own), Source(name="shipped", pack=near)], META)
        assert [("a", "own (llvm-znver5-1)"), ("b", "shipped (llvm-x86-64-v3-1)")] == [
            (one.trial.task, one.source.title) for one in found.servings
        ]
        assert META.target == found.meta.target

    def test_records_of_one_target_are_compiled_for_it(self) -> None:
        """What was measured is what is built."""
        found = gather([Source(name="shipped", pack=pack(trial("a", 1e-3, 1.0), meta=NEAR))], META)
        assert NEAR.target == found.meta.target

    def test_the_faster_of_the_same_target_wins(self) -> None:
        """The user's own record wins where it is better, and gives way where it is not."""
        own, shipped = (
            pack(trial("a", 2e-3, 1.0), trial("b", 1e-3, 2.0)),
            pack(trial("a", 1e-3, 1.0), trial("b", 2e-3, 2.0)),
        )
        found = gather([Source(name="own", pack=own), Source(name="shipped", pack=shipped)], META)
        assert ["shipped", "own"] == [one.source.name for one in found.servings]

    def test_a_space_can_be_asked_for(self) -> None:
        """Records of the other space are left out."""
        both = Source(name="own", pack=pack(trial("a", 1e-3, 1.0), trial("a", 2e-3, 2.0, space="stock")))
        assert ["stock"] == [one.trial.space for one in gather([both], META, "stock").servings]

    def test_the_digest_is_that_of_the_records_that_serve(self) -> None:
        """A new best record changes it, a worse one does not, and no records have none."""
        one = gather([Source(name="own", pack=pack(trial("a", 2e-3, 1.0)))], META)
        same = gather([Source(name="own", pack=pack(trial("a", 2e-3, 1.0), trial("a", 3e-3, 2.0)))], META)
        other = gather([Source(name="own", pack=pack(trial("a", 2e-3, 1.0), trial("a", 1e-3, 2.0)))], META)
        assert one.digest == same.digest != other.digest
        assert "" == gather([], META).digest

    def test_what_serves_becomes_a_database(self, tmp_path: Path) -> None:
        """Line n of its records is the nth serving."""
        found = gather([Source(name="own", pack=SMALL)], META)
        found.write(tmp_path / "db")
        made = read_folder(tmp_path / "db")
        assert [one.record for one in found.servings] == list(made.records)

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
